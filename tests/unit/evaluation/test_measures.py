"""Distances, edge displacement, colors and label preservation, on pictures whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from dakpn.errors import DataError, UsageError, WeightsError
from dakpn.evaluation.contender import LabelledImage
from dakpn.evaluation.contenders.translators import KernelPrediction
from dakpn.evaluation.extractor import load_extractor
from dakpn.evaluation.measures.honesty import REACH, edge_displacement, label_preservation
from dakpn.evaluation.measures.realism import color_statistics, frechet_distance, kernel_distance
from dakpn.translation.translator import Translator


def scenes(count: int = 3, size: tuple[int, int] = (72, 104)) -> np.ndarray:
    """Blobs with sharp edges."""
    rng = np.random.default_rng(0)
    fields = gaussian_filter(rng.normal(size=(count, *size, 3)), (0, 4, 4, 0))
    return np.where(fields > 0, 190, 60).astype(np.uint8)


def test_the_frechet_distance_of_gaussians_is_their_formula() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([1.0, 2.0, 0.5])
    first, second = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3)) * spread + [3, 0, 0]
    assert frechet_distance(first, second) == pytest.approx(9 + ((spread - 1) ** 2).sum(), rel=0.08)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first[:20], first[20:40]) > frechet_distance(first[:2000], first[2000:])


def test_the_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    equal = [kernel_distance(rng.normal(size=(30, 8)), rng.normal(size=(40, 8))) for _ in range(60)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / np.sqrt(60)
    assert kernel_distance(rng.normal(size=(30, 8)), rng.normal(size=(40, 8)) + 1) > max(equal)


def test_distances_refuse_features_of_other_extractors() -> None:
    with pytest.raises(DataError, match=r"\[5, 3\] and \[5, 4\]"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(DataError, match="at least two"):
        kernel_distance(np.zeros((1, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("shift", [1, 3])
def test_edges_that_move_are_found_where_they_went(shift: int) -> None:
    images = scenes()
    found = edge_displacement(images, np.roll(images, shift, axis=2))
    assert found.mean_offset == pytest.approx(shift, abs=0.01)
    assert (found.moved, found.lost) == (1.0, 0.0)


def test_edges_that_stay_have_no_offset_whatever_becomes_of_colors() -> None:
    images = scenes()
    for changed in (images, 255 - images, images // 3 + 90, gaussian_filter(images, (0, 1.5, 1.5, 0))):
        found = edge_displacement(images, changed)
        assert (found.mean_offset, found.moved, found.lost) == (0.0, 0.0, 0.0)
        assert found.tiles > 0


def test_the_translation_function_moves_no_edge(weights: str) -> None:
    images, ours = scenes(), KernelPrediction(Translator.load(weights))
    labels = np.zeros(images.shape[1:3], np.uint8)
    translated = np.stack([ours.translate(LabelledImage(str(i), x, labels), 0) for i, x in enumerate(images)])
    assert (translated != images).mean() > 0.5
    found = edge_displacement(images, translated)
    assert (found.mean_offset, found.moved) == (0.0, 0.0)


def test_edges_that_are_painted_over_are_lost_and_flat_tiles_do_not_count() -> None:
    images = scenes()
    found = edge_displacement(images, scenes(6)[3:])
    assert found.lost > 0.5
    flat = np.full_like(images, 128)
    assert edge_displacement(flat, images).tiles == 0
    assert (
        edge_displacement(
            images[:, : 8 + 2 * REACH, : 8 + 2 * REACH], images[:, : 8 + 2 * REACH, : 8 + 2 * REACH]
        ).moved
        == 0
    )


def test_color_statistics_count_levels() -> None:
    dark, bright = np.full((2, 8, 8, 3), 50, np.uint8), np.full((3, 6, 6, 3), 80, np.uint8)
    found = color_statistics(dark, bright)
    assert (found.mean, found.spread, found.saturation, found.variety) == ((50, 50, 50), (0, 0, 0), 0, 0)
    assert found.distance == pytest.approx(30)
    dark[1] += 20
    assert color_statistics(dark, bright).variety == pytest.approx(10)
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 200
    assert color_statistics(red, red).saturation == 1


class Reads(nn.Module):
    """Predicts the class written into the red channel."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot((images[:, 0] * 255).round().long(), 3).permute(0, 3, 1, 2).float()


def test_preservation_is_agreement_with_the_labels_image_by_image() -> None:
    labels = np.array([[[0, 1], [2, 255]], [[0, 0], [1, 1]]], np.uint8)
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[..., 0] = [[[0, 1], [1, 2]], [[0, 0], [1, 1]]]
    kept = label_preservation(Reads(), images, labels, 3)
    np.testing.assert_allclose(kept.accuracy, [2 / 3, 1.0])
    assert kept.score.pixel_accuracy == pytest.approx(6 / 7)
    assert kept.score.per_class_iou == pytest.approx((1.0, 3 / 4, 0.0))
    np.testing.assert_array_equal(kept.predictions, images[..., 0])


def test_an_extractor_is_named_with_its_digest_and_any_torchscript_module_will_do(tmp_path) -> None:
    torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())).save(str(tmp_path / "pool.pt"))
    extractor = load_extractor(str(tmp_path / "pool.pt"))
    assert extractor is not None
    assert extractor.name.startswith("pool@")
    images = scenes(5)
    np.testing.assert_allclose(extractor.features(images), images.mean((1, 2)) / 255, rtol=1e-4)
    assert load_extractor("none") is None
    with pytest.raises(UsageError, match="is not there"):
        load_extractor(str(tmp_path / "nothing.pt"))
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_extractor(str(tmp_path / "text.pt"))
