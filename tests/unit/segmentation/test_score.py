"""Scores against confusion matrices counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from dakpn.segmentation.score import score_from_confusion, score_segmenter
from dakpn.training.data import SegmentationBatch


class Reads(nn.Module):
    """A network that predicts the class written into the image's first channel."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        predicted = (images[:, 0] * 255).round().long()
        return nn.functional.one_hot(predicted, self.classes).permute(0, 3, 1, 2).float()


def batch(predictions: list[list[int]], labels: list[list[int]]) -> SegmentationBatch:
    image = torch.tensor(predictions).float().div(255).expand(3, -1, -1)
    return SegmentationBatch(image[None], torch.tensor(labels)[None])


def test_scores_of_a_small_picture() -> None:
    #         label 0: two right, one taken for 1;  label 1: one right, one taken for 2;  class 2: never a label
    score = score_segmenter(Reads(4), [batch([[0, 0, 1], [1, 2, 0]], [[0, 0, 0], [1, 1, 255]])], 4, ignore_id=255)
    assert score.per_class_iou == pytest.approx((2 / 3, 1 / 3, 0.0, None))
    assert score.miou == pytest.approx((2 / 3 + 1 / 3 + 0.0) / 3)
    assert score.pixel_accuracy == pytest.approx(3 / 5)


def test_what_is_predicted_on_ignored_pixels_does_not_count() -> None:
    labels = [[0, 1, 255, 255]]
    scores = [score_segmenter(Reads(3), [batch([[0, 1, *rest]], labels)], 3, 255) for rest in ([0, 1], [2, 2])]
    assert scores[0] == scores[1]
    assert scores[0].miou == 1.0
    assert scores[0].per_class_iou == (1.0, 1.0, None)


def test_pixels_count_alike_however_they_are_batched() -> None:
    pictures = [batch([[0, 1]], [[0, 0]]), batch([[1, 1]], [[1, 0]]), batch([[2, 0]], [[2, 2]])]
    together = SegmentationBatch(torch.cat([p.images for p in pictures]), torch.cat([p.labels for p in pictures]))
    assert score_segmenter(Reads(3), pictures, 3, 255) == score_segmenter(Reads(3), [together], 3, 255)


def test_a_confusion_matrix_has_labels_in_rows() -> None:
    score = score_from_confusion(torch.tensor([[6.0, 2.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]]))
    assert score.per_class_iou == pytest.approx((6 / 9, 3 / 6, None))
    assert score.pixel_accuracy == pytest.approx(9 / 12)
    assert score_from_confusion(torch.tensor([[0.0, 4.0], [0.0, 0.0]])).per_class_iou == (0.0, 0.0)


def test_nothing_but_ignored_pixels_has_no_score() -> None:
    score = score_segmenter(Reads(2), [batch([[0, 1]], [[255, 255]])], 2, 255)
    assert score.per_class_iou == (None, None)
    assert score.miou != score.miou
    assert score.pixel_accuracy != score.pixel_accuracy


def test_large_counts_are_exact() -> None:
    """Float32 cannot count past 2^24."""
    big = 2.0**40
    score = score_from_confusion(torch.tensor([[big, 1.0], [0.0, big]], dtype=torch.float64))
    assert score.per_class_iou[0] == big / (big + 1) != 1.0
