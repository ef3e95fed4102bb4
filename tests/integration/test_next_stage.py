"""A translated dataset is read by other tools without a line of ours, and the page on training with it runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ray.data
from PIL import Image

from dakpn.config import PackConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.images import codec
from tests.paths import REPOSITORY
from workflows import pack

_READERS = "needs the extra `readers` (datasets, webdataset)"


@pytest.fixture(scope="module")
def kinds(translated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    """The translated scenes in every format; that all translate alike is tested elsewhere."""
    folder = tmp_path_factory.mktemp("next")
    others: tuple[FormatName, ...] = ("webdataset", "folder")
    for kind in others:
        pack.main(PackConfig(source=str(translated), output=str(folder / kind), format=kind))
    return {"parquet": translated, **{kind: folder / kind for kind in others}}


@pytest.fixture(scope="module")
def expected(kinds: dict[FormatName, Path]) -> dict[str, Sample]:
    uri = str(kinds["parquet"])
    names = [shard.name for shard in manifest.read_index(uri).shards]
    return {sample.key: sample for name in names for sample in read_shard(manifest.shard_uri(uri, name))}


def assert_equal(found: dict[str, tuple[np.ndarray, np.ndarray]], expected: dict[str, Sample]) -> None:
    """Every row once, pixels and ids exact."""
    assert found.keys() == expected.keys()
    for key, (image, label) in found.items():
        np.testing.assert_array_equal(image, codec.decode_image(expected[key].image, key))
        np.testing.assert_array_equal(label, codec.decode_label(expected[key].label or b"", key))


def decoded(data: bytes) -> np.ndarray:
    from io import BytesIO

    return np.asarray(Image.open(BytesIO(data)))


@pytest.mark.parametrize(("kind", "columns"), [("parquet", ("key", "image", "label")), ("webdataset", None)])
def test_datasets_reads_it(
    kinds: dict[FormatName, Path],
    expected: dict[str, Sample],
    kind: FormatName,
    columns: tuple[str, str, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason=_READERS)
    datasets.disable_progress_bars()
    key, image, label = columns or ("__key__", "image.png", "label.png")
    rows = list(datasets.load_dataset(str(kinds[kind]), split="train", cache_dir=str(tmp_path)))
    assert len(rows) == 12
    assert_equal({row[key]: (np.asarray(row[image]), np.asarray(row[label])) for row in rows}, expected)


def test_webdataset_reads_it(kinds: dict[FormatName, Path], expected: dict[str, Sample]) -> None:
    webdataset = pytest.importorskip("webdataset", reason=_READERS)
    files = sorted(map(str, kinds["webdataset"].glob("train-*.tar")))
    rows = list(webdataset.WebDataset(files, shardshuffle=False))
    assert len(rows) == 12
    assert_equal({r["__key__"]: (decoded(r["image.png"]), decoded(r["label.png"])) for r in rows}, expected)


def test_ray_data_reads_parquet(ray_here: str, kinds: dict[FormatName, Path], expected: dict[str, Sample]) -> None:
    files = sorted(map(str, kinds["parquet"].glob("train-*.parquet")))
    rows = ray.data.read_parquet(files).take_all()
    assert len(rows) == 12
    assert_equal({r["key"]: (decoded(r["image"]["bytes"]), decoded(r["label"]["bytes"])) for r in rows}, expected)


def test_ray_data_reads_archives(ray_here: str, kinds: dict[FormatName, Path], expected: dict[str, Sample]) -> None:
    files = sorted(map(str, kinds["webdataset"].glob("train-*.tar")))
    rows = ray.data.read_webdataset(files, decoder=None).take_all()
    assert len(rows) == 12
    assert_equal({r["__key__"]: (decoded(r["image.png"]), decoded(r["label.png"])) for r in rows}, expected)


def test_loaders_that_pair_files_by_name_read_it(kinds: dict[FormatName, Path], expected: dict[str, Sample]) -> None:
    """As mmsegmentation's BaseSegDataset scans `img_dir` and replaces folder and suffix for `ann_dir`."""
    root = kinds["folder"]
    images = sorted((root / "images").rglob("*.png"))
    found = {}
    for path in images:
        name = path.relative_to(root / "images")
        label = (root / "labels" / name).with_suffix(".png")
        found[name.with_suffix("").as_posix()] = (np.asarray(Image.open(path)), np.asarray(Image.open(label)))
    assert_equal(found, expected)
    assert len(list((root / "labels").rglob("*.png"))) == len(images)


def test_the_page_trains_a_segformer_as_it_stands(kinds: dict[FormatName, Path], tmp_path: Path) -> None:
    """Its code, with fewer epochs and smaller images, in a process of its own."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `transformers`")
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/next_stage.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "SegformerForSemanticSegmentation" in block)
    settings = "EPOCHS, SIZE = 20, (192, 256)\n"
    assert settings in code
    shutil.copytree(kinds["parquet"], tmp_path / "data/translated")
    (tmp_path / "train.py").write_text(
        "".join(["import torch\ntorch.manual_seed(0)\n", code]).replace(settings, "EPOCHS, SIZE = 4, (64, 64)\n")
    )
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "segformer/config.json").read_text())["architectures"]
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(tmp_path / "segformer")
    assert model.config.num_labels == 11
