"""CycleGAN and CUT as training tasks: all loss terms of a step in one forward, and one backward pass."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dakpn.config import CutConfig, CycleGanConfig
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.training.data import TensorBatch
from dakpn.training.loop import FIRST_STEP, Step
from dakpn.training.losses import ADVERSARIAL_LOSSES

_LOSS = ADVERSARIAL_LOSSES["least_squares"]


@dataclass(frozen=True)
class DomainBatch(TensorBatch):
    """Unpaired images of both domains, float [B, 3, H, W] in 0..1."""

    synthetic: Tensor
    real: Tensor


def discriminator_loss(discriminator: nn.Module, real: Tensor, translated: Tensor) -> Tensor:
    """What the discriminator minimizes; no gradient reaches what translated."""
    return _LOSS.discriminator(discriminator(real), discriminator(translated.detach()))


def generator_loss(discriminator: nn.Module, translated: Tensor) -> Tensor:
    """What the generator minimizes; no gradient reaches the discriminator."""
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    return _LOSS.predictor(functional_call(discriminator, frozen, (translated,)))


class CycleGan(nn.Module):
    """All of a step in one forward, as every task of this project.

    Source: Zhu et al., 2017. Departures: least squares with targets -1 and 1, and no pool of earlier translations.
    """

    def __init__(self, config: CycleGanConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = ResnetGenerator(config.generator)
        self.back = ResnetGenerator(config.generator)
        self.real_discriminator = PatchDiscriminator(config.discriminator)
        self.synthetic_discriminator = PatchDiscriminator(config.discriminator)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by optimizer."""
        return {
            "generators": [*self.generator.parameters(), *self.back.parameters()],
            "discriminators": [*self.real_discriminator.parameters(), *self.synthetic_discriminator.parameters()],
        }

    def forward(self, batch: DomainBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` and its parts."""
        synthetic, real = batch.synthetic, batch.real
        translated, rendered = self.generator(synthetic), self.back(real)
        cycle = F.l1_loss(self.back(translated), synthetic) + F.l1_loss(self.generator(rendered), real)
        game = generator_loss(self.real_discriminator, translated)
        game = game + generator_loss(self.synthetic_discriminator, rendered)
        discriminator = discriminator_loss(self.real_discriminator, real, translated)
        discriminator = discriminator + discriminator_loss(self.synthetic_discriminator, synthetic, rendered)
        loss = game + discriminator + self.config.cycle_weight * cycle
        terms = {"cycle": cycle, "generator": game, "discriminator": discriminator}
        if self.config.identity_weight:
            identity = F.l1_loss(self.generator(real), real) + F.l1_loss(self.back(synthetic), synthetic)
            loss, terms["identity"] = loss + self.config.identity_weight * identity, identity
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


class Cut(nn.Module):
    """All of a step in one forward, as every task of this project.

    Source: Park et al., "Contrastive learning for unpaired image-to-image translation", 2020. Departures: least
    squares with targets -1 and 1, compared layers fixed to the encoder's stem, downsamplings and middle block.
    """

    def __init__(self, config: CutConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = ResnetGenerator(config.generator)
        self.discriminator = PatchDiscriminator(config.discriminator)
        width = config.generator.width
        self.layers = (0, 1, 2, 2 + max(1, config.generator.blocks // 2))
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels, config.embedding), nn.ReLU(), nn.Linear(config.embedding, config.embedding)
            )
            for channels in (width, 2 * width, 4 * width, 4 * width)
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by optimizer."""
        return {
            "generators": [*self.generator.parameters(), *self.projections.parameters()],
            "discriminators": list(self.discriminator.parameters()),
        }

    def forward(self, batch: DomainBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` and its parts."""
        synthetic, real = batch.synthetic, batch.real
        translated = self.generator(synthetic)
        contrast = self.patch_contrast(synthetic, translated)
        game = generator_loss(self.discriminator, translated)
        discriminator = discriminator_loss(self.discriminator, real, translated)
        loss = game + discriminator + self.config.contrast_weight * contrast
        terms = {"contrast": contrast, "generator": game, "discriminator": discriminator}
        if self.config.identity_weight:
            identity = self.patch_contrast(real, self.generator(real))
            loss, terms["identity"] = loss + self.config.identity_weight * identity, identity
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def patch_contrast(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """PatchNCE: mean cross entropy of finding each output patch's own input patch among those of its image."""
        of_inputs = self.generator.features(inputs, self.layers)[:-1]
        of_outputs = self.generator.features(outputs, self.layers)[:-1]
        losses = []
        for seen, painted, project in zip(of_inputs, of_outputs, self.projections, strict=True):
            places = torch.randperm(seen[0, 0].numel())[: self.config.patches].to(seen.device)
            keys, queries = (F.normalize(project(f.flatten(2)[:, :, places].mT), dim=-1) for f in (seen, painted))
            similarity = queries @ keys.detach().mT / self.config.temperature
            own = torch.arange(len(places), device=inputs.device).expand(len(inputs), -1)
            losses.append(F.cross_entropy(similarity.flatten(0, 1), own.flatten()))
        return torch.stack(losses).mean()
