"""Images and labels in a bucket are found as those in a local folder are, by one listing."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dakpn import storage
from dakpn.errors import StorageError, UsageError
from dakpn.images import codec
from dakpn.sources.check import CheckRequest, check_dataset
from dakpn.sources.exclusions import BadRow, Exclusions, source_keys
from dakpn.sources.layout import Layout
from dakpn.sources.pack import PackRequest, pack_dataset, pack_shard, plan_pack
from dakpn.sources.preset import load_preset
from dakpn.sources.source_path import ListedPath, name_below, read_file, source_path
from tests.key_server import KeyServer

Serve = Callable[..., KeyServer]

CAMVID = load_preset("camvid")
RGB = codec.encode_image(np.zeros((8, 8, 3), np.uint8), "png")
LABEL = codec.encode_label(np.zeros((8, 8), np.uint8))
CITY = "train/ulm/ulm_000000_000019"
FILES = {  # of each preset, hidden ones and such as are none of its images among them
    "camvid": ["images/a/0.png", "images/1.JPG", "images/.x/2.png", "labels/a/0.png", "labels/1.png", "notes.txt"],
    "gta5": ["images/train/1.png", "images/._1.png", "labels/train/1.png", "labels/train/2.png"],
    "cityscapes": [f"leftImg8bit/{CITY}_leftImg8bit.png", f"gtFine/{CITY}_gtFine_labelIds.png"],
    "synthia": ["RGB/0.png", "GT/LABELS/0.png", "GT/LABELS/0_labelTrainIds.png"],
    "synthia_trainids": ["RGB/0.png", "GT/LABELS/0_labelTrainIds.png"],
    "facesynthetics": ["000000.png", "000000_seg.png", "000001.png", "000001_seg.png"],
    "celebamask_hq": [
        *("CelebA-HQ-img/0.jpg", "CelebA-HQ-img/2001.jpg", "CelebAMask-HQ-mask-anno/0/00000_skin.png"),
        *("CelebAMask-HQ-mask-anno/0/00000_l_eye.png", "CelebAMask-HQ-mask-anno/1/02001_hair.png"),
    ],
    "mmseg": ["img_dir/train/0.jpg", "ann_dir/train/0.png", "img_dir/1.png", "ann_dir/1.png", "ann_dir/2.png"],
    "images": ["a/b/0.png", "1.JPG", ".hidden/2.png", "a/.3.png", "a/@eaDir/b.png", "__MACOSX/1.jpg"],
}
FILES |= {"cityscapes16": FILES["cityscapes"], "carla": FILES["camvid"], "carla_0_9_13": FILES["camvid"]}


def both(root: Path, names: list[str], serve: Serve) -> tuple[Path, ListedPath]:
    """The same files in a local folder and in a bucket."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(RGB)
    serve({f"data/set/{name}": RGB for name in names})
    path = source_path("s3://bucket/data/set/")
    assert isinstance(path, ListedPath)
    return root, path


@pytest.mark.parametrize("name", FILES)
def test_every_preset_finds_the_same_pairs(name: str, tmp_path: Path, serve_keys: Serve) -> None:
    preset = load_preset(name)
    found = []
    for root in both(tmp_path, FILES[name], serve_keys):
        pairs = preset.find_pairs(root, None)
        stray = preset.find_stray_labels(root, None, pairs)
        files = [[name_below(path, root) for path in pair.files] for pair in pairs]
        ids = [[part.class_id for part in pair.label_parts] for pair in pairs]
        keys = [pair.key for pair in pairs]
        found.append((keys, files, ids, [name_below(path, root) for path in stray], preset.find_splits(root)))
        assert all(read_file(path) == RGB for pair in pairs for path in pair.files)
    assert found[0] == found[1]
    assert found[0][0]


def test_what_file_managers_leave_is_no_image(tmp_path: Path, serve_keys: Serve) -> None:
    for root in both(tmp_path, FILES["images"], serve_keys):
        assert [pair.key for pair in load_preset("images").find_pairs(root, None)] == ["1", "a/b/0"]
    names = ["train/img/1.png", "#recycle/img/2.png", ".Trash/img/3.png", "train/img/@eaDir/4.png"]
    for root in both(tmp_path / "splits", names, serve_keys):
        layout = Layout(images="{split}/img/{name}.*")
        assert layout.find_splits(root) == ["train"]
        assert [image.name for image in layout.find_images(root, None)] == ["1"]


def test_splits_before_other_folders_are_found(tmp_path: Path, serve_keys: Serve) -> None:
    layout = Layout(images="{split}/img/{name}.*", labels="{split}/gt/{name}.png")
    names = ["train/img/a/1.png", "train/gt/a/1.png", "val/img/2.png", "docs/3.png", "val//img/4.png"]
    root, path = both(tmp_path, names[:-1], serve_keys)
    assert layout.find_splits(path) == layout.find_splits(root) == ["train", "val"]
    for split in (None, "train", "val"):
        here, there = ([i[1:] for i in layout.find_images(r, split)] for r in (root, path))
        assert sorted(here) == sorted(there)
        assert layout.has_labels(path, split) == layout.has_labels(root, split)


def test_errors_name_the_key(tmp_path: Path, serve_keys: Serve) -> None:
    _, root = both(tmp_path, ["images/a/0.png", "images/a/1.png", "labels/a/0.png"], serve_keys)
    missing = r"^s3://bucket/data/set/images/a/1\.png has no label; expected s3://bucket/data/set/labels/a/1\.png"
    with pytest.raises(UsageError, match=missing):
        CAMVID.find_pairs(root, None)
    with pytest.raises(UsageError, match=r"s3://bucket/data/set/images/b does not exist; .*there are: a\)"):
        CAMVID.find_pairs(root, "b")
    for uri, preset, said in (
        ("s3://bucket/nothing", None, "s3://bucket/nothing does not exist; expected the dataset there"),
        ("s3://bucket/data", None, "s3://bucket/data holds the folders set, which no preset that has labels fits"),
        ("s3://bucket/data/set/labels/a", load_preset("gta5"), "labels/a/images does not exist"),
    ):
        for act in (
            lambda uri, preset: plan_pack(PackRequest(uri, str(tmp_path / "out"), preset)),
            lambda uri, preset: check_dataset(CheckRequest(uri, preset)),
        ):
            with pytest.raises(UsageError, match=said):
                act(uri, preset)


HOSTILE = ["..", ".", "", "a\\b", "a\x01b", "a\x7fb", "a\0b", "x/../..", "x//y", "\u202ea"]


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_keys_are_refused_and_can_be_left_out(bad: str, serve_keys: Serve, tmp_path: Path) -> None:
    name = f"images/{bad}/0.png"
    serve_keys({f"set/{key}": RGB for key in (name, "images/1.png")})
    with pytest.raises(UsageError, match=r"expected a relative path|expected one without") as caught:
        plan_pack(PackRequest("s3://bucket/set", str(tmp_path / "no"), CAMVID))
    assert str(caught.value).startswith(f"s3://bucket/set/{name}: the name ")
    report = check_dataset(CheckRequest("s3://bucket/set"))
    assert ("bad_name", f"{bad}/0") in [(problem.kind, problem.key) for problem in report.problems]
    exclusions = Exclusions(bad=(BadRow(key=f"{bad}/0", reason="bad name"),))
    plan = plan_pack(PackRequest("s3://bucket/set", str(tmp_path / "out"), CAMVID, exclude=exclusions))
    assert [row.key for row in plan.source.excluded] == [f"{bad}/0"]
    assert pack_shard(plan.jobs[0]).rows == 1


def test_packing_asks_for_each_file_once_and_for_no_head(serve_keys: Serve, tmp_path: Path) -> None:
    files = {f"set/images/{i}.png": RGB for i in range(40)} | {f"set/labels/{i}.png": LABEL for i in range(40)}
    server = serve_keys(files)
    index = pack_dataset("s3://bucket/set", str(tmp_path / "out"), CAMVID, None, 16)
    assert (index.rows, len(index.shards)) == (40, 3)
    assert [path for method, path in server.requests if method == "HEAD" and path.endswith(".png")] == []
    read = [path for method, path in server.requests if method == "GET" and path.endswith(".png")]
    assert len(read) == len(set(read)) == 80
    assert sum("list-type" in path for _, path in server.requests) < 10


def test_a_file_that_was_replaced_since_the_listing_is_read_whole(serve_keys: Serve) -> None:
    server = serve_keys({"set/0.png": RGB})
    path = source_path("s3://bucket/set") / "0.png"
    server.objects["set/0.png"] = RGB + b"more"
    assert read_file(path) == RGB + b"more"


def test_a_file_that_vanished_since_the_listing_is_named(serve_keys: Serve, tmp_path: Path) -> None:
    server = serve_keys({f"set/{i}.png": RGB for i in range(3)})
    plan = plan_pack(PackRequest("s3://bucket/set", str(tmp_path / "out"), load_preset("images")))
    del server.objects["set/1.png"]
    with pytest.raises(StorageError, match=r"cannot read s3://bucket/set/1\.png: it does not exist"):
        pack_shard(plan.jobs[0])


def test_the_state_of_rows_tells_a_replaced_file_and_is_that_of_the_storage(serve_keys: Serve, tmp_path: Path) -> None:
    server = serve_keys({f"set/{i}.png": RGB for i in range(2)})

    def fingerprints() -> list[str]:
        request = PackRequest("s3://bucket/set", str(tmp_path / "out"), load_preset("images"), rows_per_shard=1)
        return [job.fingerprint for job in plan_pack(request).jobs]

    before = fingerprints()
    assert fingerprints() == before
    server.objects["set/1.png"] = LABEL
    after = fingerprints()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_path_sent_to_another_process_takes_no_listing_along(serve_keys: Serve) -> None:
    serve_keys({f"set/{i}.png": RGB for i in range(1000)})
    root = source_path("s3://bucket/set")
    path = root / "7.png"
    data = pickle.dumps((root, path))
    assert len(data) < 500
    restored_root, restored = pickle.loads(data)  # noqa: S301 - our own
    assert (restored_root, restored) == (root, path)
    assert name_below(restored, restored_root) == "7.png"
    assert read_file(restored) == RGB
    assert restored.listed == (len(RGB), storage.fingerprint("s3://bucket/set/7.png"))


def test_keys_of_a_folder_in_a_bucket_can_be_kept_by_rule(serve_keys: Serve) -> None:
    serve_keys({f"set/images/{i}.png": RGB for i in range(3)})
    assert source_keys("s3://bucket/set", CAMVID, None) == ["0", "1", "2"]


def test_a_file_uri_is_a_local_folder(tmp_path: Path) -> None:
    assert source_path(f"file://{tmp_path}") == tmp_path
    assert source_path("some/folder") == Path("some/folder")
