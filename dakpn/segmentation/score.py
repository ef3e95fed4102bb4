"""Intersection over union of a segmentation network on labelled images."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from dakpn.models.precision import device_of
from dakpn.training.data import SegmentationBatch


@dataclass(frozen=True)
class Score:
    """Scores in 0..1 over all pixels that are not ignored.

    Attributes:
        miou: mean over the classes that occur in labels or predictions.
        per_class_iou: None for a class that occurs in neither.
        pixel_accuracy: share of pixels labelled right.
    """

    miou: float
    per_class_iou: tuple[float | None, ...]
    pixel_accuracy: float


def score_segmenter(
    network: nn.Module, batches: Iterable[SegmentationBatch], num_classes: int, ignore_id: int
) -> Score:
    """Score a network on batches, which are brought to its device."""
    return score_from_confusion(count_confusion(network, batches, num_classes, ignore_id))


@torch.inference_mode()
def count_confusion(
    network: nn.Module, batches: Iterable[SegmentationBatch], num_classes: int, ignore_id: int
) -> Tensor:
    """Pixel counts float64 [C, C], rows by label and columns by prediction; arguments as for `score_segmenter`."""
    network.eval()
    confusion = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_id)
    device = device_of(network)
    for arriving in batches:
        batch = arriving.to(device)
        logits = network(batch.images.contiguous(memory_format=torch.channels_last))
        confusion.update(logits.argmax(1).cpu(), batch.labels.cpu())
    return confusion.compute().double()


def score_from_confusion(counts: Tensor) -> Score:
    """Scores of a confusion matrix [C, C] of pixel counts, rows by label and columns by prediction."""
    hits = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hits
    iou = [float(hit / total) if total > 0 else None for hit, total in zip(hits, union, strict=True)]
    present = [value for value in iou if value is not None]
    miou = sum(present) / len(present) if present else float("nan")
    accuracy = float(hits.sum() / counts.sum()) if counts.sum() > 0 else float("nan")
    return Score(miou, tuple(iou), accuracy)
