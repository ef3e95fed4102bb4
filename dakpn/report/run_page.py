"""Gather what a training run and its evaluation have produced so far into the data of one report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn import storage
from dakpn.config import TrainConfig
from dakpn.config_file import parse_config, to_yaml
from dakpn.datasets import manifest
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import UsageError
from dakpn.images import codec
from dakpn.models.function.color import rgb_to_hsv
from dakpn.models.weights_files import has_weights
from dakpn.report import Curve, ParameterMap, ReportData, TranslationExample
from dakpn.report.evaluation_page import (
    EvaluationResults,
    contender_results,
    creation_time,
    evaluation_detail,
    evaluation_digests,
    read_results,
    shown_weights,
)
from dakpn.segmentation.examples import labelled_index
from dakpn.training.encoder import ENCODER_STAGE
from dakpn.training.reporting import read_alarms, read_metrics
from dakpn.training.run_folder import RunFolder
from dakpn.translation.translator import Translator

_EXAMPLES = 6
_REAL_SAMPLES = 6
_CURVE_GROUPS = {
    "encoder/loss": "source segmenter",
    "identity": "identity loss",
    "predictor": "predictor's adversarial loss",
    "discriminator": "discriminator loss",
    "discriminator_accuracy": "discriminator accuracy",
}


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from, beside the run folder.

    Attributes:
        run: URI of a training run, finished or not; or of an evaluation, for a page of that alone.
        evaluation: URI of an evaluation's folder, if there is one.
        title, notices: shown on the page.
        timings: part of the work -> seconds.
    """

    run: str
    evaluation: str | None = None
    title: str = "Synthetic to real, labels untouched"
    notices: Sequence[str] = ()
    timings: dict[str, float] = field(default_factory=dict)
    target_name: str = "Real"


_NOT_PLAYED = " (colors of the style bank, blur and noise as drawn; no head was trained)"


def gather_report(inputs: ReportInputs) -> ReportData:
    """Collect pictures, curves, scores and digests; what is not there yet is left out.

    Raises:
        UsageError: `run` is neither the folder of a training run nor that of an evaluation.
    """
    folder = RunFolder(inputs.run)
    if not storage.exists(folder.config):
        if (results := read_results(inputs.run)) is not None:
            return _gather_evaluation(inputs, results)
        raise UsageError(
            f"{inputs.run} is not a training run (no config.yaml) and no evaluation (no results.json); give the folder "
            "that `dakpn train` or `dakpn evaluate` made"
        )
    text = storage.read_bytes(folder.config).decode()
    config = parse_config(TrainConfig, text, origin=folder.config)
    label_space, index = labelled_index(config.synthetic)
    translator = _translator(folder)
    results = read_results(inputs.evaluation) if inputs.evaluation else None
    digests = {
        "synthetic dataset": _dataset_digest(config.synthetic),
        "real dataset": _dataset_digest(config.real),
    }
    if translator:
        digests["weights"] = translator.weights_digest
    return ReportData(
        title=inputs.title,
        subtitle=f"{config.synthetic} → {config.real}{'' if config.adversarial.steps else _NOT_PLAYED}",
        created=creation_time(),
        notices=[*inputs.notices, *(str(alarm) for alarm in read_alarms(folder.alarms))],
        examples=_examples(config.synthetic, index, label_space, translator),
        real_samples=[codec.decode_image(s.image, s.image_path) for s in _spread_samples(config.real, _REAL_SAMPLES)],
        class_names=label_space.class_names,
        class_colors=label_space.class_colors,
        curves=_curves(read_metrics(folder.metrics)),
        contenders=contender_results(results) if results else [],
        protocol=results.protocol if results else {},
        digests=digests,
        config_yaml=text,
        timings=inputs.timings,
        target_name=inputs.target_name,
        detail=evaluation_detail(results) if results else None,
    )


def _gather_evaluation(inputs: ReportInputs, results: EvaluationResults) -> ReportData:
    """The page of an evaluation alone."""
    config = results.config
    label_space, index = labelled_index(config.synthetic or config.real_test)
    weights = shown_weights(config)
    examples = []
    if weights and config.synthetic:
        examples = _examples(config.synthetic, index, label_space, Translator.load(weights))
    return ReportData(
        title=inputs.title,
        subtitle=f"{config.synthetic or ', '.join(config.contenders)} → {config.real_test}",
        created=creation_time(),
        notices=inputs.notices,
        examples=examples,
        class_names=label_space.class_names,
        class_colors=label_space.class_colors,
        contenders=contender_results(results),
        protocol=results.protocol,
        digests=evaluation_digests(results),
        config_yaml=to_yaml(config),
        timings=inputs.timings,
        target_name=inputs.target_name,
        detail=evaluation_detail(results),
    )


def _translator(folder: RunFolder) -> Translator | None:
    return Translator.load(folder.weights) if has_weights(folder.weights) else None


def _examples(
    dataset: str, index: manifest.DatasetIndex, label_space: LabelSpace, translator: Translator | None
) -> list[TranslationExample]:
    if translator is None:
        return []
    examples = []
    for sample in _spread_samples(dataset, _EXAMPLES):
        before = codec.decode_image(sample.image, sample.image_path)
        label = None
        if sample.label is not None:
            origin = sample.label_path or sample.key
            label = label_space.to_train_ids(codec.decode_label(sample.label, origin), origin)
        after = translator.translate(before, sample.key, label)
        params = translator.parameter_maps(before, sample.key, label)
        examples.append(TranslationExample(sample.key, before, after, label, _change_maps(params, before)))
    return examples


def _change_maps(params: dict[str, NDArray[np.float32]], before: NDArray[np.uint8]) -> dict[str, ParameterMap]:
    """What the params do to this image, for the stages that its translation function has."""
    maps: dict[str, ParameterMap] = {}
    if "hue_shift" in params:
        maps["hue shift"] = _around_zero(360 * params["hue_shift"], "°", least=5)
    hsv = rgb_to_hsv(torch.from_numpy(before).permute(2, 0, 1).float().div(255)).numpy()
    for channel, name in ((1, "saturation"), (2, "value")):
        if f"{name}_gain" in params:
            changed = params[f"{name}_gain"] * hsv[channel] + params[f"{name}_bias"]
            maps[f"{name} change"] = _around_zero(100 * (changed.clip(0, 1) - hsv[channel]), "%", least=10)
    for prefix, name, scale, unit, least in (
        ("sigma", "blur sigma", 1, "px", 0.5),
        ("noise", "noise", 255, "levels", 2),
    ):
        if f"{prefix}_red" in params:
            values = scale * np.mean([params[f"{prefix}_{c}"] for c in ("red", "green", "blue")], axis=0)
            maps[name] = ParameterMap(values, 0.0, max(float(values.max()), least), 0.0, unit)
    return maps


def _around_zero(values: NDArray[np.float32], unit: str, *, least: float) -> ParameterMap:
    reach = max(float(np.abs(values).max()), least)
    return ParameterMap(values, -reach, reach, 0.0, unit)


def _spread_samples(dataset: str, wanted: int) -> list[Sample]:
    """A few samples from shards spread over the dataset."""
    index = manifest.read_index(dataset)
    chosen = np.unique(np.linspace(0, len(index.shards) - 1, wanted).round().astype(int))
    each = -(-wanted // len(chosen))
    uris = [manifest.shard_uri(dataset, index.shards[i].name, index.format) for i in chosen]
    samples = [sample for uri in uris for sample in islice(read_shard(uri), each)]
    return samples[:wanted]


def _curves(lines: list[dict[str, Any]]) -> dict[str, Curve]:
    series: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for line in lines:
        for name, value in line.items():
            of_encoder = line["stage"].startswith(ENCODER_STAGE)
            group = f"{ENCODER_STAGE}/{name}" if of_encoder else name.partition("/")[0]
            if group in _CURVE_GROUPS:
                title = f"{line['stage']}/{name}" if of_encoder else name
                steps, values = series.setdefault((title, _CURVE_GROUPS[group]), ([], []))
                steps.append(line["step"])
                values.append(value)
    return {title: Curve(steps, values, group) for (title, group), (steps, values) in series.items()}


def _dataset_digest(uri: str) -> str:
    return manifest.read_index(uri).digest
