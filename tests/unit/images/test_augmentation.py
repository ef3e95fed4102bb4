"""Random views: label and image move together, colours stay within their range, nothing else changes."""

import numpy as np
import pytest

from dakpn.images.augmentation import Augmentation, crop_window

HEIGHT, WIDTH = 48, 64
GEOMETRY = Augmentation(brightness=0, contrast=0, saturation=0)
COLOR = Augmentation(flip=0, max_zoom=0)
NOTHING = Augmentation(0, 0, 0, 0, 0)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Ids 0..11 in blocks of 16 x 16, and an image that shows each id as its brightness."""
    label = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(16, 0).repeat(16, 1)
    return np.repeat((20 * label)[..., None], 3, 2), label


def views(augmentation: Augmentation, count: int = 100, size: tuple[int, int] | None = None) -> list:
    image, label = blocks()
    return [augmentation.view(image, label, size, np.random.default_rng(seed)) for seed in range(count)]


def test_label_and_image_move_together() -> None:
    _, label = blocks()
    for view, ids in views(GEOMETRY):
        assert ids.shape == view.shape[:2] == (HEIGHT, WIDTH)
        # Pixels between two blocks show neither id; all others must agree.
        assert (np.rint(view[..., 0] / 20) == ids).mean() > 0.85
    assert sum(np.array_equal(ids, label) for _, ids in views(GEOMETRY)) < 5


def test_no_id_appears_that_was_not_there() -> None:
    image, label = blocks()
    for seed in range(50):
        _, ids = GEOMETRY.view(image, 20 * label, (31, 37), np.random.default_rng(seed))
        assert ids is not None
        assert set(np.unique(ids)) <= set(range(0, 240, 20))


def test_the_share_of_mirrored_views_is_the_one_asked_for() -> None:
    for flip, low, high in ((0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)):
        mirrored = [ids[0, 0] > ids[0, -1] for _, ids in views(Augmentation(flip, 0), 200)]
        assert low <= sum(mirrored) <= high


def test_colours_change_the_image_alone_and_within_their_range() -> None:
    image, label = blocks()
    brighter = Augmentation(0, 0, brightness=0.2, contrast=0, saturation=0)
    means = [view.mean() / image.mean() for view, ids in views(brighter, 200) if np.array_equal(ids, label)]
    assert len(means) == 200
    assert 0.79 < min(means) < 0.83
    assert 1.17 < max(means) < 1.21
    spreads = [view.std() / image.std() for view, _ in views(Augmentation(0, 0, 0, 0.2, 0), 200)]
    assert 0.79 < min(spreads) < 0.83
    assert 1.15 < max(spreads) < 1.21  # a little is cut off at 255
    vivid = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    chroma = [
        np.ptp(Augmentation(0, 0, 0, 0, 0.2).view(vivid, None, None, np.random.default_rng(i))[0][0, 0].astype(int))
        for i in range(200)
    ]
    assert 119 <= min(chroma) < 125
    assert 175 < max(chroma) <= 181


def test_an_augmentation_of_nothing_changes_nothing() -> None:
    image, label = blocks()
    view, ids = NOTHING.view(image, label, None, np.random.default_rng(0))
    np.testing.assert_array_equal(view, image)
    np.testing.assert_array_equal(ids, label)


def test_without_a_label_the_view_is_the_same() -> None:
    image, label = blocks()
    alone, ids = GEOMETRY.view(image, None, None, np.random.default_rng(5))
    together, _ = GEOMETRY.view(image, label, None, np.random.default_rng(5))
    assert ids is None
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (48, 64)])
def test_a_window_lies_in_the_image(size: tuple[int, int]) -> None:
    for zoom, vertical, horizontal in np.random.default_rng(0).random((200, 3)):
        for window, side in zip(crop_window(size, 3 * zoom, vertical, horizontal), size, strict=True):
            assert 0 <= window.start < window.stop <= side
            assert window.stop - window.start == max(1, int(side / (1 + 3 * zoom)))
