"""The train loop: what it reports, when it stops, and that a resumed run ends like one that never stopped."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dakpn.datasets import threads
from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Arrays, Stream, StreamOrder
from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.data import AdversarialBatch, BatchLoader, TensorBatch
from dakpn.training.loop import FIRST_STEP, LoopSettings, Saver, Step, run_steps, step_seed
from dakpn.training.state import TrainState
from tests.sources import HeldSamples
from tests.unit.training.tiny import (
    Reports,
    Values,
    adversarial_batch,
    adversarial_state,
    batches_from,
    segmentation_batch,
    segmenter_state,
    values,
)


class Slope(nn.Module):
    """The smallest task: one parameter, a loss that is the batch's value times it."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))

    def forward(self, batch: Values, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        value = batch.value.mean()
        return {"loss": self.slope * value, "value": value, "random": torch.rand(())}


def slope_state(learning_rate: float = 0.0) -> TrainState:
    task = Slope()
    return TrainState(task, {"only": torch.optim.SGD(task.parameters(), learning_rate)}, {})


def settings(steps: int, every: int = 2, **more: Any) -> LoopSettings:
    return LoopSettings(steps, report_every=every, checkpoint_every=every, **more)


def leaves(value: Any) -> list[Any]:
    """Tensors and scalars of nested dicts and lists, in order."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in [key, *leaves(value[key])]]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def trained(state: TrainState) -> Tensor:
    """All params that learn, as one vector."""
    return torch.cat([p.detach().flatten() for p in state.task.parameters() if p.requires_grad])


def assert_same(one: Any, other: Any) -> None:
    """Bit by bit."""
    for mine, yours in zip(leaves(one), leaves(other), strict=True):
        assert torch.equal(mine, yours) if isinstance(mine, Tensor) else mine == yours


def test_reports_come_at_their_steps_and_hold_means_since_the_last() -> None:
    reports = Reports()
    run_steps(slope_state(), Slope(), values(1, 3, 5, 9, 100), settings(5), reports)
    assert [step for step, _ in reports.lines] == [2, 4, 5]
    assert [metrics["value"] for _, metrics in reports.lines] == [2, 7, 100]
    assert [metrics["loss"] for _, metrics in reports.lines] == [2, 7, 100]
    assert all(metrics["seconds_per_step"] > 0 for _, metrics in reports.lines)
    assert all(0 <= metrics["data_wait_share"] <= 1 for _, metrics in reports.lines)


def test_a_finished_state_takes_no_step_and_no_batch() -> None:
    state, reports = slope_state(), Reports()
    state.step = 3
    run_steps(state, state.task, iter(()), settings(3), reports)
    assert state.step == 3
    assert reports.lines == []


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_training_naming_step_and_term(broken: float) -> None:
    with pytest.raises(TrainingError) as caught:
        run_steps(slope_state(), Slope(), values(1, 1, broken, 1, 1), settings(5), Reports())
    assert "loss, value not finite at step 4" in str(caught.value)
    assert "random" not in str(caught.value)


def test_a_diverged_state_is_not_kept_as_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(str(tmp_path), keep=5)
    state = slope_state()
    with pytest.raises(TrainingError):
        run_steps(state, state.task, values(1, 1, float("nan"), 1), settings(4), Reports(), Saver(state, checkpoints))
    fresh = slope_state()
    assert checkpoints.restore_newest(fresh)
    assert fresh.step == 2


def test_a_checkpoint_between_two_reports_is_checked_too(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    rare = LoopSettings(6, report_every=6, checkpoint_every=2)
    state = slope_state()
    with pytest.raises(TrainingError, match="step 4"):
        run_steps(state, state.task, values(1, 1, float("nan"), 1, 1, 1), rare, Reports(), Saver(state, folder))
    resumed = slope_state()
    assert folder.restore_newest(resumed)
    assert resumed.step == 2


def test_the_gradient_of_each_optimizer_is_clipped() -> None:
    clipped, free = slope_state(1.0), slope_state(1.0)
    run_steps(clipped, clipped.task, values(100.0), settings(1, gradient_clip=0.5), Reports())
    run_steps(free, free.task, values(100.0), settings(1), Reports())
    assert clipped.task.slope.item() == pytest.approx(0.5)
    assert free.task.slope.item() == pytest.approx(-99.0)


def test_randomness_is_a_function_of_seed_rank_and_step() -> None:
    seeds = [step_seed(seed, rank, step) for seed in (0, 1) for rank in (0, 1) for step in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    drawn = {}
    for name, (start, noise) in {"a": (0, 1), "b": (0, 2), "late": (2, 3)}.items():
        torch.manual_seed(noise)  # what happened before a step must not matter
        state, reports = slope_state(), Reports()
        state.step = start
        run_steps(state, state.task, values(*[1.0] * 4), settings(4, every=1), reports)
        drawn[name] = {step: metrics["random"] for step, metrics in reports.lines}
    assert drawn["a"] == drawn["b"]
    assert drawn["late"] == {step: value for step, value in drawn["a"].items() if step > 2}
    assert len(set(drawn["a"].values())) == 4


class NoticeAt:
    """Gives notice after one step, and ends the training once it is answered."""

    def __init__(self, step: int) -> None:
        self.step, self.answered = step, []

    def checkpoint_wanted(self, step: int) -> bool:
        return step == self.step

    def checkpoint_written(self, step: int) -> None:
        self.answered.append(step)


def test_upon_notice_a_checkpoint_is_written_at_once_and_training_goes_on(tmp_path: Path) -> None:
    folder, notice, state = CheckpointFolder(str(tmp_path), keep=9), NoticeAt(5), slope_state()
    rare = LoopSettings(8, report_every=8, checkpoint_every=8)
    run_steps(state, state.task, values(*[1.0] * 8), rare, Reports(), Saver(state, folder, notice))
    assert folder.complete_steps() == [5, 8]
    assert notice.answered == [5]


def test_upon_notice_a_diverged_state_is_not_kept(tmp_path: Path) -> None:
    folder, notice, state = CheckpointFolder(str(tmp_path)), NoticeAt(2), slope_state(1.0)
    rare = LoopSettings(8, report_every=8, checkpoint_every=8)
    with pytest.raises(TrainingError, match="params not finite at step 2, when a checkpoint was asked for"):
        run_steps(state, state.task, values(1, float("nan"), *[1.0] * 6), rare, Reports(), Saver(state, folder, notice))
    assert folder.complete_steps() == []
    assert notice.answered == []  # it would be taken for a checkpoint; the error tells whoever waits


class CountingFolder(CheckpointFolder):
    """Counts the checkpoints that are written."""

    saves = 0

    def save(self, state: TrainState) -> None:
        self.saves += 1
        super().save(state)


def test_a_step_is_saved_once_though_it_is_due_and_notice_is_given(tmp_path: Path) -> None:
    folder, notice, state = CountingFolder(str(tmp_path)), NoticeAt(2), slope_state()
    run_steps(state, state.task, values(1, 1, 1), settings(3), Reports(), Saver(state, folder, notice))
    assert folder.complete_steps() == [2, 3]
    assert folder.saves == 2
    assert notice.answered == [2]


class TrainingEndedError(Exception):
    """What ends a training from outside."""


class NoticeWhileWaiting:
    """Gives notice once the loop waits for the batch after a step, and ends the training after three answers."""

    def __init__(self, step: int) -> None:
        self.step, self.asked, self.answered = step, 0, []

    def checkpoint_wanted(self, step: int) -> bool:
        self.asked += step == self.step
        return self.asked > 1  # at first the loop asks, after the step

    def checkpoint_written(self, step: int) -> None:
        self.answered.append(step)
        if len(self.answered) == 3:
            raise TrainingEndedError


def test_upon_notice_a_checkpoint_is_written_while_a_batch_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_LOOK_EVERY_S", 0.01)
    go_on, state = threading.Event(), segmenter_state()
    folder, notice = CountingFolder(str(tmp_path)), NoticeWhileWaiting(2)

    def stalled(stream: Stream) -> Iterator[Arrays]:
        """Prepares two batches, and hangs."""
        for step in range(2):
            batch = segmentation_batch(step)
            yield {"image": batch.images.mul(255).byte().numpy(), "label": batch.labels.byte().numpy()}
        go_on.wait(60)

    source = HeldSamples({"a": [Sample("0", b"", "", None, None)]})
    saver = Saver(state, folder, notice)
    loader = BatchLoader(stalled, torch.device("cpu"), saver.heed_notice)
    stream = Stream(source, StreamOrder(source.index, 0), lambda sample, rng: {}, labelled=True)
    batches = loader.segmentation_batches(stream, 2)
    rare = LoopSettings(8, report_every=8, checkpoint_every=8)
    try:
        with pytest.raises(TrainingEndedError):
            run_steps(state, state.task, batches, rare, Reports(), saver)
    finally:
        go_on.set()
    assert notice.answered == [2, 2, 2]
    assert folder.complete_steps() == [2]
    assert folder.saves == 1


def test_a_step_knows_its_number_and_whether_a_report_follows() -> None:
    """So what is only looked at is computed at reported steps alone, those of a checkpoint among them."""
    state, reports, told = adversarial_state(), Reports(), []
    looked_at = {"saturated_pixels", "discriminator_accuracy/patch", "discriminator_accuracy/whole"}

    class Watched(nn.Module):
        def forward(self, batch: AdversarialBatch, step: Step) -> dict[str, Tensor]:
            terms = state.task(batch, step)
            told.append((step.number, looked_at <= terms.keys(), looked_at.isdisjoint(terms)))
            return terms

    every = LoopSettings(7, report_every=2, checkpoint_every=3)
    run_steps(state, Watched(), batches_from(adversarial_batch), every, reports)
    assert [step for step, _ in reports.lines] == [2, 3, 4, 6, 7]
    assert told == [(step, step + 1 in (2, 3, 4, 6, 7), step + 1 in (1, 5)) for step in range(7)]
    assert all(looked_at <= metrics.keys() for _, metrics in reports.lines)


def test_other_ranks_answer_no_notice(tmp_path: Path) -> None:
    folder, notice, state = CheckpointFolder(str(tmp_path)), NoticeAt(1), slope_state()
    run_steps(state, state.task, values(1, 1), settings(2, rank=1), Reports(), Saver(state, folder, notice, 1))
    assert notice.answered == []


def test_checkpoints_are_written_by_rank_0_alone(tmp_path: Path) -> None:
    for rank, expected in ((1, False), (0, True)):
        checkpoints = CheckpointFolder(str(tmp_path))
        state = slope_state()
        run_steps(
            state, state.task, values(1, 1), settings(2, rank=rank), Reports(), Saver(state, checkpoints, rank=rank)
        )
        assert checkpoints.restore_newest(slope_state()) is expected


@pytest.mark.parametrize(
    ("make_state", "make_batch"),
    [(adversarial_state, adversarial_batch), (segmenter_state, segmentation_batch)],
    ids=["adversarial", "segmenter"],
)
@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(
    tmp_path: Path, make_state: Callable[[int], TrainState], make_batch: Callable[[int], TensorBatch], stop: int
) -> None:
    straight = make_state(0)
    run_steps(straight, straight.task, batches_from(make_batch), settings(7, gradient_clip=1.0), Reports())

    checkpoints = CheckpointFolder(str(tmp_path))
    first = make_state(0)
    saver = Saver(first, checkpoints)
    run_steps(first, first.task, batches_from(make_batch), settings(stop, gradient_clip=1.0), Reports(), saver)
    torch.manual_seed(99)
    resumed = make_state(1)  # other initial params: all must come from the checkpoint
    assert checkpoints.restore_newest(resumed)
    assert resumed.step == stop
    assert_same(resumed.state_dict(), first.state_dict())
    assert not torch.equal(trained(first), trained(straight))
    run_steps(resumed, resumed.task, batches_from(make_batch, stop), settings(7, gradient_clip=1.0), Reports())

    assert_same(resumed.state_dict(), straight.state_dict())
