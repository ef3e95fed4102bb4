import hashlib
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.images.codec import encode_image, encode_label
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from tests.paths import REPOSITORY, SHARED_DATA

CAMVID = load_preset("camvid")


def pack(
    root: Path, out: Path, rows: int = 3, labelled: bool | None = None, kind: FormatName = "parquet"
) -> manifest.DatasetIndex:
    return pack_dataset(root, str(out), CAMVID, "train", rows, labelled, kind)


def digests(out: Path) -> dict[str, str]:
    """Digest of every file below a folder, hidden ones left out."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_images_and_labels_keep_their_bytes(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(7)
    index = pack(root, tmp_path / "out")
    assert [shard.rows for shard in index.shards] == [3, 3, 1]
    assert index.labelled
    assert LabelSpace.from_dict(index.label_space) == CAMVID.label_space
    samples = [s for shard in index.shards for s in read_shard(manifest.shard_uri(str(tmp_path / "out"), shard.name))]
    assert [sample.key for sample in samples] == [f"train/{i:03d}" for i in range(7)]
    for sample in samples:
        assert sample.image == (root / sample.image_path).read_bytes()
        assert sample.label == (root / sample.label_path).read_bytes()


def test_the_output_describes_itself(make_dataset, tmp_path: Path) -> None:
    index = pack(make_dataset(4), tmp_path / "out")
    written = digests(tmp_path / "out")
    assert manifest.read_index(str(tmp_path / "out")) == index
    for shard in index.shards:
        assert written[f"{shard.name}.parquet"] == shard.sha256
        assert (tmp_path / "out" / f"{shard.name}.parquet").stat().st_size == shard.bytes
        rows = manifest.read_rows(str(tmp_path / "out"), shard.name)
        samples = list(read_shard(manifest.shard_uri(str(tmp_path / "out"), shard.name)))
        assert [row.image_sha256 for row in rows] == [hashlib.sha256(s.image).hexdigest() for s in samples]
        assert [row.label_sha256 for row in rows] == [hashlib.sha256(s.label).hexdigest() for s in samples]
        assert {(row.height, row.width, row.status) for row in rows} == {(12, 16, "done")}
    assert "path: train-*.parquet" in (tmp_path / "out/README.md").read_text()
    assert storage.read_json(str(tmp_path / "out/_dakpn/run.json"))["rows_per_shard"] == 3


def test_a_dataset_without_labels(make_dataset, tmp_path: Path) -> None:
    index = pack(make_dataset(2, labelled=False), tmp_path / "out")
    assert not index.labelled
    assert index.label_space is None
    samples = list(read_shard(manifest.shard_uri(str(tmp_path / "out"), index.shards[0].name)))
    assert [(s.label, s.label_path) for s in samples] == [(None, None)] * 2


def test_jpeg_images_are_not_encoded_again(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(1)
    (root / "images/train/000.png").unlink()
    data = encode_image(np.zeros((12, 16, 3), np.uint8), "jpeg", 70)
    (root / "images/train/000.jpg").write_bytes(data)
    index = pack(root, tmp_path / "out")
    (sample,) = read_shard(manifest.shard_uri(str(tmp_path / "out"), index.shards[0].name))
    assert (sample.image, sample.image_path) == (data, "images/train/000.jpg")


class Killed(BaseException):
    """Stands for a death that no code handles."""


@pytest.mark.parametrize(("kind", "writes"), [("parquet", 13), ("webdataset", 13), ("folder", 28)])
def test_a_job_stopped_at_any_write_goes_on_to_the_same_bytes(
    kind: FormatName, writes: int, make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset(7)
    pack(root, tmp_path / "whole", kind=kind)
    originals, done, allowed = {name: getattr(storage, name) for name in ("write_bytes", "open_output")}, 0, 0
    lock = threading.Lock()

    def mortal(name: str, *arguments: object) -> object:
        nonlocal done
        with lock:
            if done >= allowed:
                raise Killed
            done += 1
        return originals[name](*arguments)

    def set_mortal(yes: bool) -> None:
        for name, original in originals.items():
            monkeypatch.setattr(storage, name, partial(mortal, name) if yes else original)

    set_mortal(True)
    for allowed in range(writes):  # 3 shards x 3 files, index, run, card, _SUCCESS; 14 files and a claim in a folder
        done = 0
        out = tmp_path / f"stopped_at_{allowed}"
        with pytest.raises(Killed):
            pack(root, out, kind=kind)
        assert not manifest.is_complete(str(out))
        set_mortal(False)
        pack(root, out, kind=kind)
        set_mortal(True)
        assert digests(out) == digests(tmp_path / "whole")
    done, allowed = 0, writes
    pack(root, tmp_path / "all_writes_counted", kind=kind)


def test_a_killed_process_leaves_nothing_that_is_taken_for_done(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(7)
    pack(root, tmp_path / "whole")
    script = f"""
import os, signal
from pathlib import Path
from dakpn.sources.preset import load_preset
from dakpn.datasets.formats import FormatName
from dakpn.sources.pack import pack_dataset
replace, calls = Path.replace, []
def dies(self, target):
    calls.append(target)
    if len(calls) == 4:  # the second shard is written, but has not its name yet
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = dies
pack_dataset({str(root)!r}, {str(tmp_path / "out")!r}, load_preset("camvid"), "train", 3)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    assert list((tmp_path / "out").glob(".train-00001-of-00003.parquet.*.tmp"))
    assert storage.list_files(str(tmp_path / "out")) == [f"{tmp_path}/out/train-00000-of-00003.parquet"]
    pack(root, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_rerun_skips_what_is_done_and_changes_nothing(make_dataset, tmp_path: Path) -> None:
    root, out = make_dataset(7), tmp_path / "out"
    pack(root, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    pack(root, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    (out / "_SUCCESS").unlink()
    first, second = (out / f"train-0000{i}-of-00003.parquet" for i in (0, 1))
    second.unlink()
    pack(root, out)
    assert first.stat().st_mtime_ns == times[first]
    assert second.exists()


def test_a_source_that_changed_while_unfinished_is_packed_anew(make_dataset, tmp_path: Path) -> None:
    root, out = make_dataset(7), tmp_path / "out"
    pack(root, out)
    (out / "_SUCCESS").unlink()
    (root / "labels/train/000.png").write_bytes(encode_label(np.full((12, 16), 3, np.uint8)))
    pack(root, out)
    pack(root, tmp_path / "fresh")
    assert digests(out) == digests(tmp_path / "fresh")


def test_a_finished_dataset_is_never_changed(make_dataset, tmp_path: Path) -> None:
    root, out = make_dataset(7), tmp_path / "out"
    pack(root, out)
    before = digests(out)
    with pytest.raises(
        UsageError, match=r"already holds train-00000-of-00003\.parquet, expected none but the 2 shards"
    ):
        pack(root, out, rows=4)
    with pytest.raises(UsageError, match=r"finished dataset, whose shard train-00000-of-00003 was made from other"):
        pack(root, out, labelled=False)
    assert digests(out) == before


def test_a_truncated_image_is_named(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(7)
    image = root / "images/train/004.png"
    image.write_bytes(image.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"images/train/004\.png: the PNG file is truncated .*copy or download"):
        pack(root, tmp_path / "out")
    assert not manifest.is_complete(str(tmp_path / "out"))


def test_a_label_of_another_size_is_named(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(2)
    (root / "labels/train/001.png").write_bytes(encode_label(np.zeros((12, 15), np.uint8)))
    with pytest.raises(
        DataError,
        match=r"labels/train/001\.png: got a label of 15 x 12 pixels, expected 16 x 12 as its image",
    ):
        pack(root, tmp_path / "out")


def test_an_unknown_label_id_is_named(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(2)
    (root / "labels/train/001.png").write_bytes(encode_label(np.full((12, 16), 77, np.uint8)))
    with pytest.raises(DataError, match=r"labels/train/001\.png: got unknown label id 77 \(192 pixels\); camvid knows"):
        pack(root, tmp_path / "out")


def test_bad_arguments_are_usage_errors(make_dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got rows_per_shard 0, expected 1 or more"):
        pack(make_dataset(1), tmp_path / "out", rows=0)
    with pytest.raises(StorageError, match="cannot use https:// URIs"):
        pack_dataset("https://b/a", str(tmp_path / "out"), CAMVID, None, 8)
    with pytest.raises(UsageError, match="source and output are both"):
        pack(tmp_path / "source", tmp_path / "source")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        pack(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(SHARED_DATA is None, reason="the real CamVid images are not on this machine")
def test_the_real_camvid_packs(tmp_path: Path) -> None:
    index = pack_dataset(SHARED_DATA / "camvid", str(tmp_path), CAMVID, "train", 64)
    assert index.rows == 367
    assert len(index.shards) == 6
