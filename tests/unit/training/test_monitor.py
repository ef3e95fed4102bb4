"""What a report says about the steps since the last one; every alarm, provoked by a training that goes wrong."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dakpn.config import AdversarialConfig, AlarmConfig, HealthConfig, HsvAffineConfig, TranslationConfig
from dakpn.errors import TrainingError
from dakpn.models.function.translation import TranslationFunction
from dakpn.training.adversarial import AdversarialTask, adversarial_state
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.data import AdversarialBatch, RealBatch
from dakpn.training.loop import FIRST_STEP, LoopSettings, Saver, Step, run_steps
from dakpn.training.monitor import HealthMonitor, Meter, translation_health
from dakpn.training.state import TrainState
from tests.unit.training.tiny import LOW, PATCH, Reports, Values, adversarial_batch, batches_from, tiny_task, values

COLOR = TranslationConfig(stages=(HsvAffineConfig(),))
ANY_HUE = TranslationConfig(stages=(HsvAffineConfig(hue_shift=0.5),))
SLOW = AdversarialConfig(predictor_learning_rate=1e-9, discriminator_learning_rate=1e-9)
FAST_JUDGE = AdversarialConfig(predictor_learning_rate=1e-9, discriminator_learning_rate=1e-2)
Case = tuple[AdversarialTask, AdversarialConfig, Callable[[int], AdversarialBatch]]


def state_of(task: AdversarialTask, config: AdversarialConfig, **alarms: Any) -> TrainState:
    """Alarms are off but those named."""
    off = {name: AlarmConfig(threshold=0, action="off") for name in HealthConfig.model_fields if name not in _PLAIN}
    return adversarial_state(task, config, HealthConfig.model_validate({"patience": 2, **off, **alarms}))


_PLAIN = ("patience", "lowered_by")


def biased(task: AdversarialTask, **raw: float) -> AdversarialTask:
    """The head's answer, before the bounds, is the same everywhere."""
    nn.init.zeros_(task.predictor.head.weight)
    for name, value in raw.items():
        task.predictor.head.bias.data[task.predictor.function.names.index(name)] = value  # pyright: ignore
    return task


def told_apart() -> Case:
    def dark(step: int) -> AdversarialBatch:
        real = RealBatch(torch.rand(2, 3, *LOW) / 50, torch.rand(2, 3, *PATCH) / 50)
        return replace(adversarial_batch(step), real=real)

    return biased(tiny_task()), FAST_JUDGE, dark


def undecided() -> Case:
    task = tiny_task()
    for judge in (task.patch_discriminator, task.whole_discriminator):
        nn.init.zeros_(judge.layers[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.constant_(judge.layers[-1].bias, -1.0)  # pyright: ignore[reportArgumentType]
    return task, SLOW, adversarial_batch


def too_bright() -> Case:
    return biased(tiny_task(translation=COLOR), value_gain=9.0, value_bias=9.0), SLOW, adversarial_batch


def turned() -> Case:
    return biased(tiny_task(translation=ANY_HUE), hue_shift=9.0), SLOW, adversarial_batch


def at_the_bounds() -> Case:
    names = tiny_task().predictor.function.names
    return biased(tiny_task(), **dict.fromkeys(names, 20.0)), SLOW, adversarial_batch


def starved() -> Case:
    def late(step: int) -> AdversarialBatch:
        time.sleep(0.2)
        return adversarial_batch(step)

    return tiny_task(), SLOW, late


CASES = {
    "discriminator_wins": told_apart,
    "discriminator_guesses": undecided,
    "saturated_pixels": too_bright,
    "inverted_hue": turned,
    "params_at_bounds": at_the_bounds,
    "data_wait_share": starved,
}


def test_there_is_a_case_for_every_alarm() -> None:
    assert CASES.keys() == HealthConfig.model_fields.keys() - _PLAIN


@pytest.mark.parametrize("name", CASES)
def test_a_training_that_goes_wrong_rings_its_alarm(name: str) -> None:
    task, config, make_batch = CASES[name]()
    threshold = getattr(HealthConfig(), name).threshold
    state, reports = state_of(task, config, **{name: {"threshold": threshold}}), Reports()
    steps = 60 if name == "discriminator_wins" else 4
    run_steps(state, task, batches_from(make_batch), LoopSettings(steps, steps // 4, steps), reports)
    assert {alarm.name for alarm in reports.alarms} == {name}
    assert f"alarm {name} at step" in str(reports.alarms[0])
    assert "(action: warn)" in str(reports.alarms[0])


@pytest.mark.parametrize("name", CASES)
def test_a_healthy_training_rings_none(name: str) -> None:
    task = biased(tiny_task())
    state, reports = state_of(task, SLOW, **{name: getattr(HealthConfig(), name)}), Reports()
    run_steps(state, task, batches_from(adversarial_batch), LoopSettings(4, 1, 4), reports)
    assert reports.alarms == []


def test_an_alarm_rings_after_as_many_reports_in_a_row_as_it_has_patience_and_again_after_as_many() -> None:
    monitor = HealthMonitor(HealthConfig(patience=3))
    values = [1.0, 1.0, 0.7, *[1.0] * 7]
    rung = [step for step, value in enumerate(values) if monitor.watch(step, {"discriminator_accuracy/patch": value})]
    assert rung == [5, 8]


def test_stop_ends_the_training_with_a_sentence_and_keeps_no_checkpoint_of_it(tmp_path: Path) -> None:
    task, config, make_batch = too_bright()
    state = state_of(task, config, saturated_pixels={"threshold": 0.4, "action": "stop"})
    folder = CheckpointFolder(str(tmp_path))
    with pytest.raises(TrainingError) as caught:
        run_steps(state, task, batches_from(make_batch), LoopSettings(8, 1, 2), Reports(), Saver(state, folder))
    assert "training stopped: alarm saturated_pixels at step 2" in str(caught.value)
    assert "lower adversarial.predictor_learning_rate" in str(caught.value)
    assert "health.saturated_pixels.action=warn" in str(caught.value)
    assert folder.complete_steps() == []


def test_a_lowered_learning_rate_stays_lowered_through_schedule_and_resume(tmp_path: Path) -> None:
    """The rate falls for the network that the alarm is about; the resumed run rings where the other would have."""

    def run(state: TrainState, steps: int, folder: CheckpointFolder | None = None) -> Reports:
        reports = Reports()
        batches = batches_from(adversarial_batch, state.step)
        run_steps(state, state.task, batches, LoopSettings(steps, 1, 3), reports, Saver(state, folder))
        return reports

    def fresh() -> TrainState:
        return state_of(tiny_task(), SLOW, discriminator_wins={"threshold": 0.0, "action": "lower_learning_rate"})

    straight, folder = fresh(), CheckpointFolder(str(tmp_path))
    assert [a.step for a in run(straight, 5).alarms] == [2, 4]
    assert [s.get_last_lr()[0] for s in straight.schedulers.values()] == pytest.approx([1e-9, 0.25e-9])
    run(fresh(), 3, folder)
    resumed = fresh()
    assert folder.restore_newest(resumed)
    assert [a.step for a in run(resumed, 5).alarms] == [4]
    assert resumed.schedulers["discriminator"].get_last_lr() == straight.schedulers["discriminator"].get_last_lr()
    assert resumed.optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(0.25e-9)


def test_signs_of_the_identity_are_all_zero() -> None:
    function = TranslationFunction(TranslationConfig())
    images = torch.rand(2, 3, *LOW)
    params = torch.tensor(function.identity).view(1, -1, 1, 1).expand(2, -1, *LOW)
    assert all(sign == 0 for sign in translation_health(images, images, params, function).values())


def test_grey_pixels_have_no_hue_to_turn_and_white_ones_were_saturated_before() -> None:
    function = TranslationFunction(TranslationConfig())
    before, after = torch.rand(1, 1, *LOW).expand(-1, 3, -1, -1), torch.rand(1, 3, *LOW)
    params = torch.zeros(1, function.num_params, *LOW)
    assert translation_health(before, after, params, function)["inverted_hue"] == 0
    white = torch.ones(1, 3, *LOW)
    assert translation_health(white, white, params, function)["saturated_pixels"] == 0


class Cusp(nn.Module):
    """A loss of 0 whose gradient is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Values, step: Step = FIRST_STEP) -> dict[str, torch.Tensor]:
        return {"loss": self.at.abs().sqrt()}


def test_a_gradient_that_is_not_finite_ends_training_though_the_loss_is() -> None:
    task = Cusp()
    state = TrainState(task, {"only": torch.optim.SGD(task.parameters(), 0.0)}, {})
    with pytest.raises(TrainingError, match="gradient_norm/only"):
        run_steps(state, task, values(1, 1), LoopSettings(2, 1, 2), Reports())


def test_a_term_of_some_steps_alone_is_averaged_over_these() -> None:
    meter = Meter()
    for terms in ({"loss": 1.0, "r1": 8.0}, {"loss": 2.0}, {"loss": 3.0}):
        meter.timed_next(iter([Values(torch.zeros(3))]))
        meter.add({name: torch.tensor(value) for name, value in terms.items()})
    metrics = meter.read(3)
    assert metrics["loss"] == 2.0
    assert metrics["r1"] == 8.0
    assert metrics["images_per_second"] == pytest.approx(3 / metrics["seconds_per_step"])
    assert 0 <= metrics["data_wait_share"] <= 1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_mean_that_is_not_finite_is_named_with_its_step(broken: float) -> None:
    meter = Meter()
    meter.add({"loss": torch.tensor(1.0), "gradient_norm/predictor": torch.tensor(broken)})
    with pytest.raises(TrainingError, match="gradient_norm/predictor not finite at step 12"):
        meter.read(12)
