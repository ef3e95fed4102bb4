"""Memory of pack, check and ingest over a dataset and over one ten times as large."""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, TreePeak, at_most, peak_tree_bytes

_SIZE = (150, 200)
_SMALL = 1000  # 20 shards: long enough for all of Ray's workers to have started
_LARGE = 10 * _SMALL
_ROWS = 50
_KEEPS_NAMES = "check a folder"
"""It looks for names and images that occur twice, so it keeps the paths and a digest of each."""
_STREAM = """
import sys
from cluster.ingest import prepared_on_ray
from cluster.session import ray_session
from dakpn.datasets.stream import PackedDataset, Stream, StreamOrder
from dakpn.datasets.training_decode import real_decoder
dataset = PackedDataset.open(sys.argv[1])
stream = Stream(dataset, StreamOrder(dataset.index, seed=0), real_decoder((96, 128), (96, 128)), labelled=True)
with ray_session(cpus=3):
    seen = 0
    for block in prepared_on_ray(stream):
        seen += len(block["low"])
        if seen >= dataset.index.rows:
            break
"""


def run() -> Iterator[Claim]:
    """Ratios of the largest proportional set size of a command and its children, 10 x over 1 x.

    Ray's object store is an arena of fixed size whose pages stay once they were touched: it is told apart.
    """
    with workspace() as folder:
        peaks: dict[str, list[TreePeak]] = {}
        for name, count in (("small", _SMALL), ("large", _LARGE)):
            source = write_scenes(folder / name, count, _SIZE, "png")
            for step, command in _commands(source, folder / f"{name}-packed").items():
                peaks.setdefault(step, []).append(peak_tree_bytes([sys.executable, *command]))
        for step, (small, large) in peaks.items():
            details = {"bytes": [small.own, large.own], "object_store": [small.shared, large.shared]}
            if step == _KEEPS_NAMES:
                kept = (large.own - small.own) / (_LARGE - _SMALL)
                yield at_most(f"bytes kept of each image, {step}", 2000, kept, **details)
            else:
                claim = f"peak memory over 10 x the dataset, {step}"
                yield at_most(claim, 1.15, large.own / small.own, **details)


def _commands(source: Path, packed: Path) -> dict[str, list[str]]:
    dakpn = ["-m", "workflows"]
    pack = [*dakpn, "pack", str(source), str(packed), "--rows-per-shard", str(_ROWS)]
    return {
        "pack": pack,
        "pack on Ray": [*dakpn, "pack", str(source), f"{packed}-ray", "--rows-per-shard", str(_ROWS), "--workers", "2"],
        _KEEPS_NAMES: [*dakpn, "check", str(source)],
        "check a packed dataset": [*dakpn, "check", str(packed)],
        "training ingest": ["-c", _STREAM, str(packed)],
    }
