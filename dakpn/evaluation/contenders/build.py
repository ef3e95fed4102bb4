"""Contenders from their configs: what they need is read here, and only what they need."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.config import (
    ChainConfig,
    ContenderConfig,
    CutConfig,
    CycleGanConfig,
    EvaluateConfig,
    FourierConfig,
    HistogramMatchingConfig,
    KernelPredictionConfig,
    PerturbationConfig,
    RealOnlyConfig,
    ReinhardConfig,
    SelfTrainingConfig,
    SourceOnlyConfig,
    StoredConfig,
)
from dakpn.config.contenders import SEED_PLACEHOLDER
from dakpn.datasets import manifest
from dakpn.errors import UsageError
from dakpn.evaluation.baselines import Generated
from dakpn.evaluation.baselines.store import trained_baseline
from dakpn.evaluation.contender import Contender
from dakpn.evaluation.contenders.recoloring import Fourier, HistogramMatching, Reinhard, Unchanged
from dakpn.evaluation.contenders.translators import Chain, KernelPrediction, Perturbation, Stored
from dakpn.evaluation.image_sets import content_digest, is_packed, read_images
from dakpn.models.precision import CPU
from dakpn.models.weights import load_predictor
from dakpn.segmentation.examples import labelled_index
from dakpn.translation.translator import Translator


@dataclass(frozen=True)
class ContenderFactory:
    """Builds the contenders of one evaluation for one seed.

    Attributes:
        config: Config of the evaluation.
        seed: Seed of the cell; fills the placeholder in URIs and names the baselines trained for it.
        device: that contenders compute on; histogram matching and stored images stay on the CPU.
    """

    config: EvaluateConfig
    seed: int
    device: torch.device = CPU

    @cached_property
    def references(self) -> NDArray[np.uint8]:
        """All real images at the size at which contenders translate, uint8 [K, H, W, 3]."""
        if self.config.real is None:
            raise UsageError("a contender needs real images to aim at; set `real` to the URI of a packed dataset")
        return np.stack(
            list(read_images(self.config.real, self.config.image_size, self.config.memory_gigabytes).values())
        )

    def build(self, contender: ContenderConfig) -> Contender:
        """The contender.

        Raises:
            UsageError: what it needs is not there.
            WeightsError: its weights cannot be used.
            DataError, StorageError: its images cannot be read.
        """
        match contender:
            case SourceOnlyConfig():
                return Unchanged()
            case ReinhardConfig():
                return Reinhard(self.references, device=self._device)
            case HistogramMatchingConfig():
                return HistogramMatching(self.references)
            case FourierConfig():
                return Fourier(self.references, contender.band, device=self._device)
            case PerturbationConfig():
                return Perturbation(contender.max_sigma, contender.max_noise, device=self.device)
            case KernelPredictionConfig():
                strength = None if contender.strength == "random" else contender.strength
                return KernelPrediction(self._translator(contender), strength)
            case StoredConfig():
                uri = at_seed(contender.uri, self.seed)
                return Stored(read_images(uri, self.config.image_size), uri)
            case ChainConfig():
                return Chain([self.build(part) for part in contender.parts])
            case CycleGanConfig() | CutConfig():
                return Generated(trained_baseline(self.config, contender, self.seed, self.device))
            case RealOnlyConfig() | SelfTrainingConfig():
                raise UsageError(
                    f"a contender of kind {contender.kind} translates nothing itself; leave it out of chains and "
                    "measures"
                )

    @property
    def _device(self) -> torch.device | None:
        return None if self.device.type == "cpu" else self.device

    def _translator(self, contender: KernelPredictionConfig) -> Translator:
        uri = at_seed(contender.weights, self.seed)
        translator = Translator.load(uri, device=str(self.device), refinement=contender.refinement)
        if translator.needs_label and self.config.synthetic is not None:
            classes = labelled_index(self.config.synthetic)[0].class_names
            if classes != translator.labels.class_names:
                raise UsageError(
                    f"{self.config.synthetic} has the classes {', '.join(classes)}; expected those of the weights "
                    f"{uri}: {', '.join(translator.labels.class_names)}"
                )
        return translator


def at_seed(uri: str, seed: int) -> str:
    """The URI with its placeholder filled."""
    return uri.replace(SEED_PLACEHOLDER, str(seed))


def has_own_labels(uri: str) -> bool:
    """Whether stored images bring labels: then they need no synthetic dataset."""
    return is_packed(uri) and manifest.read_index(uri).labelled


def content_digests(contender: ContenderConfig, seed: int) -> list[str]:
    """Digests of what a contender reads beside the evaluation's own datasets.

    Raises:
        UsageError, WeightsError: it is not there.
    """
    match contender:
        case StoredConfig():
            uri = at_seed(contender.uri, seed)
            return [content_digest(uri)]
        case KernelPredictionConfig():
            return [load_predictor(at_seed(contender.weights, seed))[2]]
        case SelfTrainingConfig():
            return content_digests(contender.images, seed)
        case ChainConfig():
            return [digest for part in contender.parts for digest in content_digests(part, seed)]
        case _:
            return []
