"""Jobs on a real cluster of one node, `ray start --head` with token authentication."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.job_client import JobClient
from cluster.job_log import follow
from cluster.submit import Job, Outcome, submit
from tests.command import CLI, assert_failed, dakpn, environment
from tests.paths import REPOSITORY
from tests.ray_head import RayHead, ray_head
from tests.scenes import Scenes, truncate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(cpus=6) as head:
        yield head


def translation(weights: str, scenes: Scenes, output: Path) -> list[str]:
    options = {"--weights": weights, "--input": scenes.synthetic, "--output": str(output)}
    return [*(text for option in options.items() for text in option), "workers=0"]


@pytest.mark.parametrize(
    ("token", "words"), [("", "wants a token, and none is set"), ("wrong" * 8, "refuses the token")]
)
def test_nobody_gets_in_without_the_token(head: RayHead, token: str, words: str) -> None:
    done = dakpn("jobs", "status", **{**head.access, "RAY_AUTH_TOKEN": token})
    assert_failed(done, 2, words, "RAY_AUTH_TOKEN", head.address)


def test_a_translation_is_done_once_and_followed(head: RayHead, weights: str, scenes: Scenes, tmp_path: Path) -> None:
    output = tmp_path / "translated"
    command = ("submit", "translate", *translation(weights, scenes, output))
    first = dakpn(*command, **head.access)
    assert first.returncode == 0, first.stderr + first.stdout
    assert f"{output}: 12 images in 3 shards" in first.stdout
    job_id = first.stdout.split()[-1]
    assert re.search(rf"dashboard: http://\S+/#/jobs/{job_id}; log: `dakpn jobs logs {job_id} --follow`", first.stderr)
    assert dakpn("verify", "--input", scenes.synthetic, "--output", output, "workers=1").returncode == 0

    second = dakpn(*command, **head.access)
    assert (second.returncode, second.stdout) == (0, f"job: {job_id}\n")
    assert f"job {job_id} is done" in second.stderr
    jobs = dakpn("jobs", "status", **head.access).stdout.splitlines()
    assert [line.split()[:2] for line in jobs if job_id in line] == [[job_id, "SUCCEEDED"]]
    assert jobs[-1].startswith("dashboard: http://")

    plain = subprocess.run(
        [
            *(Path(sys.executable).parent / "ray", "job", "submit", "--working-dir", REPOSITORY),
            *("--runtime-env-json", '{"excludes": ["/data", "/runs"]}', "--", "python", "-m", "workflows.translate"),
            *translation(weights, scenes, output),
        ],
        env=environment(**head.access, RAY_AUTH_MODE="token"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert "12 images in 3 shards" in plain.stdout


def test_a_dataset_is_checked_and_packed_by_the_cluster(head: RayHead, scenes: Scenes, tmp_path: Path) -> None:
    source = Path(shutil.copytree(scenes.source, tmp_path / "source"))
    bad, out = tmp_path / "bad.json", tmp_path / "out"
    truncate(min((source / "images").iterdir()))
    options = ("--dataset", "camvid", "--labels")
    checked = dakpn("submit", "check", source, *options, "--fix", "quarantine", "--output", bad, **head.access)
    assert checked.returncode == 3, checked.stderr + checked.stdout
    assert "1 damaged" in checked.stdout
    assert len(json.loads(bad.read_text())["bad"]) == 1

    command = ("pack", source, out, *options, "--exclude", bad, "--rows-per-shard", "3", "--workers", "3")
    packed = dakpn("submit", *command, **head.access)
    assert packed.returncode == 0, packed.stderr + packed.stdout
    assert f"{out}: 11 labelled images in 4 shards" in packed.stdout
    assert dakpn("check", out).returncode == 0
    again = dakpn("submit", *command, **head.access)
    assert (again.returncode, again.stdout) == (0, packed.stdout.splitlines()[-1] + "\n")


def test_a_job_that_fails_says_why_and_is_tried_again_under_a_counted_name(
    head: RayHead, weights: str, tmp_path: Path
) -> None:
    options = ("--weights", weights, "--input", tmp_path / "nothing", "--output", tmp_path / "out")
    attempts = []
    for _ in range(2):
        sentence = assert_job_failed(dakpn("submit", "translate", *options, **head.access), 2)
        assert str(tmp_path / "nothing") in sentence
        attempts.append(sentence.split()[2])
    assert attempts[1] == f"{attempts[0]}-2"
    shown = dakpn("jobs", "status", attempts[1], **head.access)
    assert shown.stdout.startswith(f"{attempts[1]}  FAILED  python -m workflows.translate ")
    assert "dakpn: " in shown.stdout.splitlines()[-1]
    assert_failed(dakpn("jobs", "status", "unheard-of", **head.access), 2, "no job unheard-of", attempts[1])


def assert_job_failed(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr + done.stdout
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("dakpn: job ")
    assert f"ended with exit code {code}: " in sentence
    assert "Traceback" not in done.stderr
    return sentence


def test_interrupted_is_detached_and_a_stopped_training_has_its_checkpoint(
    head: RayHead, scenes: Scenes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    values = {"run": run, "synthetic": scenes.synthetic, "real": scenes.real}
    endless = ("adversarial.steps=1000000", "checkpoint_every=1000000", "report_every=1", "workers=0")
    command = ["submit", "train", "workflows/configs/smoke.yaml", *(f"{k}={v}" for k, v in values.items()), *endless]
    follower = subprocess.Popen(
        [*CLI, *map(str, command)],
        env=environment(**head.access),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_until(
            lambda: (
                follower.poll() is not None
                or ((run / "metrics.jsonl").exists() and "adversarial" in (run / "metrics.jsonl").read_text())
            )
        )
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=30)
    finally:
        follower.kill()
    assert follower.returncode == 130, said
    assert "goes on" in said.splitlines()[-1]
    job_id = said.splitlines()[-1].split()[3]

    attached = dakpn(*command, "--detach", **head.access)
    assert (attached.returncode, attached.stdout) == (0, f"job: {job_id}\n")
    assert "attached" in attached.stderr
    assert_failed(dakpn(*command, "seed=1", **head.access), 2, f"job {job_id} is at work", "other settings")

    stopped = dakpn("jobs", "stop", job_id, **head.access)
    assert stopped.stdout == f"{job_id}: asked to stop\n"
    ended = dakpn("jobs", "logs", job_id, "--follow", **head.access)
    assert ended.returncode == 1
    assert f"job {job_id} was stopped" in ended.stderr
    assert any((run / "checkpoints" / "adversarial").iterdir())


def wait_until(holds, patience: float = 120) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_cluster_gets_the_code_and_neither_data_nor_credentials(
    head: RayHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (
        "main.py",
        "dakpn/data/kept.py",
        "data/big",
        "runs/mine/x",
        ".git/config",
        ".venv/bin/x",
        ".env",
        "a.pem",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("print('main')")
    for name, value in head.access.items():
        if name != "HOME":
            monkeypatch.setenv(name, value)
    client = JobClient(None)
    listing = "from pathlib import Path; print('found', *sorted(str(p) for p in Path().rglob('*') if p.is_file()))"
    job_id, outcome = submit(client, Job("dakpn-listing", f'python -c "{listing}"', tmp_path))
    assert outcome is Outcome.STARTED
    printed: list[str] = []
    follow(client, job_id, printed.append)
    found = next(line for line in "".join(printed).splitlines() if line.startswith("found"))
    assert found == "found dakpn/data/kept.py main.py"
    assert "".join(printed) == client.log(job_id)
