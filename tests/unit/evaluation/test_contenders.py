"""Contenders: what they do to colors and frequencies, their draws, and that a sample and a draw decide all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dakpn.config import ChainConfig, EvaluateConfig, RealOnlyConfig
from dakpn.config_file import build_config
from dakpn.errors import DataError, UsageError
from dakpn.evaluation.contender import LabelledImage
from dakpn.evaluation.contenders.build import ContenderFactory
from dakpn.evaluation.contenders.recoloring import (
    Fourier,
    HistogramMatching,
    Reinhard,
    Unchanged,
    lab_to_rgb,
    rgb_to_lab,
)
from dakpn.evaluation.contenders.translators import Chain, KernelPrediction, Perturbation, Stored
from dakpn.images import codec
from dakpn.translation.translator import Translator
from tests.scenes import Scenes

SIZE = (32, 48)


def noise(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def sample(key: str = "k", seed: int = 0) -> LabelledImage:
    return LabelledImage(key, noise(*SIZE, 3, seed=seed, low=60, high=160), noise(*SIZE, seed=seed, high=5))


REFERENCES = np.stack([noise(*SIZE, 3, seed=i, low=20 * i, high=90 + 40 * i) for i in range(1, 5)])


def test_the_log_color_space_goes_there_and_back() -> None:
    image = noise(*SIZE, 3, low=8)
    assert np.abs(lab_to_rgb(rgb_to_lab(image)).astype(int) - image).max() <= 1
    grey = rgb_to_lab(np.full((1, 1, 3), 128, np.uint8))
    assert np.abs(grey[..., 1:]).max() < 0.02  # grey has almost no alpha and beta


def test_reinhard_takes_mean_and_spread_of_its_reference() -> None:
    reference = REFERENCES[:1]
    translated, target = (rgb_to_lab(x) for x in (Reinhard(reference).translate(sample(), 0), reference[0]))
    np.testing.assert_allclose(translated.mean((0, 1)), target.mean((0, 1)), atol=0.03)
    np.testing.assert_allclose(translated.std((0, 1)), target.std((0, 1)), rtol=0.15)


def test_a_perturbation_blurs_and_adds_noise_by_draws_that_are_even_within_its_bounds() -> None:
    flat = LabelledImage("flat", np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint8))
    noises = [
        Perturbation(max_sigma=0.8, max_noise=0.05).translate(flat, draw).astype(float).std() / 255
        for draw in range(60)
    ]
    assert max(noises) < 0.052
    assert np.quantile(noises, [0.25, 0.5, 0.75]) == pytest.approx([0.0125, 0.025, 0.0375], abs=0.01)
    edge = replace(flat, image=np.where(np.arange(64)[None, :, None] < 32, 40, 200).repeat(64, 0).repeat(3, 2))
    edge = replace(edge, image=edge.image.astype(np.uint8))
    blurred = [Perturbation(0.8, 1e-6).translate(edge, draw)[32, 31, 0] - 40 for draw in range(60)]
    # An edge under a Gaussian of sigma s: half a pixel from it the value has moved by 160 * Phi(-0.5 / s).
    assert min(blurred) < 4
    assert 30 < max(blurred) <= 44
    assert np.array_equal(edge.image[:, :20], Perturbation(0.8, 1e-6).translate(edge, 3)[:, :20])


def test_histogram_matching_takes_the_histogram_of_its_reference() -> None:
    translated = HistogramMatching(REFERENCES[:1]).translate(sample(), 0)
    for channel in range(3):
        levels = [np.sort(x[..., channel].ravel()).astype(int) for x in (translated, REFERENCES[0])]
        assert np.abs(levels[0] - levels[1]).mean() < 1.5


def test_fourier_exchanges_low_frequencies_and_leaves_high_ones() -> None:
    smooth = np.full((*SIZE, 3), 120, np.uint8)
    smooth[8:24, 12:36] = 90
    seen = LabelledImage("k", smooth, sample().label)
    target = np.full((1, *SIZE, 3), 100, np.uint8)
    translated = Fourier(target, 0.04).translate(seen, 0)
    assert abs(float(translated.mean()) - 100) < 1
    before, after = (np.abs(np.fft.fft2(x[..., 0].astype(float))) for x in (smooth, translated))
    np.testing.assert_allclose(after[5:-5, 5:-5], before[5:-5, 5:-5], atol=60)
    wide = Fourier(target, 0.3).translate(seen, 0)
    assert np.abs(wide.astype(float) - 100).std() < np.abs(translated.astype(float) - 100).std()


@pytest.mark.parametrize("kind", [Reinhard, HistogramMatching, lambda r: Fourier(r, 0.05)])
def test_a_draw_is_a_look_and_the_same_draw_the_same_look(kind) -> None:
    contender = kind(REFERENCES)
    looks = [contender.translate(sample(), draw).tobytes() for draw in range(40)]
    assert len(set(looks)) == len(REFERENCES)
    assert contender.has_draws
    assert contender.translate(sample(), 3).tobytes() == looks[3]
    other_keys = {contender.translate(sample(key), 0).tobytes() for key in map(str, range(40))}
    assert len(other_keys) == len(REFERENCES)


def test_kernel_prediction_draws_noise_and_random_strengths(weights: str) -> None:
    same_style = Translator.load(weights, style="dusk", refinement=(1.0, 1.0))
    full, random = KernelPrediction(Translator.load(weights)), KernelPrediction(same_style, None)
    assert (
        full.translate(sample(), 7).tobytes()
        == Translator.load(weights, draw=7).translate(sample().image, "k", sample().label).tobytes()
    )
    assert (full.translate(sample(), 1) != full.translate(sample(), 2)).any()
    change = [np.abs(random.translate(sample(), d).astype(int) - sample().image).mean() for d in range(8)]
    assert max(change) > 2 * min(change)
    unchanged = KernelPrediction(Translator.load(weights), 0.0).translate(sample(), 5)
    np.testing.assert_array_equal(unchanged, sample().image)


def test_a_chain_hands_on_the_image_and_its_label() -> None:
    class Marks:
        has_draws = False

        def translate(self, seen: LabelledImage, draw: int) -> np.ndarray:
            return np.where((seen.label == 2)[..., None], 255, seen.image).astype(np.uint8)

    first = Reinhard(REFERENCES[:1])
    chained = Chain([first, Marks()]).translate(sample(), 4)
    expected = first.translate(sample(), 4)
    np.testing.assert_array_equal(chained[sample().label != 2], expected[sample().label != 2])
    assert (chained[sample().label == 2] == 255).all()
    assert Chain([first, Marks()]).has_draws
    assert not Chain([Unchanged(), Marks()]).has_draws


def test_stored_images_come_by_key() -> None:
    image = REFERENCES[0]
    stored = Stored({"k": image}, "runs/cut")
    assert stored.translate(sample(), 9) is image
    with pytest.raises(DataError, match="runs/cut has no image for other"):
        stored.translate(sample("other"), 0)


def evaluation(scenes: Scenes, **contenders) -> EvaluateConfig:
    values = {
        "output": "o", "contenders": contenders, "real_test": scenes.test, "synthetic": scenes.synthetic,
        "real": scenes.real, "training": {"size": [24, 32]},
    }  # fmt: skip
    return build_config(EvaluateConfig, values)


def test_every_kind_is_built_from_its_config(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    codec_bytes = codec.encode_image(noise(48, 64, 3), "png")
    (tmp_path / "painted").mkdir()
    (tmp_path / "painted" / "k.png").write_bytes(codec_bytes)
    dakpn = {"kind": "dakpn", "weights": weights.replace("weights0", "weights{seed}"), "strength": "random"}
    config = evaluation(
        scenes, plain={"kind": "source_only"}, reinhard={"kind": "reinhard"}, fda={"kind": "fda", "band": 0.1},
        matched={"kind": "histogram_matching"}, ours=dakpn, folder=str(tmp_path / "painted"),
        both={"kind": "chain", "parts": [{"kind": "reinhard"}, dakpn]},
    )  # fmt: skip
    factory = ContenderFactory(config, 0)
    seen = LabelledImage("k", noise(24, 32, 3), noise(24, 32, high=11))
    for name, contender in config.contenders.items():
        translated = factory.build(contender).translate(seen, 1)
        assert (translated.shape, translated.dtype) == ((24, 32, 3), np.uint8), name
        assert (translated.tobytes() == seen.image.tobytes()) == (name == "plain")
    assert isinstance(config.contenders["both"], ChainConfig)
    with pytest.raises(UsageError, match="translates nothing"):
        factory.build(RealOnlyConfig())
