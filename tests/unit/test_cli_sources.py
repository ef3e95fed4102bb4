"""`dakpn pack` and `check` on what people have: archives, tables, splits; nothing of it is passed over in silence."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from dakpn.images.codec import encode_image, encode_label
from tests.command import assert_failed, dakpn

LABEL = encode_label(np.full((3, 4), 5, np.uint8))
ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def photo(number: int, kind: str = "jpeg") -> bytes:
    return encode_image(np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8), kind)  # pyright: ignore[reportArgumentType]


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_parquet(path: Path, start: int = 0, **columns: pa.Array) -> None:
    images = [{"bytes": photo(start + i), "path": f"{start + i}.jpg"} for i in range(2)]
    labels = [{"bytes": LABEL, "path": None}] * 2
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(images, ENCODED), "label": pa.array(labels, ENCODED), **columns}), path)


def write_folder(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def rows_of(out: Path) -> dict[str, tuple[bytes, bytes | None]]:
    index = manifest.read_index(str(out))
    uris = [manifest.shard_uri(str(out), shard.name, index.format) for shard in index.shards]
    return {row.key: (row.image, row.label) for uri in uris for row in read_shard(uri)}


def inventory_of(out: Path) -> dict[str, tuple[int, list[str], bool]]:
    found = manifest.read_run(str(out))["inventory"]["left_out"]
    return {entry["reason"]: (entry["count"], entry["first"], entry["data"]) for entry in found}


@pytest.mark.parametrize("top", ["", "dataset/", "a/b/"])
@pytest.mark.parametrize(
    ("preset", "images", "labels"),
    [
        ("camvid", "images/{}.png", "labels/{}.png"),
        ("cityscapes", "leftImg8bit/train/ulm/{}_leftImg8bit.png", "gtFine/train/ulm/{}_gtFine_labelIds.png"),
    ],
)
def test_a_folder_in_an_archive_is_read_by_its_preset(
    tmp_path: Path, top: str, preset: str, images: str, labels: str
) -> None:
    files = {images.format(i): photo(i, "png") for i in range(3)} | {labels.format(i): LABEL for i in range(3)}
    write_folder(tmp_path / "folder", files)
    write_tar(tmp_path / "in/set.tar", {f"{top}{name}": data for name, data in files.items()})
    sentence = assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 2, "as the presets", "--dataset")
    assert preset in sentence
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "synthia"), 2, preset, "not synthia")
    for source in ("folder", "in", "in/set.tar"):
        done = dakpn("pack", tmp_path / source, tmp_path / f"{source}-out", "--dataset", preset)
        assert done.returncode == 0, done.stderr
        assert dakpn("check", tmp_path / source, "--dataset", preset).returncode in (0, 1)
    expected = rows_of(tmp_path / "folder-out")
    assert len(expected) == 3
    assert rows_of(tmp_path / "in-out") == rows_of(tmp_path / "in/set.tar-out") == expected


def test_a_dataset_in_several_archives_is_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/a.tar", {f"images/{i}.png": photo(i, "png") for i in range(2)})
    write_tar(tmp_path / "in/b.tar", {f"labels/{i}.png": LABEL for i in range(2)})
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid").returncode == 0
    assert [label for _, label in rows_of(tmp_path / "out").values()] == [LABEL] * 2
    write_tar(tmp_path / "in/c.tar", {"images/1.png": photo(7, "png")})
    assert_failed(
        dakpn("pack", tmp_path / "in", tmp_path / "no", "--dataset", "camvid"), 2, "'images/1.png' is also in"
    )


@pytest.mark.parametrize("ending", ["_mask.png", "-labelIds.png", ".labels.png", ".target.png", ".semantic.png"])
@pytest.mark.parametrize("preset", [None, "camvid"])
def test_label_maps_of_other_names_are_asked_about(tmp_path: Path, ending: str, preset: str | None) -> None:
    members = {f"{i}{end}": data for i in range(4) for end, data in ((".jpg", photo(i)), (ending, LABEL))}
    write_tar(tmp_path / "in/a.tar", members)
    options = ["--dataset", preset] if preset else []
    first = ", ".join(f"{i}{ending}".removesuffix(".png" if ending[0] in "_-" else "") for i in range(3))
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", *options), 2, first, "--no-labels")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels", *options).returncode == 0
    assert {key: label for key, (_, label) in rows_of(tmp_path / "out").items()} == dict.fromkeys("0123")
    (left,) = (found for found in inventory_of(tmp_path / "out").values())
    assert (left[0], left[2]) == (4, True)


def test_label_maps_among_photographs_in_a_folder_are_asked_about(tmp_path: Path) -> None:
    files = {f"{i}.jpg": photo(i) for i in range(2)} | {f"{i}_mask.png": LABEL for i in range(2)}
    write_folder(tmp_path / "in", files | {"2.png": LABEL, "3_night.png": photo(3, "png")})
    options = ("--dataset", "images")
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", *options), 2, "0_mask.png", "--no-labels")
    done = dakpn("check", tmp_path / "in", *options, "--json")
    problems = [
        problem["key"] for problem in json.loads(done.stdout)["problems"] if problem["kind"] != "duplicate_image"
    ]
    assert problems == ["0_mask", "1_mask"]
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", *options, "--no-labels").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["0", "1", "2", "3_night"]
    assert inventory_of(tmp_path / "out") == {"images that look like labels": (2, ["0_mask", "1_mask"], True)}


def test_a_second_label_of_a_row_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/a.tar", {"0.jpg": photo(0), "0.png": photo(1, "png"), "0.seg.png": LABEL})
    done = dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid")
    assert "second labels of a row" in done.stdout
    assert rows_of(tmp_path / "out")["0"][1] == LABEL


HUB = {
    "data": lambda split: f"data/{split}-00000-of-00001.parquet",
    "folders": lambda split: f"{split}/0000.parquet",
    "files": lambda split: f"{split}.parquet",
}


@pytest.mark.parametrize("layout", HUB)
def test_splits_are_never_mixed_unless_that_is_asked_for(tmp_path: Path, layout: str) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        write_parquet(tmp_path / "in" / HUB[layout](split), start=10 * number)
    command = ["pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid"]
    assert_failed(dakpn(*command), 2, "several splits: test, train, validation", "--split all")
    assert_failed(dakpn(*command, "--split", "val"), 2, "no split 'val' (there are: test, train, validation)")
    assert dakpn(*command, "--split", "validation").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["10", "11"]
    assert inventory_of(tmp_path / "out")["files of another split"][0] == 2
    assert (
        json.loads(dakpn(*command[:2], tmp_path / "all", *command[3:], "--split", "all", "--json").stdout)["images"]
        == 6
    )


def test_splits_of_a_card_and_of_archives_are_known(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        write_parquet(tmp_path / f"in/data/{name}.parquet", start=10 * number)
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: first\n    path: data/a*\n  - split: second\n"
    )
    (tmp_path / "in/README.md").write_text(card + "    path:\n    - data/b.parquet\n---\n# words\n")
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "x", "--dataset", "camvid"), 2, "splits: first, second")
    done = dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid", "--split", "second")
    assert done.returncode == 0, done.stderr
    assert sorted(rows_of(tmp_path / "out")) == ["10", "11"]
    for split in ("train", "val"):
        write_tar(tmp_path / f"tars/{split}-000000.tar", {f"{split}.jpg": photo(1)})
    assert_failed(dakpn("pack", tmp_path / "tars", tmp_path / "x"), 2, "several splits: train, val")
    assert_failed(dakpn("check", tmp_path / "tars"), 2, "several splits: train, val")
    assert dakpn("pack", tmp_path / "tars", tmp_path / "tars-out", "--split", "val").returncode == 0
    assert list(rows_of(tmp_path / "tars-out")) == ["val"]


def test_split_folders_of_a_preset_are_not_mixed_either(tmp_path: Path) -> None:
    files = {f"images/{split}/{i}.png": photo(i, "png") for split in ("train", "test") for i in range(2)}
    write_folder(tmp_path / "in", files)
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 2, "several splits: test, train", "--split all")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--split", "all").returncode == 0
    assert len(rows_of(tmp_path / "out")) == 4
    (tmp_path / "in/images/test").rename(tmp_path / "in/images/seq2")  # sequences are no splits
    assert dakpn("pack", tmp_path / "in", tmp_path / "seq").returncode == 0


def test_what_img2dataset_writes_is_taken(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        members = {f"{shard}{i}.{end}": data for i in range(2) for end, data in (("jpg", photo(i)), ("txt", b"a road"))}
        write_tar(tmp_path / f"in/{shard}.tar", members)
        pq.write_table(pa.table({"url": ["x"], "key": ["y"]}), tmp_path / f"in/{shard}.parquet")
        (tmp_path / f"in/{shard}_stats.json").write_text("{}")
    done = dakpn("pack", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "out")) == 4
    found = inventory_of(tmp_path / "out")
    assert {reason: entry[0] for reason, entry in found.items()} == {
        "tables of metadata": 2, "other files": 2, "other members": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"state.json": b"{}", "dataset_info.json": b"{}", "data-00000-of-00001.arrow": b""}, "save_to_disk"),
        ({"dataset_dict.json": b"{}"}, "to_parquet"),
        ({"GTA.zip": b"PK"}, "GTA.zip, a file that is not read; unpack it"),
        ({"a.tar.gz": b""}, "decompress it"),
        ({"a/b.tfrecord": b"", "c.txt": b""}, "a/b.tfrecord, a file that is not read; write its images and labels"),
        ({"a/b.xyz": b"", "c.txt": b""}, "the folders a and the files c.txt"),
        *(
            ({name: b""}, f"{name}, a file that is not read; ")
            for name in (
                *("a.tgz", "a.tar.zst", "a.tar.bz2", "a.txz", "a.7z", "a.rar", "a.zip.001", "a.tar.00", "a.parquet.gz"),
                *("a.h5", "a.hdf5", "a.npz", "a.npy", "a.mat", "data.mdb", "x.lmdb", "a.feather", "a.pkl", "a.mp4"),
                *("a.tfrecords", "a.tfrecord-00000-of-00001", "a.rec"),
            )
        ),
        ({"RGB/0.png": b"", "GT/LABELS/0.png": b""}, "as the presets synthia, synthia_trainids have them"),
        ({"img_dir/0.png": b""}, "mmseg"),
        ({"0.png": b""}, "for images without labels give --dataset images"),
        ({}, "does not exist"),
    ],
)
def test_what_is_not_read_is_named_with_the_way_out(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    write_folder(tmp_path / "in", files)
    for command in (("pack", tmp_path / "in", tmp_path / "out"), ("check", tmp_path / "in")):
        assert "camvid" not in assert_failed(dakpn(*command), 2, words, str(tmp_path / "in"))
    if "that is not read" in words:
        for preset in ("camvid", "images"):
            assert_failed(dakpn("check", tmp_path / "in", "--dataset", preset), 2, words, str(tmp_path / "in"))


def test_a_file_that_is_not_read_is_named_by_itself(tmp_path: Path) -> None:
    for name, words in (("a.zip", "unpack it"), ("a.pkl", "as files"), ("notes.xyz", "give the folder of a dataset")):
        write_folder(tmp_path, {name: b"x"})
        assert_failed(dakpn("pack", tmp_path / name, tmp_path / "out"), 2, name, "is a file that is not read", words)


def test_archives_that_were_joined_are_refused_and_empty_ones_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", {f"{name}.jpg": photo(1)})
    (tmp_path / "in").mkdir()
    (tmp_path / "in/joined.tar").write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 1, "joined.tar", "behind the end mark")
    write_tar(tmp_path / "in/joined.tar", {"a.jpg": photo(1)})
    write_tar(tmp_path / "in/none.tar", {"a.txt": b""})
    assert dakpn("pack", tmp_path / "in", tmp_path / "out").returncode == 0
    assert inventory_of(tmp_path / "out")["files without rows"] == (1, ["none.tar"], True)


def test_images_go_before_archives_beside_them(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {f"{i}.jpg": photo(i) for i in range(2)})
    write_tar(tmp_path / "in/backup.tar", {"9.jpg": photo(9)})
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "images").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["0", "1"]
    assert inventory_of(tmp_path / "out") == {"arrays, archives and tables": (1, ["backup.tar"], True)}


def test_rows_of_one_path_need_keys(tmp_path: Path) -> None:
    images = [{"bytes": photo(i), "path": "image.png"} for i in range(2)]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": pa.array(images, ENCODED)}), tmp_path / "in/a.parquet")
    assert_failed(
        dakpn("pack", tmp_path / "in", tmp_path / "out"), 1, "two rows have the path 'image.png'", "column key"
    )
    table = pa.table({"key": [7, 8], "image": pa.array(images, ENCODED), "caption": ["x", "y"]})
    pq.write_table(table, tmp_path / "in/a.parquet")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["7", "8"]
    assert inventory_of(tmp_path / "out") == {"other columns": (1, ["a.parquet: caption"], False)}


def test_who_named_no_preset_is_not_told_of_one(tmp_path: Path) -> None:
    write_folder(
        tmp_path / "in", {"images/a.png": photo(1, "png"), "labels/a.png": encode_label(np.full((3, 4), 77, np.uint8))}
    )
    sentence = assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 1, "no preset was named", "--dataset")
    assert "camvid" not in sentence
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid"), 1, "camvid knows 0, 1")


def test_files_of_a_folder_are_taken_or_counted(tmp_path: Path) -> None:
    files = {
        f"{kind}/{i}.png": photo(i, "png") if kind == "images" else LABEL
        for i in range(2)
        for kind in ("images", "labels")
    }
    beside = {
        ".git/HEAD": b"", "images/@eaDir/0.png": b"", "README.txt": b"", "labels/0_color.png": b"", 
        "labels/9.png": LABEL, "labels/0.npy": b"", "depth/0.png": b"", "images.zip": b"", "images/0.json": b"{}",
    }  # fmt: skip
    write_folder(tmp_path / "in", files | beside)
    done = dakpn("pack", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert inventory_of(tmp_path / "out") == {
        "arrays, archives and tables": (2, ["images.zip", "labels/0.npy"], True),
        "hidden files": (1, [".git/HEAD"], False),
        "images and labels outside the layout": (1, ["depth/0.png"], True),
        "labels without an image": (1, ["labels/9.png"], True),
        "left by file managers": (1, ["images/@eaDir/0.png"], False),
        "other files": (2, ["README.txt", "images/0.json"], False),
        "other versions of labels": (1, ["labels/0_color.png"], False),
    }
    assert "depth/0.png" in done.stdout
    report = json.loads(dakpn("check", tmp_path / "in", "--json").stdout)
    assert report["inventory"]["left_out"] == manifest.read_run(str(tmp_path / "out"))["inventory"]["left_out"]


@pytest.mark.parametrize("source", ["in", "in/set.tar"])
def test_splits_inside_archives_are_those_of_the_folder(tmp_path: Path, source: str) -> None:
    files = {f"images/{split}/{i}.png": photo(i, "png") for split in ("train", "val") for i in range(2)}
    files |= {name.replace("images", "labels"): LABEL for name in files}
    write_tar(tmp_path / "in/set.tar", files)
    command = ["pack", tmp_path / source, tmp_path / "out", "--dataset", "camvid"]
    assert_failed(dakpn(*command), 2, "several splits: train, val")
    assert_failed(dakpn(*command, "--split", "test"), 2, "there are: train, val")
    assert dakpn(*command, "--split", "val").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["val/0", "val/1"]
    assert inventory_of(tmp_path / "out")["images of another split"][0] == 2
    all_ = dakpn(*command[:2], tmp_path / "all", *command[3:], "--split", "all", "--json")
    assert json.loads(all_.stdout)["images"] == 4


def test_archives_of_other_splits_are_counted(tmp_path: Path) -> None:
    for split in ("train", "val"):
        city = {f"leftImg8bit/{split}/ulm/ulm_{split}_leftImg8bit.png": photo(1, "png")}
        city |= {f"gtFine/{split}/ulm/ulm_{split}_gtFine_labelIds.png": LABEL}
        write_tar(tmp_path / f"in/city_{split}.tar", city)
    command = ["pack", tmp_path / "in", tmp_path / "out", "--dataset", "cityscapes"]
    assert_failed(dakpn(*command), 2, "several splits: train, val")
    assert dakpn(*command, "--split", "val").returncode == 0
    assert sorted(rows_of(tmp_path / "out")) == ["val/ulm/ulm_val"]
    assert inventory_of(tmp_path / "out") == {"files of another split": (1, ["city_train.tar"], True)}


SPLIT_NAMES = {
    "my-{}-0": ("train", "test"), "set_{}": ("train", "val"), "data/{}/0": ("train", "test"), 
    "default/{}/0": ("train", "validation"), "default/partial-{}/0": ("train", "test"),
    "shards/{}-0": ("train", "eval"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_splits_are_told_by_any_word_of_a_path(tmp_path: Path, name: str) -> None:
    splits = SPLIT_NAMES[name]
    for number, split in enumerate(splits):
        write_tar(tmp_path / f"in/{name.format(split)}.tar", {f"{split}.jpg": photo(number)})
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 2, f"splits: {', '.join(sorted(splits))}")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--split", splits[0]).returncode == 0
    assert list(rows_of(tmp_path / "out")) == [splits[0]]
    alone = tmp_path / f"in/{name.format(splits[1])}.tar"
    if "/" not in name:  # an archive by itself has the split of its name
        assert_failed(dakpn("pack", alone, tmp_path / "x", "--split", splits[0]), 2, f"there are: {splits[1]}")
        assert dakpn("pack", alone, tmp_path / "x", "--split", splits[1]).returncode == 0


def test_files_in_folders_that_are_no_splits_are_not_mixed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_parquet(tmp_path / f"in/{folder}/0.parquet")
    assert_failed(
        dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels"), 2, ".parquet files in the folders a, b"
    )
    card = "---\nconfigs:\n- config_name: a\n  data_files: a/*\n- config_name: b\n  data_files: b/*\n---\n"
    (tmp_path / "in/README.md").write_text(card)
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels"), 2, "several configurations: a, b")
    (tmp_path / "in/README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: b/*\n---\n")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels").returncode == 0
    assert inventory_of(tmp_path / "out")["files in other folders"] == (1, ["a/0.parquet"], True)


def test_photographs_in_folders_of_splits_are_not_mixed(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {f"{split}/town/{split}.jpg": photo(1) for split in ("train", "test")})
    command = ["pack", tmp_path / "in", tmp_path / "out", "--dataset", "images"]
    assert_failed(dakpn(*command), 2, "several splits: test, train")
    assert dakpn(*command, "--split", "test").returncode == 0
    assert list(rows_of(tmp_path / "out")) == ["test/town/test"]
    (tmp_path / "in/train").rename(tmp_path / "in/berlin")
    assert dakpn(*command[:2], tmp_path / "all", *command[3:]).returncode == 0
    assert sorted(rows_of(tmp_path / "all")) == ["berlin/town/train", "test/town/test"]


JUNK = (
    "@eaDir/0.jpg", "@eadir/0.jpg", "#recycle/1.jpg", "$RECYCLE.BIN/2.jpg", "System Volume Information/3.jpg", 
    "#snapshot/4.jpg", "@tmp/5.jpg", "__MACOSX/6.jpg", "d/__MACOSX/._7.jpg", "~$8.jpg", "lost+found/9.jpg",
)  # fmt: skip
HIDDEN = ("._0.jpg", ".Trash-1000/files/1.jpg", "d/.thumbnails/2.jpg", ".DS_Store", ".git/HEAD")


@pytest.mark.parametrize("packed", ["folder", "inside", "beside"])
def test_junk_and_hidden_files_are_no_photographs_and_are_counted(tmp_path: Path, packed: str) -> None:
    files = {"0.jpg": photo(0)} | {name: photo(number) for number, name in enumerate(JUNK + HIDDEN)}
    files |= {"Thumbs.db": b"", "desktop.ini": b"", "0.jpg:Zone.Identifier": b"[ZoneTransfer]"}
    if packed == "folder":
        write_folder(tmp_path / "in", files)
    else:
        write_tar(tmp_path / "in/a.tar", files if packed == "inside" else {"0.jpg": photo(0)})
    if packed == "beside":
        write_folder(tmp_path / "in", files | {"d/z.jpg": photo(1)})
    options = ["--dataset", "images"] if packed == "folder" else []
    done = dakpn("pack", tmp_path / "in", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert list(rows_of(tmp_path / "out")) == ["0"]
    found = inventory_of(tmp_path / "out")
    counts = {reason: entry[0] for reason, entry in found.items()}
    assert counts["hidden files"] == len(HIDDEN) + 1  # __MACOSX/._7.jpg
    assert counts["left by file managers"] == len(JUNK) - 1 + 2
    if packed == "beside":
        assert found["images and archives beside"] == (2, ["0.jpg", "d/z.jpg"], True)


def test_members_of_a_row_that_lie_apart_are_refused(tmp_path: Path) -> None:
    members = {"a.jpg": photo(0), "b.jpg": photo(1), "c.jpg": photo(2), "a.png": LABEL}
    write_tar(tmp_path / "in/a.tar", members)
    for options in (["--no-labels"], ["--dataset", "camvid"]):
        done = dakpn("pack", tmp_path / "in", tmp_path / "out", *options)
        assert_failed(done, 1, "members of the row 'a' do not follow each other", "--sort=name")


@pytest.mark.parametrize("ending", ["seg.tif", "tif", "npy", "mask.bmp"])
def test_labels_of_formats_that_are_not_read_are_asked_about(tmp_path: Path, ending: str) -> None:
    write_tar(tmp_path / "in/a.tar", {f"{i}{end}": b"x" if end != ".jpg" else photo(i) for i in range(2) for end in (
        ".jpg", f".{ending}")})  # fmt: skip
    words = f"2 look like labels and are not taken, such as 0.{ending}, 1.{ending}"
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "camvid"), 2, words, "--no-labels")
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels").returncode == 0
    assert {label for _, label in rows_of(tmp_path / "out").values()} == {None}


@pytest.mark.parametrize("kind", ["archive", "table", "keys"])
def test_label_maps_are_no_photographs_even_if_nothing_else_is_there(tmp_path: Path, kind: str) -> None:
    names = {"0.png": photo(0, "png"), "0_mask.png": LABEL, "1.png": photo(1, "png"), "1_mask.png": LABEL}
    (tmp_path / "in").mkdir()
    if kind == "archive":
        names = {"0_img.png": LABEL, "0_gt.png": LABEL}
        write_tar(tmp_path / "in/a.tar", names)
    else:
        images = [{"bytes": data, "path": None if kind == "keys" else f"d/{name}"} for name, data in names.items()]
        columns = {"image": pa.array(images, ENCODED)}
        if kind == "keys":
            columns["key"] = pa.array([name.removesuffix(".png") for name in names])
        pq.write_table(pa.table(columns), tmp_path / "in/a.parquet")
    assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out"), 2, "2 PNG images of one channel look like label")
    if kind == "archive":
        assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "images").returncode == 0
        return
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--no-labels").returncode == 0
    assert sorted(key.rpartition("/")[2] for key in rows_of(tmp_path / "out")) == ["0", "1"]
    assert inventory_of(tmp_path / "out")["images that look like labels"][0] == 2


FOLDERS = {
    "images/masks": ("images/{}.jpg", "masks/{}.png", "camvid"),
    "images/annotations": ("images/{}.jpg", "annotations/{}_mask.png", None),
    "train/trainannot": ("train/{}.png", "trainannot/{}.png", "images"),
    "faces": ("{}.png", "{}_mask.png", "facesynthetics"),
    "voc": ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", "images"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_label_maps_in_other_folders_are_asked_about(tmp_path: Path, name: str) -> None:
    image, label, preset = FOLDERS[name]
    kind = "png" if image.endswith("png") else "jpeg"
    write_folder(tmp_path / "in", {image.format(i): photo(i, kind) for i in range(2)})
    write_folder(tmp_path / "in", {label.format(i): LABEL for i in range(2)})
    options = ["--dataset", preset] if preset else []
    first = label.format(0)
    sentence = assert_failed(dakpn("pack", tmp_path / "in", tmp_path / "out", *options), 2, first, "--no-labels")
    assert "camvid" not in sentence
    assert dakpn("check", tmp_path / "in", *options).returncode != 0
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", *options, "--no-labels").returncode == 0
    assert len(rows_of(tmp_path / "out")) == 2


def test_images_of_formats_that_are_not_read_are_refused_or_named(tmp_path: Path) -> None:
    write_folder(
        tmp_path / "in", {"a.jpg": photo(0), "a.cr2": b"x", "b.jpg_large": photo(1), "c.svg": b"<svg/>", "n.xml": b""}
    )
    assert dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "images").returncode == 0
    found = inventory_of(tmp_path / "out")
    assert found["images and labels outside the layout"] == (3, ["a.cr2", "b.jpg_large", "c.svg"], True)
    for name in ("d.jxl", "d.heif", "d.pgm", "d.tif"):
        write_folder(tmp_path / "in", {name: b"II*\0"})
        assert_failed(
            dakpn("pack", tmp_path / "in", tmp_path / "x", "--dataset", "images"), 1, name, "convert the TIFF"
        )
        (tmp_path / "in" / name).unlink()


def test_who_named_no_preset_is_told_how_labels_are_taken(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {"images/a.png": photo(1, "png"), "labels/a.png": LABEL})
    for command in (("pack", tmp_path / "in", tmp_path / "out"), ("check", tmp_path / "in")):
        done = dakpn(*command)
        assert done.returncode == 0
        assert "no preset was named, so that the ids of its labels are taken for 0 sky, 1 building" in done.stderr
        assert "carla" in done.stderr
        assert "camvid" not in done.stderr
        assert "no preset" not in dakpn(*command, "--dataset", "camvid").stderr


ENDINGS = st.sampled_from(
    ["jpg", "png", "seg.png", "json", "depth.png", "labels.png", "npy", "0001.jpg", "webm", "JPEG", "seg.tif"]
)
KINDS = st.sampled_from(["parquet", "webdataset", "folder"])
MEMBERS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "d/c", "._a", "@eaDir/a", ".t/b"]), ENDINGS),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(MEMBERS, st.booleans(), KINDS)
@settings(max_examples=15, deadline=None)
def test_members_are_taken_or_counted_or_the_archive_is_refused(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, str]], labelled: bool, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    names = sorted(f"{key}.{ending}" for key, ending in members)
    write_tar(folder / "in/a.tar", {name: LABEL if name.endswith("png") else photo(1) for name in names})
    options = ["--dataset", "camvid"] if labelled else ["--no-labels"]
    done = dakpn("pack", folder / "in", folder / "out", *options, "--format", kind)
    if done.returncode:
        assert_failed(done, done.returncode)
        assert not manifest.is_complete(str(folder / "out"))
        return
    rows = rows_of(folder / "out")
    found = manifest.read_run(str(folder / "out"))["inventory"]
    assert found["taken"]["images"] == len(rows)
    assert found["taken"].get("labels", 0) == sum(label is not None for _, label in rows.values())
    assert sum(found["taken"].values()) + sum(entry["count"] for entry in found["left_out"]) == len(names)


LABEL_KINDS = st.sampled_from(["none", "all", "some"])
COLUMN_NAMES = st.lists(
    st.sampled_from(["key", "id", "mask", "depth", "caption", "target", "img"]), unique=True, max_size=5
)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), LABEL_KINDS, COLUMN_NAMES, st.booleans(), KINDS)
@settings(max_examples=15, deadline=None)
def test_rows_and_columns_are_taken_or_counted_or_the_table_is_refused(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], labels: str, names: list[str], labelled: bool, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "in").mkdir()
    number = 0
    for file, size in enumerate(sizes):
        numbers = range(number, number := number + size)
        kept = {"none": lambda i: False, "all": lambda i: True, "some": lambda i: i % 2 == 0}[labels]
        encoded = {
            "image": [{"bytes": photo(i), "path": f"{i}.jpg"} for i in numbers],
            "label": [{"bytes": LABEL if kept(i) else None, "path": None} for i in numbers],
        }
        columns = {name: pa.array(values, ENCODED) for name, values in encoded.items()}
        for name in names:
            images = name in ("mask", "depth", "target", "img")
            columns[name] = columns["label"] if images else pa.array([f"{name}{i}" for i in numbers])
        pq.write_table(pa.table(columns), folder / f"in/{file}.parquet")
    options = ["--dataset", "camvid"] if labelled else ["--no-labels"]
    done = dakpn("pack", folder / "in", folder / "out", *options, "--format", kind)
    mixed = labels == "some" and number > 1
    others = {"mask", "target"} & set(names) if labels == "none" else ()
    assert (done.returncode != 0) == (labelled and bool(mixed or others)), done.stderr
    if done.returncode:
        assert_failed(done, 2, "--no-labels")
        mixed_rows, other_column = "expected labels in all rows or in none", "look like labels and are not taken"
        # A file none of whose rows has a label, beside files with some, may be refused for its other column first.
        expected = {mixed_rows, other_column} if mixed and {"mask", "target"} & set(names) else {mixed_rows}
        assert any(words in done.stderr for words in ({other_column} if others else expected)), done.stderr
        return
    rows = rows_of(folder / "out")
    found = manifest.read_run(str(folder / "out"))["inventory"]
    assert found["taken"]["images"] == len(rows) == number
    assert found["taken"].get("labels", 0) == sum(label is not None for _, label in rows.values())
    columns_left = sum(entry["count"] for entry in found["left_out"] if "columns" in entry["reason"])
    assert columns_left == len(sizes) * len([name for name in names if name != "key"])
