"""An evaluation is a grid of cells: contender x real labelled images x draw x seed. Each is trained and scored."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from dakpn import storage
from dakpn.config import ContenderConfig, EvaluateConfig, RealOnlyConfig, SelfTrainingConfig, StoredConfig
from dakpn.errors import DakpnError, UsageError
from dakpn.evaluation.contender import ORACLE, file_name
from dakpn.evaluation.contenders.build import ContenderFactory, at_seed, has_own_labels
from dakpn.evaluation.image_sets import Examples, read_examples, read_images
from dakpn.evaluation.protocol import Protocol, check_evaluation, choose_real, protocol_of, sequences_of_test
from dakpn.evaluation.training_images import FineTuned, FreshTranslations, Mixed, translated_once
from dakpn.evaluation.workplace import Unfinished, device_of, workplace_of
from dakpn.segmentation.examples import BatchSource, LabelledExamples, labelled_index, resident
from dakpn.segmentation.fit import Workplace, fit_segmenter
from dakpn.segmentation.score import count_confusion, score_from_confusion
from dakpn.segmentation.self_training import SelfTraining

_SCORING_BATCH = 16
_FEW_STEPS, _MORE_STEPS = 2, 8


@dataclass(frozen=True)
class Cell:
    """One training and its score.

    Attributes:
        contender: name.
        real_labelled: number of real labelled images that it trains on.
        draw: which choice of them.
        seed: Seed of initialization, order, augmentation and translation.
        digest: Digest of everything that the score depends on.
    """

    contender: str
    real_labelled: int
    draw: int
    seed: int
    digest: str

    @property
    def name(self) -> str:
        """Name of the result's file, safe on every storage."""
        return f"{file_name(self.contender)}-real{self.real_labelled}-draw{self.draw}-seed{self.seed}"


def plan_cells(config: EvaluateConfig) -> list[Cell]:
    """Every contender with every number of real labelled images, draw of them and seed.

    Raises:
        UsageError, WeightsError: as `check_evaluation`.
    """
    check_evaluation(config)
    return [_plan_cell(config, *coordinates)[0] for coordinates in _grid(config)]


def _grid(config: EvaluateConfig) -> list[tuple[str, int, int, int]]:
    """Every (contender, number of real labelled images, draw, seed), in the order of the config."""
    combinations = [(0, 0)]
    if few := config.real_labelled:
        available = labelled_index(few.dataset)[1].rows
        counts = sorted({available if n == "all" else n for n in few.counts})
        combinations = [(n, draw) for n in counts for draw in range(1 if n in (0, available) else few.draws)]
    cells = [
        (name, n, draw, seed)
        for name, contender in config.contenders.items()
        for n, draw in combinations
        for seed in config.seeds
        if n > 0 or not isinstance(contender, RealOnlyConfig)
    ]
    if config.oracle is not None:
        rows = labelled_index(config.oracle)[1].rows
        cells += [(ORACLE, rows, 0, seed) for seed in config.seeds]
    return cells


def _plan_cell(config: EvaluateConfig, name: str, real_labelled: int, draw: int, seed: int) -> tuple[Cell, Protocol]:
    protocol = protocol_of(config, config.contenders.get(name), real_labelled, draw, seed)
    return Cell(name, real_labelled, draw, seed, protocol.digest), protocol


def finished_cell(config: EvaluateConfig, cell: Cell) -> dict[str, Any] | None:
    """The result of a cell of the same protocol; None if there is none, or a damaged one."""
    uri = _result_uri(config, cell)
    try:
        done = storage.read_json(uri) if storage.exists(uri) else {}
        return done if done["digest"] == cell.digest and "miou" in done else None
    except (DakpnError, KeyError, TypeError):
        return None


def run_cell(config: EvaluateConfig, cell: Cell, device: torch.device | None = None) -> dict[str, Any]:
    """Train and score one cell, and write its result; a finished cell of the same protocol is read back.

    One that was stopped goes on from its newest checkpoint.

    Args:
        config: Config of the evaluation.
        cell: one of its cells.
        device: None: the one that the config asks for.

    Returns:
        The cell's fields with `miou`, `per_class_iou`, `pixel_accuracy` in 0..1, the same of each of the test's
        `sequences` if they are told apart, `protocol`, and `real_keys`.
    """
    if (done := finished_cell(config, cell)) is not None:
        return done
    _, protocol = _plan_cell(config, cell.contender, cell.real_labelled, cell.draw, cell.seed)
    device = device or device_of(config)
    unfinished = Unfinished(config, f"{cell.name}-{cell.digest.rpartition(':')[2][:12]}")
    real = _real_examples(config, cell)
    source = _training_images(config, cell, real, device)
    workplace = workplace_of(config, device, unfinished)
    network = _fitted(config, cell, source, workplace)
    scores = _score(config, network)
    chosen = list(real.keys) if real is not None and cell.contender != ORACLE else []
    result = asdict(cell) | scores | {"protocol": protocol.values, "real_keys": chosen}
    storage.write_json(_result_uri(config, cell), result)
    unfinished.delete()
    return storage.read_json(_result_uri(config, cell))


def seconds_of_step(config: EvaluateConfig, cell: Cell, device: torch.device | None = None) -> float:
    """How long a step of this cell's training takes here, from a few that are taken and thrown away."""
    device = device or device_of(config)
    source = _training_images(config, cell, _real_examples(config, cell), device)
    taken = []
    for steps in (
        _FEW_STEPS,
        _FEW_STEPS,
        _MORE_STEPS,
    ):  # the first also reads, translates and compiles; it does not count
        started = time.perf_counter()
        training = config.training.model_copy(update={"steps": max(steps, config.training.steps)})
        timed = config.model_copy(update={"training": training})
        _fitted(timed, cell, source, replace(workplace_of(config, device), until=steps))
        taken.append(time.perf_counter() - started)
    return max(taken[2] - taken[1], 0.0) / (_MORE_STEPS - _FEW_STEPS)


def _fitted(config: EvaluateConfig, cell: Cell, source: BatchSource, workplace: Workplace) -> nn.Module:
    try:
        return fit_segmenter(
            source, config.network, config.training, cell.seed, workplace, _self_training(config, cell)
        )
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"the GPU has too little memory for a training of {config.training.batch_size_per_worker} images of "
            f"{config.training.size[1]} x {config.training.size[0]} pixels with num_gpus={config.num_gpus:g}: lower "
            "training.batch_size_per_worker, training.size or crop, or set num_gpus=1, so that no others share it"
        ) from error


def _score(config: EvaluateConfig, network: nn.Module) -> dict[str, Any]:
    """The scores on the test set; under `sequences`, those on each of its sequences."""
    test = read_examples(config.real_test, config.training.size, config.memory_gigabytes)
    sequences = sequences_of_test(config, test.keys)
    counts = {
        name: count_confusion(
            network,
            test.subset(positions).ordered_batches(_SCORING_BATCH),
            test.label_space.num_classes,
            test.label_space.ignore_id,
        )
        for name, positions in sequences.items()
    }
    score = asdict(score_from_confusion(torch.stack(list(counts.values())).sum(0)))
    if config.test_sequence is None:
        return score
    return score | {"sequences": {name: asdict(score_from_confusion(count)) for name, count in counts.items()}}


def _result_uri(config: EvaluateConfig, cell: Cell) -> str:
    return storage.join(config.output, "cells", f"{cell.name}.json")


def _real_examples(config: EvaluateConfig, cell: Cell) -> Examples | None:
    if cell.contender == ORACLE and config.oracle is not None:
        return read_examples(config.oracle, config.training.size, config.memory_gigabytes)
    if config.real_labelled is None or cell.real_labelled == 0:
        return None
    examples = read_examples(config.real_labelled.dataset, config.training.size, config.memory_gigabytes)
    few = examples.subset(choose_real(examples.keys, config.real_labelled, cell.real_labelled, cell.draw))
    height, width = config.training.size
    return few if 4 * height * width * len(few.keys) > config.memory_gigabytes * 1e9 else few.held()


def _self_training(config: EvaluateConfig, cell: Cell) -> SelfTraining | None:
    contender = config.contenders.get(cell.contender)
    if not isinstance(contender, SelfTrainingConfig):
        return None
    real = read_images(config.real or "", config.training.size, config.memory_gigabytes)
    return SelfTraining(contender, np.stack(list(real.values())).transpose(0, 3, 1, 2))


def _training_images(config: EvaluateConfig, cell: Cell, real: Examples | None, device: torch.device) -> BatchSource:
    contender = config.contenders.get(cell.contender)
    if isinstance(contender, SelfTrainingConfig):
        contender = contender.images
    if real is None:
        return resident(translated_images(config, contender, cell.seed, device), device, config.memory_gigabytes)
    if contender is None or isinstance(contender, RealOnlyConfig) or config.real_labelled is None:
        return resident(real, device, config.memory_gigabytes)
    synthetic, few = translated_images(config, contender, cell.seed, device), config.real_labelled
    if few.use == "mixed":
        return Mixed(synthetic, real, few.share)
    return FineTuned(synthetic, real, round(config.training.steps * (1 - few.share)))


def translated_images(
    config: EvaluateConfig, contender: ContenderConfig | None, seed: int, device: torch.device
) -> BatchSource:
    """A contender's translations of the synthetic dataset; labelled stored images are taken as they are."""
    if isinstance(contender, StoredConfig) and has_own_labels(at_seed(contender.uri, seed)):
        return read_examples(at_seed(contender.uri, seed), config.training.size, config.memory_gigabytes)
    assert contender is not None  # noqa: S101 - only the oracle has none, and it is never translated
    synthetic = read_examples(config.synthetic or "", config.image_size, config.memory_gigabytes)
    built = ContenderFactory(config, seed, device).build(contender)
    size = config.training.size
    if built.has_draws or not isinstance(synthetic, LabelledExamples):
        return FreshTranslations(synthetic, built, size)
    return translated_once(synthetic, built, size)
