"""The adversarial task: predictor, translation function and discriminators in one module with one forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dakpn.config import AdversarialConfig, DiscriminatorConfig
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.models.predictor import KernelPredictor
from dakpn.models.reversal import reverse_gradient
from dakpn.models.translation import upsample_params
from dakpn.training.losses import ADVERSARIAL_LOSSES

Batch = dict[str, Tensor]


class AdversarialTask(nn.Module):
    """Translates on two scales and plays both sides of the game in one forward, so that DDP sees one module.

    Scale 1 is a full-res patch with its own window of the upsampled params; scale 2 the whole image at the prediction
    resolution. Both are judged against real images of the same scale.

    Source: DA-KPN. Departures: whole low-res real images for scale 2, patches at any position, and on request a
    discriminator per scale and a non-saturating predictor loss.
    """

    def __init__(
        self, predictor: KernelPredictor, adversarial: AdversarialConfig, discriminator: DiscriminatorConfig
    ) -> None:
        super().__init__()
        self.config = adversarial
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
                `synthetic_style` int64 [B], the number that chooses a style; where the predictor sees labels,
                `synthetic_classes` [B, C, h, w]; and, if known, `synthetic_logits` [B, C, h', w'], the encoder's coarse
                logits of `synthetic_low`.

        Returns:
            `loss`, the scalar to minimise, and detached scalars for the log.
        """
        params = self.predictor(
            batch["synthetic_low"],
            label_classes=batch.get("synthetic_classes"),
            styles=batch.get("synthetic_style"),
            coarse_logits=batch.get("synthetic_logits"),
        )
        patch_params = _window_params(params, batch["synthetic_window"])
        styled_patch, patch = self._translate(batch["synthetic_patch"], patch_params)
        _, whole = self._translate(batch["synthetic_low"], params)
        identity = F.mse_loss(patch, styled_patch)
        loss = self.config.identity_weight * identity
        terms = {"identity": identity.detach()}
        for name, discriminator, translated, real in (
            ("patch", self.patch_discriminator, patch, batch["real_patch"]),
            ("whole", self.whole_discriminator, whole, batch["real_low"]),
        ):
            game, log = self._play(discriminator, translated, real)
            loss = loss + game
            terms |= {f"{term}/{name}": value.detach() for term, value in log.items()}
        return {"loss": loss, **terms}

    def _translate(self, images: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Images in their new style, and these refined as the head says."""
        style_params, refinement_params = self.predictor.split_params(params)
        styled = self.predictor.apply_style(images, style_params)
        return styled, self.predictor.refinement.apply(styled, refinement_params, torch.randn_like(images))

    def _play(self, discriminator: nn.Module, translated: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        reversal = self.config.players == "reversal"
        judged = reverse_gradient(translated) if reversal else translated.detach()
        real_logits, translated_logits = discriminator(torch.cat((real, judged))).chunk(2)
        discriminator_loss = self._loss.discriminator(real_logits, translated_logits)
        accuracy = ((real_logits > 0).float().mean() + (translated_logits <= 0).float().mean()) / 2
        log = {"discriminator": discriminator_loss, "discriminator_accuracy": accuracy}
        if reversal:
            return discriminator_loss, log
        frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        predictor_loss = self._loss.predictor(functional_call(discriminator, frozen, (translated,)))
        return discriminator_loss + predictor_loss, {**log, "predictor": predictor_loss}


def _window_params(params: Tensor, windows: Tensor) -> Tensor:
    """Params of each image's patch [B, P, H', W'] from the low-res params [B, P, h, w]."""
    patches = []
    for image_params, (full_height, full_width, *window) in zip(params.split(1), windows.tolist(), strict=True):
        top, left, height, width = window
        patches.append(upsample_params(image_params, (full_height, full_width), (top, left, height, width)))
    return torch.cat(patches)
