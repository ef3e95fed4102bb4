"""Adversarial training: predictor, translation function and discriminators in one module; optimizers and schedules."""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dakpn.config import AdversarialConfig, DiscriminatorConfig, HealthConfig, ScheduleConfig
from dakpn.models.discriminator import PatchDiscriminator, reverse_gradient
from dakpn.models.function.noise import seeded_noise
from dakpn.models.function.translation import upsample_patches
from dakpn.models.precision import autocast
from dakpn.models.predictor import KernelPredictor
from dakpn.training.data import AdversarialBatch, SyntheticBatch
from dakpn.training.encoder import LogitCache
from dakpn.training.loop import FIRST_STEP, Step
from dakpn.training.losses import ADVERSARIAL_LOSSES, r1_penalty
from dakpn.training.monitor import HealthMonitor, translation_health
from dakpn.training.state import ExponentialMovingAverage, TrainState

_SAMPLE_GAP = 4


class AdversarialTask(nn.Module):
    """Translates on two scales and plays both sides of the game in one forward, so that DDP sees one module.

    Scale 1 is a full-res patch with its own window of the upsampled params; scale 2 the whole image at the prediction
    resolution. Both are judged against real images of the same scale.

    Source: DA-KPN. Departures: whole low-res real images for scale 2; there, blur and noise shrink as the image does,
    for a real image at low resolution shows a fraction of them only, and the scales would contradict; patches
    at any position; and on request a discriminator per scale, a non-saturating predictor loss and an R1 penalty.

    Attributes:
        compute_dtype: Data type of the encoder and the discriminators; all else is float32.
        logit_cache: knows the encoder's logits of images that were seen before; None computes them in each step.
    """

    def __init__(
        self,
        predictor: KernelPredictor,
        adversarial: AdversarialConfig,
        discriminator: DiscriminatorConfig,
        compute_dtype: torch.dtype = torch.float32,
        logit_cache: LogitCache | None = None,
    ) -> None:
        super().__init__()
        self.config = adversarial
        self.compute_dtype = compute_dtype
        self.predictor = predictor
        self.patch_discriminator = PatchDiscriminator(discriminator)
        self.whole_discriminator = (
            self.patch_discriminator if discriminator.shared else PatchDiscriminator(discriminator)
        )
        self.logit_cache = logit_cache
        self._loss = ADVERSARIAL_LOSSES[adversarial.loss]

    def forward(self, batch: AdversarialBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """Loss terms of one step.

        Args:
            batch: on the device of this module.
            step: its number tells whether the R1 penalty is due; what is only looked at in reports is left out of other
                steps.

        Returns:
            `loss`, the scalar to minimize, and detached scalars for the log.
        """
        synthetic, real = batch.synthetic, batch.real
        inputs = predictor_inputs(synthetic)
        predicted = self.predictor(coarse_logits=self._coarse_logits(synthetic), **inputs)
        seeds = 2 * synthetic.noise_seed
        params = self.predictor.function.with_drawn(predicted, seeds)
        patch_size = (synthetic.patch.shape[-2], synthetic.patch.shape[-1])
        patch_params = upsample_patches(params, synthetic.window.full_size, synthetic.window.corner, patch_size)
        styled_patch, patch = self._translate(synthetic.patch, patch_params, seeds)
        styled_low, whole = self._translate(synthetic.low, self._whole_params(params, synthetic), seeds + 1)
        penalised = self.config.r1_weight > 0 and step.number % self.config.r1_every == 0
        identity = F.mse_loss(patch, styled_patch)
        loss = self.config.identity_weight * identity
        terms = {"identity": identity.detach()}
        if step.reported:
            _, refinement_params = self.predictor.split_params(predicted)
            terms |= translation_health(styled_low, whole, refinement_params, self.predictor.refinement)
        for name, discriminator, translated, real_images in (
            ("patch", self.patch_discriminator, patch, real.patch),
            ("whole", self.whole_discriminator, whole, real.low),
        ):
            game, log = self._play(discriminator, translated, real_images, penalised=penalised, reported=step.reported)
            loss = loss + game
            terms |= {f"{term}/{name}": value.detach() for term, value in log.items()}
        return {"loss": loss, **terms}

    def _whole_params(self, params: Tensor, batch: SyntheticBatch) -> Tensor:
        if not self.config.shrink_for_whole:
            return params
        low_pixels = batch.low.shape[-2] * batch.low.shape[-1]
        factor = (low_pixels / batch.window.full_size.prod(1)).sqrt().clamp(max=1)
        return self.predictor.function.for_shrunk(params, factor)

    def _coarse_logits(self, batch: SyntheticBatch) -> Tensor | None:
        if not self.predictor.uses_encoder:
            return None
        if self.logit_cache is not None:
            return self.logit_cache.coarse_logits(batch.low, batch.image_number)
        with torch.no_grad(), autocast(batch.low.device, self.compute_dtype):
            return self.predictor.encoder.coarse_logits(batch.low).to(batch.low.dtype)

    def _translate(self, images: Tensor, params: Tensor, noise_seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Images in their new style, and these refined as the head says."""
        style_params, refinement_params = self.predictor.split_params(params)
        # Computed, not learned: nothing behind the style needs a gradient.
        styled = self.predictor.apply_style(images, style_params.detach())
        noise = seeded_noise(noise_seeds, (images.shape[-2], images.shape[-1])).to(images.dtype)
        return styled, self.predictor.refinement.apply(styled, refinement_params, noise)

    def _play(
        self, discriminator: nn.Module, translated: Tensor, real: Tensor, *, penalised: bool, reported: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reversal = self.config.players == "reversal"
        judged = reverse_gradient(translated) if reversal else translated.detach()
        real = real.detach().requires_grad_(penalised)
        real_logits, translated_logits = self._judge(discriminator, torch.cat((real, judged))).chunk(2)
        loss = discriminator_loss = self._loss.discriminator(real_logits, translated_logits)
        log = {"discriminator": discriminator_loss}
        if reported:
            right = (real_logits > 0).float().mean() + (translated_logits <= 0).float().mean()
            log["discriminator_accuracy"] = right / 2
        if penalised:
            log["r1"] = r1_penalty(real_logits, real)
            loss = loss + self.config.r1_weight * self.config.r1_every * log["r1"]
        if reversal:
            return loss, log
        frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        predictor_loss = self._loss.predictor(self._judge(discriminator, translated, frozen))
        return loss + predictor_loss, {**log, "predictor": predictor_loss}

    def _judge(self, discriminator: nn.Module, images: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
        with autocast(images.device, self.compute_dtype):
            return functional_call(discriminator, parameters or {}, (images,)).to(images.dtype)


def predictor_inputs(batch: SyntheticBatch) -> dict[str, Any]:
    """What the predictor takes of a batch, as arguments of its forward."""
    return {"low": batch.low, "label_classes": batch.class_shares, "styles": batch.style}


@torch.no_grad()
def sample_grid(
    task: AdversarialTask, average: ExponentialMovingAverage | None, batch: AdversarialBatch
) -> NDArray[np.uint8]:
    """Low-res images of a batch as a picture uint8 [H, W, 3]: a row synthetic, a row translated, a row real.

    Args:
        task: its predictor translates.
        average: smoothed params of the predictor, which are what becomes the weights; None takes the params.
        batch: as for the task, on its device; the same one gives pictures that can be compared.
    """
    low = batch.synthetic.low
    params = functional_call(task.predictor, average.shadow if average else {}, (), predictor_inputs(batch.synthetic))
    seeds = 2 * batch.synthetic.noise_seed
    params = task.predictor.function.with_drawn(params, seeds)
    noise = seeded_noise(seeds + 1, (low.shape[-2], low.shape[-1]))
    translated = task.predictor.function.apply(low, params, noise)
    rows = [torch.cat([_framed(image) for image in images], 2) for images in (low, translated, batch.real.low)]
    pixels = torch.cat(rows, 1)[:, _SAMPLE_GAP:, _SAMPLE_GAP:]
    return pixels.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def _framed(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(image, (_SAMPLE_GAP, 0, _SAMPLE_GAP, 0), value=1.0)


def adversarial_state(
    task: AdversarialTask, config: AdversarialConfig, health: HealthConfig | None = None
) -> TrainState:
    """A fresh train state: Adam, schedules and alarms; the weights of the predictor's head are averaged."""
    head = task.predictor.head.parameters()
    # With a shared discriminator both names lead to the same parameters: a dict keeps each once.
    discriminators = {p: None for d in (task.patch_discriminator, task.whole_discriminator) for p in d.parameters()}
    adam = partial(torch.optim.Adam, betas=config.betas, fused=True)
    optimizers: dict[str, Optimizer] = {
        "predictor": adam(head, config.predictor_learning_rate),
        "discriminator": adam(discriminators, config.discriminator_learning_rate),
    }
    schedules = {"predictor": config.predictor_schedule, "discriminator": config.discriminator_schedule}
    schedulers: dict[str, LRScheduler] = {
        name: build_schedule(schedules[name], optimizers[name], config.steps) for name in optimizers
    }
    average = ExponentialMovingAverage(task.predictor, config.ema_decay)
    return TrainState(task, optimizers, schedulers, average, HealthMonitor(health) if health else None)


def build_schedule(config: ScheduleConfig, optimizer: Optimizer, steps: int) -> LambdaLR:
    """A scheduler to be stepped once a step, for a run of `steps`."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(config, step, steps))


def learning_rate_factor(config: ScheduleConfig, step: int, steps: int) -> float:
    """What the learning rate is multiplied with in step `step` (from 0) of `steps`, 0..1."""
    warm_up = min(1.0, (step + 1) / (config.warm_up_steps + 1))
    begin = config.decay_from * steps
    done = min(1.0, max(0.0, (step - begin) / max(1.0, steps - begin)))
    match config.decay:
        case "none":
            left = 1.0
        case "linear":
            left = 1.0 - done
        case "cosine":
            left = (1.0 + math.cos(math.pi * done)) / 2
    return warm_up * (config.final_factor + (1.0 - config.final_factor) * left)
