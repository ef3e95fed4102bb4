"""Training through Ray against a hand-written loop with the same networks and images; and where a step's time goes."""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Claim, at_least, at_most
from cluster.session import ray_session
from dakpn.config import TrainConfig
from dakpn.config_file import build_config
from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from dakpn.datasets.stream import stacked
from dakpn.datasets.training_decode import real_decoder, synthetic_decoder
from dakpn.models.function.noise import seeded_noise
from dakpn.models.predictor import KernelPredictor
from dakpn.models.weights import load_segmenter
from dakpn.scenes import photograph, render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.data import AdversarialBatch, real_batch, synthetic_batch
from dakpn.training.loop import Step
from dakpn.training.reporting import read_metrics
from dakpn.training.run_folder import RunFolder
from workflows import train

_IMAGES, _FEW_IMAGES, _STEPS, _EVERY, _ROUNDS = 160, 24, 30, 10, 3
_SIZE = (192, 256)


def run() -> Iterator[Claim]:
    """One thread a worker. Only the reports after the first count: the streams are warm.

    An epoch of most of the datasets is longer than a run; one of the few images is 6 steps.
    """
    torch.set_num_threads(1)
    logging.getLogger("dakpn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name, ray_session(cpus=5):
        folder = Path(name)
        datasets, few = _datasets(folder, _IMAGES), _datasets(folder / "few", _FEW_IMAGES)
        encoder = RunFolder(_train(folder / "encoder", datasets, 0, "adversarial.steps=1")).encoder
        given = f"encoder.weights={encoder}"
        seconds: dict[str, list[float]] = {"plain": [], "process": [], "one": [], "few": []}
        for number in range(_ROUNDS):
            seconds["plain"].append(_plain_seconds(datasets, encoder))
            seconds["process"].append(_seconds(_train(folder / f"process{number}", datasets, 0, given)))
            seconds["one"].append(_seconds(_train(folder / f"one{number}", datasets, 1, given)))
            seconds["few"].append(_seconds(_train(folder / f"few{number}", few, 0, given)))
        median = {name: statistics.median(values) for name, values in seconds.items()}
        two = _images_per_second(_train(folder / "two", datasets, 2, given))
        one = _images_per_second(str(folder / "one0"))
    yield at_most("training step in process vs a plain loop", 1.1, median["process"] / median["plain"], **median)
    yield at_most("training step in process, 6 steps an epoch, vs a plain loop", 1.1, median["few"] / median["plain"])
    yield at_most("training step of one Ray worker vs a plain loop", 1.1, median["one"] / median["plain"], **median)
    yield at_least("images/s of two workers vs one", 1.5, two / one, images_per_second={"one": one, "two": two})
    yield from _split()


def _datasets(folder: Path, images: int) -> dict[str, str]:
    preset = load_preset("camvid")
    for name, renderer, labelled in (("synthetic", render_scene, True), ("real", photograph, False)):
        source = folder / "source" / name
        write_dataset(source, images, 100, lambda seed, draw=renderer: draw(seed, _SIZE), processes=1)
        pack_dataset(source, str(folder / name), preset, None, images // 4, labelled=labelled)
    return {name: str(folder / name) for name in ("synthetic", "real")}


def _config(run: Path, datasets: dict[str, str], *overrides: str) -> TrainConfig:
    values: dict[str, Any] = {
        "run": str(run),
        "encoder": {"training": {"steps": 2}},
        "adversarial": {"steps": _STEPS},
        "discriminator": {"widths": [16, 32, 64]},
        "style": {"kind": "none"},
        "head": {"condition": "encoder"},
        "report_every": _EVERY,
        "checkpoint_every": 1000,
        **datasets,
    }
    return build_config(TrainConfig, values, overrides)


def _train(run: Path, datasets: dict[str, str], workers: int, *overrides: str) -> str:
    train.main(_config(run, datasets, f"workers={workers}", *overrides))
    return str(run)


def _warm_lines(run: str) -> list[dict[str, Any]]:
    return [line for line in read_metrics(RunFolder(run).metrics) if line["stage"] == "adversarial"][1:]


def _seconds(run: str) -> float:
    return statistics.median(line["seconds_per_step"] for line in _warm_lines(run))


def _images_per_second(run: str) -> float:
    return statistics.median(line["images_per_second"] for line in _warm_lines(run))


def _plain_seconds(datasets: dict[str, str], encoder_uri: str) -> float:
    """What one would write without this project's loop: decode, forward, backward, two optimizers."""
    config = _config(Path("unused"), datasets)
    task = _task(config, encoder_uri)
    groups = [task.predictor.head.parameters(), [p for n, p in task.named_parameters() if "discriminator" in n]]
    optimizers = [torch.optim.Adam(list(parameters), 1e-4) for parameters in groups]
    batches, times = _batches(config), []
    for step in range(_STEPS):
        before = time.perf_counter()
        loss = task(next(batches), Step(step))["loss"]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.perf_counter() - before)
    return statistics.mean(times[_EVERY:])


def _task(config: TrainConfig, encoder_uri: str) -> AdversarialTask:
    encoder, network, space, _ = load_segmenter(encoder_uri)
    predictor = KernelPredictor(config.predictor(network, space.num_classes, ()))
    predictor.encoder.load_state_dict(encoder.state_dict())
    return AdversarialTask(predictor, config.adversarial, config.discriminator).train()


def _batches(config: TrainConfig) -> Iterator[AdversarialBatch]:
    sizes, rng = (config.prediction_size, config.adversarial.patch_size), np.random.default_rng(0)
    sides = [(_rows(config.synthetic), synthetic_decoder(*sizes)), (_rows(config.real), real_decoder(*sizes))]
    size = config.adversarial.batch_size_per_worker
    while True:
        ours, theirs = (stacked([prepare(next(rows), rng) for _ in range(size)]) for rows, prepare in sides)
        yield AdversarialBatch(synthetic_batch(ours), real_batch(theirs)).to(torch.device("cpu"))


def _rows(uri: str) -> Iterator[Any]:
    index = manifest.read_index(uri)
    while True:
        for shard in index.shards:
            yield from read_shard(manifest.shard_uri(uri, shard.name, index.format))


def _split() -> Iterator[Claim]:
    """Shares of the parts of a step; the rest is the losses and the optimizers. All-reduce comes with a second one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datasets = _datasets(folder, _FEW_IMAGES)
        encoder = RunFolder(_train(folder / "run", datasets, 0, "adversarial.steps=1")).encoder
        config = _config(folder, datasets)
        task, batches = _task(config, encoder), _batches(config)
        batch = next(batches)
        low, judge, function = batch.synthetic.low, task.whole_discriminator, task.predictor.function
        params = task.predictor(low).detach().requires_grad_()
        noise = seeded_noise(batch.synthetic.noise_seed, (low.shape[-2], low.shape[-1]))
        # Each of the two scales: real and translated together for the discriminator, then translated for the predictor.
        judged = torch.cat((low, low, low))
        step = _median(lambda: task(batch)["loss"].backward())
        parts = {
            "data": _median(lambda: next(batches)),
            "encoder": _median(lambda: task.predictor(low)),
            "function": 2 * _median(lambda: function.apply(low, params, noise).sum().backward()),
            "discriminator": 2 * _median(lambda: judge(judged).sum().backward()),
        }
    trained = sum(p.numel() for p in task.parameters() if p.requires_grad)
    parts["all-reduce of 2 workers"] = _all_reduce_seconds(trained)
    shares = {name: seconds / (step + parts["data"]) for name, seconds in parts.items()}
    yield at_most("data's share of a step of one worker", 0.25, shares["data"], step_s=step, shares=shares)


def _all_reduce_seconds(numbers: int) -> float:
    """What two processes on this machine take to average so many gradients by gloo."""
    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "seconds"
        torch.multiprocessing.spawn(_all_reduce, (f"file://{name}/meeting", numbers, answer), nprocs=2)
        return float(answer.read_text())


def _all_reduce(rank: int, meeting: str, numbers: int, answer: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    gradients = torch.zeros(numbers)
    seconds = _median(lambda: torch.distributed.all_reduce(gradients))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank == 0:
        answer.write_text(str(seconds))


def _median(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(5):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return statistics.median(times)
