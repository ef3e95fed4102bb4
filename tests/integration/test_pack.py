"""Packing on Ray: the same bytes as in one process, whatever is left out, fails or is killed on the way."""

import hashlib
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from dakpn.config import PackConfig
from dakpn.datasets import manifest
from dakpn.errors import DataError
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.check import CheckRequest, check_dataset
from tests.processes import with_title
from tests.scenes import CAMVID, ROWS_PER_SHARD, Scenes, copy_dataset, truncate
from workflows import pack

WORKERS = 2


def run(source: Path, out: Path, workers: int = WORKERS, exclude: str | None = None) -> manifest.DatasetIndex:
    return pack.main(
        PackConfig(
            source=str(source),
            output=str(out),
            dataset="camvid",
            rows_per_shard=ROWS_PER_SHARD,
            workers=workers,
            exclude=exclude,
        )
    )


def digests(out: Path) -> dict[str, str]:
    """Digest of every file below a folder, hidden ones left out."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.usefixtures("ray_here")
def test_rows_are_left_out_on_ray_as_in_one_process(scenes: Scenes, tmp_path: Path) -> None:
    source = copy_dataset(str(scenes.source), tmp_path / "source")
    bad = sorted((source / "images").iterdir())[5]
    truncate(bad)
    excluded = str(tmp_path / "bad.json")
    check_dataset(CheckRequest(str(source))).exclusions().write(excluded)
    assert run(source, tmp_path / "ray", exclude=excluded).rows == 11
    run(source, tmp_path / "one", workers=1, exclude=excluded)
    assert digests(tmp_path / "ray") == digests(tmp_path / "one")
    (row,) = manifest.read_run(str(tmp_path / "ray"))["excluded"]
    assert row["key"] == bad.stem


@pytest.mark.usefixtures("ray_here")
def test_a_shard_that_fails_is_named_and_the_others_are_kept(scenes: Scenes, tmp_path: Path) -> None:
    source = copy_dataset(str(scenes.source), tmp_path / "source")
    bad = sorted((source / "images").iterdir())[5]
    whole = bad.read_bytes()
    truncate(bad)
    with pytest.raises(DataError, match=rf"1 of 3 shards failed, first: .*{bad.name}.*finished shards are kept"):
        run(source, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2
    bad.write_bytes(whole)
    run(source, tmp_path / "out")
    run(source, tmp_path / "one", workers=1)
    assert digests(tmp_path / "out") == digests(tmp_path / "one")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pairs that makes many shards."""
    source = tmp_path_factory.mktemp("many") / "source"
    write_dataset(source, 8, 100, partial(render_scene, size=(48, 64)), processes=1)
    for kind in ("images", "labels"):
        for path in sorted((source / kind).iterdir()):
            for copy in range(5):
                os.link(path, path.with_name(f"{path.stem}-{copy}.png"))
    return source


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_killed_worker_is_replaced_and_nothing_is_missing(many: Path, tmp_path: Path) -> None:
    run(many, tmp_path / "whole", workers=1)
    killed: list[int] = []

    def kill_one() -> None:
        workers = with_title(os.getpid(), "ray::_try_shard")
        if not killed and workers:
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])

    plan = pack.plan_pack(pack.PackRequest(str(many), str(tmp_path / "out"), CAMVID, rows_per_shard=ROWS_PER_SHARD))
    markers = []
    for marker in pack._pack_on_ray(plan.todo, WORKERS):
        markers.append(marker)
        kill_one()
    pack.finish_pack(plan, markers)
    assert killed
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
