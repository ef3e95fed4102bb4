"""Trackers, each asked afterwards what it was told."""

import logging
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from dakpn.config import TrackingConfig
from dakpn.images import codec
from dakpn.training.run_folder import RunFolder
from dakpn.training.tracking import Trackers, build_trackers

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def tracked(run: Path, start: int = 0, **which: bool) -> None:
    """Two reports and a picture."""
    config = TrackingConfig.model_validate({"tensorboard": False, "project": "tests", **which})
    trackers = build_trackers(config, RunFolder(str(run)), "adversarial", start)
    for step in (start + 2, start + 4):
        trackers.scalars(step, {"identity": step / 8, "predictor/patch": 1.0})
    trackers.picture(start + 4, PICTURE)
    trackers.close()


def events(folder: Path) -> list[Any]:
    """The events of all files, oldest file first."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_tensorboard_holds_scalars_and_pictures_and_a_resumed_run_takes_steps_back(tmp_path: Path) -> None:
    tracked(tmp_path, tensorboard=True)
    folder = tmp_path / "tensorboard/adversarial"
    written = events(folder)
    points = [(e.step, v.tag, v.simple_value) for e in written for v in e.summary.value if not v.HasField("image")]
    assert ("identity", 0.5) in [(tag, value) for step, tag, value in points if step == 4]
    assert {tag for _, tag, _ in points} == {"identity", "predictor/patch"}
    (image,) = [v.image for e in written for v in e.summary.value if v.HasField("image")]
    assert np.array_equal(codec.decode_image(image.encoded_image_string, "event.png"), PICTURE)
    tracked(tmp_path, 2, tensorboard=True)
    starts = [e.step for e in events(folder) if e.session_log.status == event_pb2.SessionLog.START]
    assert 3 in starts  # all from step 3 on is written anew


def test_mlflow_gets_the_same_and_a_resumed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/store")
    tracked(tmp_path / "run", mlflow=True)
    tracked(tmp_path / "run", 4, mlflow=True)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("tests")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "identity")
    assert [(point.step, point.value) for point in history] == [(2, 0.25), (4, 0.5), (6, 0.75), (8, 1.0)]
    assert run.info.status == "FINISHED"
    names = [artifact.path for artifact in client.list_artifacts(run.info.run_id, "samples")]
    assert names == ["samples/00000004.png", "samples/00000008.png"]


def test_wandb_writes_its_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    tracked(tmp_path / "run", wandb=True)
    (journal,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 20  # W&B's own process writes it
    while b"predictor/patch" not in journal.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))


class Broken:
    """A tracker whose server is gone."""

    def __init__(self) -> None:
        self.calls = 0

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.calls += 1
        raise ConnectionError("no route to host")

    def picture(self, step: int, image: np.ndarray) -> None:
        raise AssertionError("it was left out")

    close = scalars


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    trackers = Trackers([broken])  # pyright: ignore[reportArgumentType]
    with caplog.at_level(logging.WARNING, "dakpn"):
        trackers.scalars(1, {})
        trackers.scalars(2, {})
        trackers.picture(2, PICTURE)
        trackers.close()
    assert broken.calls == 1
    assert caplog.messages == [
        "Broken gets no more of this training: no route to host; metrics.jsonl has it all",
    ]
