"""What a translation does to what labels describe: does a net still find the labels, and are edges where they were?

Label preservation: does a net that knows the synthetic images still find the labels in the translated ones? Read it
beside edge displacement, for which gradient maps of input and output are registered tile by tile: the agreement falls
where content has changed, and also where colors have gone far from the synthetic ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, sobel
from torch import nn

from dakpn.models.precision import device_of
from dakpn.segmentation.score import Score, score_from_confusion

TILE = 32
"""Pixels a side of a tile."""
REACH = 4
"""Largest offset that is looked for, in pixels."""
_SMOOTHING = 0.7
_LEAST_SPREAD = 0.02
_LEAST_CORRELATION = 0.3
_LUMA = np.array([0.299, 0.587, 0.114])
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Preservation:
    """How a source-trained net and the labels agree on translated images.

    Attributes:
        score: over all images.
        accuracy: float [N], share of an image's pixels that agree; not a number without any labelled pixel.
        predictions: uint8 [N, H, W], what the net says.
    """

    score: Score
    accuracy: NDArray[np.float64]
    predictions: NDArray[np.uint8]


@torch.inference_mode()
def label_preservation(
    judge: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.uint8], num_classes: int
) -> Preservation:
    """Agreement of a net in eval mode with labels [N, H, W] on images [N, H, W, 3].

    Label ids from `num_classes` on are ignored.
    """
    parts, device = [], device_of(judge)
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float().div(255)
        batch = batch.to(device).contiguous(memory_format=torch.channels_last)
        parts.append(judge(batch).argmax(1).byte().cpu().numpy())
    predictions = np.concatenate(parts)
    counted = labels < num_classes
    pairs = labels[counted].astype(np.int64) * num_classes + predictions[counted]
    confusion = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    with np.errstate(invalid="ignore"):
        accuracy = ((predictions == labels) & counted).sum((1, 2)) / counted.sum((1, 2))
    return Preservation(score_from_confusion(torch.from_numpy(confusion).double()), accuracy, predictions)


@dataclass(frozen=True)
class Displacement:
    """What became of the edges of one image or of many.

    Attributes:
        tiles: with edges in the input.
        mean_offset: pixels, over the tiles whose edges were found again; 0 for a translation in place.
        moved: share of those tiles whose edges fit best at another place.
        lost: share of the tiles whose edges fit nowhere within reach.
    """

    tiles: int
    mean_offset: float
    moved: float
    lost: float


def edge_displacement(inputs: NDArray[np.uint8], outputs: NDArray[np.uint8]) -> Displacement:
    """Registers the gradient maps of images [N, H, W, 3] before and after translation.

    Each tile's map is compared with the output's at every offset up to `REACH`, by normalized correlation: it does not
    see contrast, brightness or the sign of an edge, only where edges are. The highest one tells the offset.
    """
    found = [_tile_offsets(before, after) for before, after in zip(inputs, outputs, strict=True)]
    offsets = np.concatenate([offset for offset, _ in found])
    best = np.concatenate([correlation for _, correlation in found])
    kept = offsets[best >= _LEAST_CORRELATION]
    return Displacement(
        tiles=len(offsets),
        mean_offset=float(kept.mean()) if len(kept) else 0.0,
        moved=float((kept > 0).mean()) if len(kept) else 0.0,
        lost=float((best < _LEAST_CORRELATION).mean()) if len(best) else 0.0,
    )


def _tile_offsets(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
    """Offset in pixels and its correlation, for every tile that has edges and lies `REACH` inside the image."""
    height, width = (side - 2 * REACH for side in before.shape[:2])
    tile = min(TILE, height, width)
    rows, columns = height // tile, width // tile
    window = (slice(REACH, REACH + rows * tile), slice(REACH, REACH + columns * tile))
    template = _tiles(_gradient(before)[window], tile)
    there, has_edges = _normalized(template)
    moved_map = _gradient(after)
    steps = sorted(
        ((dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)),
        key=lambda step: step[0] ** 2 + step[1] ** 2,
    )  # the shortest first: of equal fits it is the one taken
    scores = []
    for dy, dx in steps:
        shifted = moved_map[window[0].start + dy : window[0].stop + dy, window[1].start + dx : window[1].stop + dx]
        scores.append((there * _normalized(_tiles(shifted, tile))[0]).mean(1))
    correlation = np.stack(scores)[:, has_edges]
    lengths = np.array([np.hypot(*step) for step in steps])
    return lengths[correlation.argmax(0)], correlation.max(0)


def _gradient(image: NDArray[np.uint8]) -> np.ndarray:
    grey = gaussian_filter(image @ _LUMA / 255, _SMOOTHING)
    return np.hypot(sobel(grey, 0), sobel(grey, 1))


def _tiles(values: np.ndarray, tile: int) -> np.ndarray:
    """[rows * tile, columns * tile] -> [tiles, tile * tile]."""
    rows, columns = (side // tile for side in values.shape)
    return values.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(rows * columns, tile * tile)


def _normalized(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of mean 0 and spread 1, and which of them have edges at all."""
    spread = tiles.std(1, keepdims=True)
    return (tiles - tiles.mean(1, keepdims=True)) / np.maximum(spread, 1e-6), spread[:, 0] > _LEAST_SPREAD
