"""Translate single images with trained weights."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.data import codec
from dakpn.models.noise import keyed_noise, noise_seed
from dakpn.models.predictor import KernelPredictor
from dakpn.models.translation import upsample_params
from dakpn.models.weights import load_predictor


@dataclass(frozen=True)
class Translator:
    """Translates images; the same weights, key, draw and strength always give the same bytes.

    Attributes:
        predictor: in eval mode.
        weights_digest: of the weights it was loaded from.
        strength: 0 (identity) to 1.
        draw: number of the noise draw.
    """

    predictor: KernelPredictor
    weights_digest: str
    strength: float = 1.0
    draw: int = 0

    @classmethod
    def load(cls, weights_uri: str, strength: float = 1.0, draw: int = 0) -> Self:
        """Load predictor weights. Raises `WeightsError`."""
        predictor, _, digest = load_predictor(weights_uri)
        return cls(predictor, digest, strength, draw)

    @torch.inference_mode()
    def translate(self, image: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
        """Translate one image.

        Args:
            image: uint8 [H, W, 3].
            key: seeds the noise.

        Returns:
            uint8 [H, W, 3]; output pixel p depends on input pixels at most `predictor.function.radius` away.
        """
        size = image.shape[:2]
        params = upsample_params(self._low_res_params(image), size)
        noise = torch.from_numpy(keyed_noise(noise_seed(key, self.draw), size))[None]
        translated = self.predictor.function.apply(_to_tensor(image), params, noise)
        return (translated[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    @torch.inference_mode()
    def parameter_maps(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Full-res params [H, W] by name, at the translator's strength."""
        params = upsample_params(self._low_res_params(image), image.shape[:2])[0]
        return dict(zip(self.predictor.function.names, params.numpy(), strict=True))

    def _low_res_params(self, image: NDArray[np.uint8]) -> Tensor:
        low = codec.resize_image(image, self.predictor.config.prediction_size)
        return self.predictor.function.with_strength(self.predictor(_to_tensor(low)), self.strength)


def _to_tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().div(255)
