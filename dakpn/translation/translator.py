"""Translate single images with trained weights."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.config import ParamsPrecision, TranslateConfig
from dakpn.datasets.class_shares import class_shares, label_shares
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import DatasetIndex
from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.models.function.apply import DEFAULT_PIXELS_IN_FLIGHT, translate_image, translate_on_device
from dakpn.models.function.noise import noise_seed, signed_seed
from dakpn.models.function.translation import upsample_params
from dakpn.models.predictor import ImageFeatures, KernelPredictor
from dakpn.models.style import Look, drawn_look
from dakpn.models.weights import load_predictor
from dakpn.models.weights_facts import job_labels, require_style
from dakpn.translation.on_device import Returning, sent, shares_of, shrunk
from dakpn.translation.stored_features import as_stored

logger = logging.getLogger(__name__)


Bytes = NDArray[np.uint8] | Tensor
"""An array here, or what `Translator.send` made of it."""
Translated = Callable[[], NDArray[np.uint8]]
"""Waits for a translated image, uint8 [H, W, 3]; raises `WeightsError` if its params were not finite."""


class EncoderInput(NamedTuple):
    """An image uint8 [H, W, 3], its key, and its label's class shares where the weights look at labels.

    These are uint8 [C, h, w] at the prediction size, see `Translator.label_shares`.
    """

    image: Bytes
    key: str
    shares: Bytes | None = None


@dataclass(frozen=True)
class Translator:
    """Translates images; the same weights, key, draw and settings always give the same bytes.

    Example:
        ```python
        translator = Translator.load("runs/mine/weights")
        train_ids = translator.train_ids(label_bytes, "0001")
        translated = translator.translate(image, "0001", train_ids)  # uint8 [H, W, 3], as the image
        ```

    Attributes:
        predictor: The network, in eval mode.
        labels: what the ids in label files mean; its classes are the predictor's.
        weights_digest: Digest of the weights it was loaded from.
        strength: How far images are translated, 0 (identity) to 1.
        refinement: range of the strength of the head's params on top of the style; None: the weights' own.
        style: key of the real image whose style all images take; None: each draws one.
        draw: number of the draw of style, refinement and noise.
        precision: that the encoder's logits are rounded to, as stored params are.
        encoder_batch: images that the encoder sees at a time; fewer are filled up to it.
        max_pixels_in_flight: bounds the memory that one image takes.
        threads: CPU threads for one image.

    The predictor's device does all the work. On a GPU the torch form of the function runs, whose bytes can differ from
    the fused CPU form's by one grey level. An image crosses the bus once in bytes, and comes back in bytes; nothing
    waits for the device but who wants the image. How long that takes was not measured on a GPU. Images go one by one:
    the kernels of one of 1914 x 1052 take longer than their launches, so that a batch of them would gain nothing.
    """

    predictor: KernelPredictor
    labels: LabelSpace
    weights_digest: str
    strength: float = 1.0
    refinement: tuple[float, float] | None = None
    style: str | None = None
    draw: int = 0
    precision: ParamsPrecision = "float16"
    encoder_batch: int = 1
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT
    threads: int = 1

    @classmethod
    def load(cls, weights_uri: str, *, device: str = "cpu", **settings: Any) -> Self:
        """Load predictor weights; `settings` are this class's attributes from `strength` on.

        Labels are taken to have the ids of the dataset that the weights were trained on.

        Raises:
            WeightsError: the weights cannot be used.
            UsageError: they do not know the style, or the device is not there.
        """
        chosen = _available(device)
        predictor, labels, digest = load_predictor(weights_uri)
        translator = cls(predictor.for_inference().to(chosen), labels, digest, **settings)
        require_style(weights_uri, translator.style, predictor.config.style_keys)
        return translator

    @classmethod
    def load_without_encoder(cls, weights_uri: str, **settings: Any) -> Self:
        """Load what `translate_known` needs, on the CPU; arguments and errors as for `load`."""
        predictor, labels, digest = load_predictor(weights_uri)
        translator = cls(predictor.without_encoder(), labels, digest, **settings)
        require_style(weights_uri, translator.style, predictor.config.style_keys)
        return translator

    @classmethod
    def of_job(cls, config: TranslateConfig, index: DatasetIndex, device: str | None = None) -> Self:
        """Load what a translation job needs for the dataset with this index.

        Args:
            config: of the job.
            index: of its input.
            device: None: that of the job's workers. A process that has none of their GPUs says "cpu".

        Raises:
            WeightsError: the weights cannot be used.
            UsageError: the dataset lacks labels, or has other classes than the weights; or they do not know the style.
        """
        translator = cls.load(
            config.weights,
            strength=config.strength,
            refinement=config.refinement,
            style=config.style,
            draw=config.draw,
            precision=config.precision,
            encoder_batch=config.encoder_batch,
            max_pixels_in_flight=config.max_pixels_in_flight,
            device=device or ("cuda" if config.num_gpus else "cpu"),
        )
        return translator.for_dataset(index, config.input)

    def for_dataset(self, index: DatasetIndex, uri: str) -> Self:
        """This translator for labels of the dataset with this index; `uri` is named in errors.

        Raises:
            UsageError: the dataset lacks labels that are looked at, or has other classes than the weights.
        """
        return replace(self, labels=job_labels(index, uri, self.labels, self.needs_label))

    @property
    def needs_label(self) -> bool:
        """Whether images are translated together with their labels."""
        return self.predictor.config.head.needs_label

    @property
    def device(self) -> torch.device:
        """Where images are translated."""
        return self.predictor.head.weight.device

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
        one = EncoderInput(self.send(image), key, self._shares(train_ids))
        return self.begin(one, as_stored(self.features_of_batch([one])[0], self.precision))()

    def features(self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None) -> ImageFeatures:
        """All that the params need to know of an image, not rounded; arguments as for `translate`."""
        return self.features_of_batch([EncoderInput(self.send(image), key, self._shares(train_ids))])[0]

    @overload
    def send(self, array: NDArray[np.uint8]) -> Bytes: ...
    @overload
    def send(self, array: None) -> None: ...
    @overload
    def send(self, array: NDArray[np.uint8] | None) -> Bytes | None: ...
    def send(self, array: NDArray[np.uint8] | None) -> Bytes | None:
        """An image or class shares where `features_of_batch` and `begin` want them, as they are on a CPU."""
        return sent(array, self.device) if self._sends and array is not None else array

    @torch.inference_mode()
    def features_of_batch(self, batch: Sequence[EncoderInput]) -> list[ImageFeatures]:
        """The `features` of 1 to `encoder_batch` images, of whatever sizes.

        The encoder always sees as many images, black ones where there are fewer, for its sums may be taken in another
        order in a batch of another size. So an image's features do not depend on those beside it.

        Raises:
            DataError: these weights need labels, and one is missing.
        """
        low = torch.cat([self._low(one.image) for one in batch])
        filled = torch.cat((low, low.new_zeros(self.encoder_batch - len(batch), *low.shape[1:])))
        coarse = self.predictor.coarse_logits(filled)
        logits = [None] * len(batch) if coarse is None else coarse.split(1)[: len(batch)]
        return [
            self.predictor.image_features(image, self._label_classes(one.key, one.shares), guess)
            for image, one, guess in zip(low.split(1), batch, logits, strict=True)
        ]

    @torch.inference_mode()
    def translate_known(
        self, image: NDArray[np.uint8], features: ImageFeatures, key: str, shares: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Translate an image with these `features`, which are not rounded here; needs no encoder.

        `shares` are those of its label, as `EncoderInput` has them.
        """
        return self.begin(EncoderInput(self.send(image), key, self.send(shares)), features)()

    @torch.inference_mode()
    def begin(self, one: EncoderInput, features: ImageFeatures) -> Translated:
        """Begin what `translate_known` does; the device goes on while the image is not asked for."""
        params = self._params(features, self._label_classes(one.key, one.shares), one.key)
        seed, bound = noise_seed(one.key, self.draw), self.max_pixels_in_flight
        function, image = self.predictor.function, one.image
        if isinstance(image, Tensor):
            translated = translate_on_device(function, image, params, seed, max_pixels_in_flight=bound)
            return Returning(translated, params)
        output = translate_image(function, image, params, seed, max_pixels_in_flight=bound, threads=self.threads)
        return lambda: output

    @torch.inference_mode()
    def parameter_maps(
        self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Full-res params [H, W] by name, as `translate` would apply them."""
        params = upsample_params(self.low_res_params(image, key, train_ids), image.shape[:2])[0]
        return dict(zip(self.predictor.function.names, params.cpu().numpy(), strict=True))

    @torch.inference_mode()
    def low_res_params(self, image: NDArray[np.uint8], key: str, train_ids: NDArray[np.uint8] | None = None) -> Tensor:
        """Params [1, P, h, w] at the prediction resolution, as `translate` would apply them.

        Raises:
            DataError: these weights need labels, and there is none.
        """
        one = EncoderInput(self.send(image), key, self._shares(train_ids))
        features = as_stored(self.features_of_batch([one])[0], self.precision)
        return self._params(features, self._label_classes(key, one.shares), key)

    def train_ids(self, label: bytes | None, origin: str) -> NDArray[np.uint8] | None:
        """What `translate` needs of an encoded label: uint8 [H, W], or None if these weights do not look at labels.

        Raises:
            DataError: the label is missing or cannot be decoded, or has an id without a meaning.
        """
        if not self.needs_label:
            return None
        if label is None:
            raise DataError(f"{origin} has no label; expected one, for these weights look at labels: pack it again")
        return self.labels.to_train_ids(codec.decode_label(label, origin), origin)

    def label_shares(self, label: bytes | None, origin: str) -> NDArray[np.uint8] | None:
        """What `translate_known` needs of an encoded label, as `EncoderInput` has it; None where labels do not matter.

        Raises:
            DataError: as for `train_ids`.
        """
        if not self.needs_label or label is None:
            self.train_ids(label, origin)  # raises where a label is needed
            return None
        decoded = codec.decode_label(label, origin)
        return label_shares(decoded, self.labels, self.predictor.config.prediction_size, origin)

    def look(self, key: str) -> Look:
        """The style and the strength of the refinement that an image gets."""
        look = drawn_look(key, self.draw, self.refinement or self.predictor.config.style.refinement)
        if self.style is None:
            return look
        return look._replace(style=self.predictor.config.style_keys.index(self.style))

    @property
    def _sends(self) -> bool:
        """Whether images and labels go to another device before anything is computed."""
        return self.device.type != "cpu"

    def _low(self, image: Bytes) -> Tensor:
        """The image as the predictor takes it, [1, 3, h, w]."""
        if isinstance(image, Tensor):
            return shrunk(image, self.predictor.config.prediction_size)
        low = codec.resize_image(image, self.predictor.config.prediction_size)
        return torch.from_numpy(low).permute(2, 0, 1)[None].float().div(255)

    def _shares(self, train_ids: NDArray[np.uint8] | None) -> Bytes | None:
        if train_ids is None or not self.needs_label:
            return None
        classes, size = self.labels.num_classes, self.predictor.config.prediction_size
        ids = self.send(train_ids)
        return shares_of(ids, classes, size) if isinstance(ids, Tensor) else class_shares(ids, classes, size)

    def _label_classes(self, key: str, shares: Bytes | None) -> Tensor | None:
        """The label as the predictor takes it, uint8 [1, C, h, w]. Raises `DataError` if it is needed and missing."""
        if not self.needs_label:
            return None
        if shares is None:
            raise DataError(
                f"{key} has no label; expected one, for these weights look at labels: pack the dataset with labels"
            )
        return (shares if isinstance(shares, Tensor) else torch.from_numpy(shares))[None]

    def _style(self, key: str) -> Tensor:
        return torch.full((1,), self.look(key).style, device=self.device)

    def _seed(self, key: str) -> Tensor:
        return torch.full((1,), signed_seed(noise_seed(key, self.draw)), dtype=torch.int64, device=self.device)

    def _params(self, features: ImageFeatures, classes: Tensor | None, key: str) -> Tensor:
        """Params at the strengths of the image's look and of the whole translation."""
        params = self.predictor.params_of(features, label_classes=classes, styles=self._style(key))
        _, refinement = self.predictor.split_params(params)
        strong = self.predictor.refinement.with_strength(refinement, self.look(key).refinement)
        refinement[:] = self.predictor.refinement.with_drawn(strong, self._seed(key))
        return self.predictor.function.with_strength(params, self.strength)


def device_at_hand(config: TranslateConfig) -> str:
    """The device of a job's workers, or the CPU where this process has no GPU; then a warning says so."""
    if not config.num_gpus:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    logger.warning(
        "the job's workers translate on GPUs and this process has none: it takes the CPU, which is slower and differs "
        "by up to one grey level"
    )
    return "cpu"


def _available(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} cannot be used ({error}); expected 'cpu', or 'cuda' with a GPU and a CUDA build of torch"
        ) from error
