"""SegFormer by way of the optional package `transformers`, which is imported when a network is built."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError
from torch import Tensor

from dakpn.config import SegformerConfig
from dakpn.errors import UsageError, WeightsError
from dakpn.models.segmenters.segmenter import ImagenetNormalization, Segmenter

LEAST_SIDE = 29
"""Pixels: smaller images vanish on their way through the four stages."""
_BLOCKS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}


class Segformer(Segmenter):
    """Mix Transformer B0 to B5 with the all-MLP decoder, output stride 4. Images have `LEAST_SIDE` pixels or more.

    Source: Xie et al. 2021, table 6.
    """

    def __init__(self, config: SegformerConfig, num_classes: int) -> None:
        super().__init__()
        transformers = _transformers()
        self.normalize = ImagenetNormalization()
        small = config.variant == "b0"
        architecture = transformers.SegformerConfig(
            depths=_BLOCKS[config.variant],
            hidden_sizes=(32, 64, 160, 256) if small else (64, 128, 320, 512),
            decoder_hidden_size=256 if config.variant in ("b0", "b1") else 768,
            num_labels=num_classes,
        )
        self.model = transformers.SegformerForSemanticSegmentation(architecture)

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits at stride 4."""
        return self.model(pixel_values=self.normalize(images)).logits


def start_from_hub_folder(network: Segformer, folder: Path) -> None:
    """Load weights from a local folder in the layout of the Hugging Face hub; nothing is ever downloaded.

    What the folder lacks, and a classifier of another number of classes, starts anew.

    Raises:
        WeightsError: missing, damaged, or of another variant.
    """
    transformers = _transformers()
    wanted = network.model.config
    expected = "expected a local folder with the config.json and model.safetensors of a SegFormer"
    if not (folder / "config.json").is_file():
        raise WeightsError(f"pretrained weights {folder} are not there; {expected}")
    try:
        found = transformers.SegformerConfig.from_pretrained(folder, local_files_only=True)
        for name in ("depths", "hidden_sizes", "decoder_hidden_size"):
            theirs, ours = _plain(getattr(found, name)), _plain(getattr(wanted, name))
            if theirs != ours:
                raise WeightsError(f"pretrained weights {folder} have {name} {theirs}, not {ours}; change `variant`")
        network.model = transformers.SegformerForSemanticSegmentation.from_pretrained(
            folder, num_labels=wanted.num_labels, ignore_mismatched_sizes=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"pretrained weights {folder} cannot be used ({error}); {expected}") from error


def require_transformers() -> None:
    """Raise `UsageError` unless the package is installed."""
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            "the network `segformer` needs the package transformers, which is not installed: "
            "pip install 'dakpn[transformers]'"
        )


def _transformers() -> ModuleType:
    require_transformers()
    return importlib.import_module("transformers")


def _plain(value: int | list[int] | tuple[int, ...]) -> int | list[int]:
    return value if isinstance(value, int) else list(value)
