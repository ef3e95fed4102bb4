"""Sweeps through Ray Tune: what they leave, how they go on, and how they fail."""

import json
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from cluster.trial_slots import TrialNeeds, trial_slots
from dakpn import storage
from dakpn.config import TrainConfig, TuneConfig
from dakpn.config_file import load_config
from dakpn.errors import ConfigError, TrainingError, UsageError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.run_folder import RunFolder
from dakpn.tuning.outcome import SweepOutcome
from tests.s3_server import chosen_server
from tests.scenes import Scenes
from tests.sweeps import RATE, SEGMENTER, SPACE, WEIGHT, tiny_sweep
from workflows import train, tune

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Finished:
    """A sweep that ended, in its folder."""

    folder: Path
    config: TuneConfig
    outcome: SweepOutcome


@pytest.fixture(scope="module")
def finished(ray_here: str, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Four short trials, one of which diverges."""
    folder = tmp_path_factory.mktemp("sweep")
    space = {**SPACE, "adversarial.patch_size": {"choice": [[32, 32], [24, 24], [47, 63]]}}
    config = tiny_sweep(folder, scenes, "seed=5", space={**space, WEIGHT: {"choice": [0.5, 1.0, 1e38]}}, trials=4)
    return Finished(folder, config, tune.main(config))


def test_trials_leave_scores_a_winner_and_what_failed(finished: Finished) -> None:
    results = json.loads((finished.folder / "results.json").read_text())
    assert len(results["trials"]) == 4
    good = [trial for trial in results["trials"] if trial["status"] == "finished"]
    bad = [trial for trial in results["trials"] if trial["status"] == "failed"]
    assert (len(good), len(bad)) == (3, 1)
    assert {trial["values"][WEIGHT] for trial in bad} == {1e38}
    assert all("not finite at step" in trial["failure"] for trial in bad)
    for trial in good:
        assert [score["step"] for score in trial["scores"]] == [4, 8]
        assert Path(trial["weights"], "model.safetensors").exists()
    assert results["winner"] == min(good, key=lambda trial: trial["objective"])
    assert results["rank_correlation"]["trials"] == 3
    assert sum(trial["miou"] is not None for trial in good) == 3
    assert len((finished.folder / "trials.csv").read_text().splitlines()) == 5
    page = (finished.folder / "report.html").read_text()
    assert all(f"trial {number}" in page for number in range(1, 5))


def test_the_source_segmenter_is_trained_once(finished: Finished) -> None:
    assert (finished.folder / "shared/encoder/model.safetensors").exists()
    assert not list(finished.folder.glob("trials/*/run/encoder"))


def test_train_takes_the_winning_config_and_makes_the_winner_s_weights(finished: Finished) -> None:
    assert finished.outcome.winner is not None
    best = load_config(TrainConfig, finished.folder / "best.yaml")
    assert best.run == str(finished.folder / "best")
    weights = train.main(best)
    last = finished.outcome.winner.record.last
    assert last is not None
    found = [Path(folder, "model.safetensors").read_bytes() for folder in (weights, last.weights)]
    assert found[0] == found[1]


def test_a_finished_sweep_runs_nothing_again_and_keeps_its_settings(finished: Finished, scenes: Scenes) -> None:
    made = {path: path.stat().st_mtime_ns for path in finished.folder.glob("trials/*/run*/**/*.safetensors")}
    again = tune.main(finished.config)
    assert [trial.objective for trial in again.trials] == [trial.objective for trial in finished.outcome.trials]
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert made
    with pytest.raises(ConfigError, match=r"holds a sweep with other settings \(seed, tune\)"):
        tune.main(tiny_sweep(finished.folder, scenes))


def test_all_failed_is_one_sentence_and_retried_on_demand(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    config = tiny_sweep(tmp_path, scenes, space={WEIGHT: {"choice": [1e38]}}, trials=2)
    for retry in (False, True):
        with pytest.raises(TrainingError, match=r"all 2 trials failed, the first with: .* not finite") as failure:
            tune.main(config, retry)
        assert "\n" not in str(failure.value)
    assert "All 2 trials failed." in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_good_trial_s_checkpoint_is_where_a_poor_one_goes_on(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    """Population-based training: weights are the donor's, learning rates the heir's."""
    config = tiny_sweep(
        tmp_path,
        scenes,
        "adversarial.steps=12",
        space={RATE: {"log_uniform": [1e-4, 1e-1]}},
        trials=3,
        scheduler={"kind": "pbt", "quantile": 0.5, "resample_probability": 0.0},
        objective={"kind": "colors", "images": 4},
    )
    outcome = tune.main(config)
    assert [trial.status for trial in outcome.trials] == ["finished"] * 3
    heirs = [trial.record for trial in outcome.trials if trial.record.donors]
    assert heirs
    records = {trial.record.trial: trial.record for trial in outcome.trials}
    for heir in heirs:
        name, step = heir.donors[-1]
        assert step < 12
        after = next(score for score in heir.scores if score.step > step)
        before = next(s for s in records[name].scores if s.step == step)
        ours, theirs = (
            CheckpointFolder(RunFolder(score.run).checkpoints("adversarial")).read(step) for score in (after, before)
        )
        assert ours is not None
        assert theirs is not None
        assert all((ours["task"][key] == tensor).all() for key, tensor in theirs["task"].items())
        rates = [state["schedulers"]["predictor"]["base_lrs"][0] for state in (ours, theirs)]
        assert rates == pytest.approx([after.values[RATE], before.values[RATE]])
        assert rates[0] != rates[1]


@pytest.mark.soak
def test_halving_stops_poor_trials_of_optuna_early(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    config = tiny_sweep(
        tmp_path,
        scenes,
        "adversarial.steps=12",
        search={"kind": "optuna"},
        scheduler={"kind": "asha", "reduction_factor": 2},
        objective={"kind": "miou", "validation": scenes.test, **SEGMENTER},
    )
    outcome = tune.main(config)
    steps = [trial.record.last.step for trial in outcome.trials if trial.record.last]
    assert len(steps) == 6
    assert min(steps) == 4
    assert max(steps) == 12
    assert outcome.winner is not None
    assert outcome.winner.status == "finished"
    assert outcome.correlation is None  # the objective is mIoU itself


@pytest.mark.slow
def test_trials_with_workers_of_their_own_leave_nothing_behind(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    """Two trials after one another in a cluster with room for one: workers of a stopped trial would be in the way."""
    outcome = tune.main(tiny_sweep(tmp_path, scenes, "workers=1", "tune.max_concurrent=1", trials=2, report_every=8))
    assert [trial.status for trial in outcome.trials] == ["finished"] * 2


@pytest.mark.soak
def test_on_s3_a_sweep_is_kept_and_found_again(
    s3_server: str | None, ray_here: str, scenes: Scenes, tmp_path: Path
) -> None:
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    fsspec.filesystem("s3", endpoint_url=f"http://{s3_server}").mkdir("sweeps")
    config = tiny_sweep(
        tmp_path, scenes, "tune.output=s3://sweeps/one", trials=2, objective={"kind": "colors", "images": 4}
    )
    first = tune.main(config)
    assert [trial.status for trial in first.trials] == ["finished"] * 2
    made = storage.list_tree("s3://sweeps/one/trials")
    assert tune.main(config).trials == first.trials
    assert storage.list_tree("s3://sweeps/one/trials") == made
    assert b"best" in storage.read_bytes("s3://sweeps/one/report.html")


@pytest.mark.parametrize(
    ("needs", "most", "slots"),
    [
        (TrialNeeds(1, 1, 0, 1), None, 3),
        (TrialNeeds(1, 1, 0, 1), 1, 1),
        (TrialNeeds(2, 1, 0, 1), None, 2),
        (TrialNeeds(1, 6, 0, 0), None, 1),
    ],
)
def test_so_many_trials_run_at_a_time_as_fit(ray_here: str, needs: TrialNeeds, most: int, slots: int) -> None:
    assert trial_slots(needs, most) == slots  # of six CPUs


@pytest.mark.parametrize("needs", [TrialNeeds(1, 7, 0, 0), TrialNeeds(3, 1, 0, 4), TrialNeeds(1, 1, 1, 1)])
def test_a_trial_that_does_not_fit_is_refused_with_numbers(ray_here: str, needs: TrialNeeds) -> None:
    with pytest.raises(UsageError, match="the Ray cluster has 6 CPUs and 0 GPUs on 1 nodes; lower `workers`"):
        trial_slots(needs, None)
