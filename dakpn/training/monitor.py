"""What is watched while a network trains: means of the loss terms, and alarms.

A training that goes wrong says so, and what to do, instead of leaving a bad model in silence.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from dakpn.config import HealthConfig
from dakpn.errors import TrainingError
from dakpn.models.function.color import channel_values, rgb_to_hsv
from dakpn.models.function.translation import TranslationFunction
from dakpn.training.data import Batch
from dakpn.training.distributed import world_size

TrainedNetwork = Literal["predictor", "discriminator"]
_B = TypeVar("_B", bound=Batch)
_NEAR = 0.01
_LEVEL = 0.5 / 255
_COLORFUL = 0.1
"""Range of an RGB pixel's channels from which on its hue means something."""


@dataclass(frozen=True)
class Alarm:
    """An alarm that rang.

    Attributes:
        name: field of `HealthConfig`.
        step: at which it rang.
        value, threshold: Value and threshold of its metric.
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
        for name, rule in _ALARM_RULES.items():
            limit = getattr(self.config, name)
            values = [value for metric, value in metrics.items() if metric.partition("/")[0] == rule.metric]
            if not values or limit.action == "off":
                continue
            value = rule.measure(values)
            beyond = value <= limit.threshold if rule.rings_below else value >= limit.threshold
            self._streaks[name] = self._streaks.get(name, 0) + 1 if beyond else 0
            if beyond and self._streaks[name] % self.config.patience == 0:
                ringing.append(Alarm(name, step, value, limit.threshold, limit.action, rule.advice))
        return ringing

    def network_of(self, alarm: Alarm) -> TrainedNetwork | None:
        """Whose learning rate the alarm is about; None if nobody's."""
        return _ALARM_RULES[alarm.name].network

    def state_dict(self) -> dict[str, Any]:
        """How many reports in a row were beyond each threshold."""
        return dict(self._streaks)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from `state_dict`."""
        self._streaks = dict(state)


@torch.no_grad()
def translation_health(
    before: Tensor, after: Tensor, params: Tensor, function: TranslationFunction
) -> dict[str, Tensor]:
    """How far a translation has gone wrong, as scalars for the log: shares 0..1.

    Args:
        before: images [B, 3, H, W] in 0..1, in their new style if there are styles.
        after: the same, as the head's params change them.
        params: [B, P, h, w] of the function.
        function: its bounds count.
    """
    clipped = [((image < _LEVEL) | (image > 1 - _LEVEL)).any(1) for image in (before, after)]
    hues = [rgb_to_hsv(image)[:, 0] for image in (before, after)]
    turned = (hues[0] - hues[1]).abs()
    colorful = [image.amax(1) - image.amin(1) > _COLORFUL for image in (before, after)]
    inverted = (torch.minimum(turned, 1 - turned) > 0.25) & colorful[0] & colorful[1]
    return {
        "saturated_pixels": (clipped[1] & ~clipped[0]).float().mean(),
        "inverted_hue": inverted.float().mean(),
        "params_at_bounds": _share_at_bounds(params, function),
    }


def _share_at_bounds(params: Tensor, function: TranslationFunction) -> Tensor:
    low, high, identity = (channel_values(v, params) for v in (function.low, function.high, function.identity))
    margin = _NEAR * (high - low)
    # A blur or noise of zero is at its bound and does no harm.
    at_low = (params < low + margin) & (identity > low + margin)
    at_high = (params > high - margin) & (identity < high - margin)
    free = (high > low).float().expand_as(params)
    return ((at_low | at_high) * free).sum() / free.sum().clamp(min=1)


class _AlarmRule(NamedTuple):
    """How an alarm looks at the metrics.

    Attributes:
        metric: name before the slash.
        measure: The value to compare, made of all metrics of that name.
        network: whose learning rate `lower_learning_rate` lowers.
        advice: what it means and what to do.
        rings_below: at small values.
    """

    metric: str
    measure: Callable[[list[float]], float]
    network: TrainedNetwork | None
    advice: str
    rings_below: bool = False


_ALARM_RULES = {
    "discriminator_wins": _AlarmRule(
        "discriminator_accuracy",
        max,
        "discriminator",
        "a discriminator is hardly ever wrong, so the predictor learns little from it: lower "
        "adversarial.discriminator_learning_rate or raise adversarial.r1_weight",
    ),
    "discriminator_guesses": _AlarmRule(
        "discriminator_accuracy",
        lambda accuracies: max(abs(accuracy - 0.5) for accuracy in accuracies),
        "predictor",
        "the discriminators do no better than guessing, so the predictor is led nowhere: raise "
        "adversarial.discriminator_learning_rate or lower adversarial.predictor_learning_rate",
        rings_below=True,
    ),
    "saturated_pixels": _AlarmRule(
        "saturated_pixels",
        max,
        "predictor",
        "the translation drives pixels to black, white or a pure color: lower "
        "adversarial.predictor_learning_rate, raise adversarial.identity_weight or narrow the bounds in translation",
    ),
    "inverted_hue": _AlarmRule(
        "inverted_hue",
        max,
        "predictor",
        "the translation turns colors into others: lower adversarial.predictor_learning_rate, raise "
        "adversarial.identity_weight or narrow the hue's bounds in translation",
    ),
    "params_at_bounds": _AlarmRule(
        "params_at_bounds",
        max,
        "predictor",
        "transform params are stuck at their bounds, where they hardly learn: widen the bounds in translation, or "
        "lower adversarial.predictor_learning_rate",
    ),
    "data_wait_share": _AlarmRule(
        "data_wait_share",
        max,
        None,
        "training waits for samples to be read, decoded and cut: give it more CPU cores, on any node of the cluster "
        "(docs/training.md says how many a GPU needs), or pack JPEG instead of PNG, or smaller images",
    ),
}


class Meter:
    """Keeps the terms of each step where they are; the only synchronization with the device is `read`."""

    def __init__(self) -> None:
        self._restart()

    def timed_next(self, batches: Iterator[_B]) -> _B:
        """The next batch; the time that it takes to come counts as waiting for data."""
        before = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - before
        self._images += len(batch)
        return batch

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in the terms of one step; a term may be missing in some steps."""
        self._steps += 1
        for name, term in terms.items():
            self._terms.setdefault(name, []).append(term)

    def read(self, step: int) -> dict[str, float]:
        """Means since the last reading; every rank calls it at the same steps and gets the same.

        Raises:
            TrainingError: a mean is not finite.
        """
        means = torch.stack([torch.stack(terms).mean() for terms in self._terms.values()]).tolist()
        metrics = dict(zip(self._terms, means, strict=True))
        elapsed = time.perf_counter() - self._started
        metrics["seconds_per_step"] = elapsed / self._steps
        metrics["images_per_second"] = self._images / elapsed
        metrics["data_wait_share"] = self._waited / elapsed
        metrics = _mean_over_ranks(metrics)
        self._restart()
        _require_finite(metrics, step)
        return metrics

    def _restart(self) -> None:
        self._terms: dict[str, list[Tensor]] = {}
        self._steps = self._images = 0
        self._waited = 0.0
        self._started = time.perf_counter()


def _mean_over_ranks(metrics: dict[str, float]) -> dict[str, float]:
    """Images a second are summed: they are those of the whole run."""
    ranks = world_size()
    if ranks == 1:
        return metrics
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    values = torch.tensor(list(metrics.values()), dtype=torch.float64, device=device)
    torch.distributed.all_reduce(values)
    means = dict(zip(metrics, (values / ranks).tolist(), strict=True))
    return {**means, "images_per_second": means["images_per_second"] * ranks}


def _require_finite(metrics: dict[str, float], step: int) -> None:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if broken:
        raise TrainingError(
            f"training diverged: {', '.join(broken)} not finite at step {step}; lower the learning rates, or resume "
            "from the last checkpoint with another seed"
        )
