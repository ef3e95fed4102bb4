"""`dakpn submit`: what is refused before anything is sent, and what would be sent. No cluster is needed."""

import contextlib
from pathlib import Path

import pytest
import typer

from cluster.submit import Job
from dakpn.errors import ConfigError, DakpnError, UsageError
from tests.command import assert_failed, dakpn
from tests.paths import REPOSITORY
from workflows.cli import app
from workflows.submit import plan_job

NOBODY = "http://127.0.0.1:9"
TRAIN = ["run=s3://b/run", "synthetic=s3://b/synthetic", "real=s3://b/real", "workers=2"]


def plan_training(config: Path, *overrides: str, working_dir: Path = REPOSITORY) -> str:
    arguments = [str(config), *overrides]
    job = plan_job("train", arguments, {"config": config, "overrides": list(overrides)}, working_dir)
    assert job.working_dir == working_dir
    return job.entrypoint


def test_the_config_is_named_as_the_job_will_find_it() -> None:
    entrypoint = plan_training(REPOSITORY / "workflows" / "configs" / "smoke.yaml", *TRAIN, "prediction_size=[24, 32]")
    assert entrypoint == (
        "python -m workflows.train workflows/configs/smoke.yaml run=s3://b/run synthetic=s3://b/synthetic "
        "real=s3://b/real workers=2 'prediction_size=[24, 32]'"
    )


def test_a_sweep_is_named_by_its_output_and_its_validation_split_must_be_shared() -> None:
    config = REPOSITORY / "workflows" / "configs" / "camvid_tune.yaml"
    overrides = ["tune.output=s3://b/sweep", *TRAIN[1:3], "tune.objective.validation=s3://b/validation"]
    arguments = [str(config), "--retry-failed", *overrides]
    job = plan_job("tune", arguments, {"config": config, "overrides": overrides}, REPOSITORY)
    assert job.name.startswith("dakpn-tune-sweep-")
    assert "python -m workflows.tune workflows/configs/camvid_tune.yaml --retry-failed tune.output=" in job.entrypoint
    overrides[-1] = "tune.objective.validation=packed/validation"
    with pytest.raises(UsageError, match="validation=packed/validation is a path on this machine"):
        plan_job("tune", [str(config), *overrides], {"config": config, "overrides": overrides}, REPOSITORY)


def planned(command: str, *arguments: str, working_dir: Path = REPOSITORY) -> Job:
    """The job of a command line."""
    parser = getattr(typer.main.get_command(app), "commands")[command]  # noqa: B009 - a group of click
    parsed = parser.make_context(command, list(arguments)).params
    return plan_job(command, arguments, parsed, working_dir)


def test_packing_and_checking_are_jobs_by_options_and_by_config(tmp_path: Path) -> None:
    (tmp_path / "gta5.yaml").write_text("dataset: gta5\nlabels: true\n")
    given = ["source=s3://b/raw", "output=s3://b/packed", "workers=4"]
    by_config = planned("pack", str(tmp_path / "gta5.yaml"), *given, working_dir=tmp_path)
    assert by_config.entrypoint == f"python -m workflows.pack gta5.yaml {' '.join(given)}"
    options = ("s3://b/raw", "s3://b/packed", "--dataset", "gta5", "--labels", "--workers", "4")
    by_options = planned("pack", *options)
    assert by_options.entrypoint == f"python -m workflows.pack {' '.join(options)}"
    assert by_options.name == by_config.name  # of the same output: a second one would double the work
    assert planned("check", "s3://b/raw", "--sample", "9").name.startswith("dakpn-check-raw-")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pack", "data/raw", "s3://b/out"), "source=data/raw is a path on this machine"),
        (("pack", "s3://b/raw", "out"), "output=out is a path on this machine"),
        (("pack", "s3://b/raw", "s3://b/out", "--exclude", "bad.json"), "exclude=bad.json is a path"),
        (("check", "s3://b/raw", "--fix", "quarantine", "--output", "bad.json"), "output=bad.json is a path"),
        (("pack", "s3://b/raw", "s3://b/out", "--dataset", "gta6"), "unknown dataset preset 'gta6'"),
        (("pack", "s3://b/raw", "s3://b/out", "--keep", "0.0-0.6"), "expected PATTERN:LOW-HIGH"),
    ],
)
def test_what_a_packing_job_would_not_find_is_refused(arguments: tuple[str, ...], words: str) -> None:
    assert_failed(dakpn("submit", *arguments, "--address", NOBODY), 2, words)


def test_a_preset_of_ones_own_must_be_where_the_job_finds_it(tmp_path: Path) -> None:
    preset = REPOSITORY / "dakpn/sources/presets/camvid.yaml"
    job = ("s3://b/raw", "s3://b/packed", "--dataset")
    with pytest.raises(UsageError, match=r"write dataset=dakpn/sources/presets/camvid\.yaml"):
        planned("pack", *job, str(preset))
    with pytest.raises(UsageError, match=r"camvid\.yaml is not in the working directory"):
        planned("pack", *job, str(preset), working_dir=tmp_path)
    with contextlib.chdir(REPOSITORY):
        planned("pack", *job, "dakpn/sources/presets/camvid.yaml")


def test_a_config_outside_of_the_working_directory_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("seed: 1\n")
    with pytest.raises(UsageError, match=r"mine\.yaml is not in the working directory"):
        plan_training(config, *TRAIN)
    assert "train mine.yaml " in plan_training(config, *TRAIN, working_dir=tmp_path)


def test_a_typo_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("sed: 1\n")
    with pytest.raises(ConfigError, match="unknown key sed"):
        plan_training(config, *TRAIN, working_dir=tmp_path)


def test_a_path_of_this_machine_alone_is_refused() -> None:
    done = dakpn(
        *("submit", "translate", "--weights", "s3://b/w", "--input", "data/in", "--output", "s3://b/out"),
        *("--address", NOBODY),
    )
    assert_failed(done, 2, "input=data/in is a path on this machine")


def test_options_of_the_command_are_checked_and_a_cluster_that_is_not_there_is_named() -> None:
    job = ("submit", "translate", "--weights", "s3://b/w", "--input", "s3://b/in", "--output", "s3://b/out")
    wrong = dakpn(*job, "--bogus", "--address", NOBODY)
    assert wrong.returncode == 2
    assert "--bogus" in wrong.stderr
    assert_failed(dakpn(*job, "workers=3", "--address", NOBODY), 1, NOBODY, "no Ray cluster answers")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobs", "status"], "no cluster is named"),
        (["jobs", "stop", "x", "--address", "head:6379"], "expected the URL of a Ray dashboard"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(arguments: list[str], words: str) -> None:
    assert_failed(dakpn(*arguments, RAY_API_SERVER_ADDRESS=""), 2, words)


def test_a_job_that_would_work_on_the_head_alone_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    options = ["--weights", "s3://b/w", "--input", "s3://b/i", "--output", "s3://b/o"]
    parsed = {"weights": "s3://b/w", "input": "s3://b/i", "output": "s3://b/o"}
    for workers in (1, 2):
        planned("pack", "s3://b/raw", "s3://b/out", "--workers", str(workers))
        assert ("workers=1 works in the head's own process" in caplog.text) == (workers == 1)
        caplog.clear()
    for workers in (1, 0):
        plan_job("translate", options, {**parsed, "overrides": [f"workers={workers}"]}, REPOSITORY)
        assert ("workers=N takes the cluster's nodes" in caplog.text) == (workers == 0)


def test_a_credential_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(DakpnError) as refusal:
        plan_training(REPOSITORY / "workflows" / "configs" / "smoke.yaml", *TRAIN, "run=s3://user:hunter2@b/run")
    assert "hunter2" not in str(refusal.value)
