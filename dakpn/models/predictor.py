"""The kernel predictor: a map of classes, and a 1 x 1 convolution from it to the transform params."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from dakpn.config import LabAffineConfig, PredictorConfig, TranslationConfig
from dakpn.models.folding import optimize_for_inference
from dakpn.models.networks import build_network
from dakpn.models.segmenter import resize_like
from dakpn.models.style import StyleBank, affine_towards
from dakpn.models.translation import TranslationFunction


class KernelPredictor(nn.Module):
    """Predicts params at low resolution. The head sees classes alone: what a pixel becomes depends on what it is.

    With a style bank, f begins with an affine in l-alpha-beta whose params are computed, not learned: they take the
    image to the colours of one real image. The head's stages refine what comes out.

    Attributes:
        function: the whole translation function f, style affine and refinement.
        refinement: the stages whose params the head predicts.
        style_bank: None without styles.
        folded: whether the encoder is in its form for inference alone.

    Source: DA-KPN. The head starts at the function's initial params for every pixel: weights and biases 0. Departures:
    the style bank, and the label as class map.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.folded = False
        self.refinement = TranslationFunction(config.translation)
        self.function = TranslationFunction(config.translation)
        self.style_bank: StyleBank | None = None
        if config.style.kind != "none":
            affine = LabAffineConfig(max_gain=config.style.max_gain)
            self.function = TranslationFunction(TranslationConfig(stages=(affine, *config.translation.stages)))
            self.style_bank = StyleBank(len(config.style_keys), config.num_classes)
        self.encoder = build_network(config.network, config.num_classes).requires_grad_(False).eval()
        maps = 2 if config.head.condition == "both" else 1
        self.head = nn.Conv2d(maps * config.num_classes, self.refinement.num_params, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self,
        low: Tensor,
        *,
        label_classes: Tensor | None = None,
        styles: Tensor | None = None,
        coarse_logits: Tensor | None = None,
    ) -> Tensor:
        """Params [B, P, h, w] of `function`, inside their bounds.

        Args:
            low: low-res images, float [B, 3, h, w] in 0..1.
            label_classes: [B, C, h, w], the share of each class in each low-res pixel; needed by the conditions
                `label` and `both`.
            styles: int64 [B], entries of the style bank; needed where there is one.
            coarse_logits: the encoder's for these images, if they are known already.
        """
        maps: list[Tensor] = []
        classes: list[Tensor] = []
        if self.uses_encoder:
            guess = self._encoder_logits(low, coarse_logits)
            classes.append(guess.softmax(1))
            maps.append(classes[0] if self.config.head.features == "probabilities" else guess)
        if self.config.head.needs_label:
            if label_classes is None:
                raise ValueError(f"condition {self.config.head.condition!r} needs label_classes, got None")
            classes.append(label_classes)
            maps.append(label_classes)
        params = self.refinement.bound(self.head(torch.cat(maps, 1)))
        if self.style_bank is None:
            return params
        if styles is None:
            raise ValueError("a predictor with a style bank needs styles, got None")
        with torch.no_grad():
            affine = affine_towards(self.style_bank(styles), low, classes[-1], self.config.style)
        return torch.cat((affine, params), 1)

    @property
    def uses_encoder(self) -> bool:
        """Whether the params depend on the encoder's guess; otherwise it served the style bank alone."""
        return self.config.head.condition != "label"

    def apply_style(self, images: Tensor, params: Tensor) -> Tensor:
        """Images [B, 3, H, W] after the style affine alone, with params [B, 6, H, W]; unchanged without a bank."""
        if self.style_bank is None:
            return images
        return self.function.stages[0].apply(images, params, images)

    def split_params(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The style affine's params [B, 6 or 0, ...] and the refinement's [B, P', ...]."""
        styled = self.function.num_params - self.refinement.num_params
        return params[:, :styled], params[:, styled:]

    @torch.no_grad()
    def _encoder_logits(self, low: Tensor, coarse_logits: Tensor | None) -> Tensor:
        return resize_like(self.encoder.coarse_logits(low) if coarse_logits is None else coarse_logits, low)

    def for_inference(self) -> Self:
        """A copy that predicts the same, but for rounding, faster; its weights cannot be saved."""
        copied = copy.deepcopy(self).requires_grad_(False).eval()
        copied.encoder = optimize_for_inference(copied.encoder)
        copied.folded = True
        return copied

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head alone: the encoder's batch statistics stay frozen too."""
        super().train(mode)
        self.encoder.eval()
        return self
