"""Label preservation: does a net that knows the synthetic images still find the labels in the translated ones?

Read it beside edge displacement: the agreement falls where content has changed, and also where colours have gone far
from the synthetic ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dakpn.segmentation.score import Score, score_from_confusion

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
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float().div(255)
        parts.append(judge(batch.contiguous(memory_format=torch.channels_last)).argmax(1).byte().numpy())
    predictions = np.concatenate(parts)
    counted = labels < num_classes
    pairs = labels[counted].astype(np.int64) * num_classes + predictions[counted]
    confusion = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    with np.errstate(invalid="ignore"):
        accuracy = ((predictions == labels) & counted).sum((1, 2)) / counted.sum((1, 2))
    return Preservation(score_from_confusion(torch.from_numpy(confusion).double()), accuracy, predictions)
