"""Translate single images with trained weights."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.data import codec
from dakpn.data.class_shares import class_shares
from dakpn.data.label_space import LabelSpace
from dakpn.errors import DataError, UsageError
from dakpn.models.noise import noise_seed
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import Look, drawn_look
from dakpn.models.translation import upsample_params
from dakpn.models.weights import load_predictor
from dakpn.models.whole_image import DEFAULT_PIXELS_IN_FLIGHT, translate_image


@dataclass(frozen=True)
class Translator:
    """Translates images; the same weights, key, draw and settings always give the same bytes.

    Attributes:
        predictor: in eval mode.
        label_space: whose train ids labels are given in.
        weights_digest: of the weights it was loaded from.
        strength: of the whole translation, 0 (identity) to 1.
        refinement: range of the strength of the head's params on top of the style; None: the weights' own.
        style: key of the real image whose style all images take; None: each draws one.
        draw: number of the draw of style, refinement and noise.
        max_pixels_in_flight: bounds the memory that one image takes.
        threads: CPU threads for one image.
    """

    predictor: KernelPredictor
    label_space: LabelSpace
    weights_digest: str
    strength: float = 1.0
    refinement: tuple[float, float] | None = None
    style: str | None = None
    draw: int = 0
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT
    threads: int = 1

    @classmethod
    def load(cls, weights_uri: str, **settings) -> Self:
        """Load predictor weights; `settings` are this class's attributes from `strength` on.

        Raises:
            WeightsError: the weights cannot be used.
            UsageError: they do not know the style.
        """
        predictor, label_space, digest = load_predictor(weights_uri)
        translator = cls(predictor.for_inference(), label_space, digest, **settings)
        styles = predictor.config.style_keys
        if translator.style is not None and translator.style not in styles:
            known = f"{', '.join(styles[:5])}, ... ({len(styles)} in all)" if styles else "none"
            raise UsageError(f"{weights_uri} has no style {translator.style!r}; expected the key of one of: {known}")
        return translator

    @property
    def needs_label(self) -> bool:
        """Whether images are translated together with their labels."""
        return self.predictor.config.head.needs_label

    @torch.inference_mode()
    def translate(
        self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Translate one image.

        Args:
            image: uint8 [H, W, 3], any size.
            key: seeds what is drawn.
            train_ids: uint8 [H, W], the label; needed if `needs_label`.

        Returns:
            uint8 [H, W, 3]; output pixel p depends on input pixels at most `predictor.function.radius` away, and on
            p's params.
        """
        return translate_image(
            self.predictor.function,
            image,
            self.low_res_params(image, key, train_ids),
            noise_seed(key, self.draw),
            max_pixels_in_flight=self.max_pixels_in_flight,
            threads=self.threads,
        )

    @torch.inference_mode()
    def parameter_maps(
        self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Full-res params [H, W] by name, as `translate` would apply them."""
        params = upsample_params(self.low_res_params(image, key, train_ids), image.shape[:2])[0]
        return dict(zip(self.predictor.function.names, params.numpy(), strict=True))

    @torch.inference_mode()
    def low_res_params(self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None) -> Tensor:
        """Params [1, P, h, w] at the prediction resolution, as `translate` would apply them.

        Raises:
            DataError: these weights need labels, and there is none.
        """
        size, look = self.predictor.config.prediction_size, self.look(key)
        classes = None
        if self.needs_label:
            if train_ids is None:
                raise DataError(
                    f"{key} has no label; expected one, for these weights look at labels: pack the dataset with labels"
                )
            shares = class_shares(train_ids, self.label_space.num_classes, size)
            classes = torch.from_numpy(shares)[None].float().div(255)
        low = torch.from_numpy(codec.resize_image(image, size)).permute(2, 0, 1)[None].float().div(255)
        params = self.predictor(low, label_classes=classes, styles=torch.tensor([look.style]))
        style, refinement = self.predictor.split_params(params)
        refinement = self.predictor.refinement.with_strength(refinement, look.refinement)
        return self.predictor.function.with_strength(torch.cat((style, refinement), 1), self.strength)

    def look(self, key: str) -> Look:
        """The style and the strength of the refinement that an image gets."""
        look = drawn_look(key, self.draw, self.refinement or self.predictor.config.style.refinement)
        if self.style is None:
            return look
        return look._replace(style=self.predictor.config.style_keys.index(self.style))
