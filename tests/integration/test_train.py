"""Training through Ray: what a run leaves, how it resumes, and how it fails."""

import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from ray.train import ControllerError

from cluster.failures import actionable_error
from dakpn.config import TrainConfig
from dakpn.config_file import load_config
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import ConfigError, DataError, TrainingError, UsageError
from dakpn.models.weights import load_predictor, load_segmenter, save_segmenter
from dakpn.training.reporting import read_metrics
from tests.command import assert_failed, dakpn, dakpn_process
from tests.processes import end, kill_midway, start, with_title
from tests.scenes import TINY_TRAINING, Scenes, copy_dataset, tiny_training, truncate
from tests.trainings import newest_report, write_config
from workflows import train

pytestmark = pytest.mark.usefixtures("ray_here")


def weights_bytes(run: Path) -> dict[str, bytes]:
    return {name: (run / name / "model.safetensors").read_bytes() for name in ("encoder", "weights")}


def assert_a_whole_run(run: Path, config: TrainConfig) -> None:
    assert load_config(TrainConfig, run / "config.yaml") == config
    lines = read_metrics(str(run / "metrics.jsonl"))
    steps = config.adversarial.steps
    assert [(line["stage"], line["step"]) for line in lines] == [
        *(("encoder", step) for step in (2, 4)),
        *(("adversarial", step) for step in range(2, steps + 1, 2)),
    ]
    assert {"identity", "predictor/patch", "discriminator/whole", "seconds_per_step"} <= lines[-1].keys()
    for stage, kept in (("encoder", [2, 4]), ("adversarial", [steps - 2, steps])):
        assert [int(path.parent.name[5:]) for path in sorted(run.glob(f"checkpoints/{stage}/*/tree.json"))] == kept
    predictor, space, _ = load_predictor(str(run / "weights"))
    encoder = load_segmenter(str(run / "encoder"))[0]
    assert len(space.class_names) == 11
    frozen = predictor.encoder.state_dict()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in encoder.state_dict().items())
    assert predictor.head.weight.abs().max() > 0  # it starts at 0
    assert "dakpn translate" in (run / "weights/README.md").read_text()


def test_a_run_leaves_config_metrics_checkpoints_encoder_and_weights(finished_run: Path, scenes: Scenes) -> None:
    assert_a_whole_run(finished_run, tiny_training(finished_run, scenes))


TWO_WORKERS = ("workers=2", "adversarial.steps=24", "max_failures=3")


@pytest.fixture(scope="module")
def run_of_two_workers(ray_here: str, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("two_workers") / "run"
    train.main(tiny_training(run, scenes, *TWO_WORKERS))
    return run


@pytest.mark.slow
def test_two_workers_leave_the_same_layout(run_of_two_workers: Path, scenes: Scenes) -> None:
    assert_a_whole_run(run_of_two_workers, tiny_training(run_of_two_workers, scenes, *TWO_WORKERS))


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run(
    ray_here: str, run_of_two_workers: Path, scenes: Scenes, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    config = write_config(tmp_path / "train.yaml", tiny_training(run, scenes, *TWO_WORKERS))
    process = start(["train", config], log, RAY_ADDRESS=ray_here)
    try:
        deadline = time.monotonic() + 240
        while newest_report(run) < 6:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        os.kill(with_title(os.getpid(), "RayTrainWorker")[-1], signal.SIGKILL)
        assert process.wait(240) == 0, log.read_text()
    finally:
        end(process)
    assert "resumed at step" in log.read_text()
    assert weights_bytes(run) == weights_bytes(run_of_two_workers)


@pytest.mark.slow
def test_elastic_workers_go_on_where_another_number_of_them_stopped(scenes: Scenes, tmp_path: Path) -> None:
    """Weights, optimizers and the step are those of the checkpoint; the data is dealt anew."""
    steps = "adversarial.steps=12"
    first = tiny_training(tmp_path / "run", scenes, "workers=0", steps)
    train.main(first)
    (tmp_path / "run/weights/model.safetensors").unlink()
    stage = tmp_path / "run/checkpoints/adversarial"
    shutil.rmtree(stage / "step-00000012")
    train.main(tiny_training(tmp_path / "run", scenes, "workers=[1,2]", steps))
    lines = [line for line in read_metrics(str(tmp_path / "run/metrics.jsonl")) if line["stage"] == "adversarial"]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert (tmp_path / "run/weights/model.safetensors").exists()


def test_a_rerun_of_a_finished_run_takes_no_step(finished_run: Path, scenes: Scenes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "config.yaml").unlink()  # it names the folder that was copied
    before, metrics = weights_bytes(run), (run / "metrics.jsonl").read_bytes()
    digest = load_predictor(str(run / "weights"))[2]
    # With more steps left to take, the synthetic shards would have to be read: there is none.
    empty = copy_dataset(scenes.synthetic, tmp_path / "empty")
    for shard in empty.glob("*.parquet"):
        shard.unlink()
    train.main(tiny_training(run, scenes, f"synthetic={empty}"))
    assert weights_bytes(run) == before
    assert load_predictor(str(run / "weights"))[2] == digest
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_the_same_config_gives_the_same_weights_and_another_seed_others(
    finished_run: Path, scenes: Scenes, tmp_path: Path
) -> None:
    for seed in (0, 1):
        train.main(tiny_training(tmp_path / f"run{seed}", scenes, f"seed={seed}"))
    assert weights_bytes(tmp_path / "run0") == weights_bytes(finished_run)
    other = weights_bytes(tmp_path / "run1")
    assert all(other[name] != before for name, before in weights_bytes(finished_run).items())


@pytest.mark.parametrize(("workers", "finder"), [(0, "torch finds no GPU"), (1, "Ray finds 0 GPUs")])
def test_a_gpu_asked_for_where_there_is_none_is_one_sentence(
    scenes: Scenes, tmp_path: Path, workers: int, finder: str
) -> None:
    config = tiny_training(tmp_path / "run", scenes, "use_gpu=true", f"workers={workers}")
    assert_failed(dakpn("train", write_config(tmp_path / "train.yaml", config)), 2, finder, "use_gpu=false")


def test_a_finished_run_is_not_continued_with_more_steps(finished_run: Path, scenes: Scenes) -> None:
    before = weights_bytes(finished_run)
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(adversarial\)"):
        train.main(tiny_training(finished_run, scenes, "adversarial.steps=12"))
    assert weights_bytes(finished_run) == before


def test_given_encoder_weights_are_used_as_they_are(finished_run: Path, scenes: Scenes, tmp_path: Path) -> None:
    encoder = finished_run / "encoder"
    train.main(tiny_training(tmp_path / "run", scenes, f"encoder.weights={encoder}"))
    assert not (tmp_path / "run/encoder").exists()
    assert {line["stage"] for line in read_metrics(str(tmp_path / "run/metrics.jsonl"))} == {"adversarial"}
    assert weights_bytes(finished_run)["weights"] == (tmp_path / "run/weights/model.safetensors").read_bytes()


def test_encoder_weights_of_other_classes_are_refused_before_work_starts(
    finished_run: Path, scenes: Scenes, tmp_path: Path
) -> None:
    model, network, space, _ = load_segmenter(str(finished_run / "encoder"))
    names = (*space.class_names[:-1], "unicorn")
    save_segmenter(str(tmp_path / "other"), model, network, LabelSpace("other", names), "card")
    with pytest.raises(UsageError, match="unicorn"):
        train.main(tiny_training(tmp_path / "run", scenes, f"encoder.weights={tmp_path / 'other'}"))
    assert not (tmp_path / "run").exists()


def test_divergence_ends_in_a_sentence_that_names_step_and_terms(scenes: Scenes, tmp_path: Path) -> None:
    config = tiny_training(tmp_path / "run", scenes, "encoder.training.learning_rate=1e30")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever Ray wraps around it
        train.main(config)
    error = actionable_error(caught.value)
    assert isinstance(error, TrainingError)
    assert "loss not finite at step" in str(error)
    assert not (tmp_path / "run/encoder").exists()


@pytest.fixture
def damaged_real(scenes: Scenes, tmp_path: Path) -> Path:
    """The second shard of the real dataset is cut off."""
    shard = copy_dataset(scenes.real, tmp_path / "damaged") / "train-00001-of-00003.parquet"
    truncate(shard)
    return shard


def test_a_damaged_shard_ends_training_with_one_sentence(scenes: Scenes, damaged_real: Path, tmp_path: Path) -> None:
    config = tiny_training(tmp_path / "run", scenes, f"real={damaged_real.parent}")
    done = dakpn_process("train", write_config(tmp_path / "train.yaml", config))
    sentence = assert_failed(done, 1, str(damaged_real))
    assert "ray" not in sentence.lower()
    assert (tmp_path / "run/encoder/model.safetensors").exists()
    assert not (tmp_path / "run/weights").exists()


@pytest.mark.slow
def test_a_damaged_shard_ends_training_of_two_workers_with_one_sentence(
    scenes: Scenes, damaged_real: Path, tmp_path: Path
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever Ray wraps around it
        train.main(
            tiny_training(tmp_path / "run", scenes, f"real={damaged_real.parent}", "workers=2", "max_failures=3")
        )
    error = actionable_error(caught.value)
    assert isinstance(error, DataError)
    assert str(damaged_real) in str(error)
    assert "\n" not in str(error)
    assert "ray" not in str(error).lower()
    assert isinstance(caught.value, ControllerError)  # ended by our callback: it would fail so again
    assert not (tmp_path / "run/weights").exists()


def test_an_adapted_encoder_is_another_one_and_so_is_its_bank(scenes: Scenes, tmp_path: Path) -> None:
    runs = {rounds: tmp_path / str(rounds) for rounds in (0, 2)}
    for rounds, run in runs.items():
        train.main(tiny_training(run, scenes, f"encoder.adaptation_rounds={rounds}"))
    first = [run / at for run, at in ((runs[0], ""), (runs[2], "encoder_rounds/0"))]
    for name in ("encoder/model.safetensors", "styles/moments.safetensors"):
        assert (first[0] / name).read_bytes() == (first[1] / name).read_bytes()
        rounds = [runs[2] / at / name for at in ("encoder_rounds/0", "encoder_rounds/1", "")]
        assert len({path.read_bytes() for path in rounds}) == 3
    stages = [line["stage"] for line in read_metrics(str(runs[2] / "metrics.jsonl"))]
    assert list(dict.fromkeys(stages)) == ["encoder", "encoder-1", "encoder-2", "adversarial"]
    made = [path for path in runs[2].rglob("*.safetensors") if not path.is_relative_to(runs[2] / "weights")]
    before = {path: path.stat().st_mtime_ns for path in made}
    train.main(tiny_training(runs[2], scenes, "encoder.adaptation_rounds=2"))
    assert {path: path.stat().st_mtime_ns for path in made} == before


def test_adaptation_without_a_bank_is_refused(scenes: Scenes) -> None:
    with pytest.raises(ConfigError, match="no style bank"):
        tiny_training("unused", scenes, "encoder.adaptation_rounds=1", "style.kind=none")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_resumes_and_ends_with_the_weights_of_one_that_was_not(
    ray_here: str, scenes: Scenes, tmp_path: Path
) -> None:
    """The whole process dies, not one of its workers."""
    steps, every = 60, 5
    configs = {}
    for name in ("killed", "straight"):
        config = tiny_training(tmp_path / name, scenes, f"adversarial.steps={steps}", f"checkpoint_every={every}")
        configs[name] = write_config(tmp_path / f"{name}.yaml", config)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    checkpoint = killed / f"checkpoints/adversarial/step-{4 * every:08d}/tree.json"
    kill_midway(["train", configs["killed"]], checkpoint.exists, tmp_path / "log", 200, RAY_ADDRESS=ray_here)
    assert not (killed / "weights").exists()
    reached = max(int(path.parent.name[5:]) for path in killed.glob("checkpoints/adversarial/*/tree.json"))
    assert 4 * every <= reached < steps

    again = dakpn("train", configs["killed"])
    assert again.returncode == 0, again.stderr
    assert f"resumed at step {reached}" in again.stderr
    assert dakpn("train", configs["straight"]).returncode == 0
    assert weights_bytes(killed) == weights_bytes(straight)
    lines = [read_metrics(str(run / "metrics.jsonl")) for run in (killed, straight)]
    timing = ("seconds_per_step", "images_per_second", "data_wait_share")
    assert [strip(line, timing) for line in lines[0]] == [strip(line, timing) for line in lines[1]]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.soak)])  # in CI: test_signals.py
def test_sigterm_writes_a_checkpoint_first_and_the_same_command_goes_on(
    scenes: Scenes, tmp_path: Path, workers: int
) -> None:
    """No checkpoint is due before the last step: without the signal there would be none."""
    steps = 5000
    config = tiny_training(
        tmp_path / "run", scenes, f"adversarial.steps={steps}", f"workers={workers}", f"checkpoint_every={steps}"
    )
    arguments = ["train", write_config(tmp_path / "train.yaml", config)]
    metrics = str(tmp_path / "run/metrics.jsonl")
    trains = lambda: max(steps_of(metrics), default=0) >= 4  # noqa: E731

    ended = partial(kill_midway, arguments, log=tmp_path / "log", timeout=200)
    code = ended(trains, by=signal.SIGTERM, alone=True)
    log = (tmp_path / "log").read_text()
    assert code == 143, log
    (checkpoint,) = (tmp_path / "run/checkpoints/adversarial").glob("step-*/tree.json")
    step = int(checkpoint.parent.name.removeprefix("step-"))
    assert 4 <= step < steps
    assert "Traceback" not in log
    assert log.splitlines()[-1] == (
        f"dakpn: ended by SIGTERM; the checkpoint of step {step} is written: the same command goes on from there"
    )
    before = steps_of(metrics)
    assert ended(lambda: max(steps_of(metrics)) > step + 2) == -signal.SIGKILL
    assert steps_of(metrics)[: len(before)] == before  # it went on, not anew


def steps_of(metrics: str) -> list[int]:
    return [line["step"] for line in read_metrics(metrics) if line["stage"] == "adversarial"]


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.soak)])
def test_ctrl_c_ends_training_with_130_and_says_how_to_go_on(scenes: Scenes, tmp_path: Path, workers: int) -> None:
    """Ray Train has a handler of its own, which would leave without a word. The command's Ray gets the signal, too."""
    config = tiny_training(
        tmp_path / "run", scenes, "adversarial.steps=5000", f"workers={workers}", "checkpoint_every=10"
    )
    checkpoint = tmp_path / "run/checkpoints/adversarial/step-00000010/tree.json"
    arguments = ["train", write_config(tmp_path / "train.yaml", config)]
    code = kill_midway(arguments, checkpoint.exists, tmp_path / "log", timeout=200, by=signal.SIGINT)
    log = (tmp_path / "log").read_text()
    assert code == 130, log
    assert "Traceback" not in log
    assert log.splitlines()[-1] == "dakpn: interrupted; the same command goes on where this one stopped"


def strip(line: dict, names: tuple[str, ...]) -> str:
    return json.dumps({name: value for name, value in line.items() if name not in names})


def test_the_tiny_config_names_only_settings_that_exist() -> None:
    assert TINY_TRAINING.keys() <= TrainConfig.model_fields.keys()
