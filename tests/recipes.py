"""The training recipes that are shipped in `workflows/configs`."""

from pathlib import Path

import workflows
from dakpn.config import PredictorConfig, TrainConfig
from dakpn.config_file import load_config
from dakpn.models.function.translation import TranslationFunction
from dakpn.models.predictor import KernelPredictor

_FOLDER = Path(workflows.__file__).parent / "configs"
RECIPES = sorted(path for path in _FOLDER.rglob("*.yaml") if not path.stem.endswith(("_evaluation", "_pack")))
"""All that train something: whatever is no evaluation and no packing."""
_WIDTH = 1914
"""Of GTA5's images, in pixels."""
_URIS = ("run=RUN", "synthetic=SYNTHETIC", "real=REAL")


def recipe_config(path: Path, num_classes: int = 19) -> PredictorConfig:
    """What a recipe trains, on a small encoder where it has a large one, which its params do not depend on."""
    config = load_config(TrainConfig, path, (*_URIS, "encoder.network={kind: small}"), leave_out=("tune",))
    styles = ("dusk", "noon") if config.style.kind != "none" else ()
    return config.predictor(config.encoder.network, num_classes, styles, _WIDTH)


def recipe_function(path: Path) -> TranslationFunction:
    """The whole translation function of a recipe, the style affine included."""
    return KernelPredictor(recipe_config(path)).function
