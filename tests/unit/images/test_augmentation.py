"""Random views: label and image move together, colors stay within their range, nothing else changes."""

import colorsys

import numpy as np
import pytest

from dakpn.images.augmentation import BORDER, STANDARD, Augmentation, Tones, distorted

HEIGHT, WIDTH = 48, 64
ZOOM = Augmentation(scale=(1.0, 1.5), tones=0)
NOTHING = Augmentation(flip=0, scale=(1.0, 1.0), tones=0)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Ids 0..11 in blocks of 16 x 16, and an image that shows each id as its brightness."""
    label = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(16, 0).repeat(16, 1)
    return np.repeat((20 * label)[..., None], 3, 2), label


def views(augmentation: Augmentation, count: int = 100, size: tuple[int, int] | None = None) -> list:
    image, label = blocks()
    return [augmentation.view(image, label, size, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("size", [None, (31, 37), (96, 128)])
def test_label_and_image_move_together(size: tuple[int, int] | None) -> None:
    _, label = blocks()
    for view, ids in views(ZOOM, size=size):
        assert ids.shape == view.shape[:2] == (size or (HEIGHT, WIDTH))
        # Pixels between two blocks show neither id; all others must agree.
        assert (np.rint(view[..., 0] / 20) == ids).mean() > 0.75
    assert sum(np.array_equal(ids, label) for _, ids in views(ZOOM)) < 5


def test_no_id_appears_that_was_not_there() -> None:
    image, label = blocks()
    for seed in range(50):
        _, ids = STANDARD.view(image, 20 * label, (31, 37), np.random.default_rng(seed))
        assert ids is not None
        assert set(np.unique(ids)) <= {*range(0, 240, 20), 255}


def test_what_a_view_shows_beyond_the_image_is_grey_and_ignored_and_the_image_lies_in_it_whole() -> None:
    shrunk = Augmentation(scale=(0.5, 0.5), tones=0)
    places = set()
    for view, ids in views(shrunk):
        inside = ids != 255
        assert inside.sum() == HEIGHT * WIDTH // 4
        assert set(np.unique(ids[inside])) == set(range(12))
        assert (view[~inside] == round(255 * BORDER)).all()
        places.add(tuple(np.argwhere(inside)[0]))
    assert len(places) > 50


def test_the_share_of_mirrored_views_is_the_one_asked_for() -> None:
    for flip, low, high in ((0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)):
        mirrored = [ids[0, 0] > ids[0, -1] for _, ids in views(Augmentation(flip, (1.0, 1.0)), 200)]
        assert low <= sum(mirrored) <= high


@pytest.mark.parametrize(
    ("only", "low", "high"),
    [({"brightness": 0.2}, 80 - 51, 80 + 51), ({"contrast": 0.5}, 40, 120)],
    ids=["brightness", "contrast"],
)
def test_tones_stay_in_their_range_and_change_in_the_share_of_views_that_is_asked_for(only, low, high) -> None:
    image, label = np.full((4, 4, 3), 80, np.uint8), np.zeros((4, 4), np.uint8)
    nothing = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | only
    augmentation = Augmentation(0, (1.0, 1.0), tones=0.5, **nothing)
    seen = [int(augmentation.view(image, label, None, np.random.default_rng(i))[0][0, 0, 0]) for i in range(400)]
    assert low <= min(seen) < low + 4
    assert high - 4 < max(seen) <= high
    assert 160 < sum(level == 80 for level in seen) < 240


def test_saturation_and_hue_are_those_of_hsv() -> None:
    colors = np.random.default_rng(0).random((200, 3)).astype(np.float32)
    colors[:3] = [[0.5, 0.5, 0.5], [0, 0, 0], [1, 1, 1]]  # which have no hue
    found = np.stack(distorted(colors.T, Tones(0, 1, 1.4, -0.07, 1), np), 1)
    for color, other in zip(colors, found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*color)
        expected = colorsys.hsv_to_rgb((hue - 0.07) % 1, min(1, 1.4 * saturation), value)
        np.testing.assert_allclose(other, expected, atol=1e-5)


def test_an_augmentation_of_nothing_changes_nothing() -> None:
    image, label = blocks()
    view, ids = NOTHING.view(image, label, None, np.random.default_rng(0))
    np.testing.assert_array_equal(view, image)
    np.testing.assert_array_equal(ids, label)


def test_without_a_label_the_view_is_the_same() -> None:
    image, label = blocks()
    alone, ids = STANDARD.view(image, None, None, np.random.default_rng(5))
    together, _ = STANDARD.view(image, label, None, np.random.default_rng(5))
    assert ids is None
    np.testing.assert_array_equal(alone, together)


def test_views_of_large_images_keep_the_detail_that_they_have_room_for() -> None:
    """A view that enlarges is cut from the image at its own size, not from one that was shrunk before."""
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 200
    view, _ = Augmentation(0, (2.0, 2.0), tones=0).view(stripes, None, (48, 64), np.random.default_rng(0))
    assert view.std() > 60
    shrunk, _ = NOTHING.view(stripes, None, (24, 32), np.random.default_rng(0))
    assert shrunk.std() < 5  # every pixel counts: no pattern appears
