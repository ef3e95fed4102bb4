"""Augmentation: label and image move together."""

import torch

from dakpn.segmentation.augment import augment

HEIGHT, WIDTH = 24, 32


def blocks() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels 0..11 in blocks of 8 x 8, and images that show each block's label as its brightness."""
    labels = torch.arange(12).view(3, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    images = (labels / 11).expand(3, -1, -1)
    return images.repeat(16, 1, 1, 1), labels.repeat(16, 1, 1)


def test_the_label_moves_with_the_image() -> None:
    images, labels = blocks()
    torch.manual_seed(0)
    moved_images, moved_labels = augment(images, labels)
    assert moved_images.shape == images.shape
    assert moved_labels.shape == labels.shape
    assert moved_labels.dtype == labels.dtype
    shown = (moved_images[:, 0] * 11).round().long()
    # Bilinear pixels between two blocks show neither; all others must agree.
    assert (shown == moved_labels).float().mean() > 0.85
    assert (shown == labels).float().mean() < 0.75


def test_every_label_is_one_that_was_there() -> None:
    _, labels = blocks()
    labels = labels * 20  # gaps, so that a mixed id would stand out
    labels[0, 0, 0] = 255
    torch.manual_seed(1)
    _, moved = augment(torch.zeros(16, 3, HEIGHT, WIDTH), labels)
    assert set(moved.unique().tolist()) <= {*range(0, 240, 20), 255}


def test_about_half_are_flipped_and_all_are_zoomed_in_at_most_by_1_3() -> None:
    ramp = torch.linspace(0, 1, WIDTH).expand(200, 3, HEIGHT, WIDTH)
    torch.manual_seed(2)
    moved, _ = augment(ramp, torch.zeros(200, HEIGHT, WIDTH, dtype=torch.long))
    rise = moved[:, 0, 0, -1] - moved[:, 0, 0, 0]
    assert 70 < int((rise < 0).sum()) < 130
    assert ((rise.abs() > 0.7) & (rise.abs() <= 1)).all()
    assert rise.abs().unique().numel() > 5


def test_the_same_seed_augments_alike() -> None:
    images, labels = blocks()
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(augment(images, labels))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][1], results[2][1])
