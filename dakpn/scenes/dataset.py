"""Scenes as a folder of PNG files, in the layout of the `camvid` preset."""

import io
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from dakpn.errors import UsageError
from dakpn.scenes.canvas import Scene, UInt8Array

Renderer = Callable[[int], Scene]

_COMPRESSION = 1
_TASKS_PER_PROCESS = 8


def write_dataset(
    root: Path,
    count: int,
    first_seed: int,
    renderer: Renderer,
    split: str | None = None,
    processes: int | None = None,
) -> None:
    """Render scenes into `root/images/[split/]NAME.png` and `root/labels/[split/]NAME.png`.

    NAME is the seed. Each file appears whole or not at all, and existing ones are replaced by the same bytes.

    Args:
        root: the dataset's folder; created where missing.
        count: number of scenes.
        first_seed: seed of the first scene; the others follow it.
        renderer: `render_scene`, `photograph`, or a picklable function of a seed, such as
            `functools.partial(render_scene, size=(96, 128))`.
        split: name of a subfolder, e.g. "train".
        processes: worker processes, one per CPU by default; 1 renders in this process. More than one starts
            fresh interpreters, so a script that calls this needs the `if __name__ == "__main__"` guard.

    Raises:
        UsageError: count or processes below 1, a negative seed, or a split that is not a plain folder name.
    """
    _check(count, first_seed, split, processes)
    folders = [Path(root) / kind / (split or "") for kind in ("images", "labels")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write_scene, renderer, *folders)
    seeds = range(first_seed, first_seed + count)
    workers = min(processes or os.cpu_count() or 1, count)
    if workers == 1:
        _exhaust(map(write, seeds))
        return
    batch = max(1, count // (workers * _TASKS_PER_PROCESS))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        _exhaust(pool.map(write, seeds, chunksize=batch))


def _check(count: int, first_seed: int, split: str | None, processes: int | None) -> None:
    if count < 1:
        raise UsageError(f"Cannot write {count} scenes; ask for at least 1.")
    if first_seed < 0:
        raise UsageError(f"First seed {first_seed} is negative; use an integer >= 0.")
    if split is not None and (not split or split in (".", "..") or Path(split).name != split):
        raise UsageError(f"Split {split!r} is not a plain folder name; use one such as 'train'.")
    if processes is not None and processes < 1:
        raise UsageError(f"Cannot render with {processes} processes; use at least 1, or None for one per CPU.")


def _exhaust(results: Iterable[None]) -> None:
    for _ in results:
        pass


def _write_scene(renderer: Renderer, images: Path, labels: Path, seed: int) -> None:
    scene, name = renderer(seed), f"{seed:06d}.png"
    _write_png(images / name, scene.image)
    _write_png(labels / name, scene.label)


def _write_png(path: Path, pixels: UInt8Array) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_COMPRESSION)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
