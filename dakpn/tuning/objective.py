"""What a trial is scored by: the mIoU of a segmenter trained on its translations, or a cheap proxy of that."""

import math

import numpy as np

from dakpn.config import EvaluateConfig, KernelPredictionConfig, MeasuresConfig, TuneConfig
from dakpn.datasets import manifest
from dakpn.errors import DataError, UsageError
from dakpn.evaluation.cells import plan_cells, run_cell
from dakpn.evaluation.contenders.build import ContenderFactory
from dakpn.evaluation.extractor import load_extractor
from dakpn.evaluation.image_sets import read_images
from dakpn.evaluation.measures.measure import measured_examples
from dakpn.evaluation.measures.realism import color_statistics, frechet_distance, kernel_distance
from dakpn.evaluation.training_images import labelled_image
from dakpn.models.segmenters.networks import require_network
from dakpn.segmentation.examples import labelled_index

_CONTENDER = "trial"


def downstream_config(config: TuneConfig, weights: dict[str, str], output: str, workers: int = 1) -> EvaluateConfig:
    """The evaluation of some trials by mIoU on the validation split.

    Args:
        config: Config of the sweep.
        weights: name -> URI of the trial's weights.
        output: URI of the folder for its results.
        workers: trainings at a time.
    """
    objective = config.tune.objective
    return EvaluateConfig(
        output=output,
        contenders={name: KernelPredictionConfig(weights=uri) for name, uri in weights.items()},
        synthetic=config.synthetic,
        real=config.real,
        real_test=objective.validation or "",
        seeds=objective.seeds,
        network=objective.network,
        training=objective.training,
        translation_size=objective.translation_size,
        workers=workers,
    )


def check_objective(config: TuneConfig) -> None:
    """Find what is missing for scores before any trial runs.

    Raises:
        UsageError: a dataset is missing, unlabelled or of other classes; the extractor or network cannot be had.
    """
    objective = config.tune.objective
    space = labelled_index(config.synthetic)[0]
    manifest.read_index(config.real)
    if objective.validation is not None:
        classes = labelled_index(objective.validation)[0].class_names
        if classes != space.class_names:
            raise UsageError(
                f"tune.objective.validation ({objective.validation}) has classes {', '.join(classes)}; expected those "
                f"of {config.synthetic}: {', '.join(space.class_names)}"
            )
    require_network(objective.network, {"tune.objective.training.size": objective.training.size})
    if objective.kind in ("frechet", "kernel") and load_extractor(objective.extractor) is None:
        raise UsageError(
            f"tune.objective.kind={objective.kind} needs features; got extractor=none: name an extractor, or take "
            "tune.objective.kind=colors"
        )


def score_weights(config: TuneConfig, weights: str, folder: str) -> tuple[float, dict[str, float]]:
    """The objective of weights as they are now, and, where it is a mean of mIoUs, each of them by its seed.

    Args:
        config: Config of the sweep.
        weights: URI of a trained predictor.
        folder: URI where the segmenters' results are kept.

    Raises:
        DataError: the score is not a finite number.
        UsageError, WeightsError, StorageError: what it takes cannot be read.
    """
    if config.tune.objective.kind == "miou":
        evaluation = downstream_config(config, {_CONTENDER: weights}, folder)
        mious = {str(cell.seed): float(run_cell(evaluation, cell)["miou"]) for cell in plan_cells(evaluation)}
        score = float(np.mean(list(mious.values())))
    else:
        mious = {}
        score = _distance(config, weights, folder)
    if not math.isfinite(score):
        raise DataError(f"objective {config.tune.objective.kind} of {weights} is {score}; expected a finite number")
    return score, mious


def _distance(config: TuneConfig, weights: str, folder: str) -> float:
    """How far translated images are from real ones; the less the better."""
    objective = config.tune.objective
    evaluation = downstream_config(config, {_CONTENDER: weights}, folder)
    synthetic = measured_examples(evaluation, MeasuresConfig(images=objective.images, extractor=objective.extractor))
    contender = ContenderFactory(evaluation, objective.seeds[0]).build(evaluation.contenders[_CONTENDER])
    translated = np.stack([contender.translate(labelled_image(synthetic, i), 0) for i in range(len(synthetic.keys))])
    real = np.stack(list(read_images(config.real, evaluation.image_size).values()))
    if objective.kind == "colors":
        return color_statistics(translated, real).distance
    extractor = load_extractor(objective.extractor)
    if extractor is None:
        raise UsageError("extractor none gives no features")
    distance = frechet_distance if objective.kind == "frechet" else kernel_distance
    return distance(extractor.features(translated), extractor.features(real))
