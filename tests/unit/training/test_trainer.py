"""The trainer as a notebook uses it: on folders of images, without Ray."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dakpn.config import EvaluateConfig
from dakpn.config_file import build_config
from dakpn.datasets.stream import PackedDataset
from dakpn.errors import ConfigError, DataError, UsageError
from dakpn.evaluation.protocol import check_evaluation
from dakpn.scenes import photograph, render_scene, write_dataset
from dakpn.sources.folder_dataset import FolderDataset
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from dakpn.training.trainer import Trainer
from dakpn.translation.translator import Translator
from tests.paths import REPOSITORY
from tests.scenes import Scenes, tiny_training
from tests.trainings import write_config


def test_a_folder_gives_the_rows_that_packing_makes_of_it_and_trains(scenes: Scenes, tmp_path: Path) -> None:
    synthetic = FolderDataset.open(str(scenes.source), "camvid", labelled=True)
    packed = PackedDataset.open(scenes.synthetic)
    rows, expected = (
        [(s.key, s.image, s.label) for shard in source.index.shards for s in source.read(shard.name)]
        for source in (synthetic, packed)
    )
    assert rows == expected
    Trainer(tiny_training(tmp_path / "run", scenes), synthetic).fit()
    assert (tmp_path / "run/weights/README.md").exists()


def test_the_readmes_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", read_page(), re.S) if "FolderDataset" in block]
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "PATH/TO/synthetic", 4, 0, partial(render_scene, size=(48, 64)), processes=1)
    write_dataset(tmp_path / "PATH/TO/photos", 4, 9, partial(photograph, size=(48, 64)), "train", processes=1)
    tiny = write_config(tmp_path / "tiny.yaml", tiny_training("x", Scenes(tmp_path)))
    names: dict[str, Any] = {}
    exec(code.replace("workflows/configs/camvid_demo.yaml", str(tiny)), names)  # noqa: S102 - that is the point
    assert names["translated"].shape == names["image"].shape == (48, 64, 3)
    assert not np.array_equal(names["translated"], names["image"])
    assert "ray" not in vars(sys.modules["dakpn.training.trainer"])


def read_page() -> str:
    return (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")


def test_without_a_step_of_the_game_images_get_what_is_drawn_for_them(scenes: Scenes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adversarial.steps is 0, .* set it to \[0, 0\]"):
        tiny_training("run", scenes, "adversarial.steps=0")
    # Given for images 32 pixels wide; the scenes have 64.
    stages = "[{kind: gaussian_blur, max_sigma: 1.5, drawn_sigma: [0.2, 0.4]}, {kind: noise, drawn_scale: [0, 0.02]}]"
    given = ("adversarial.steps=0", "style.refinement=[0,0]", "translation.reference_width=32")
    config = tiny_training(tmp_path / "run", scenes, *given, f"translation.stages={stages}")
    translator = Translator.load(Trainer(config).fit())
    assert "no step of the game" in (tmp_path / "run/weights/README.md").read_text()
    image, label = np.full((48, 64, 3), 120, np.uint8), np.zeros((48, 64), np.uint8)
    maps = [translator.parameter_maps(image, key, label) for key in "abcdef"]
    sigmas, scales = ([one[name] for one in maps] for name in ("sigma_red", "noise_blue"))
    assert max(np.ptp(values) for values in (*sigmas, *scales)) < 1e-6
    assert min(values.min() for values in sigmas) >= 0.4
    assert max(values.max() for values in sigmas) <= 0.8
    assert max(values.max() for values in scales) <= 0.04
    assert len({float(values[0, 0]) for values in (*sigmas, *scales)}) == 12


def test_a_broken_file_of_a_folder_is_named(scenes: Scenes, tmp_path: Path) -> None:
    write_dataset(tmp_path / "photos", 3, 0, partial(photograph, size=(48, 64)), processes=1)
    broken = sorted((tmp_path / "photos/images").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:-40])
    photos = FolderDataset.open(str(tmp_path / "photos"), "camvid", labelled=False)
    with pytest.raises(DataError, match=str(broken)):
        Trainer(tiny_training(tmp_path / "run", scenes), real=photos).fit()


def test_classes_that_one_side_lacks_are_named_before_training_and_before_an_evaluation(
    scenes: Scenes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "own.yaml").write_text("extends: camvid\nclasses_of: camvid\nclass_map: {tree: ignore}\n")
    fewer = FolderDataset.open(str(scenes.source), str(tmp_path / "own.yaml"), labelled=True)
    Trainer(tiny_training(tmp_path / "run", scenes), real=fewer).prepare()
    pack_dataset(scenes.source, str(tmp_path / "fewer"), load_preset(str(tmp_path / "own.yaml")), None, 12)
    values = {"output": str(tmp_path / "out"), "real_test": scenes.test, "synthetic": str(tmp_path / "fewer")}
    check_evaluation(build_config(EvaluateConfig, {**values, "contenders": {"source": {"kind": "source_only"}}}))
    trained, evaluated = (record.message for record in caplog.records if "only the labels" in record.message)
    assert trained.startswith(f"only the labels of {scenes.synthetic} can hold tree, those of {scenes.source} cannot")
    assert evaluated.startswith(f"only the labels of {scenes.test} can hold tree, those of {tmp_path / 'fewer'} cannot")
    assert "`classes_of: camvid` and `class_map: {tree: ignore}`" in trained


def test_a_folder_that_cannot_be_read_as_one_is_refused(scenes: Scenes) -> None:
    with pytest.raises(UsageError, match="is a packed dataset"):
        FolderDataset.open(scenes.synthetic, "camvid")


def test_a_gpu_asked_for_where_there_is_none_is_one_sentence_before_anything_starts(
    scenes: Scenes, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="use_gpu is true, but torch finds no GPU here"):
        Trainer(tiny_training(tmp_path / "run", scenes, "use_gpu=true"))
    assert not (tmp_path / "run").exists()
