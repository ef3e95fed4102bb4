"""Model cards: what is known of weights, kept beside them."""

from collections.abc import Mapping, Sequence

from dakpn.config import TrainConfig
from dakpn.datasets.label_space import LabelSpace
from dakpn.training.monitor import Alarm

ENCODER_CARD = """# Source segmenter trained by dakpn

A segmentation network trained on the synthetic images; the frozen encoder of a kernel predictor.
"""


def predictor_card(
    config: TrainConfig,
    label_space: LabelSpace,
    digests: Mapping[str, str],
    metrics: Mapping[str, float],
    alarms: Sequence[Alarm],
) -> str:
    """The card of a trained predictor, in Markdown.

    Args:
        config: Config of the run.
        label_space: Classes of the synthetic dataset.
        digests: Digests of what it was trained from, by name.
        metrics: Metrics of the last report.
        alarms: that rang while it trained.
    """
    return f"""# Kernel predictor trained by dakpn

Translates synthetic images towards a real domain. Only per-pixel color, blur and noise change; labels stay exact.
Use it with `dakpn translate --weights FOLDER --input URI --output URI`.

## Training data

- synthetic domain: `{config.synthetic}`
- real domain: `{config.real}` (images only)
- classes: {", ".join(label_space.class_names)}
{_listed({f"digest of the {name}": f"`{digest}`" for name, digest in digests.items()})}

## Training

- {_played(config.adversarial.steps)}
- seed {config.seed}; the whole config is in `config.yaml` of the run
{_listed({f"{name} at the end": f"{value:.4g}" for name, value in sorted(metrics.items())})}

## Alarms

{_alarms(alarms)}

## Limits

- It was trained for images of these two domains; on others its colors mean nothing.
- What a renderer draws wrongly in shape or texture stays wrong.
- Metrics say how a training stands, not how good a downstream net gets: `dakpn evaluate` measures that.
"""


def _played(steps: int) -> str:
    if steps:
        return f"steps of the game against the discriminators: {steps}"
    return "no step of the game: nothing learned what images draw beside the style bank's colors"


def _listed(items: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in items.items())


def _alarms(alarms: Sequence[Alarm]) -> str:
    if not alarms:
        return "None rang."
    return "Look at the translated images before you use these weights.\n\n" + "\n".join(f"- {a}" for a in alarms)
