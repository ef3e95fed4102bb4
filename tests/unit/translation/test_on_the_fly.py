"""Stored params give the images that the translator gives, in any draw and strength, in any worker."""

import pickle
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dakpn.config import ParamsPrecision, TranslateConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.manifest import RowRecord
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.datasets.shards import read_shard
from dakpn.errors import DakpnError, DataError, UsageError, WeightsError
from dakpn.images import codec
from dakpn.images.augmentation import Augmentation
from dakpn.sources.pack import pack_dataset
from dakpn.translation.on_the_fly import TranslatingDataset
from dakpn.translation.params_dataset import read_params
from dakpn.translation.stored_features import from_stored, to_stored
from dakpn.translation.stored_params import read_params_shard, write_params_shard
from dakpn.translation.translator import Translator
from tests.scenes import CAMVID, Scenes, copy_dataset, write_shard
from tests.unit.translation.stored import guessing_weights, store_params

__all__ = ["guessing_weights"]
SHARD = "train-00001-of-00003"
PRECISIONS: tuple[ParamsPrecision, ...] = ("float32", "float16", "uint8")
HOSTILE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": lambda rng: rng.integers(0, 256, (40, 56, 3)),
    "greys": lambda rng: rng.integers(0, 256, (40, 56, 1)).repeat(3, 2),
    "almost greys": lambda rng: rng.integers(2, 250, (40, 56, 1)) + rng.integers(-2, 3, (40, 56, 3)),
    "almost blacks": lambda rng: rng.integers(0, 3, (40, 56, 3)),
    "almost whites": lambda rng: rng.integers(253, 256, (40, 56, 3)),
    "one color": lambda rng: rng.integers(0, 256, 3) + np.zeros((40, 56, 3), int),
}
"""Where f turns the least difference of its params into another color: the hue of a grey is anything."""


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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_params_give_the_images_of_their_precision_and_rounding_moves_pixels_by_a_grey_level(
    scenes: Scenes, guessing_weights: str, tmp_path: Path, precision: ParamsPrecision
) -> None:
    output = store_params(guessing_weights, scenes.synthetic, tmp_path / "out", precision=precision)
    dataset = TranslatingDataset(str(output), draw=2)
    assert gaps(dataset, Translator.load(guessing_weights, draw=2, precision=precision)).max() == 0
    assert gaps(dataset, Translator.load(guessing_weights, draw=2, precision="float32")).max() <= 1
    logits = dataset.params(3).logits
    assert logits is not None
    assert np.prod(logits.shape) * np.dtype(precision).itemsize == len(logits.data)


def test_params_and_pixels_of_a_batch_are_the_same_images(
    scenes: Scenes, guessing_weights: str, tmp_path: Path
) -> None:
    output = store_params(guessing_weights, scenes.synthetic, tmp_path / "out", encoder_batch=3)
    dataset = TranslatingDataset(str(output), draw=0)
    assert gaps(dataset, Translator.load(guessing_weights, encoder_batch=3)).max() == 0


@pytest.fixture(scope="module")
def guessing(guessing_weights: str) -> Translator:
    return Translator.load(guessing_weights)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(HOSTILE)),
    st.integers(0, 99),
    st.sampled_from(PRECISIONS),
    st.integers(0, 99),
    st.floats(0, 1),
)
def test_stored_params_give_the_very_image_whatever_it_is_and_whatever_its_look(
    guessing: Translator, kind: str, seed: int, precision: ParamsPrecision, draw: int, strength: float
) -> None:
    image = HOSTILE[kind](np.random.default_rng(seed)).astype(np.uint8)
    translator = replace(guessing, precision=precision, draw=draw, strength=strength)
    record = RowRecord(
        key=kind,
        source="",
        source_sha256="",
        image_sha256=None,
        label_sha256=None,
        height=40,
        width=56,
        status="done",
        reason=None,
    )
    row = to_stored(guessing.features(image, kind), record, 0, precision, ())
    with tempfile.TemporaryDirectory() as folder:
        write_params_shard(f"{folder}/shard.parquet", [row])
        (read,) = read_params_shard(f"{folder}/shard.parquet")
    found = translator.translate_known(image, from_stored(read), kind)
    np.testing.assert_array_equal(found, translator.translate(image, kind))


def test_a_random_draw_is_a_function_of_seed_epoch_and_index(params: Path) -> None:
    def images(seed: int, epoch: int) -> np.ndarray:
        dataset = TranslatingDataset(str(params), seed=seed)
        dataset.set_epoch(epoch)
        return np.stack([dataset[index]["image"] for index in (3, 4)])

    np.testing.assert_array_equal(images(1, 2), images(1, 2))
    for seed, epoch in ((1, 3), (2, 2)):
        assert not np.array_equal(images(1, 2), images(seed, epoch))


def test_the_looks_that_the_job_was_asked_for_come_in_turn(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    output = store_params(weights, scenes.synthetic, tmp_path / "out", draw=4, draws=3)
    dataset = TranslatingDataset(str(output), draw="listed")
    for epoch, draw in enumerate((4, 5, 6, 4)):
        dataset.set_epoch(epoch)
        assert gaps(dataset, Translator.load(weights, draw=draw)).max() == 0


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_data_loader_gives_the_same_with_and_without_workers(params: Path, context: str) -> None:
    dataset = TranslatingDataset(str(params), size=(24, 32), augmentation=Augmentation(), seed=3)
    alone = list(DataLoader(dataset, batch_size=4))
    batches = list(DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=context))
    for batch, expected in zip(batches, alone, strict=True):
        assert batch["key"] == expected["key"]
        assert batch["image"].equal(expected["image"])
        assert batch["label"].equal(expected["label"])


def test_a_copy_for_a_worker_holds_neither_rows_nor_the_encoder(params: Path) -> None:
    dataset = TranslatingDataset(str(params))
    fresh = len(pickle.dumps(dataset))
    dataset[0]
    assert len(pickle.dumps(dataset)) == fresh < 50_000


def test_rows_are_read_in_order_and_list_the_looks_asked_for(params: Path, weights: str) -> None:
    rows = list(read_params(str(params)))
    assert [row.position for row in rows] == [0, 1, 2, 3] * 3
    assert [row.logits for row in rows] == [None] * 12
    translator = Translator.load(weights)
    for row in rows:
        looks = [replace(translator, draw=draw).look(row.key) for draw in range(3)]
        assert [look.refinement for look in row.looks] == [look.refinement for look in looks]
        assert {look.style for look in row.looks} <= {"dusk", "noon", "rain"}
        assert (row.height, row.width) == (48, 64)


@pytest.mark.parametrize("kind", ["webdataset", "folder"])
def test_params_of_an_input_in_any_format_are_kept_as_parquet(
    scenes: Scenes, weights: str, params: Path, tmp_path: Path, kind: FormatName
) -> None:
    source = str(tmp_path / "source")
    pack_dataset(scenes.source, source, CAMVID, None, 4, True, kind)
    output = store_params(weights, source, tmp_path / "out")
    assert sorted(path.name for path in output.glob("train-*")) == sorted(path.name for path in params.glob("train-*"))
    found, expected = (TranslatingDataset(str(uri), draw=1) for uri in (output, params))
    np.testing.assert_array_equal(found[5]["image"], expected[5]["image"])


def test_a_quarantined_image_is_left_out_and_those_behind_it_keep_their_params(
    scenes: Scenes, weights: str, params: Path, tmp_path: Path
) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    shard = source / f"{SHARD}.parquet"
    first, bad, *rest = read_shard(str(shard))
    write_shard(shard, [first, replace(bad, image=bad.image[:100]), *rest])
    stored = store_params(weights, source, tmp_path / "out", max_bad_fraction=0.1)
    dataset = TranslatingDataset(str(stored), draw=0, check_source=True)
    whole = TranslatingDataset(str(params), draw=0)
    kept = [index for index in range(12) if index != 5]
    assert len(dataset) == 11
    for index, before in enumerate(kept):
        assert dataset[index]["key"] == whole[before]["key"]
        np.testing.assert_array_equal(dataset[index]["image"], whole[before]["image"])


def _other_input(source: Path, params: Path) -> None:
    index = manifest.read_index(str(source))
    shards = [index.shards[0].model_copy(update={"sha256": "0" * 64}), *index.shards[1:]]
    manifest.write_index(str(source), index.model_copy(update={"shards": shards}))


def _other_rows(source: Path, params: Path) -> None:
    shard = source / f"{SHARD}.parquet"
    write_shard(shard, [*read_shard(str(shard))][::-1])


def _other_image(source: Path, params: Path) -> None:
    shard = source / f"{SHARD}.parquet"
    first, *rest = read_shard(str(shard))
    write_shard(shard, [replace(first, image=rest[0].image), *rest])


def _other_label(source: Path, params: Path) -> None:
    shard = source / f"{SHARD}.parquet"
    first, *rest = read_shard(str(shard))
    write_shard(shard, [replace(first, label=rest[0].label), *rest])


def _smaller_image(source: Path, params: Path) -> None:
    shard = source / f"{SHARD}.parquet"
    first, *rest = read_shard(str(shard))
    image = codec.resize_image(codec.decode_image(first.image, ""), (24, 32))
    write_shard(shard, [replace(first, image=codec.encode_image(image, "png")), *rest])


def _other_weights(source: Path, params: Path) -> None:
    config = params / "weights/config.json"
    config.write_text(config.read_text() + "\n")


def _no_shard(source: Path, params: Path) -> None:
    (params / f"{SHARD}.parquet").unlink()


def _images_for_params(source: Path, params: Path) -> None:
    shutil.copy(source / f"{SHARD}.parquet", params / f"{SHARD}.parquet")


@pytest.mark.parametrize(
    ("damage", "check", "kind", "words"),
    [
        (_other_input, False, UsageError, "is not what the params .* were made of"),
        (_other_rows, False, DataError, "is at this place, expected"),
        (_smaller_image, False, DataError, "has 32 x 24 pixels, expected 64 x 48"),
        (_other_image, True, DataError, "has the image .*: the input changed since it was translated"),
        (_other_label, True, DataError, "has the label .*: the input changed since it was translated"),
        (_other_weights, False, WeightsError, "weights@?.* have the digest .*, expected sha256"),
        (_no_shard, False, DakpnError, f"{SHARD}.parquet: it does not exist"),
        (_images_for_params, False, DataError, "expected those of stored params"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    scenes: Scenes,
    params: Path,
    tmp_path: Path,
    damage: Callable[[Path, Path], None],
    check: bool,
    kind: type[DakpnError],
    words: str,
) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    copied = copy_dataset(str(params), tmp_path / "params")
    damage(source, copied)
    with pytest.raises(kind, match=words):
        TranslatingDataset(str(copied), str(source), check_source=check)[4]


def test_params_are_not_taken_for_images_nor_images_for_params(scenes: Scenes, params: Path) -> None:
    with pytest.raises(UsageError, match=r"holds params, expected pixels; read it with .*TranslatingDataset"):
        SegmentationDataset(str(params))
    with pytest.raises(UsageError, match="holds pixels, expected params"):
        TranslatingDataset(scenes.synthetic)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"draws": 2}, "output of its own for each draw"),
        ({"content": "params", "strength": 0.5}, "chosen when params are applied"),
        ({"content": "params", "style": "noon"}, "chosen when params are applied"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TranslateConfig.model_validate({"weights": "w", "input": "i", "output": "o", **settings})


@pytest.mark.parametrize(
    "settings", [{"strength": 1.5}, {"refinement": (0.8, 0.2)}, {"style": "snow"}, {"draw": "rnd"}]
)
def test_looks_that_do_not_exist_are_refused(params: Path, settings: dict) -> None:
    with pytest.raises(UsageError, match=r"expected 0 to 1|has no style 'snow'|got draw 'rnd'"):
        TranslatingDataset(str(params), **settings)


def test_the_job_writes_the_same_bytes_again(scenes: Scenes, weights: str, params: Path, tmp_path: Path) -> None:
    again = store_params(weights, scenes.synthetic, tmp_path / "out", draws=3, decode_workers=0)
    for path in sorted(params.glob("train-*")):
        assert (again / path.name).read_bytes() == path.read_bytes()
