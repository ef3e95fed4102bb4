"""Folders of images in a bucket of a real S3 server: packed and checked as the same folders on a disk."""

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import fsspec
import pytest

from dakpn import storage
from dakpn.config import CheckConfig, PackConfig
from dakpn.datasets import manifest
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.check import CheckReport, CheckRequest, check_dataset
from dakpn.sources.pack import PackRequest, pack_shard, plan_pack
from dakpn.sources.preset import load_preset
from tests.command import assert_failed, dakpn
from tests.faults import Fault, FaultyProxy, faulty_proxy
from tests.processes import kill_midway
from tests.s3_server import chosen_server
from tests.scenes import CAMVID, ROWS_PER_SHARD, Scenes, as_cityscapes, copy_dataset, truncate
from workflows import check, pack

_numbers = count()


@pytest.fixture
def proxy(s3_server: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Between this process and the server."""
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    with faulty_proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def upload(proxy: FaultyProxy) -> Callable[[Path], str]:
    """Return a function that copies a local folder to a new bucket, hidden files left out, and gives its URI."""

    def copy(folder: Path) -> str:
        bucket = f"folders-{next(_numbers)}"
        files = fsspec.filesystem("s3", endpoint_url=proxy.url)
        files.mkdir(bucket)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                files.pipe_file(f"{bucket}/data/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{bucket}/data"

    return copy


def shards_of(uri: str, workers: int, out: str, preset: str, split: str | None = "all") -> list[tuple[str, str]]:
    """Pack, and return name and digest of each shard."""
    index = pack.main(
        PackConfig(
            source=uri,
            output=out,
            dataset=preset,
            rows_per_shard=ROWS_PER_SHARD,
            labels=True,
            workers=workers,
            split=split,
        )
    )
    return [(shard.name, shard.sha256) for shard in index.shards]


@pytest.mark.parametrize("preset", ["camvid", "cityscapes"])
def test_shards_are_those_of_the_local_folder(
    preset: str, upload: Callable[[Path], str], proxy: FaultyProxy, scenes: Scenes, tmp_path: Path
) -> None:
    local = scenes.source if preset == "camvid" else as_cityscapes(scenes.source, tmp_path / "cities")
    uri = upload(local)
    expected = shards_of(str(local), 1, str(tmp_path / "local"), preset)
    assert len(expected) == 3
    proxy.fail()
    assert shards_of(uri, 1, str(tmp_path / "remote"), preset) == expected
    assert proxy.asked("HEAD", r"\.png") == 0
    assert proxy.asked("GET", r"\.png$") == 24
    between = f"{uri.rpartition('/')[0]}/packed"
    assert shards_of(uri, 1, between, preset) == shards_of(uri, 1, between, preset) == expected
    if preset == "cityscapes":
        here, there = (shards_of(u, 1, str(tmp_path / u[-4:]), preset, split="val") for u in (str(local), uri))
        assert here == there


def test_archives_and_splits_in_a_bucket_are_read_as_on_a_disk(
    upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path
) -> None:
    folder = tmp_path / "archives"
    for split in ("train", "val"):
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / f"{split}.tar", "w") as archive:
            archive.add(scenes.source, "scenes")
    uri = upload(folder)
    for source in (uri, folder):
        for command in (("check", source), ("pack", source, tmp_path / "no")):
            assert_failed(dakpn(*command), 2, "has several splits: train, val")
    assert_failed(dakpn("check", uri, "--split", "val"), 2, "as the presets camvid")
    expected = [shard.sha256 for shard in manifest.read_index(scenes.synthetic).shards]
    for number, source in enumerate((uri, str(folder), f"{uri}/val.tar")):
        split = None if source.endswith(".tar") else "val"
        assert [
            sha for _, sha in shards_of(source, 1, str(tmp_path / f"out{number}"), "camvid", split=split)
        ] == expected
    assert dakpn("check", f"{uri}/val.tar", "--dataset", "camvid").returncode == 0


def test_what_a_bucket_holds_is_taken_or_counted_or_asked_about(
    upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path
) -> None:
    image = next(iter(sorted((scenes.source / "images").rglob("*.png"))))
    label = scenes.source / "labels" / image.relative_to(scenes.source / "images")
    files = ("train/a.png", "test/b.png", "@eaDir/c.png", "__MACOSX/d.png", "raw/e.cr2")
    for name in files:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, tmp_path / "photos" / name)
    uri = upload(tmp_path / "photos")
    command = ("pack", uri, tmp_path / "out", "--dataset", "images")
    assert_failed(dakpn(*command), 2, "several splits: test, train")
    assert dakpn(*command, "--split", "test").returncode == 0
    found = {
        entry["reason"]: entry["count"] for entry in manifest.read_run(str(tmp_path / "out"))["inventory"]["left_out"]
    }
    assert found == {
        "images and labels outside the layout": 1, "images of another split": 1, "left by file managers": 2,
    }  # fmt: skip
    for name, source in (("images/a.png", image), ("masks/a.png", label), ("x.tar.gz", image)):
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, tmp_path / "other" / name)
    uri = upload(tmp_path / "other")
    assert_failed(dakpn("check", uri), 2, "such as masks/a.png, look like labels", "--no-labels")
    assert_failed(dakpn("check", uri, "--dataset", "gta5"), 2, "such as masks/a.png, look like labels")
    assert_failed(dakpn("check", uri, "--dataset", "synthia"), 2, "x.tar.gz, a file that is not read", "gunzip")


def test_a_bucket_is_read_through_throttling_and_cut_downloads(
    upload: Callable[[Path], str], proxy: FaultyProxy, scenes: Scenes, tmp_path: Path
) -> None:
    uri = upload(scenes.source)
    proxy.fail(
        Fault("GET", "list-type", times=2, status=503),
        Fault("GET", r"images/.*\.png", times=2, status=500, code="InternalError"),
        Fault("GET", r"labels/.*\.png", times=2, cut_after=20),
        Fault("GET", r"labels/.*\.png", times=2, cut_after=20, hidden=True),
    )
    expected = [shard.sha256 for shard in manifest.read_index(scenes.synthetic).shards]
    assert [digest for _, digest in shards_of(uri, 1, str(tmp_path / "out"), "camvid")] == expected


def test_a_check_finds_the_same_problems(upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path) -> None:
    local = copy_dataset(str(scenes.source), tmp_path / "source")
    images, labels = (sorted((local / kind).rglob("*.png")) for kind in ("images", "labels"))
    truncate(images[1])
    images[2].write_bytes(b"")
    images[3].write_text("not an image")
    labels[4].unlink()
    images[5].unlink()
    shutil.copyfile(images[6], images[7])
    shutil.copyfile(images[8], images[8].with_name("a.b.png"))
    images[8].with_name("a\u202eb.png").write_bytes(images[9].read_bytes())
    truncate(labels[10])
    uri = upload(local)

    def found(report: CheckReport, root: str) -> list[tuple[str, str, str, str]]:
        return [(p.kind, p.key, p.path.replace(root, "ROOT"), p.message.replace(root, "ROOT")) for p in report.problems]

    here, there = check_dataset(CheckRequest(str(local))), check_dataset(CheckRequest(uri))
    assert sorted(found(there, uri)) == sorted(found(here, str(local)))
    assert {problem.kind for problem in here.problems} >= {"bad_name", "damaged", "empty_file", "missing_label"}
    assert (there.images, there.labelled, there.sizes, there.label_ids) == (
        *(here.images, here.labelled, here.sizes),
        here.label_ids,
    )
    done = dakpn("check", uri, "--fix", "quarantine", "--output", tmp_path / "bad.json")
    assert done.returncode in (1, 3), done.stderr  # 1: a stray label is of no row
    index = pack.main(
        PackConfig(
            source=uri, output=str(tmp_path / "out"), rows_per_shard=ROWS_PER_SHARD, exclude=str(tmp_path / "bad.json")
        )
    )
    assert index.rows == len(there.exclusions().good) == 5


def test_an_object_that_vanishes_after_the_listing_is_named(
    upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path
) -> None:
    uri = upload(scenes.source)
    gone = f"{uri}/{sorted((scenes.source / 'images').rglob('*.png'))[5].relative_to(scenes.source).as_posix()}"
    plan = plan_pack(PackRequest(uri, str(tmp_path / "out"), CAMVID, rows_per_shard=ROWS_PER_SHARD))
    storage.delete(gone)
    pack_shard(plan.jobs[0])
    with pytest.raises(StorageError, match=rf"cannot read {gone}: it does not exist"):
        pack_shard(plan.jobs[1])


@pytest.mark.usefixtures("ray_here")
def test_a_damaged_object_is_named_on_ray_and_the_rest_is_kept(
    upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path
) -> None:
    uri = upload(scenes.source)
    bad = f"{uri}/{sorted((scenes.source / 'images').rglob('*.png'))[5].relative_to(scenes.source).as_posix()}"
    whole = storage.read_bytes(bad)
    storage.write_bytes(bad, whole[:100])
    with pytest.raises(DataError, match=rf"1 of 3 shards failed, first: {bad}: "):
        shards_of(uri, 2, str(tmp_path / "out"), "camvid")
    storage.write_bytes(bad, whole)
    expected = [shard.sha256 for shard in manifest.read_index(scenes.synthetic).shards]
    assert [digest for _, digest in shards_of(uri, 2, str(tmp_path / "out"), "camvid")] == expected


def test_what_is_not_there_is_named(upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path) -> None:
    uri = upload(scenes.source)
    for command in (("pack", f"{uri}/none", tmp_path / "out"), ("check", f"{uri}/none")):
        assert_failed(dakpn(*command), 2, f"{uri}/none does not exist; expected the dataset there")
    with pytest.raises(UsageError, match=rf"{uri}/leftImg8bit does not exist; expected images of"):
        check.main(CheckConfig(source=uri, dataset="cityscapes"))
    with pytest.raises(StorageError, match=r"cannot list s3://no-such-bucket-here/x: the bucket does not exist"):
        check.main(CheckConfig(source="s3://no-such-bucket-here/x", dataset="images"))


def test_a_killed_pack_goes_on_and_a_changed_source_is_noticed(upload: Callable[[Path], str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_dataset(source, 8, 100, partial(render_scene, size=(48, 64)), processes=1)
    for kind in ("images", "labels"):
        for path in sorted((source / kind).iterdir()):
            for copy in range(12):
                os.link(path, path.with_name(f"{path.stem}-{copy}.png"))
    uri, out = upload(source), tmp_path / "out"
    markers = out / "_dakpn/shards"
    command = ["pack", uri, out, "--rows-per-shard", "1"]
    kill_midway(command, lambda: markers.exists() and len(list(markers.glob("*.json"))) >= 3, tmp_path / "log")
    assert not storage.exists(str(out / "_SUCCESS"))
    finished = [out / f"{path.stem}.parquet" for path in markers.glob("*.json")]
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert len(before) < 104

    index = pack.main(PackConfig(source=uri, output=str(out), rows_per_shard=1))
    assert {path: path.stat().st_mtime_ns for path in finished} == before
    whole = pack.main(PackConfig(source=str(source), output=str(tmp_path / "whole"), rows_per_shard=1))
    assert [shard.sha256 for shard in index.shards] == [shard.sha256 for shard in whole.shards]

    changed = sorted((source / "images").iterdir())[0]
    storage.write_bytes(f"{uri}/images/{changed.name}", changed.read_bytes() + b"\n")
    with pytest.raises(UsageError, match=r"already holds a finished dataset, whose shard .* was made from other files"):
        pack.main(PackConfig(source=uri, output=str(out), rows_per_shard=1))


def test_a_plain_folder_of_images_is_packed(upload: Callable[[Path], str], scenes: Scenes, tmp_path: Path) -> None:
    uri = upload(scenes.source / "images")
    plan = plan_pack(PackRequest(uri, str(tmp_path / "out"), load_preset("images")))
    assert [job.rows.state()[0][0] for job in plan.jobs] == [min(p.stem for p in scenes.source.rglob("images/*.png"))]
