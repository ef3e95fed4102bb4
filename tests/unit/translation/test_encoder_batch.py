"""Images go through the encoder together, and none can tell which others were beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dakpn.config import HeadConfig, NetworkConfig, PredictorConfig, StyleConfig, TranslateConfig, TranslationConfig
from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from dakpn.models.predictor import KernelPredictor
from dakpn.translation.row_pipeline import TranslatedRow, translate_rows
from dakpn.translation.shard_job import translate_sample
from dakpn.translation.shard_rows import InputRow
from dakpn.translation.translator import EncoderInput, Translator
from tests.scenes import CAMVID, Scenes
from tests.unit.models.network_samples import NETWORKS
from tests.unit.translation.stored import guessing_weights

__all__ = ["guessing_weights"]
SETTINGS = TranslateConfig(weights="unused", input="unused", output="unused")


@pytest.mark.parametrize(("network", "stride"), NETWORKS)
def test_an_image_has_the_same_logits_beside_any_others(network: NetworkConfig, stride: int) -> None:
    config = PredictorConfig(
        num_classes=CAMVID.label_space.num_classes,
        prediction_size=(96, 128),
        network=network,
        head=HeadConfig(condition="encoder"),
        translation=TranslationConfig(),
        style=StyleConfig(kind="none"),
    )
    torch.manual_seed(0)
    translator = Translator(KernelPredictor(config).for_inference(), CAMVID.label_space, "", encoder_batch=5)
    rng = np.random.default_rng(0)
    heights = (96, 100, 120, 64, 80)
    images = [EncoderInput(rng.integers(0, 256, (height, 160, 3), np.uint8), str(height)) for height in heights]
    together = translator.features_of_batch(images)
    turned = translator.features_of_batch(images[::-1])[::-1]
    alone = [translator.features(one.image, one.key) for one in images]
    for one, other, single in zip(together, turned, alone, strict=True):
        assert one.coarse_logits is not None
        assert one.coarse_logits.shape[-2:] == (96 // stride, 128 // stride)
        assert torch.equal(one.coarse_logits, other.coarse_logits)
        assert torch.equal(one.coarse_logits, single.coarse_logits)


def translated(translator: Translator, rows: list[InputRow], threads: int = 0) -> list[TranslatedRow]:
    return list(translate_rows(translator, SETTINGS, rows, "shard", threads=threads))


@pytest.mark.parametrize("threads", [0, 2])
def test_rows_keep_their_order_and_bytes_wherever_a_damaged_one_lies(
    scenes: Scenes, guessing_weights: str, threads: int
) -> None:
    shards = [manifest.shard_uri(scenes.synthetic, f"train-0000{number}-of-00003") for number in (0, 1)]
    samples = [sample for shard in shards for sample in read_shard(shard)]
    rows = [InputRow(position, sample.key, sample, None) for position, sample in enumerate(samples)]
    translator = Translator.load(guessing_weights, encoder_batch=3)
    expected = [translate_sample(translator, SETTINGS, sample, "shard")[0].image for sample in samples]
    assert [row.sample and row.sample.image for row in translated(translator, rows, threads)] == expected
    for damaged in ({0}, {2, 3}, {7}, {0, 1, 2, 3, 4, 5, 6, 7}):
        given = [replace(row, error="damaged") if row.position in damaged else row for row in rows]
        found = translated(translator, given, threads)
        assert [row.record.key for row in found] == [row.key for row in rows]
        assert [position for position, row in enumerate(found) if row.quarantined] == sorted(damaged)
        for position, row in enumerate(found):
            assert row.sample is None or row.sample.image == expected[position]


def test_only_a_batch_of_several_makes_another_dataset() -> None:
    assert "encoder_batch" not in SETTINGS.settings
    for content in ("pixels", "params"):
        several = SETTINGS.model_copy(update={"encoder_batch": 8, "content": content})
        assert several.settings["encoder_batch"] == 8
