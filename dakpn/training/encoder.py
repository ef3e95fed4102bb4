"""What the encoder's part of a training consists of: its rounds, the style bank collected by it, and its kept logits.

The encoder is trained on synthetic images as they are, then in the colors of real ones: one that has seen synthetic
images alone guesses the classes of real ones badly, and the style bank is collected by its guesses. Trained again on
synthetic images in the colors of that bank, with their exact labels, it guesses better, and collects a better bank. No
real label is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from dakpn import storage
from dakpn.config import LabAffineConfig, StyleConfig
from dakpn.datasets.stream import Arrays
from dakpn.errors import TrainingError
from dakpn.models.function.stages.color import LabAffine
from dakpn.models.segmenters.segmenter import Segmenter
from dakpn.models.style import ColorMoments, StyleBank, affine_towards, color_moments
from dakpn.training.run_folder import RunFolder

ENCODER_STAGE = "encoder"
_MOMENTS, _KEYS = "moments.safetensors", "keys.json"


@dataclass(frozen=True)
class EncoderRound:
    """One training of the encoder.

    Attributes:
        stage: its name in metrics and checkpoints.
        weights: URI of the segmenter that it makes.
        styles: URI of the style bank collected with that; none for the last round, whose bank is the predictor's.
        colors: URI of the style bank that its images take their colors from; none for images as they are.
    """

    stage: str
    weights: str
    styles: str | None
    colors: str | None


def encoder_rounds(folder: RunFolder, adaptation_rounds: int) -> list[EncoderRound]:
    """The first round and as many more; the last one makes the run's encoder."""
    rounds, colors = [], None
    for number in range(adaptation_rounds + 1):
        stage = ENCODER_STAGE if number == 0 else f"{ENCODER_STAGE}-{number}"
        last = number == adaptation_rounds
        before = folder.encoder_round(number)
        styles = None if last else before.styles
        rounds.append(EncoderRound(stage, folder.encoder if last else before.encoder, styles, colors))
        colors = styles
    return rounds


class Recoloring:
    """Gives images, class by class by their labels, the colors of a drawn real image each.

    Args:
        moments: Moments of K real images, [K, ...].
        config: how styles are matched.
        device: Device of the images.
    """

    def __init__(self, moments: ColorMoments, config: StyleConfig, device: torch.device) -> None:
        self._config = config
        self._affine = LabAffine(LabAffineConfig(max_gain=config.max_gain))
        self._bank = StyleBank(*moments.class_mass.shape)
        self._bank.fill(moments)
        self._bank.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Recolor images with real ones drawn by torch's default generator.

        Args:
            images: float [B, 3, h, w] in 0..1.
            labels: int64 [B, h, w] of train ids.

        Returns:
            float [B, 3, h, w] in 0..1.
        """
        styles = torch.randint(len(self._bank), (len(images),)).to(images.device, non_blocking=True)
        classes = self._bank.get_buffer("class_mass").shape[1]
        shares = (labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]).float()
        params = affine_towards(self._bank(styles), color_moments(images, shares), shares, self._config)
        return self._affine.apply(images, params, images).clamp(0, 1)


@torch.no_grad()
def collect_styles(uri: str, examples: Iterable[Arrays], encoder: Segmenter) -> None:
    """Write the color moments and keys of real images; the classes in them are the encoder's guess.

    Args:
        uri: URI of the folder to write; see `read_styles`.
        examples: Examples of the real images, from `training_decode.style_decoder`, in blocks of any size.
        encoder: the frozen source segmenter, in eval mode.
    """
    device = next(encoder.parameters()).device
    keys: list[str] = []
    moments: list[ColorMoments] = []
    for block in examples:
        keys.extend(map(str, block["key"]))
        # Image by image, so that the moments do not depend on how the images come together.
        for image in block["low"]:  # Ray's arrays cannot be written, which torch warns of: so copies
            low = torch.tensor(image[None], device=device).float().div_(255)
            moments.append(color_moments(low, encoder(low).softmax(1)))
    tensors = {
        name: torch.cat([getattr(entry, name) for entry in moments]).cpu().contiguous() for name in ColorMoments._fields
    }
    storage.write_bytes(storage.join(uri, _MOMENTS), save(tensors))
    storage.write_json(storage.join(uri, _KEYS), keys)


def has_styles(uri: str) -> bool:
    """Whether `collect_styles` finished here."""
    return storage.exists(storage.join(uri, _KEYS))


def copy_styles(uri: str, to: str) -> None:
    """Copy what `collect_styles` wrote; nothing if there is nothing, or if it is there already."""
    if not has_styles(uri) or has_styles(to):
        return
    for name in (_MOMENTS, _KEYS):  # the mark that it is whole goes last
        storage.write_bytes(storage.join(to, name), storage.read_bytes(storage.join(uri, name)))


def read_styles(uri: str) -> tuple[Sequence[str], ColorMoments]:
    """The keys of the real images and their moments [K, ...]. Raises `TrainingError` if damaged."""
    try:
        keys = storage.read_json(storage.join(uri, _KEYS))
        tensors = load(storage.read_bytes(storage.join(uri, _MOMENTS)))
        return keys, ColorMoments(**tensors)
    except (TypeError, ValueError, safetensors.SafetensorError) as error:
        raise TrainingError(
            f"the style bank {uri} is damaged ({error}); expected {_MOMENTS} and {_KEYS}: delete the folder and run "
            "the same command again"
        ) from error


class LogitCache:
    """The frozen encoder's coarse logits by image, fp16 in host memory, kept from epoch to epoch.

    Low-res images are not augmented, so their logits never change. When full it keeps what it has: in shuffled epochs
    every image is as likely to come next as any other. An image goes through the encoder alone, and every answer
    through fp16, so that an answer depends neither on the rest of the batch nor on what is cached, and a resumed run
    equals an uninterrupted one.

    Attributes:
        held_bytes: memory taken, at most `max_bytes`.
        hits, misses: images answered so far.
    """

    def __init__(self, encoder: Segmenter, max_bytes: int) -> None:
        self._encoder = encoder
        self._max_bytes = max_bytes
        self._held: dict[int, Tensor] = {}
        self.held_bytes = self.hits = self.misses = 0

    @torch.no_grad()
    def coarse_logits(self, images: Tensor, numbers: Tensor) -> Tensor:
        """The encoder's coarse logits float [B, C, h', w'], on the device of the images.

        Args:
            images: float [B, 3, h, w] in 0..1.
            numbers: int64 [B], from `dakpn.datasets.training_decode.key_number`; the same number means the same image.
        """
        pairs = zip(images.split(1), numbers.tolist(), strict=True)
        return torch.cat([self._one(image, number) for image, number in pairs]).to(images.device).float()

    def _one(self, image: Tensor, number: int) -> Tensor:
        if number in self._held:
            self.hits += 1
            return self._held[number]
        self.misses += 1
        logits = self._encoder.coarse_logits(image).half().cpu()
        if self.held_bytes + logits.nbytes <= self._max_bytes:
            self._held[number] = logits
            self.held_bytes += logits.nbytes
        return logits
