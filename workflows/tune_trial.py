"""A trial of a sweep: it trains a while, scores the weights, asks Ray Tune whether to go on, and so forth.

Between two segments no worker of it runs, so Ray Tune can end, pause and change it without leaving anything behind.
"""

import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from cluster.failures import actionable_error
from dakpn.config import TuneConfig
from dakpn.tuning.records import Pointer, Score, SweepFolder, TrialRecord
from dakpn.tuning.space import training_config
from workflows.tune_search import OBJECTIVE, STEP, values_of

_POINTER = "pointer.json"


def run_trial(sampled: dict[str, Any], sweep: dict[str, Any], queue: Any) -> None:
    """What Ray Tune runs in a process of its own, anew whenever it has paused or changed the trial.

    Args:
        sampled: values of the search space, as Ray Tune has drawn them.
        sweep: the sweep's config, as JSON.
        queue: handle of the `TrialQueue`.
    """
    config = TuneConfig.model_validate(sweep)
    name = str(tune.get_context().get_trial_id())
    trial = Trial(config, dict(values_of(sampled, config)), name, _checkpoint(), queue)
    try:
        trial.go_on()
    except Exception as error:
        trial.fail(error)
        raise


class Trial:
    """A trial from where it stands now.

    Args:
        config: Config of the sweep.
        values: Values of the search space.
        name: id of the trial.
        pointer: the checkpoint to go on from, its own or another trial's; None starts anew.
        queue: handle of the `TrialQueue`, which trains and scores.
    """

    def __init__(
        self, config: TuneConfig, values: dict[str, Any], name: str, pointer: Pointer | None, queue: Any
    ) -> None:
        self._config, self._values, self._name, self._queue = config, values, name, queue
        self._folder = SweepFolder(config.output).trial(name)
        own = pointer is not None and (pointer.trial, pointer.values) == (name, values)
        self._donor = pointer.donor if pointer and own else pointer
        self._step = pointer.step if pointer else 0
        told = self._folder.read() or TrialRecord(name, time.time(), values)
        self._record = replace(told, values=values, failure=None)

    def go_on(self) -> None:
        """Train and score up to the last step, with a report to Ray Tune after each score.

        A population's trial may be changed when it, or its donor, has no step left: then it stays as it was.
        """
        steps = self._steps_to_score()
        if not steps:
            return
        if self._donor is not None:
            self._record = self._record.went_on_from(self._donor)
        self._folder.write(self._record)
        run = self._folder.run(self._donor, self._values)
        for step in steps:
            score = self._record.score_at(step, run) or self._take(step)
            _report(score, Pointer(self._name, score.run, step, self._values, self._donor))

    def fail(self, error: Exception) -> None:
        """Keep the reason."""
        known = actionable_error(error) or error
        reason = " ".join(str(known).split()) or type(known).__name__
        self._folder.write(replace(self._record, failure=reason))

    def _take(self, step: int) -> Score:
        config = self._config
        trains_itself = config.most_workers == 0
        segment = _segment.options(
            num_cpus=config.cpus_per_worker if trains_itself else 1,
            num_gpus=1 if trains_itself and config.use_gpu else 0,
        )
        told = config.model_dump(mode="json")
        score: Any = ray.get(self._queue.run.remote(segment, told, self._name, self._values, self._donor, step))
        self._record = self._record.scored(score)
        self._folder.write(self._record)
        return score

    def _steps_to_score(self) -> list[int]:
        every = self._config.report_every_steps
        last = training_config(self._config, self._values).adversarial.steps
        before_last = list(range((self._step // every + 1) * every, last, every))
        return [*before_last, last] if self._step < last else []


@ray.remote(max_retries=0)
def _segment(sweep: dict[str, Any], trial: str, values: dict[str, Any], donor: Pointer | None, step: int) -> Score:
    from workflows.tune_segment import take_segment

    return take_segment(sweep, trial, values, donor, step)


def _report(score: Score, pointer: Pointer) -> None:
    """Tell Ray Tune; it may end the process in here. Its checkpoint is a pointer to ours."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, _POINTER).write_text(json.dumps(asdict(pointer)), encoding="utf-8")
        tune.report({STEP: score.step, OBJECTIVE: score.objective}, checkpoint=tune.Checkpoint.from_directory(folder))


def _checkpoint() -> Pointer | None:
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return Pointer.from_dict(json.loads(Path(folder, _POINTER).read_text(encoding="utf-8")))
