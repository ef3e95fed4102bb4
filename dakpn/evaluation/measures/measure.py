"""Everything that is measured on one contender's images, with the pictures that a report shows of it."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dakpn import storage
from dakpn.config import (
    ContenderConfig,
    CutConfig,
    CycleGanConfig,
    EvaluateConfig,
    MeasuresConfig,
    RealOnlyConfig,
    SelfTrainingConfig,
)
from dakpn.config.contenders import parts_of
from dakpn.errors import DakpnError
from dakpn.evaluation.baselines.store import training_seconds
from dakpn.evaluation.contender import Contender, file_name
from dakpn.evaluation.contenders.build import ContenderFactory
from dakpn.evaluation.extractor import Extractor, load_extractor
from dakpn.evaluation.image_sets import read_examples, read_images
from dakpn.evaluation.measures.honesty import Preservation, edge_displacement, label_preservation
from dakpn.evaluation.measures.realism import color_statistics, frechet_distance, kernel_distance
from dakpn.evaluation.protocol import protocol_of
from dakpn.evaluation.training_images import labelled_image
from dakpn.evaluation.workplace import Unfinished, device_of, workplace_of
from dakpn.images import codec
from dakpn.models.segmenters.segmenter import Segmenter
from dakpn.models.weights import load_segmenter, save_segmenter
from dakpn.segmentation.examples import LabelledExamples, resident
from dakpn.segmentation.fit import fit_segmenter

_WORST = 3
_VERSION = 1


@dataclass(frozen=True)
class MeasuresFolder:
    """URIs of what measuring writes, below an evaluation's folder."""

    evaluation: str

    @property
    def uri(self) -> str:
        """URI of the folder."""
        return storage.join(self.evaluation, "measures")

    @property
    def judge(self) -> str:
        """Weights of the source-trained net."""
        return storage.join(self.uri, "judge")

    @property
    def inputs(self) -> str:
        """What was measured on: keys, and the real neighbors of the pictures."""
        return storage.join(self.uri, "inputs.json")

    def result(self, contender: str) -> str:
        """Figures of a contender."""
        return storage.join(self.uri, f"{file_name(contender)}.json")

    def picture(self, group: str, number: int) -> str:
        """A picture of a group: "input", "neighbour", or a contender."""
        return storage.join(self.uri, "pictures", file_name(group), f"{number:02}.png")


def measured_contenders(config: EvaluateConfig) -> list[str]:
    """Names of the contenders that translate; none where the evaluation measures nothing."""
    if config.measures is None:
        return []
    without_images = RealOnlyConfig | SelfTrainingConfig
    return [name for name, contender in config.contenders.items() if not isinstance(contender, without_images)]


def prepare_measures(
    config: EvaluateConfig, measures: MeasuresConfig, device: torch.device | None = None
) -> dict[str, Any]:
    """Train the judge, and choose the pictures and their nearest real neighbors; done before, it is read back."""
    folder, seed = MeasuresFolder(config.output), config.seeds[0]
    digest = _digest(config, measures, None)
    if (done := _finished(folder.inputs, digest)) is not None:
        return done
    device = device or device_of(config)
    examples = read_examples(config.synthetic or "", config.training.size, config.memory_gigabytes)
    unfinished = Unfinished(config, f"judge-{digest.rpartition(':')[2][:12]}")
    source = resident(examples, device, config.memory_gigabytes)
    judge = fit_segmenter(source, config.network, config.training, seed, workplace_of(config, device, unfinished))
    card = "A segmentation net trained on synthetic images; it judges label preservation.\n"
    save_segmenter(folder.judge, judge, config.network, examples.label_space, card)
    synthetic = measured_examples(config, measures)
    shown = _spread(len(synthetic.keys), measures.pictures)
    inputs = [labelled_image(synthetic, i).image for i in shown]
    real = read_images(config.real or "", config.image_size, config.memory_gigabytes)
    extractor = load_extractor(measures.extractor)
    neighbors = _spread(len(real), len(inputs))
    if extractor is not None:
        extractor = extractor.on(device)
        features = extractor.features(np.stack(list(real.values())))
        neighbors = _neighbours(extractor.features(np.stack(inputs)), features)
        storage.write_bytes(storage.join(folder.uri, "real_features.safetensors"), save({"features": features}))
    for number, (image, neighbor) in enumerate(zip(inputs, neighbors, strict=False)):
        _write_picture(folder.picture("input", number), image)
        _write_picture(folder.picture("neighbour", number), list(real.values())[neighbor])
    result = {
        "digest": digest,
        "shown": [{"key": synthetic.keys[i]} for i in shown],
        "neighbours": [list(real)[i] for i in neighbors],
        "neighbours_by": extractor.name if extractor else "chance",
    }
    storage.write_json(folder.inputs, result)
    unfinished.delete()
    return result


def measure_contender(
    config: EvaluateConfig, measures: MeasuresConfig, name: str, device: torch.device | None = None
) -> dict[str, Any]:
    """Measure one contender with the evaluation's first seed and draw 0, and write its figures and pictures.

    Raises:
        UsageError, DataError, StorageError, WeightsError: what the contender needs cannot be read.
    """
    folder, seed, contender = MeasuresFolder(config.output), config.seeds[0], config.contenders[name]
    digest = _digest(config, measures, contender)
    if (done := _finished(folder.result(name), digest)) is not None:
        return done
    device = device or device_of(config)
    judge = load_segmenter(folder.judge)[0].to(device)
    synthetic = measured_examples(config, measures)
    inputs = np.ascontiguousarray(synthetic.images.transpose(0, 2, 3, 1))
    outputs, seconds = _translate_all(ContenderFactory(config, seed, device).build(contender), synthetic)
    extractor = load_extractor(measures.extractor)
    extractor = None if extractor is None else extractor.on(device)
    real = _real_images(config)
    kept = _judged(config, judge, outputs, synthetic)
    result = {
        "contender": name,
        "digest": digest,
        "images": len(outputs),
        "real_images": len(real),
        "seconds_per_image": seconds,
        "training_seconds": _training_seconds(config, contender, seed),
        "distances": _distances(extractor, outputs, config),
        "preservation": asdict(kept.score),
        "displacement": asdict(edge_displacement(inputs, outputs)),
        "colors": asdict(color_statistics(outputs, real)),
        "real_colors": asdict(color_statistics(real, real)),
        "worst": _worst(folder, name, synthetic, outputs, kept, _judged(config, judge, inputs, synthetic)),
    }
    for number, index in enumerate(_spread(len(outputs), measures.pictures)):
        _write_picture(folder.picture(name, number), outputs[index])
    storage.write_json(folder.result(name), result)
    return storage.read_json(folder.result(name))


def _digest(config: EvaluateConfig, measures: MeasuresConfig, contender: ContenderConfig | None) -> str:
    values: dict[str, Any] = {"version": _VERSION, "measures": measures.model_dump(mode="json")}
    for part in [contender] if contender else config.contenders.values():
        protocol = protocol_of(config, part, 0, 0, config.seeds[0]).values
        values |= protocol if contender else {"synthetic": protocol.get("synthetic"), "training": protocol["training"]}
    values["network"] = config.network.model_dump(mode="json")
    return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished(uri: str, digest: str) -> dict[str, Any] | None:
    try:
        done = storage.read_json(uri) if storage.exists(uri) else {}
        return done if done["digest"] == digest else None
    except (DakpnError, KeyError, TypeError):
        return None


def measured_examples(config: EvaluateConfig, measures: MeasuresConfig) -> LabelledExamples:
    """The synthetic images that are measured, spread over the dataset."""
    examples = read_examples(config.synthetic or "", config.image_size, config.memory_gigabytes)
    return examples.subset(_spread(len(examples.keys), measures.images)).held()


def _spread(total: int, wanted: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, min(wanted, total)).round().astype(int)).tolist()


def _translate_all(contender: Contender, synthetic: LabelledExamples) -> tuple[NDArray[np.uint8], float]:
    """Every image with draw 0, and the median seconds of one."""
    images, seconds = [], []
    contender.translate(labelled_image(synthetic, 0), 0)  # compiles and fills caches
    for index in range(len(synthetic.keys)):
        sample = labelled_image(synthetic, index)
        started = time.perf_counter()
        images.append(contender.translate(sample, 0))
        seconds.append(time.perf_counter() - started)
    return np.stack(images), float(np.median(seconds))


def _judged(
    config: EvaluateConfig, judge: Segmenter, images: NDArray[np.uint8], synthetic: LabelledExamples
) -> Preservation:
    size = config.training.size
    if images.shape[1:3] != size:
        images = np.stack([codec.resize_image(image, size) for image in images])
    labels = np.stack([codec.resize_label(label, size) for label in synthetic.labels]).astype(np.uint8)
    return label_preservation(judge, images, labels, synthetic.label_space.num_classes)


def _real_images(config: EvaluateConfig) -> NDArray[np.uint8]:
    return np.stack(list(read_images(config.real or "", config.image_size, config.memory_gigabytes).values()))


def _distances(
    extractor: Extractor | None, outputs: NDArray[np.uint8], config: EvaluateConfig
) -> dict[str, Any] | None:
    if extractor is None:
        return None
    real_at = storage.join(MeasuresFolder(config.output).uri, "real_features.safetensors")
    features, real = extractor.features(outputs), load(storage.read_bytes(real_at))["features"]
    return {
        "extractor": extractor.name,
        "frechet": frechet_distance(features, real),
        "kernel": kernel_distance(features, real),
    }


def _neighbours(seen: NDArray[np.float64], known: NDArray[np.float64]) -> list[int]:
    """The real image nearest to each by the angle between their features, none twice."""
    seen, known = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (seen, known))
    chosen: list[int] = []
    for similarity in seen @ known.T:
        if len(chosen) < len(known):
            similarity[chosen] = -np.inf
        chosen.append(int(similarity.argmax()))
    return chosen


def _worst(
    folder: MeasuresFolder,
    name: str,
    synthetic: LabelledExamples,
    outputs: NDArray[np.uint8],
    after: Preservation,
    before: Preservation,
) -> list[dict[str, Any]]:
    """The images on which the judge lost most by the translation, with their pictures."""
    change = np.nan_to_num(after.accuracy - before.accuracy, nan=np.inf)
    cases = []
    for number, index in enumerate(np.argsort(change, kind="stable")[:_WORST].tolist()):
        group = f"{name} worst"
        _write_picture(folder.picture(f"{group} input", number), labelled_image(synthetic, index).image)
        _write_picture(folder.picture(group, number), outputs[index])
        label_uri = folder.picture(f"{group} prediction", number)
        storage.write_bytes(label_uri, codec.encode_label(after.predictions[index]))
        accuracies = {"accuracy": float(after.accuracy[index]), "accuracy_untranslated": float(before.accuracy[index])}
        cases.append({"key": synthetic.keys[index], **accuracies})
    return cases


def _training_seconds(config: EvaluateConfig, contender: ContenderConfig, seed: int) -> float | None:
    baselines = [part for part in parts_of(contender) if isinstance(part, (CycleGanConfig, CutConfig))]
    known = [training_seconds(config, baseline, seed) for baseline in baselines]
    return sum(s for s in known if s is not None) if known else None


def _write_picture(uri: str, image: NDArray[np.uint8]) -> None:
    storage.write_bytes(uri, codec.encode_image(np.ascontiguousarray(image), "png"))
