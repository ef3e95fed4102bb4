"""A step of the shipped recipes for GTA5, and against the same step with the literal translation function."""

import time
from collections.abc import Iterator
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.literal import literal_blur
from benchmarks.measure import Claim, alternate, at_least, at_most
from benchmarks.recipes import shipped_config
from benchmarks.scenes import GTA5
from dakpn.config import TrainConfig
from dakpn.models.function.stages import local
from dakpn.models.precision import compute_dtype, place
from dakpn.models.predictor import KernelPredictor
from dakpn.training.adversarial import AdversarialTask, adversarial_state
from dakpn.training.data import AdversarialBatch, PatchWindow, RealBatch, SyntheticBatch
from dakpn.training.loop import Step, take_step
from dakpn.training.state import TrainState

RECIPES = ("gta5_cityscapes", "gta5_cityscapes_paper")
_CLASSES = 19
_ROUNDS = 3
_GPU_STEPS = 30


def run() -> Iterator[Claim]:
    """On one core; and on a GPU, where there is one, at the recipe's batch size."""
    torch.set_num_threads(1)
    for recipe in RECIPES:
        config = shipped_config(recipe)
        yield from _against_literal(recipe, config)
        if torch.cuda.is_available():
            yield from steps_on_a_gpu(recipe, config)


def _against_literal(recipe: str, config: TrainConfig) -> Iterator[Claim]:
    """The literal step runs with one image: unfolding a batch of 8 takes tens of gigabytes."""
    size = config.adversarial.batch_size_per_worker
    state, batch, one = _state(config, torch.device("cpu")), _batch(config, size), _batch(config, 1)

    def literal_step() -> None:
        with mock.patch.object(local, "gaussian_blur", lambda image, sigma, _: literal_blur(image, sigma)):
            _step(state, one, config)

    ours = alternate({"ours": lambda: _step(state, batch, config)}, _ROUNDS)["ours"]
    literal = size * alternate({"literal": literal_step}, 1, warm_up=False)["literal"]
    claim = f"step of batch {size} vs the literal function, {recipe}"
    yield at_least(claim, 15, literal / ours, ours_s=ours, literal_s=literal)


def steps_on_a_gpu(recipe: str, config: TrainConfig) -> Iterator[Claim]:
    """Time and kernels of a step of the recipe's batch size."""
    device = torch.device("cuda")
    state = _state(config, device)
    batch = _batch(config, config.adversarial.batch_size_per_worker).to(device)
    for _ in range(10):
        _step(state, batch, config)
    torch.cuda.synchronize()
    before = time.perf_counter()
    for _ in range(_GPU_STEPS):
        _step(state, batch, config)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - before) / _GPU_STEPS
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        _step(state, batch, config)
        torch.cuda.synchronize()
    events = [event for event in profiled.events() if event.device_type.name == "CUDA"]
    busy = sum(event.device_time for event in events) / 1000
    name = f"{recipe}, {torch.cuda.get_device_name()}"
    yield at_most(f"ms a step, {name}", 15, 1000 * seconds, busy_ms=busy)
    yield at_most(f"kernels a step, {name}", 600, len(events))


def _state(config: TrainConfig, device: torch.device) -> TrainState:
    styles = tuple(map(str, range(config.style.entries))) if config.style.kind != "none" else ()
    predictor = KernelPredictor(config.predictor(config.encoder.network, _CLASSES, styles, 1914))
    dtype = compute_dtype(config.precision, device)
    task = place(AdversarialTask(predictor, config.adversarial, config.discriminator, dtype), device)
    return adversarial_state(task.train(), config.adversarial, config.health)


def _batch(config: TrainConfig, size: int) -> AdversarialBatch:
    """Random images with patches somewhere in the middle, on the CPU."""
    low, patch, numbers = config.prediction_size, config.adversarial.patch_size, torch.arange(size)
    window = PatchWindow(torch.tensor([GTA5] * size), torch.tensor([(100, 200)] * size))
    shares = torch.rand(size, _CLASSES, *low).softmax(1) if config.head.needs_label else None
    images = [torch.rand(size, 3, *shape) for shape in (low, patch, low, patch)]
    return AdversarialBatch(
        SyntheticBatch(images[0], images[1], window, numbers, numbers, numbers, shares), RealBatch(*images[2:])
    )


def _step(state: TrainState, batch: AdversarialBatch, config: TrainConfig) -> None:
    take_step(state, state.task, batch, Step(state.step, reported=False), config.adversarial.gradient_clip)
