"""The kernel predictor: a frozen encoder's class map, and a 1 x 1 convolution to the transform params."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from dakpn.config import PredictorConfig
from dakpn.models.folding import optimize_for_inference
from dakpn.models.networks import build_network
from dakpn.models.segmenter import resize_like
from dakpn.models.translation import TranslationFunction


class KernelPredictor(nn.Module):
    """Predicts params at low resolution. The head sees only the encoder's classes: what a pixel becomes depends on
    what the pixel is.

    Attributes:
        function: the translation function whose params are predicted.
        folded: whether the encoder is in its form for inference alone.

    Source: DA-KPN. The head starts at the function's initial params for every pixel: weights and biases 0.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.folded = False
        self.function = TranslationFunction(config.translation)
        self.encoder = build_network(config.network, config.num_classes).requires_grad_(False).eval()
        self.head = nn.Conv2d(config.num_classes, self.function.num_params, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, low: Tensor, coarse_logits: Tensor | None = None) -> Tensor:
        """Params [B, P, h, w] inside their bounds, for low-res images float [B, 3, h, w] in 0..1.

        `coarse_logits` are the encoder's for these images, if they are known already.
        """
        return self.function.bound(self.head(self.features(low, coarse_logits)))

    @torch.no_grad()
    def features(self, low: Tensor, coarse_logits: Tensor | None = None) -> Tensor:
        """What the head sees: class probabilities or logits [B, C, h, w] of the frozen encoder."""
        if coarse_logits is None:
            coarse_logits = self.encoder.coarse_logits(low)
        logits = resize_like(coarse_logits, low)
        return logits.softmax(1) if self.config.head.features == "probabilities" else logits

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
