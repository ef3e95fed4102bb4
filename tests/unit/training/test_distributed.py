"""Two workers train one model: real processes, real gradients over gloo."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dakpn.config import AdversarialConfig
from dakpn.errors import TrainingError
from dakpn.training.adversarial import adversarial_state
from dakpn.training.data import AdversarialBatch
from dakpn.training.distributed import params_digest, require_same_params, world_size, wrap_in_ddp
from dakpn.training.loop import LoopSettings, run_steps
from tests.unit.training.tiny import Reports, adversarial_batch, batches_from, doubled, merged, tiny_task

STEPS = 50
CONFIG = AdversarialConfig(steps=STEPS, r1_weight=0.1, r1_every=5)


def in_two_workers(work: Any, folder: Path) -> list[Any]:
    """Run `work(rank)` in two processes of one group and return what each came to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_join_and_work, (work, port, str(folder)), nprocs=2)
    return [torch.load(folder / str(rank), weights_only=True) for rank in (0, 1)]


def _join_and_work(rank: int, work: Any, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", world_size=2, rank=rank)
    torch.save(work(rank), Path(folder) / str(rank))
    torch.distributed.destroy_process_group()


def whole_batch(step: int) -> AdversarialBatch:
    """Four images: two of each half."""
    return merged(lambda *halves: torch.cat(halves), *(half_batch(step, rank) for rank in (0, 1)))


def half_batch(step: int, rank: int) -> AdversarialBatch:
    return adversarial_batch(2 * step + rank)


def train(make_batch: Any, rank: int = 0) -> dict[str, Any]:
    """Train from the same start, and return the digest, the params that matter, and the last report."""
    task = tiny_task(r1_weight=CONFIG.r1_weight, r1_every=CONFIG.r1_every).double()
    state, reports = adversarial_state(task, CONFIG), Reports()
    batches = map(doubled, batches_from(make_batch))
    run_steps(state, wrap_in_ddp(task), batches, LoopSettings(STEPS, 10, STEPS, 0, rank, gradient_clip=0.5), reports)
    require_same_params(task)
    return {"digest": params_digest(task), "params": matter(task), "metrics": reports.lines[-1][1]}


def matter(task: torch.nn.Module) -> dict[str, Tensor]:
    """Trained params without the biases that an instance normalization takes away again: rounding alone moves them."""
    without = {"layers.2.bias"}
    return {
        name: p.detach()
        for name, p in task.named_parameters()
        if p.requires_grad and name.partition(".")[2] not in without
    }


def train_half(rank: int) -> dict[str, Any]:
    return train(lambda step: half_batch(step, rank), rank)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_two_workers(train_half, tmp_path_factory.mktemp("ranks"))


def test_two_workers_hold_identical_weights_after_fifty_steps(halves: list[dict[str, Any]]) -> None:
    assert halves[0]["digest"] == halves[1]["digest"]
    assert halves[0]["digest"] != params_digest(tiny_task().double())


def test_both_report_the_same_means(halves: list[dict[str, Any]]) -> None:
    assert halves[0]["metrics"] == halves[1]["metrics"]


def test_two_workers_of_batch_b_train_what_one_of_batch_2b_does(halves: list[dict[str, Any]]) -> None:
    alone = train(whole_batch)
    for name, tensor in alone["params"].items():
        torch.testing.assert_close(halves[0]["params"][name], tensor, rtol=1e-6, atol=1e-9, msg=name)
    timed = ("seconds_per_step", "images_per_second", "data_wait_share")
    for name in alone["metrics"].keys() - timed:
        assert halves[0]["metrics"][name] == pytest.approx(alone["metrics"][name], rel=1e-5), name


def drift(rank: int) -> str:
    """What happens when a worker's gradients are not shared: each trains for itself."""
    task = tiny_task()
    with torch.no_grad():
        task.predictor.head.weight += rank
    try:
        require_same_params(task)
    except TrainingError as error:
        return str(error)
    return ""


def test_workers_that_drift_apart_are_found_out(tmp_path: Path) -> None:
    sentences = in_two_workers(drift, tmp_path)
    assert sentences[0] == sentences[1]
    assert "the 2 workers hold different params" in sentences[0]


def test_alone_there_is_nothing_to_wrap() -> None:
    task = tiny_task()
    assert world_size() == 1
    assert wrap_in_ddp(task) is task
    require_same_params(task)
