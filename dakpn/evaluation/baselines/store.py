"""Trained baselines on storage, so that a stopped evaluation trains none twice."""

import hashlib
import json
import time
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dakpn import storage
from dakpn.config import ContenderConfig, CutConfig, CycleGanConfig, EvaluateConfig
from dakpn.config.contenders import parts_of
from dakpn.datasets import manifest
from dakpn.errors import StorageError, UsageError
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.evaluation.baselines.training import BaselineConfig, fit_baseline
from dakpn.evaluation.image_sets import read_images
from dakpn.evaluation.workplace import Unfinished, bounded_memory, workplace_of
from dakpn.segmentation.fit import HERE
from dakpn.training.monitor import Alarm


@dataclass(frozen=True)
class BaselineJob:
    """A baseline to be trained with a seed."""

    baseline: BaselineConfig
    seed: int


def needs_baseline(config: EvaluateConfig, contender: str) -> bool:
    """Whether a contender's images are a trained baseline's, alone, in a chain or under self-training."""
    return bool(_baselines(config.contenders.get(contender)))


def planned_baselines(config: EvaluateConfig) -> list[BaselineJob]:
    """The baselines of an evaluation, wherever its contenders use them, once for each seed."""
    baselines = dict.fromkeys(part for c in config.contenders.values() for part in _baselines(c))
    return [BaselineJob(baseline, seed) for baseline in baselines for seed in config.seeds]


def _baselines(contender: ContenderConfig | None) -> list[BaselineConfig]:
    return [part for part in parts_of(contender) if isinstance(part, (CycleGanConfig, CutConfig))]


def trained_baseline(
    config: EvaluateConfig, baseline: BaselineConfig, seed: int, device: torch.device = HERE.device
) -> ResnetGenerator:
    """The baseline's generator on the device, trained now unless an earlier run of this evaluation has done it.

    One that was stopped goes on from its newest checkpoint.

    Raises:
        UsageError, DataError, StorageError: a domain cannot be read.
        TrainingError: the training diverged.
    """
    folder = baseline_folder(config, baseline, seed)
    generator = ResnetGenerator(baseline.generator)
    try:
        generator.load_state_dict(load(storage.read_bytes(storage.join(folder, "model.safetensors"))))
    except (StorageError, SafetensorError, RuntimeError):
        return _train(config, baseline, seed, folder, device)
    return generator.to(device).eval()


def training_seconds(config: EvaluateConfig, baseline: BaselineConfig, seed: int) -> float | None:
    """How long the training took; None before it is done."""
    uri = storage.join(baseline_folder(config, baseline, seed), "training.json")
    return storage.read_json(uri)["seconds"] if storage.exists(uri) else None


def baseline_folder(config: EvaluateConfig, baseline: BaselineConfig, seed: int) -> str:
    """Where a baseline is kept: named by the digest of all that it depends on."""
    values = {
        "baseline": baseline.model_dump(mode="json"),
        "size": list(config.image_size),
        "domains": [manifest.read_index(uri).digest for uri in _domains(config)],
        "seed": seed,
        **bounded_memory(config),
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    return storage.join(config.output, "baselines", f"{baseline.kind}-seed{seed}-{digest}")


def _train(
    config: EvaluateConfig, baseline: BaselineConfig, seed: int, folder: str, device: torch.device
) -> ResnetGenerator:
    synthetic, real = _domains(config)
    log = _Log()
    started = time.perf_counter()
    images = [
        np.stack(list(read_images(uri, config.image_size, config.memory_gigabytes).values())).transpose(0, 3, 1, 2)
        for uri in (synthetic, real)
    ]
    unfinished = Unfinished(config, folder.rsplit("/", 1)[-1])
    workplace = workplace_of(config, device, unfinished)
    generator = fit_baseline(baseline, images[0], images[1], seed, log, workplace)
    seconds = round(time.perf_counter() - started, 1)
    storage.write_json(storage.join(folder, "training.json"), {"seconds": seconds, "metrics": log.lines})
    storage.write_bytes(storage.join(folder, "model.safetensors"), save(generator.state_dict()))
    unfinished.delete()
    return generator


def _domains(config: EvaluateConfig) -> tuple[str, str]:
    if config.synthetic is None or config.real is None:
        raise UsageError("a baseline is trained on both domains; set `synthetic` and `real`")
    return config.synthetic, config.real


class _Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Keep the newest metrics."""
        self.lines.append({"step": step, **metrics})

    def alarm(self, alarm: Alarm) -> None:
        """Do nothing: baselines have no alarms."""
