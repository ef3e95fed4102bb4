"""Folders of images and labels that the data benchmarks share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dakpn.images import codec
from dakpn.images.header import ImageFormat
from dakpn.scenes import render_scene


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for the block."""
    with TemporaryDirectory(prefix="dakpn-bench-") as folder:
        yield Path(folder)


def write_scenes(root: Path, count: int, size: tuple[int, int], kind: ImageFormat) -> Path:
    """Write `count` pairs in the layout of the preset camvid: one grainy scene, shifted by another vector each time."""
    scene = render_scene(7, size)
    grain = np.random.default_rng(0).normal(0, 2, scene.image.shape)
    image = (scene.image + grain).clip(0, 255).astype(np.uint8)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        shift = divmod(number, size[1])
        shifted = np.roll(image, shift, axis=(0, 1)), np.roll(scene.label, shift, axis=(0, 1))
        name = f"{number:05d}"
        suffix = "png" if kind == "png" else "jpg"
        (root / f"images/{name}.{suffix}").write_bytes(codec.encode_image(shifted[0], kind))
        (root / f"labels/{name}.png").write_bytes(codec.encode_label(shifted[1]))
    return root
