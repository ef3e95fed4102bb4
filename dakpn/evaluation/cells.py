"""An evaluation is a grid of cells, one per contender and seed: train the segmenter, score it on real images."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from dakpn.config import EvaluateConfig, NetworkConfig
from dakpn.data import storage
from dakpn.data.manifest import read_index
from dakpn.errors import DakpnError, UsageError
from dakpn.models.networks import require_network
from dakpn.segmentation.examples import labelled_index, load_examples
from dakpn.segmentation.fit import fit_segmenter
from dakpn.segmentation.score import Score, score_segmenter

ORACLE = "oracle"
"""Name of the contender that trains on labelled real images: an upper bound, not a rival."""
_SCORING_BATCH = 16


@dataclass(frozen=True)
class Cell:
    """One training and its score.

    Attributes:
        contender: name.
        dataset: URI of what the segmenter trains on.
        seed: of initialisation, order and augmentation.
        protocol: digest of everything that the score depends on.
    """

    contender: str
    dataset: str
    seed: int
    protocol: str


def plan_cells(config: EvaluateConfig) -> list[Cell]:
    """Every contender with every seed.

    Raises:
        UsageError: a dataset is missing, unlabelled, or has other classes than the real test set; or the network
            cannot be built here.
    """
    contenders = dict(config.contenders)
    if config.oracle is not None:
        if ORACLE in contenders:
            raise UsageError(f"the contender name {ORACLE!r} is taken by evaluate's own; rename the contender")
        contenders[ORACLE] = config.oracle
    require_network(config.network)
    test_classes = labelled_index(config.real_test)[0].class_names
    for name, uri in contenders.items():
        classes = labelled_index(uri)[0].class_names
        if classes != test_classes:
            raise UsageError(
                f"contender {name} ({uri}) has classes {', '.join(classes)}; expected those of {config.real_test}: "
                f"{', '.join(test_classes)}"
            )
    return [
        Cell(name, uri, seed, _protocol_digest(config, uri))
        for name, uri in contenders.items()
        for seed in config.seeds
    ]


def run_cell(config: EvaluateConfig, cell: Cell) -> dict[str, Any]:
    """Train and score one cell, and write its result; a finished cell of the same protocol is read back.

    Returns:
        The cell's fields with `miou`, `per_class_iou`, `pixel_accuracy` in 0..1.
    """
    uri = storage.join(config.output, "cells", f"{cell.contender}-seed{cell.seed}.json")
    if storage.exists(uri):
        try:
            done = storage.read_json(uri)
            if done["protocol"] == cell.protocol:
                return done
        except (DakpnError, KeyError, TypeError):
            pass  # a damaged result is made again
    examples = load_examples(cell.dataset, config.training.size)
    network = fit_segmenter(examples, config.network, config.training, cell.seed)
    test = load_examples(config.real_test, config.training.size)
    score: Score = score_segmenter(
        network, test.ordered_batches(_SCORING_BATCH), test.label_space.num_classes, test.label_space.ignore_id
    )
    result = asdict(cell) | asdict(score)
    storage.write_json(uri, result)
    return result


def describe_protocol(config: EvaluateConfig) -> dict[str, str]:
    """How scores are measured, in words for people; kept in the result file."""
    test, training = read_index(config.real_test), config.training
    return {
        "Scored on": f"{test.rows} real labelled images of {config.real_test}, never trained on by source contenders",
        "Downstream net": _describe_network(config.network),
        "Image size": f"{training.size[1]} x {training.size[0]} pixels (area-averaged; labels by nearest neighbour)",
        "Training": f"{training.steps} steps of {training.batch_size_per_worker}, the same for every contender",
        "Score": "mIoU over the classes that occur; ignored pixels are not counted",
        "Seeds": ", ".join(map(str, config.seeds)),
    }


def _describe_network(network: NetworkConfig) -> str:
    settings = network.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    return ", ".join([network.kind, *(f"{name} {str(value).strip('[]')}" for name, value in settings.items())])


def _protocol_digest(config: EvaluateConfig, dataset: str) -> str:
    protocol = {
        "network": config.network.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json"),
        "dataset": read_index(dataset).model_dump(mode="json"),
        "real_test": read_index(config.real_test).model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()
