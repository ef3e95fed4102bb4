"""Memory of pack, check and ingest over a dataset and over one ten times as large."""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, at_most, peak_tree_bytes

_SIZE = (300, 400)
_SMALL = 200
_LARGE = 10 * _SMALL
_ROWS = 50
_STREAM = """
import sys
from itertools import islice
from cluster.session import ray_session
from dakpn.data import manifest
from dakpn.data.stream import StreamOrder, stream_samples
from workflows.ingest import ray_shard_reader
index = manifest.read_index(sys.argv[1])
with ray_session(cpus=2):
    read = ray_shard_reader(sys.argv[1], labelled=True, prefetch_batches=4)
    for sample in islice(stream_samples(StreamOrder(index, seed=0), read), index.rows):
        len(sample.image)
"""


def run() -> Iterator[Claim]:
    """Ratios of the largest proportional set size of a command and its children, 10 x over 1 x."""
    with workspace() as folder:
        peaks: dict[str, list[int]] = {}
        for name, count in (("small", _SMALL), ("large", _LARGE)):
            source = write_scenes(folder / name, count, _SIZE, "png")
            for step, command in _commands(source, folder / f"{name}-packed").items():
                peaks.setdefault(step, []).append(peak_tree_bytes([sys.executable, *command]))
        for step, (small, large) in peaks.items():
            yield at_most(f"peak memory over 10 x the dataset, {step}", 1.15, large / small, bytes=[small, large])


def _commands(source: Path, packed: Path) -> dict[str, list[str]]:
    dakpn = ["-m", "workflows.cli"]
    pack = [*dakpn, "pack", str(source), str(packed), "--rows-per-shard", str(_ROWS)]
    return {
        "pack": pack,
        "pack on Ray": [*dakpn, "pack", str(source), f"{packed}-ray", "--rows-per-shard", str(_ROWS), "--workers", "2"],
        "check a folder": [*dakpn, "check", str(source)],
        "check a packed dataset": [*dakpn, "check", str(packed)],
        "training ingest": ["-c", _STREAM, str(packed)],
    }
