"""Train a baseline on the two domains of an evaluation, and translate with it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dakpn.config import CutConfig, CycleGanConfig
from dakpn.errors import UsageError
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.evaluation.baselines.tasks import Cut, CycleGan, DomainBatch
from dakpn.evaluation.contender import LabelledImage
from dakpn.images import codec
from dakpn.models.precision import device_of
from dakpn.segmentation.fit import HERE, Workplace
from dakpn.training.loop import LoopSettings, Reporter, Saver, run_steps, step_seed
from dakpn.training.state import TrainState

BaselineConfig = CycleGanConfig | CutConfig
_SILENT_STEPS = 100
_STRIDE = 4
"""The generator halves its input twice."""


def fit_baseline(
    config: BaselineConfig,
    synthetic: NDArray[np.uint8],
    real: NDArray[np.uint8],
    seed: int,
    reporter: Reporter,
    workplace: Workplace = HERE,
) -> ResnetGenerator:
    """Train a baseline; the same arguments give the same generator, stopped in between or not.

    Half of the images are flipped; the learning rate falls to 0 over the second half of the steps, as published.

    Args:
        config: which baseline, and how.
        synthetic: uint8 [N, 3, H, W].
        real: uint8 [M, 3, H, W], of the same size.
        seed: Seed of initialization and order.
        reporter: gets the loss terms every hundred steps.
        workplace: its device and checkpoints; baselines compute in float32.

    Raises:
        UsageError: the images are too small for the discriminator.
        TrainingError: a loss is not finite.
    """
    smallest = 2 ** (len(config.discriminator.widths) + 1)
    if min(synthetic.shape[-2:]) < smallest:
        raise UsageError(
            f"got images of {synthetic.shape[-2]} x {synthetic.shape[-1]} pixels for a {config.kind}; expected "
            f"{smallest} a side: enlarge translation_size, or take fewer discriminator.widths"
        )
    torch.manual_seed(seed)
    task = CycleGan(config) if isinstance(config, CycleGanConfig) else Cut(config)
    _initialize(task)
    task = task.to(workplace.device)
    optimizers = {
        name: torch.optim.Adam(parameters, config.learning_rate, betas=config.betas)
        for name, parameters in task.parameter_groups().items()
    }
    schedulers = {name: _falling(optimizer, config.steps) for name, optimizer in optimizers.items()}
    state = TrainState(task, dict(optimizers), dict(schedulers))
    if workplace.checkpoints is not None:
        workplace.checkpoints.restore_newest(state)
    drawn = _batches(_multiple(synthetic), _multiple(real), config.batch_size_per_worker, seed, state.step)
    batches = (batch.to(workplace.device) for batch in drawn)
    steps, every = workplace.until or config.steps, workplace.checkpoint_every
    settings = LoopSettings(steps, report_every=_SILENT_STEPS, checkpoint_every=min(every, steps), seed=seed)
    saver = None if every >= steps else Saver(state, workplace.checkpoints)
    run_steps(state, task, batches, settings, reporter, saver)
    return task.generator.eval()


@dataclass(frozen=True)
class Generated:
    """A contender that paints with a trained generator; it has one look and no draws."""

    generator: ResnetGenerator
    has_draws: bool = False

    @torch.inference_mode()
    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`. Sides that are no multiples of 4 are resized to the next one below and back."""
        height, width = sample.image.shape[:2]
        inside = (height - height % _STRIDE, width - width % _STRIDE)
        image = sample.image if inside == (height, width) else codec.resize_image(sample.image, inside)
        device = device_of(self.generator)
        pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float().div(255)
        painted = self.generator(pixels)[0].mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        return painted if inside == (height, width) else codec.resize_image(painted, (height, width))


def _initialize(task: nn.Module) -> None:
    """Normal weights of spread 0.02, as published for both baselines."""
    for name, module in task.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and "projections" not in name:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _falling(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))


def _multiple(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut to sides that are multiples of 4."""
    height, width = images.shape[-2:]
    return images[:, :, : height - height % _STRIDE, : width - width % _STRIDE]


def _batches(
    synthetic: NDArray[np.uint8], real: NDArray[np.uint8], batch_size: int, seed: int, start: int
) -> Iterator[DomainBatch]:
    for step in itertools.count(start):
        rng = np.random.default_rng(step_seed(seed, 1, step))
        yield DomainBatch(*(_drawn(images, batch_size, rng) for images in (synthetic, real)))


def _drawn(images: NDArray[np.uint8], batch_size: int, rng: np.random.Generator) -> Tensor:
    chosen = images[rng.integers(0, len(images), batch_size)]
    flipped = rng.random(batch_size) < 0.5
    return torch.from_numpy(np.where(flipped[:, None, None, None], chosen[..., ::-1], chosen))
