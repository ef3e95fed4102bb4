"""CycleGAN and CUT on toy domains: what their losses mean, that they fall, and that training repeats."""

import numpy as np
import pytest
import torch

from dakpn.config import CutConfig, CycleGanConfig, DiscriminatorConfig, GeneratorConfig
from dakpn.errors import UsageError
from dakpn.evaluation.baselines import Generated, fit_baseline
from dakpn.evaluation.baselines.generator import PUBLISHED, ResnetGenerator
from dakpn.evaluation.baselines.tasks import Cut, CycleGan, DomainBatch
from dakpn.evaluation.contender import LabelledImage

SMALL = {
    "generator": GeneratorConfig(width=4, blocks=2),
    "discriminator": DiscriminatorConfig(widths=(8, 16)),
    "batch_size_per_worker": 2,
    "learning_rate": 2e-3,
}
CONFIGS = [CycleGanConfig(steps=30, **SMALL), CutConfig(steps=30, patches=32, embedding=16, **SMALL)]


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append(metrics)


@pytest.fixture(scope="module")
def domains() -> tuple[np.ndarray, np.ndarray]:
    """Squares on a dark ground, and the same kind of picture in other colors."""
    rng = np.random.default_rng(0)
    images = np.full((12, 3, 32, 32), 40, np.uint8)
    for image in images:
        top, left = rng.integers(2, 18, 2)
        image[:, top : top + 12, left : left + 12] = rng.integers(90, 255, (3, 1, 1))
    return images[:6], images[6:, ::-1] // 2 + 100


def batch(domains: tuple[np.ndarray, np.ndarray]) -> DomainBatch:
    return DomainBatch(*(torch.from_numpy(images[:4].copy()).float() / 255 for images in domains))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_the_loss_that_keeps_content_falls(config, domains) -> None:
    term = "cycle" if config.kind == "cyclegan" else "contrast"
    values = []
    for steps in (1, config.steps):
        log = Log()
        fit_baseline(config.model_copy(update={"steps": steps}), *domains, 0, log)
        values.append(log.lines[-1][term])
    # The second is the mean over all steps, so the last ones lie lower still.
    assert values[1] < 0.8 * values[0], values


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_training_is_a_function_of_the_seed(config, domains) -> None:
    config = config.model_copy(update={"steps": 2})
    images = [LabelledImage("k", np.ascontiguousarray(domains[0][0].transpose(1, 2, 0)), np.zeros((32, 32), np.uint8))]
    painted = [Generated(fit_baseline(config, *domains, seed, Log())).translate(images[0], 0) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(painted[0], painted[1])
    assert (painted[0] != painted[2]).any()


def test_the_networks_of_one_step_do_not_share_gradients(domains) -> None:
    """The discriminators' loss must not move the generators, nor the other way round."""
    torch.manual_seed(0)
    for task in (CycleGan(CONFIGS[0]), Cut(CONFIGS[1])):
        groups = task.parameter_groups()
        everything = [id(p) for parameters in groups.values() for p in parameters]
        assert sorted(everything) == sorted(id(p) for p in task.parameters())
        torch.manual_seed(1)
        task(batch(domains))["loss"].backward()
        gradients = [p.grad.clone() for p in groups["discriminators"]]
        # Other weights of the generator's own losses leave the discriminators' gradient as it is.
        task.config = task.config.model_copy(update={"identity_weight": 50.0})
        task.zero_grad()
        torch.manual_seed(1)
        task(batch(domains))["loss"].backward()
        for before, after in zip(gradients, groups["discriminators"], strict=True):
            torch.testing.assert_close(before, after.grad)


def test_patch_contrast_is_low_for_an_image_and_itself_and_high_for_another(domains) -> None:
    torch.manual_seed(0)
    task = Cut(CONFIGS[1])
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        same, other = task.patch_contrast(images, images), task.patch_contrast(images, torch.rand(2, 3, 32, 32))
    assert same < other - 0.5


def test_images_of_any_size_keep_it(domains) -> None:
    generator = ResnetGenerator(GeneratorConfig(width=4, blocks=1)).eval()
    image = np.random.default_rng(0).integers(0, 256, (33, 46, 3), dtype=np.uint8)
    painted = Generated(generator).translate(LabelledImage("k", image, image[..., 0]), 0)
    assert painted.shape == image.shape
    assert painted.dtype == np.uint8


def test_images_too_small_for_the_discriminator_are_refused() -> None:
    tiny = np.zeros((2, 3, 12, 12), np.uint8)
    deep = CycleGanConfig(discriminator=DiscriminatorConfig(widths=(8, 8, 8)))
    with pytest.raises(UsageError, match="got images of 12 x 12 pixels for a cyclegan; expected 16"):
        fit_baseline(deep, tiny, tiny, 0, Log())


def test_the_published_generator_has_its_published_size() -> None:
    parameters = sum(p.numel() for p in ResnetGenerator(PUBLISHED).parameters())
    assert parameters == pytest.approx(11.4e6, rel=0.01)
