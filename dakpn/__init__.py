"""dakpn: synthetic-to-real image translation that keeps every label exact.

The names below are what most programs need; they stay as they are within a minor version, and everything else may move.
Each is loaded when it is first asked for, so that `import dakpn` costs nothing: `SegmentationDataset` and `load_preset`
never load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dakpn.datasets.segmentation_dataset import SegmentationDataset
    from dakpn.sources.preset import load_preset
    from dakpn.training.trainer import Trainer
    from dakpn.translation.on_the_fly import TranslatingDataset
    from dakpn.translation.translator import Translator

__version__ = "0.2.0"

__all__ = ["SegmentationDataset", "Trainer", "TranslatingDataset", "Translator", "load_preset"]

_MODULES = {
    "SegmentationDataset": "dakpn.datasets.segmentation_dataset",
    "Trainer": "dakpn.training.trainer",
    "TranslatingDataset": "dakpn.translation.on_the_fly",
    "Translator": "dakpn.translation.translator",
    "load_preset": "dakpn.sources.preset",
}


def __getattr__(name: str) -> Any:
    """Load a public name, once. Raises `AttributeError` for any other."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
