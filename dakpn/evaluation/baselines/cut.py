"""CUT: one generator; a patch of the output shall be recognised as the patch at its place in the input."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import CutConfig
from dakpn.evaluation.baselines.game import RivalBatch, discriminator_loss, generator_loss
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.training.loop import FIRST_STEP, Step


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

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by optimizer."""
        return {
            "generators": [*self.generator.parameters(), *self.projections.parameters()],
            "discriminators": list(self.discriminator.parameters()),
        }

    def forward(self, batch: RivalBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` and its parts."""
        synthetic, real = batch.synthetic, batch.real
        translated = self.generator(synthetic)
        contrast = self.patch_contrast(synthetic, translated)
        game = generator_loss(self.discriminator, translated)
        judge = discriminator_loss(self.discriminator, real, translated)
        loss = game + judge + self.config.contrast_weight * contrast
        terms = {"contrast": contrast, "generator": game, "discriminator": judge}
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
            places = torch.randperm(seen[0, 0].numel())[: self.config.patches]
            keys, queries = (F.normalize(project(f.flatten(2)[:, :, places].mT), dim=-1) for f in (seen, painted))
            similarity = queries @ keys.detach().mT / self.config.temperature
            own = torch.arange(len(places), device=inputs.device).expand(len(inputs), -1)
            losses.append(F.cross_entropy(similarity.flatten(0, 1), own.flatten()))
        return torch.stack(losses).mean()
