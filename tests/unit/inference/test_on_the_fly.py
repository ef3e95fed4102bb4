"""Stored params give the images that the translator gives, in any draw and strength, in any worker."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dakpn.config import ParamsPrecision, TranslateConfig
from dakpn.data import codec
from dakpn.data.reader import SegmentationDataset
from dakpn.inference.job_finish import finish_translation
from dakpn.inference.job_plan import claim_output, plan_translation
from dakpn.inference.on_the_fly import TranslatingDataset
from dakpn.inference.shard_job import ShardWork
from dakpn.inference.shard_rows import input_rows
from dakpn.inference.translator import Translator
from dakpn.models.predictor import KernelPredictor
from dakpn.models.weights import load_predictor, save_predictor
from tests.scenes import CAMVID, Scenes

SHARD = "train-00001-of-00003"


def store_params(weights: str, source: str | Path, output: Path, **more: object) -> Path:
    """The translation job, in this process."""
    values = {"weights": weights, "input": str(source), "output": str(output), "content": "params", **more}
    plan = plan_translation(TranslateConfig.model_validate(values))
    claim_output(plan)
    work = ShardWork(Translator.of_job(plan.config, plan.index), plan.config)
    markers = {task.name: work.translate(task, input_rows(work.source(task))) for task in plan.todo}
    finish_translation(plan, {**plan.finished, **markers})
    return output


@pytest.fixture(scope="module")
def guessing_weights(weights: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Like `weights`, but conditioned on the encoder, whose logits are spread as widely as those of a trained one."""
    labelled, _, _ = load_predictor(weights)
    head = labelled.config.head.model_copy(update={"condition": "encoder"})
    predictor = KernelPredictor(labelled.config.model_copy(update={"head": head}))
    predictor.load_state_dict(labelled.state_dict())
    with torch.no_grad():
        predictor.encoder.get_parameter("classify.weight").mul_(20)
        predictor.head.weight.mul_(0.3)
    folder = tmp_path_factory.mktemp("guessing")
    save_predictor(str(folder), predictor, CAMVID.label_space, "random weights of the tests")
    return str(folder)


@pytest.fixture(scope="module")
def params(scenes: Scenes, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of weights that look at labels. Tests copy it before they damage it."""
    return store_params(weights, scenes.synthetic, tmp_path_factory.mktemp("params") / "out", draws=3)


def gaps(dataset: TranslatingDataset, translator: Translator) -> np.ndarray:
    """Grey levels between the items of a dataset and what the translator makes of the stored images."""
    source = SegmentationDataset(dataset.uri)
    found = []
    for index in range(len(dataset)):
        sample = source.sample(index)
        image = codec.decode_image(sample.image, sample.key)
        expected = translator.translate(image, sample.key, translator.train_ids(sample.label, sample.key))
        found.append(np.abs(dataset[index]["image"].transpose(1, 2, 0).astype(int) - expected))
    return np.stack(found)


@pytest.mark.parametrize("draw", [0, 7])
@pytest.mark.parametrize("settings", [{}, {"strength": 0.4}, {"refinement": (0.2, 0.2), "style": "noon"}])
def test_where_labels_tell_the_classes_the_images_are_exact(
    params: Path, weights: str, draw: int, settings: dict
) -> None:
    dataset = TranslatingDataset(str(params), draw=draw, **settings)
    assert len(dataset) == 12
    assert gaps(dataset, Translator.load(weights, draw=draw, **settings)).max() == 0


@pytest.mark.parametrize(("precision", "allowed"), [("float16", 1), ("uint8", 4)])
def test_rounded_logits_move_pixels_by_little(
    scenes: Scenes, guessing_weights: str, tmp_path: Path, precision: ParamsPrecision, allowed: int
) -> None:
    output = store_params(guessing_weights, scenes.synthetic, tmp_path / "out", precision=precision)
    found = gaps(TranslatingDataset(str(output), draw=2), Translator.load(guessing_weights, draw=2))
    assert found.max() <= allowed
    assert (found > 1).mean() < 1e-3
