"""CycleGAN: two generators, each the other's way back."""

import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import CycleGanConfig
from dakpn.evaluation.baselines.game import RivalBatch, discriminator_loss, generator_loss
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.training.loop import FIRST_STEP, Step


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

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by optimizer."""
        return {
            "generators": [*self.generator.parameters(), *self.back.parameters()],
            "discriminators": [*self.real_discriminator.parameters(), *self.synthetic_discriminator.parameters()],
        }

    def forward(self, batch: RivalBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` and its parts."""
        synthetic, real = batch.synthetic, batch.real
        translated, rendered = self.generator(synthetic), self.back(real)
        cycle = F.l1_loss(self.back(translated), synthetic) + F.l1_loss(self.generator(rendered), real)
        game = generator_loss(self.real_discriminator, translated)
        game = game + generator_loss(self.synthetic_discriminator, rendered)
        judges = discriminator_loss(self.real_discriminator, real, translated)
        judges = judges + discriminator_loss(self.synthetic_discriminator, synthetic, rendered)
        loss = game + judges + self.config.cycle_weight * cycle
        terms = {"cycle": cycle, "generator": game, "discriminator": judges}
        if self.config.identity_weight:
            identity = F.l1_loss(self.generator(real), real) + F.l1_loss(self.back(synthetic), synthetic)
            loss, terms["identity"] = loss + self.config.identity_weight * identity, identity
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}
