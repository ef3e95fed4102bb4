"""Every stage of a training on a device that is not the CPU."""

from pathlib import Path

import pytest
import torch

import workflows
from dakpn.config import TrainConfig
from dakpn.config_file import load_config
from dakpn.models.precision import place
from dakpn.models.predictor import KernelPredictor
from dakpn.training.adversarial import AdversarialTask, adversarial_state
from dakpn.training.data import AdversarialBatch, PatchWindow, RealBatch, SyntheticBatch
from dakpn.training.loop import Step, take_step
from dakpn.training.reporting import read_metrics
from dakpn.training.trainer import Trainer
from tests.fake_gpu import fake_gpu
from tests.scenes import Scenes, tiny_training

RECIPES = {
    "label and style bank": ("head.condition=label", "style.kind=class", "encoder.adaptation_rounds=1"),
    "encoder with its logits kept": ("head.condition=encoder", "encoder.cache_features=true", "style.kind=none"),
    "both": ("head.condition=both", "style.kind=global", "adversarial.r1_weight=1", "adversarial.r1_every=2"),
    "reversal": ("adversarial.players=reversal", "discriminator.shared=true", "adversarial.gradient_clip=null"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_stages_run_on_a_device_and_resume_there(recipe: str, scenes: Scenes, tmp_path: Path) -> None:
    """Encoder, its adaptation, the style bank, kept logits, all networks, EMA, pictures, checkpoints and weights."""
    few = (
        "encoder.training.steps=1",
        "adversarial.steps=2",
        "report_every=1",
        "tracking.samples_every=1",
        "style.entries=2",
    )
    config = tiny_training(tmp_path / "run", scenes, *RECIPES[recipe], *few)
    with fake_gpu() as gpu:
        Trainer(config, device=gpu.device, until=1).fit()
        (tmp_path / "run/weights/model.safetensors").unlink()
        Trainer(config, device=gpu.device).fit()
    lines = [line for line in read_metrics(str(tmp_path / "run/metrics.jsonl")) if line["stage"] == "adversarial"]
    assert [line["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run/weights/model.safetensors").exists()
    assert len(list((tmp_path / "run/samples").iterdir())) == 2


# Of the first, whose blur reaches 8 pixels, only who asks for a head takes a step.
@pytest.mark.parametrize(("recipe", "kernels"), [("gta5_cityscapes.yaml", 660), ("gta5_cityscapes_paper.yaml", 900)])
def test_a_step_that_is_not_reported_waits_for_nothing_and_launches_few_kernels(recipe: str, kernels: int) -> None:
    """A GPU that is launched a thousand kernels in a step, or is waited for in between, is idle most of the time."""
    given = ("run=unused", "synthetic=unused", "real=unused", "encoder.network={kind: small, widths: [4, 4, 8, 8]}")
    config = load_config(TrainConfig, Path(workflows.__file__).parent / "configs" / recipe, given)
    styles = ("a", "b", "c") if config.style.kind != "none" else ()
    predictor = KernelPredictor(config.predictor(config.encoder.network, 19, styles, 1914))
    task = AdversarialTask(predictor, config.adversarial, config.discriminator)
    with fake_gpu() as gpu:
        state = adversarial_state(place(task, gpu.device), config.adversarial, config.health)
        batch = random_batch(config).to(gpu.device)
        counts = {}
        take_step(state, task, batch, Step(0), config.adversarial.gradient_clip)  # makes the optimizers' state
        for reported in (False, True):
            gpu.waits = gpu.kernels = 0
            take_step(state, task, batch, Step(state.step, reported), config.adversarial.gradient_clip)
            counts[reported] = (gpu.waits, gpu.kernels)
    assert counts[False][0] == 0
    assert counts[False][1] <= kernels
    assert counts[True][1] > counts[False][1]


def random_batch(config: TrainConfig, size: int = 2) -> AdversarialBatch:
    def images(height: int, width: int, channels: int = 3) -> torch.Tensor:
        return torch.randint(256, (size, channels, height, width), dtype=torch.uint8)

    low, patch, numbers = config.prediction_size, config.adversarial.patch_size, torch.arange(size)
    window = PatchWindow(torch.tensor([[1052, 1914]] * size), torch.tensor([[100, 200]] * size))
    shares = images(*low, 19) if config.head.needs_label else None
    synthetic = SyntheticBatch(images(*low), images(*patch), window, numbers, numbers, numbers, shares)
    return AdversarialBatch(synthetic, RealBatch(images(*low), images(*patch)))
