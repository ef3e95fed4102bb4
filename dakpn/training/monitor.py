"""Alarms: a training that goes wrong says so, and what to do, instead of leaving a bad model in silence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from dakpn.config import HealthConfig
from dakpn.models.color import rgb_to_hsv
from dakpn.models.translation import TranslationFunction

Player = Literal["predictor", "discriminator"]
_NEAR = 0.01
_LEVEL = 0.5 / 255
_COLOURFUL = 0.1
"""Range of an RGB pixel's channels from which on its hue means something."""


@dataclass(frozen=True)
class Alarm:
    """An alarm that rang.

    Attributes:
        name: field of `HealthConfig`.
        step: at which it rang.
        value, threshold: of its metric.
        action: what was done.
        advice: what it means and what to do, in a sentence.
    """

    name: str
    step: int
    value: float
    threshold: float
    action: str
    advice: str

    def __str__(self) -> str:
        """One sentence for people."""
        return (
            f"alarm {self.name} at step {self.step}: {self.value:.3g}, threshold {self.threshold:g}; {self.advice} "
            f"(action: {self.action})"
        )


class HealthMonitor:
    """Watches the reports of one stage; part of the train state, so that a resumed run rings at the same steps."""

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self._streaks: dict[str, int] = {}

    def watch(self, step: int, metrics: dict[str, float]) -> list[Alarm]:
        """The alarms that ring at this report: each after `patience` reports in a row, and again after as many."""
        ringing = []
        for name, sign in _SIGNS.items():
            limit = getattr(self.config, name)
            values = [value for metric, value in metrics.items() if metric.partition("/")[0] == sign.metric]
            if not values or limit.action == "off":
                continue
            value = sign.measure(values)
            beyond = value <= limit.threshold if sign.rings_below else value >= limit.threshold
            self._streaks[name] = self._streaks.get(name, 0) + 1 if beyond else 0
            if beyond and self._streaks[name] % self.config.patience == 0:
                ringing.append(Alarm(name, step, value, limit.threshold, limit.action, sign.advice))
        return ringing

    def player_of(self, alarm: Alarm) -> Player | None:
        """Whose learning rate the alarm is about; None if nobody's."""
        return _SIGNS[alarm.name].player

    def state_dict(self) -> dict[str, Any]:
        """How many reports in a row were beyond each threshold."""
        return dict(self._streaks)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from `state_dict`."""
        self._streaks = dict(state)


@torch.no_grad()
def translation_signs(
    before: Tensor, after: Tensor, params: Tensor, function: TranslationFunction
) -> dict[str, Tensor]:
    """Signs of a translation gone wrong, as scalars for the log: shares 0..1.

    Args:
        before: images [B, 3, H, W] in 0..1, in their new style if there are styles.
        after: the same, as the head's params change them.
        params: [B, P, h, w] of the function.
        function: its bounds count.
    """
    clipped = [((image < _LEVEL) | (image > 1 - _LEVEL)).any(1) for image in (before, after)]
    hues = [rgb_to_hsv(image)[:, 0] for image in (before, after)]
    turned = (hues[0] - hues[1]).abs()
    colourful = [image.amax(1) - image.amin(1) > _COLOURFUL for image in (before, after)]
    inverted = (torch.minimum(turned, 1 - turned) > 0.25) & colourful[0] & colourful[1]
    return {
        "saturated_pixels": (clipped[1] & ~clipped[0]).float().mean(),
        "inverted_hue": inverted.float().mean(),
        "params_at_bounds": _share_at_bounds(params, function),
    }


def _share_at_bounds(params: Tensor, function: TranslationFunction) -> Tensor:
    low, high, identity = (
        torch.tensor(values, dtype=params.dtype, device=params.device).view(-1, 1, 1)
        for values in (function.low, function.high, function.identity)
    )
    margin = _NEAR * (high - low)
    # A blur or noise of zero is at its bound and does no harm.
    at_low = (params < low + margin) & (identity > low + margin)
    at_high = (params > high - margin) & (identity < high - margin)
    free = (high > low).float().expand_as(params)
    return ((at_low | at_high) * free).sum() / free.sum().clamp(min=1)


class _Sign(NamedTuple):
    """How an alarm looks at the metrics.

    Attributes:
        metric: name before the slash.
        measure: of all metrics of that name.
        player: whose learning rate `lower_learning_rate` lowers.
        advice: what it means and what to do.
        rings_below: at small values.
    """

    metric: str
    measure: Callable[[list[float]], float]
    player: Player | None
    advice: str
    rings_below: bool = False


_SIGNS = {
    "discriminator_wins": _Sign(
        "discriminator_accuracy",
        max,
        "discriminator",
        "a discriminator is hardly ever wrong, so the predictor learns little from it: lower "
        "adversarial.discriminator_learning_rate or raise adversarial.r1_weight",
    ),
    "discriminator_guesses": _Sign(
        "discriminator_accuracy",
        lambda accuracies: max(abs(accuracy - 0.5) for accuracy in accuracies),
        "predictor",
        "the discriminators do no better than guessing, so the predictor is led nowhere: raise "
        "adversarial.discriminator_learning_rate or lower adversarial.predictor_learning_rate",
        rings_below=True,
    ),
    "saturated_pixels": _Sign(
        "saturated_pixels",
        max,
        "predictor",
        "the translation drives pixels to black, white or a pure colour: lower "
        "adversarial.predictor_learning_rate, raise adversarial.identity_weight or narrow the bounds in translation",
    ),
    "inverted_hue": _Sign(
        "inverted_hue",
        max,
        "predictor",
        "the translation turns colours into others: lower adversarial.predictor_learning_rate, raise "
        "adversarial.identity_weight or narrow the hue's bounds in translation",
    ),
    "params_at_bounds": _Sign(
        "params_at_bounds",
        max,
        "predictor",
        "transform params are stuck at their bounds, where they hardly learn: widen the bounds in translation, or "
        "lower adversarial.predictor_learning_rate",
    ),
    "data_wait_share": _Sign(
        "data_wait_share",
        max,
        None,
        "training waits for data: give the job more CPUs, raise stream.prefetch_batches or pack smaller images",
    ),
}
