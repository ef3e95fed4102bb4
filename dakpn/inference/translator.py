"""Translate single images with trained weights."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.data import codec
from dakpn.errors import UsageError
from dakpn.models.noise import noise_seed
from dakpn.models.predictor import KernelPredictor
from dakpn.models.translation import upsample_params
from dakpn.models.weights import load_predictor
from dakpn.models.whole_image import DEFAULT_PIXELS_IN_FLIGHT, translate_image


@dataclass(frozen=True)
class Translator:
    """Translates images; the same weights, key, draw and strength always give the same bytes.

    Attributes:
        predictor: in eval mode.
        weights_digest: of the weights it was loaded from.
        strength: 0 (identity) to 1.
        draw: number of the noise draw.
        max_pixels_in_flight: bounds the memory that one image takes.
        threads: CPU threads for one image.

    The predictor's device does all the work. On a GPU the torch form of the function runs, whose bytes can differ from
    the fused CPU form's by one grey level.
    """

    predictor: KernelPredictor
    weights_digest: str
    strength: float = 1.0
    draw: int = 0
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT
    threads: int = 1

    @classmethod
    def load(
        cls, weights_uri: str, strength: float = 1.0, draw: int = 0, *, device: str = "cpu", **limits: int
    ) -> Self:
        """Load predictor weights; `limits` are `max_pixels_in_flight` and `threads`.

        Raises:
            WeightsError: they cannot be used.
            UsageError: the device is not there.
        """
        chosen = _available(device)
        predictor, _, digest = load_predictor(weights_uri)
        return cls(predictor.for_inference().to(chosen), digest, strength, draw, **limits)

    @property
    def device(self) -> torch.device:
        """Where images are translated."""
        return self.predictor.head.weight.device

    @torch.inference_mode()
    def translate(self, image: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
        """Translate one image.

        Args:
            image: uint8 [H, W, 3], any size.
            key: seeds the noise.

        Returns:
            uint8 [H, W, 3]; output pixel p depends on input pixels at most `predictor.function.radius` away.
        """
        return translate_image(
            self.predictor.function,
            image,
            self.low_res_params(image),
            noise_seed(key, self.draw),
            max_pixels_in_flight=self.max_pixels_in_flight,
            threads=self.threads,
        )

    @torch.inference_mode()
    def parameter_maps(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Full-res params [H, W] by name, at the translator's strength."""
        params = upsample_params(self.low_res_params(image), image.shape[:2])[0]
        return dict(zip(self.predictor.function.names, params.cpu().numpy(), strict=True))

    @torch.inference_mode()
    def low_res_params(self, image: NDArray[np.uint8]) -> Tensor:
        """Params [1, P, h, w] at the prediction resolution, at the translator's strength."""
        low = codec.resize_image(image, self.predictor.config.prediction_size)
        pixels = torch.from_numpy(low).to(self.device).permute(2, 0, 1)[None].float().div(255)
        return self.predictor.function.with_strength(self.predictor(pixels), self.strength)


def _available(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} cannot be used ({error}); expected 'cpu', or 'cuda' with a GPU and a CUDA build of torch"
        ) from error
