"""The rounds of an encoder's training: first on synthetic images as they are, then in the colours of real ones.

An encoder that has seen synthetic images alone guesses the classes of real ones badly, and the style bank is collected
by its guesses. Trained again on synthetic images in the colours of that bank, with their exact labels, it guesses
better, and collects a better bank. No real label is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dakpn.config import LabAffineConfig, StyleConfig
from dakpn.models.stages.color import LabAffine
from dakpn.models.style import ColorMoments, StyleBank, affine_towards, color_moments
from dakpn.training.loop import Batch, step_seed
from dakpn.training.run_folder import RunFolder

ENCODER_STAGE = "encoder"


@dataclass(frozen=True)
class EncoderRound:
    """One training of the encoder.

    Attributes:
        stage: its name in metrics and checkpoints.
        weights: URI of the segmenter that it makes.
        styles: URI of the style bank collected with that; none for the last round, whose bank is the predictor's.
        colours: URI of the style bank that its images take their colours from; none for images as they are.
    """

    stage: str
    weights: str
    styles: str | None
    colours: str | None


def encoder_rounds(folder: RunFolder, adaptation_rounds: int) -> list[EncoderRound]:
    """The first round and as many more; the last one makes the run's encoder."""
    rounds, colours = [], None
    for number in range(adaptation_rounds + 1):
        stage = ENCODER_STAGE if number == 0 else f"{ENCODER_STAGE}-{number}"
        last = number == adaptation_rounds
        before = folder.encoder_round(number)
        styles = None if last else before.styles
        rounds.append(EncoderRound(stage, folder.encoder if last else before.encoder, styles, colours))
        colours = styles
    return rounds


def in_real_colours(
    batches: Iterator[Batch], moments: ColorMoments, config: StyleConfig, seed: int, rank: int, start_step: int
) -> Iterator[Batch]:
    """Batches whose images have taken, class by class by their labels, the colours of a drawn real image each.

    Args:
        batches: of `image` float [B, 3, h, w] in 0..1 and `label` int64 [B, h, w], on one device; others are kept.
        moments: of K real images, [K, ...].
        config: how styles are matched.
        seed: of the run; the draws of step k are a function of (seed, rank, k).
        rank: of the worker.
        start_step: number of the first batch.
    """
    recolour = _Recolouring(moments, config)
    for step, batch in enumerate(batches, start_step):
        generator = torch.Generator().manual_seed(step_seed(seed, rank, step))
        styles = torch.randint(len(recolour.bank), (len(batch["image"]),), generator=generator)
        yield {**batch, "image": recolour.to(batch["image"].device)(batch["image"], batch["label"], styles)}


class _Recolouring(nn.Module):
    def __init__(self, moments: ColorMoments, config: StyleConfig) -> None:
        super().__init__()
        self._config = config
        self._affine = LabAffine(LabAffineConfig(max_gain=config.max_gain))
        self.bank = StyleBank(*moments.class_mass.shape)
        self.bank.fill(moments)

    @torch.no_grad()
    def forward(self, images: Tensor, labels: Tensor, styles: Tensor) -> Tensor:
        classes = self.bank.get_buffer("class_mass").shape[1]
        shares = (labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]).float()
        style = self.bank(styles.to(images.device))
        params = affine_towards(style, color_moments(images, shares), shares, self._config)
        return self._affine.apply(images, params, images).clamp(0, 1)
