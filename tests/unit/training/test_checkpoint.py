"""Checkpoints: only complete ones count, old ones go, and nothing in them is ever executed."""

import hashlib
import io
import json
import logging
from pathlib import Path

import pytest
import torch

from dakpn import storage
from dakpn.errors import StorageError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.loop import LoopSettings, Saver, run_steps
from dakpn.training.state import TrainState
from tests.unit.training.tiny import Reports, adversarial_batch, adversarial_state, batches_from


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with checkpoints of the steps 1, 2 and 3."""
    state = adversarial_state(0)
    checkpoints = CheckpointFolder(str(tmp_path), keep=3)
    settings = LoopSettings(3, report_every=1, checkpoint_every=1)
    run_steps(state, state.task, batches_from(adversarial_batch), settings, Reports(), Saver(state, checkpoints))
    return tmp_path


def restored(folder: Path) -> TrainState | None:
    state = adversarial_state(1)
    return state if CheckpointFolder(str(folder)).restore_newest(state) else None


def tree(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}" / "tree.json"


def tensors(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}" / "tensors.safetensors"


def steps_on_disk(folder: Path) -> list[int]:
    return sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/tree.json"))


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "one bit":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "other json":
            path.write_text("[1, 2]")


def test_the_newest_checkpoint_is_restored(saved: Path) -> None:
    state = restored(saved)
    assert state is not None
    assert state.step == 3


def test_an_empty_folder_restores_nothing_and_changes_nothing(tmp_path: Path) -> None:
    state = adversarial_state(0)
    before = state.task.predictor.head.weight.detach().clone()
    assert not CheckpointFolder(str(tmp_path / "nowhere")).restore_newest(state)
    assert state.step == 0
    assert torch.equal(state.task.predictor.head.weight, before)


def test_a_checkpoint_that_was_never_finished_does_not_count_and_says_so(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree(saved, 3).unlink()
    with caplog.at_level(logging.WARNING, "dakpn"):
        state = restored(saved)
    assert state is not None
    assert state.step == 2
    assert caplog.messages == [
        f"checkpoint {saved}/step-00000003 is incomplete and ignored: its writing was cut off; the next one clears it "
        "away"
    ]


@pytest.mark.parametrize("left", ["nothing", "a temporary file", "tensors", "damaged tensors"])
def test_the_next_checkpoint_clears_away_what_a_cut_off_one_left(tmp_path: Path, left: str) -> None:
    checkpoints, state = CheckpointFolder(str(tmp_path), keep=1), adversarial_state(0)
    state.step = 1
    checkpoints.save(state)
    (tmp_path / "step-00000005").mkdir()
    match left:
        case "a temporary file":
            (tmp_path / "step-00000005/.tensors.safetensors.0a1b.tmp").write_bytes(b"half")
        case "tensors":
            tensors(tmp_path, 5).write_bytes(tensors(tmp_path, 1).read_bytes())
        case "damaged tensors":
            tensors(tmp_path, 5).write_bytes(b"half")
            tree(tmp_path, 5).write_bytes(tree(tmp_path, 1).read_bytes())
    assert checkpoints.restore_newest(state)
    assert state.step == 1
    state.step = 2
    checkpoints.save(state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_storage_that_does_not_answer_is_not_taken_for_an_empty_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else training would start anew, and its first checkpoint clear away the good ones."""

    def no_answer(uri: str) -> bytes:
        raise StorageError(f"cannot read {uri}: no answer")

    monkeypatch.setattr(storage, "read_bytes", no_answer)
    with pytest.raises(StorageError, match="no answer"):
        restored(saved)


@pytest.mark.parametrize(
    ("part", "how"),
    [
        (tensors, "missing"),
        (tensors, "empty"),
        (tensors, "cut"),
        (tensors, "one bit"),
        (tree, "empty"),
        (tree, "cut"),
        (tree, "other json"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_damaged_checkpoint_is_left_with_a_warning_for_the_one_before(
    saved: Path, part, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(part(saved, 3), how)
    with caplog.at_level(logging.WARNING, "dakpn"):
        state = restored(saved)
    assert state is not None
    assert state.step == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{saved}/step-00000003 is incomplete and ignored" in caplog.text


def test_when_all_are_damaged_training_starts_anew(saved: Path) -> None:
    for step in (1, 2, 3):
        damage(tensors(saved, step), "one bit")
    assert restored(saved) is None


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_only_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    checkpoints, state = CheckpointFolder(str(tmp_path), keep), adversarial_state(0)
    for step in range(1, 5):
        state.step = step
        checkpoints.save(state)
        assert steps_on_disk(tmp_path) == list(range(max(1, step + 1 - keep), step + 1))
    assert len(list(tmp_path.iterdir())) == min(keep, 4)  # no empty folder is left


def test_saving_a_step_again_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoints, state = CheckpointFolder(str(tmp_path)), adversarial_state(0)
    checkpoints.save(state)
    before = [tree(tmp_path, 0).read_bytes(), tensors(tmp_path, 0).read_bytes()]
    checkpoints.save(state)
    assert [tree(tmp_path, 0).read_bytes(), tensors(tmp_path, 0).read_bytes()] == before


class _Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_pickle_in_place_of_the_tensors_is_refused_and_not_run(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "ran"
    for step in (1, 2, 3):
        torch.save({"state": _Trap(mark)}, tensors(saved, step))
        document = json.loads(tree(saved, step).read_text())
        document["sha256"] = hashlib.sha256(tensors(saved, step).read_bytes()).hexdigest()
        tree(saved, step).write_text(json.dumps(document))
    assert restored(saved) is None
    assert not mark.exists()
    assert caplog.text.count("is incomplete and ignored") == 3
    torch.load(io.BytesIO(tensors(saved, 3).read_bytes()), weights_only=False)  # the trap is a real one
    assert mark.exists()
