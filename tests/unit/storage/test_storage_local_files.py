"""Temporary files: those of the dead are deleted, those of the living are not."""

import subprocess
import sys
from pathlib import Path

import pytest

from dakpn import storage
from tests.command import environment

_WRITER = """
import sys, time
from pathlib import Path
from dakpn.storage.local_files import temporary_file
with temporary_file(Path(sys.argv[1])) as (file, temporary):
    file.write(b"half")
    file.flush()
    print(temporary, flush=True)
    time.sleep(60)
"""


def test_the_file_of_a_killed_writer_is_deleted_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "shard.parquet"
    target.parent.mkdir()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        for _ in range(2)
    ]
    try:
        dead, alive = (Path(((writer.stdout and writer.stdout.readline()) or "").strip()) for writer in writers)
        assert dead.exists()
        assert alive.exists()
        assert storage.delete_leftovers(str(tmp_path)) == 0
        writers[0].kill()
        writers[0].wait()
        assert storage.delete_leftovers(str(tmp_path)) == 1
        assert not dead.exists()
        assert alive.exists()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert storage.delete_leftovers(str(tmp_path)) == 1
    assert list(target.parent.iterdir()) == []


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("shard.tmp", ".hidden", "train.parquet"):
        (tmp_path / name).write_bytes(b"x")
    storage.write_bytes(str(tmp_path / "a.bin"), b"whole")
    assert storage.delete_leftovers(str(tmp_path)) == 0
    assert len(list(tmp_path.iterdir())) == 4
    assert storage.delete_leftovers(str(tmp_path / "nowhere")) == 0


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        storage.write_bytes(str(tmp_path / "x"), 5)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_versions_by_listing_are_those_of_each_file(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "c.json", ".d.parquet"):
        (tmp_path / name).write_bytes(name.encode())
    assert storage.fingerprints(str(tmp_path), ".parquet") == {
        name: storage.fingerprint(str(tmp_path / name)) for name in ("a.parquet", "b.parquet")
    }
    assert storage.fingerprints(str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "中" * 83 + "aa.png"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) == 255
    storage.write_bytes(str(tmp_path / name), b"all of it")
    assert (tmp_path / name).read_bytes() == b"all of it"
    assert [path.name for path in tmp_path.iterdir()] == [name]
