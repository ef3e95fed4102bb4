"""The adversarial task: predictor, translation function and discriminators in one module with one forward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dakpn.config import AdversarialConfig, DiscriminatorConfig
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.models.precision import autocast
from dakpn.models.predictor import KernelPredictor
from dakpn.models.reversal import reverse_gradient
from dakpn.models.translation import upsample_params
from dakpn.training.health import translation_signs
from dakpn.training.losses import ADVERSARIAL_LOSSES, r1_penalty

Batch = dict[str, Tensor]


class AdversarialTask(nn.Module):
    """Translates on two scales and plays both sides of the game in one forward, so that DDP sees one module.

    Scale 1 is a full-res patch with its own window of the upsampled params; scale 2 the whole image at the prediction
    resolution. Both are judged against real images of the same scale.

    Source: DA-KPN. Departures: whole low-res real images for scale 2; there, blur and noise shrink as the image does,
    for a real image at low resolution shows a fraction of them only, and the scales would contradict; patches
    at any position; and on request a discriminator per scale, a non-saturating predictor loss and an R1 penalty.

    Attributes:
        compute_dtype: of the encoder and the discriminators; all else is float32.
    """

    def __init__(
        self,
        predictor: KernelPredictor,
        adversarial: AdversarialConfig,
        discriminator: DiscriminatorConfig,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = adversarial
        self.compute_dtype = compute_dtype
        self.predictor = predictor
        self.patch_discriminator = PatchDiscriminator(discriminator)
        self.whole_discriminator = (
            self.patch_discriminator if discriminator.shared else PatchDiscriminator(discriminator)
        )
        self._loss = ADVERSARIAL_LOSSES[adversarial.loss]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of one step.

        Args:
            batch: float images in 0..1: `synthetic_low` and `real_low` [B, 3, h, w], `synthetic_patch` and
                `real_patch` [B, 3, H', W']; `synthetic_window` int64 [B, 6], the patch's (H, W, top, left, H', W');
                `synthetic_style` and `synthetic_noise` int64 [B], numbers that choose each image's style and noise;
                where the predictor sees labels, `synthetic_classes` [B, C, h, w]; if known, `synthetic_logits`
                [B, C, h', w'], the encoder's coarse logits of `synthetic_low`; and `step`, the number of the step,
                which tells whether the R1 penalty is due.

        Returns:
            `loss`, the scalar to minimise, and detached scalars for the log.
        """
        params = self.predictor(coarse_logits=self._coarse_logits(batch), **predictor_inputs(batch))
        seeds = batch["synthetic_noise"]
        patch_params = _window_params(params, batch["synthetic_window"])
        styled_patch, patch = self._translate(batch["synthetic_patch"], patch_params, 2 * seeds)
        styled_low, whole = self._translate(batch["synthetic_low"], self._whole_params(params, batch), 2 * seeds + 1)
        penalised = self.config.r1_weight > 0 and int(batch["step"]) % self.config.r1_every == 0
        identity = F.mse_loss(patch, styled_patch)
        loss = self.config.identity_weight * identity
        terms = {"identity": identity.detach()}
        _, refinement_params = self.predictor.split_params(params)
        terms |= translation_signs(styled_low, whole, refinement_params, self.predictor.refinement)
        for name, discriminator, translated, real in (
            ("patch", self.patch_discriminator, patch, batch["real_patch"]),
            ("whole", self.whole_discriminator, whole, batch["real_low"]),
        ):
            game, log = self._play(discriminator, translated, real, penalised)
            loss = loss + game
            terms |= {f"{term}/{name}": value.detach() for term, value in log.items()}
        return {"loss": loss, **terms}

    def _whole_params(self, params: Tensor, batch: Batch) -> Tensor:
        if not self.config.shrink_for_whole:
            return params
        low_pixels = batch["synthetic_low"].shape[-2] * batch["synthetic_low"].shape[-1]
        factor = (low_pixels / batch["synthetic_window"][:, :2].prod(1)).sqrt().clamp(max=1)
        return self.predictor.function.for_shrunk(params, factor)

    def _coarse_logits(self, batch: Batch) -> Tensor | None:
        if not self.predictor.uses_encoder:
            return None
        if "synthetic_logits" in batch:
            return batch["synthetic_logits"]
        with torch.no_grad(), autocast(batch["synthetic_low"].device, self.compute_dtype):
            return self.predictor.encoder.coarse_logits(batch["synthetic_low"]).to(batch["synthetic_low"].dtype)

    def _translate(self, images: Tensor, params: Tensor, noise_seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Images in their new style, and these refined as the head says."""
        style_params, refinement_params = self.predictor.split_params(params)
        styled = self.predictor.apply_style(images, style_params)
        noise = seeded_noise(noise_seeds, images)
        return styled, self.predictor.refinement.apply(styled, refinement_params, noise)

    def _play(
        self, discriminator: nn.Module, translated: Tensor, real: Tensor, penalised: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reversal = self.config.players == "reversal"
        judged = reverse_gradient(translated) if reversal else translated.detach()
        real = real.detach().requires_grad_(penalised)
        real_logits, translated_logits = self._judge(discriminator, torch.cat((real, judged))).chunk(2)
        loss = discriminator_loss = self._loss.discriminator(real_logits, translated_logits)
        accuracy = ((real_logits > 0).float().mean() + (translated_logits <= 0).float().mean()) / 2
        log = {"discriminator": discriminator_loss, "discriminator_accuracy": accuracy}
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


def predictor_inputs(batch: Batch) -> dict[str, Any]:
    """What the predictor takes of a batch, as arguments of its forward."""
    return {
        "low": batch["synthetic_low"],
        "label_classes": batch.get("synthetic_classes"),
        "styles": batch.get("synthetic_style"),
    }


def seeded_noise(seeds: Tensor, images: Tensor) -> Tensor:
    """Standard normal noise of the shape of `images` [B, ...]; that of an image is a function of its seed alone.

    So two workers with half a batch each draw what one worker draws for the whole.

    Args:
        seeds: int64 [B], on the CPU.
        images: tells shape, type and device; the same seed gives other noise on another kind of device.
    """
    return torch.stack([_noise_like(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)])


def _noise_like(image: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(image.device).manual_seed(seed)
    return torch.randn(image.shape, generator=generator, dtype=image.dtype, device=image.device)


def _window_params(params: Tensor, windows: Tensor) -> Tensor:
    """Params of each image's patch [B, P, H', W'] from the low-res params [B, P, h, w]."""
    patches = []
    for image_params, (full_height, full_width, *window) in zip(params.split(1), windows.tolist(), strict=True):
        top, left, height, width = window
        patches.append(upsample_params(image_params, (full_height, full_width), (top, left, height, width)))
    return torch.cat(patches)
