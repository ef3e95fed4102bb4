"""The segmentation task: label and image move together, class weights, and what ignored pixels teach."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dakpn.images import codec
from dakpn.images.augmentation import DRAWS, STANDARD, Augmentation
from dakpn.segmentation.task import SegmentationTask, augment, balanced_class_weights
from dakpn.training.data import SegmentationBatch

HEIGHT, WIDTH = 24, 32
ZOOM = Augmentation(scale=(1.0, 1.3), tones=0)


def blocks() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels 0..11 in blocks of 8 x 8, and images that show each block's label as its brightness."""
    labels = torch.arange(12).view(3, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    images = (labels / 11).expand(3, -1, -1)
    return images.repeat(16, 1, 1, 1), labels.repeat(16, 1, 1)


def test_the_label_moves_with_the_image() -> None:
    images, labels = blocks()
    torch.manual_seed(0)
    moved_images, moved_labels = augment(images, labels, ZOOM, 255)
    assert moved_images.shape == images.shape
    assert moved_labels.shape == labels.shape
    assert moved_labels.dtype == labels.dtype
    shown = (moved_images[:, 0] * 11).round().long()
    # Bilinear pixels between two blocks show neither; all others must agree.
    assert (shown == moved_labels).float().mean() > 0.85
    assert (shown == labels).float().mean() < 0.75


def test_a_crop_shows_a_part_of_an_image_at_its_resolution() -> None:
    images, labels = blocks()
    still = Augmentation(flip=0, scale=(1.0, 1.0), tones=0)
    torch.manual_seed(0)
    views, ids = augment(images, labels, still, 255, (12, 20))
    assert views.shape == (16, 3, 12, 20)
    assert ((views[:, 0] * 11).round().long() == ids).float().mean() > 0.85
    assert (ids != 255).all()
    assert len({tuple(view.unique().tolist()) for view in ids}) > 4  # other places
    edges = (ids[:, :, 1:] != ids[:, :, :-1]).any(1)
    assert edges.sum(1).max() <= 3  # blocks are 8 wide, as in the image


def test_every_label_is_one_that_was_there() -> None:
    _, labels = blocks()
    labels = labels * 20  # gaps, so that a mixed id would stand out
    labels[0, 0, 0] = 255
    torch.manual_seed(1)
    _, moved = augment(torch.zeros(16, 3, HEIGHT, WIDTH), labels, STANDARD, 255)
    assert set(moved.unique().tolist()) <= {*range(0, 240, 20), 255}


@pytest.mark.parametrize("size", [(24, 32), (37, 53)])
def test_a_batch_on_a_device_gets_the_views_that_a_loader_makes_of_the_same_draws(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (64, 6, 8, 3), dtype=np.uint8)
    images = np.stack([codec.resize_image(image, size) for image in coarse])
    labels = rng.integers(0, 19, (64, *size), dtype=np.uint8)
    torch.manual_seed(5)
    draws = torch.rand(len(images), DRAWS)
    torch.manual_seed(5)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    moved, ids = augment(batch, torch.from_numpy(labels).long(), STANDARD, 255)
    for number, numbers in enumerate(draws):
        view, label = STANDARD.view(images[number], labels[number], None, Fixed(numbers.numpy()))
        ours = (moved[number].permute(1, 2, 0) * 255).numpy()
        # Where a pixel lies exactly between two, rounding may choose either.
        same = ids[number].numpy() == label
        assert same.mean() > 0.999
        assert np.abs(ours - view)[same].max() <= 1


class Fixed(np.random.Generator):
    """Draws that are given."""

    def __init__(self, numbers: np.ndarray) -> None:
        super().__init__(np.random.PCG64(0))
        self._numbers = numbers

    def random(self, *unused: Any) -> Any:
        return self._numbers


def test_about_half_are_flipped_and_all_are_zoomed_in_at_most_by_1_3() -> None:
    ramp = torch.linspace(0, 1, WIDTH).expand(200, 3, HEIGHT, WIDTH)
    torch.manual_seed(2)
    moved, _ = augment(ramp, torch.zeros(200, HEIGHT, WIDTH, dtype=torch.long), ZOOM, 255)
    rise = moved[:, 0, 0, -1] - moved[:, 0, 0, 0]
    assert 70 < int((rise < 0).sum()) < 130
    assert ((rise.abs() > 0.7) & (rise.abs() <= 1)).all()
    assert rise.abs().unique().numel() > 5


def test_the_same_seed_augments_alike() -> None:
    images, labels = blocks()
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(augment(images, labels, ZOOM, 255))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][1], results[2][1])


def test_rare_classes_weigh_more_by_the_inverse_square_root_of_their_frequency() -> None:
    weights = balanced_class_weights(np.array([9_000, 900, 100]))
    frequency = torch.tensor([0.9, 0.09, 0.01])
    assert weights[0] < weights[1] < weights[2]
    torch.testing.assert_close(weights[1] / weights[0], ((0.9 + 0.005) / (0.09 + 0.005)) ** torch.tensor(0.5))
    torch.testing.assert_close((weights * frequency).sum(), torch.tensor(1.0))


@pytest.mark.parametrize("counts", [[0, 0], [5, 0]])
def test_classes_that_never_occur_get_finite_weights(counts: list[int]) -> None:
    weights = balanced_class_weights(np.array(counts))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()


@pytest.mark.parametrize(("label_there", "matters"), [(255, False), (1, True)])
def test_what_lies_under_ignored_pixels_teaches_nothing(label_there: int, matters: bool) -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 1)
    task = SegmentationTask(network, torch.ones(2), ignore_id=255)
    label = torch.zeros(1, 8, 8, dtype=torch.long)
    label[..., 4:] = label_there
    image = torch.rand(1, 3, 8, 8)
    other = image.clone()
    other[..., 6:] = 1.0  # not next to the border, where zooming mixes pixels
    gradients = []
    for shown in (image, other):
        torch.manual_seed(1)
        (gradient,) = torch.autograd.grad(task(SegmentationBatch(shown, label))["loss"], [network.weight])
        gradients.append(gradient)
    assert torch.equal(*gradients) is not matters


def test_a_batch_of_ignored_pixels_alone_teaches_nothing() -> None:
    network = nn.Conv2d(3, 4, 1)
    task = SegmentationTask(network, torch.ones(4), ignore_id=255)
    loss = task(SegmentationBatch(torch.rand(2, 3, 8, 8), torch.full((2, 8, 8), 255)))["loss"]
    loss.backward()
    assert loss == 0
    assert network.weight.grad is not None
    assert not network.weight.grad.any()


def test_images_are_recolored_by_their_own_labels_before_they_are_augmented() -> None:
    images, labels = blocks()
    seen = []

    def inverted(shown: Tensor, ids: Tensor) -> Tensor:
        seen.append((shown.clone(), ids.clone()))
        return 1 - shown

    network = nn.Conv2d(3, 12, 1)
    losses = []
    for task, shown in (
        (SegmentationTask(network, torch.ones(12), 255, recolor=inverted), images),
        (SegmentationTask(network, torch.ones(12), 255), 1 - images),
    ):
        torch.manual_seed(0)
        losses.append(task(SegmentationBatch(shown, labels))["loss"])
    assert torch.equal(*losses)
    ((shown, ids),) = seen
    assert torch.equal(shown, images)
    assert torch.equal(ids, labels)
