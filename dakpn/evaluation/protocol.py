"""The protocol of an evaluation: what a score depends on, checked before any work and kept with every result."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dakpn.config import (
    ContenderConfig,
    EvaluateConfig,
    NetworkConfig,
    RealLabelledConfig,
    RealOnlyConfig,
    SegmenterTrainingConfig,
    SelfTrainingConfig,
    StoredConfig,
)
from dakpn.config.contenders import parts_of
from dakpn.datasets.label_space import one_sided_classes
from dakpn.datasets.manifest import read_index
from dakpn.datasets.sequences import positions_by_sequence
from dakpn.errors import UsageError
from dakpn.evaluation.contender import ORACLE
from dakpn.evaluation.contenders.build import at_seed, content_digests, has_own_labels
from dakpn.evaluation.extractor import load_extractor
from dakpn.evaluation.workplace import bounded_memory, described_precision
from dakpn.images.augmentation import AUGMENTATIONS
from dakpn.models.segmenters.networks import require_network
from dakpn.segmentation.examples import labelled_index
from dakpn.sources.exclusions import source_keys
from dakpn.sources.preset import load_preset
from dakpn.wording import counted

logger = logging.getLogger(__name__)

_VERSION = 3
"""Counts changes of the code that change scores."""


@dataclass(frozen=True)
class Protocol:
    """Everything that one cell's score depends on; the same values give the same score."""

    values: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """A digest of the values."""
        return "sha256:" + hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()


def protocol_of(
    config: EvaluateConfig, contender: ContenderConfig | None, real_labelled: int, draw: int, seed: int
) -> Protocol:
    """The protocol of one cell; a contender of None is the oracle.

    Raises:
        UsageError, WeightsError: a dataset or weights are missing.
    """
    values: dict[str, Any] = {
        "version": _VERSION,
        "network": config.network.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json"),
        "precision": described_precision(config),
        "real_test": read_index(config.real_test).digest,
        "real_labelled": real_labelled,
        "seed": seed,
        **bounded_memory(config),
    }
    if config.test_sequence is not None:
        values["test_sequence"] = config.test_sequence
    if contender is None:
        return Protocol(values | {"contender": "oracle", "oracle": read_index(config.oracle or "").digest})
    values["contender"] = contender.model_dump(mode="json")
    values["contender_digests"] = content_digests(contender, seed)
    if not isinstance(contender, RealOnlyConfig):
        values["translation_size"] = list(config.image_size)
        values |= {name: read_index(uri).digest for name, uri in _domains(config, contender, seed).items()}
    if real_labelled and config.real_labelled:
        few = config.real_labelled
        values["real_labelled_draw"] = draw
        values["real_labelled_dataset"] = read_index(few.dataset).digest
        values["real_labelled_use"] = few.model_dump(mode="json", include={"sequence", "use", "share"})
    return Protocol(values)


def check_evaluation(config: EvaluateConfig) -> None:
    """Find what is missing or does not fit before anything is trained.

    Raises:
        UsageError: a dataset is missing, unlabelled, or has other classes than the real test set; a contender lacks
            what it needs; or the network cannot be built here.
    """
    require_network(config.network, {"training.size": config.training.size})
    if ORACLE in config.contenders and config.oracle is not None:
        raise UsageError(f"the contender name {ORACLE!r} is taken by evaluate's own; rename the contender")
    labelled = {"oracle": config.oracle, "synthetic": config.synthetic}
    labelled["real_labelled"] = config.real_labelled.dataset if config.real_labelled else None
    for name, contender in config.contenders.items():
        _check_contender(config, name, contender)
        images = contender.images if isinstance(contender, SelfTrainingConfig) else contender
        if isinstance(images, StoredConfig) and has_own_labels(at_seed(images.uri, config.seeds[0])):
            labelled[f"contender {name}"] = at_seed(images.uri, config.seeds[0])
    _check_real_labelled(config)
    sequences_of_test(config, source_keys(config.real_test, None, None))
    _check_measures(config)
    test = labelled_index(config.real_test)[0]
    for name, uri in labelled.items():
        if not uri:
            continue
        space = labelled_index(uri)[0]
        if space.class_names != test.class_names:
            raise UsageError(
                f"{name} ({uri}) has classes {', '.join(space.class_names)}; expected those of {config.real_test}: "
                f"{', '.join(test.class_names)}; pack it with a preset that has "
                f"`classes_of: {test.dataset}` and, where names differ, a class_map by names"
            )
        for sentence in one_sided_classes(uri, space, config.real_test, test):
            logger.warning("%s", sentence)


def sequences_of_test(config: EvaluateConfig, keys: Sequence[str]) -> dict[str, list[int]]:
    """Positions among the test set's keys of each sequence; of all, by no name, where they are not told apart.

    Raises:
        UsageError: a key belongs to no sequence.
    """
    if config.test_sequence is None:
        return {"": list(range(len(keys)))}
    return positions_by_sequence(keys, config.test_sequence, "test_sequence", config.real_test)


def describe_protocol(config: EvaluateConfig) -> dict[str, str]:
    """How scores are measured, in words for people; kept in the result file."""
    test, training = read_index(config.real_test), config.training
    words = {
        "Scored on": f"{test.rows} real labelled images of {config.real_test}, never trained on",
        "Downstream net": _describe_network(config.network),
        "Image size": f"{training.size[1]} x {training.size[0]} pixels (area-averaged; labels by nearest neighbor)",
        "Training": f"{training.steps} steps of {training.batch_size_per_worker}, the same for every contender",
        "Precision": f"{described_precision(config)}; losses and scores are float32",
        "Augmentation": _describe_augmentation(training),
        "Score": "mIoU over the classes that occur; ignored pixels are not counted",
        "Seeds": ", ".join(map(str, config.seeds)),
    }
    if config.test_sequence:
        words["Scored on"] += f"; each sequence ({config.test_sequence}) by itself, too"
    if config.synthetic:
        words["Translation"] = (
            f"at {config.image_size[1]} x {config.image_size[0]} pixels, a fresh draw in every batch for every "
            "contender that has draws"
        )
    if few := config.real_labelled:
        counts = ", ".join(map(str, few.counts))
        source = f"each draw from one sequence ({few.sequence})" if few.sequence else "scattered over the dataset"
        use = f"{round(100 * few.share)} % of every batch" if few.use == "mixed" else "after the synthetic images"
        words["Real labelled images"] = f"{counts} of {few.dataset}; {few.draws} draws, {source}; used as {use}"
    return words


def _check_contender(config: EvaluateConfig, name: str, contender: ContenderConfig) -> None:
    for seed in config.seeds:
        content_digests(contender, seed)
    domains = _domains(config, contender, config.seeds[0])
    for domain, uri in domains.items():
        if not uri:
            lacks = f": {contender.uri} has no labels of its own" if isinstance(contender, StoredConfig) else ""
            raise UsageError(f"contender {name} needs `{domain}`, the URI of a packed dataset{lacks}; set it")
    images = contender.images if isinstance(contender, SelfTrainingConfig) else contender
    if isinstance(images, StoredConfig) and "synthetic" in domains:
        _require_same_keys(domains["synthetic"], at_seed(images.uri, config.seeds[0]), name)


def _require_same_keys(synthetic: str, uri: str, name: str) -> None:
    missing = set(source_keys(synthetic, None, None)) - set(source_keys(uri, load_preset("images"), None))
    if missing:
        raise UsageError(
            f"contender {name} ({uri}) has no image for {len(missing)} keys of {synthetic}, such as {min(missing)}; "
            "expected a translated image with the key of every synthetic one"
        )


def _check_real_labelled(config: EvaluateConfig) -> None:
    few = config.real_labelled
    if few is None:
        return
    keys = source_keys(few.dataset, None, None)
    for count in few.counts:
        choose_real(keys, few, len(keys) if count == "all" else count, 0)
    if few.use == "mixed" and config.training.batch_size_per_worker < 2:
        raise UsageError("got batches of one image, which cannot mix two domains; raise training.batch_size_per_worker")


def _check_measures(config: EvaluateConfig) -> None:
    if config.measures is None:
        return
    if config.synthetic is None or config.real is None:
        raise UsageError("measures compare translated images with synthetic and real ones; set `synthetic` and `real`")
    for uri in (config.synthetic, config.real):
        read_index(uri)
    load_extractor(config.measures.extractor)


def _domains(config: EvaluateConfig, contender: ContenderConfig, seed: int) -> dict[str, str]:
    """The datasets that a contender's images are made from; "" for one that is not set."""
    if isinstance(contender, RealOnlyConfig):
        return {}
    if isinstance(contender, SelfTrainingConfig):
        return {**_domains(config, contender.images, seed), "real": config.real or ""}
    if isinstance(contender, StoredConfig):
        return {} if has_own_labels(at_seed(contender.uri, seed)) else {"synthetic": config.synthetic or ""}
    kinds = {part.kind for part in parts_of(contender)}
    domains = {"synthetic": config.synthetic or ""}
    if kinds & {"reinhard", "histogram_matching", "fda", "cyclegan", "cut"}:
        domains["real"] = config.real or ""
    return domains


def _describe_augmentation(training: SegmenterTrainingConfig) -> str:
    augmentation = AUGMENTATIONS[training.augmentation]
    words = "every image as it is" if augmentation is None else augmentation.describe()
    if training.crop is not None:
        words += f"; views of {training.crop[1]} x {training.crop[0]} pixels"
    return f"{training.augmentation}: {words}"


def _describe_network(network: NetworkConfig) -> str:
    settings = network.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    return ", ".join([network.kind, *(f"{name} {str(value).strip('[]')}" for name, value in settings.items())])


def choose_real(keys: Sequence[str], config: RealLabelledConfig, count: int, draw: int) -> list[int]:
    """Positions of `count` keys, sorted; a pure function of the arguments.

    With a sequence pattern all are of one sequence, and the draws take the sequences that are long enough in turn.
    Of the same sequence a draw's smaller choices are parts of its larger ones.

    Raises:
        UsageError: there are fewer keys, no sequence is long enough, or a key belongs to none.
    """
    if count > len(keys):
        raise UsageError(f"got {count} real labelled images to choose from {len(keys)} of {config.dataset}; ask fewer")
    if count == len(keys):
        return list(range(len(keys)))
    candidates = list(range(len(keys)))
    if config.sequence is not None:
        sequences = positions_by_sequence(keys, config.sequence, "real_labelled.sequence", config.dataset)
        long_enough = [name for name in sorted(sequences) if len(sequences[name]) >= count]
        if not long_enough:
            longest = max(map(len, sequences.values()))
            raise UsageError(
                f"no sequence of {config.dataset} has {counted(count, 'image')} (the longest has {longest}); lower "
                "real_labelled.counts, or leave out real_labelled.sequence"
            )
        candidates = sequences[long_enough[draw % len(long_enough)]]
    order = np.random.default_rng([draw, len(candidates)]).permutation(len(candidates))
    return sorted(candidates[i] for i in order[:count])
