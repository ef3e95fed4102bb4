"""A preset of one's own, in a YAML file."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from dakpn.errors import ConfigError, UsageError
from dakpn.sources.preset import DatasetPreset, load_preset
from tests.paths import REPOSITORY


def test_the_example_of_the_documentation_is_a_preset(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/datasets.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "my.yaml").write_text(text)
    for name in ("img_dir/train/x/1.JPG", "ann_dir/train/x/1.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    preset = load_preset(str(tmp_path / "my.yaml"))
    assert [pair.key for pair in preset.find_pairs(tmp_path / "data", "train", labelled=True)] == ["train/x/1"]
    assert preset.label_space.to_train_ids(np.array([[0, 1, 2]], np.uint8), "x").tolist() == [[255, 0, 1]]


BASE = {"name": "mine", "layouts": [{"images": "{name}.png", "labels": "l/{name}.png"}], "class_names": ["a"]}


def write_preset(folder: Path, **changes: object) -> str:
    (folder / "mine.yml").write_text(yaml.safe_dump({**BASE, **changes}))
    return str(folder / "mine.yml")


def test_a_preset_of_ones_own_lists_valid_keys(tmp_path: Path) -> None:
    assert isinstance(load_preset(write_preset(tmp_path)), DatasetPreset)
    with pytest.raises(ConfigError, match=r"mine\.yml: unknown key colors; valid here: class_colors, .*layouts"):
        load_preset(write_preset(tmp_path, colors=[]))
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_preset(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    for ids in ("8", "08", "008"):
        (tmp_path / "ids.yaml").write_text(f"class_map: {{7: 0, {ids}: 0}}\n{yaml.safe_dump(BASE)}")
        assert dict(load_preset(str(tmp_path / "ids.yaml")).class_map) == {7: 0, 8: 0}
    (tmp_path / "spelled.yaml").write_text(f"class_map: {{8: 0, 008: 0}}\n{yaml.safe_dump(BASE)}")
    with pytest.raises(ConfigError, match="key '008' is given twice"):
        load_preset(str(tmp_path / "spelled.yaml"))
    with pytest.raises(ConfigError, match="'name' is given twice"):
        load_preset(str(tmp_path / "twice.yaml"))


@pytest.mark.parametrize(
    "pattern",
    ["../{name}.png", "/{name}.png", "a//{name}.png", "a\\{name}.png", "{name}", "x.png",
     "{split}/{split}/{name}.png", "{name}/{split}.png", "x{split}/{name}.png", "*/{name}.png", "{name}.{ext}", ""],
)  # fmt: skip
def test_patterns_that_escape_or_make_no_sense_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"layouts\.0\.images = .*expected"):
        load_preset(write_preset(tmp_path, layouts=[{"images": pattern}]))


@pytest.mark.parametrize(
    ("images", "labels"),
    [("{name}.png", "{name}.png"), ("{name}.*", "l/{name}.*"), ("i/{name}.png", "l/{split}/{name}.png")],
)
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path: Path, images: str, labels: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        load_preset(write_preset(tmp_path, layouts=[{"images": images, "labels": labels}]))


@pytest.mark.parametrize(
    "changes",
    [{"class_names": []}, {"class_map": {1: 7}}, {"label_format": "celebamask_parts"}, {"label_parts": {"skin": 1}},
     {"label_parts": {"../skin": 1}, "label_format": "celebamask_parts"}, {"label_format": "colours"}, {"name": "a/b"},
     {"layouts": []}, {"class_colors": [[0, 0, 0], [1, 1, 1]]}, {"class_colors": [[0, 0]]}],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_with_the_file(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"mine\.yml: "):
        load_preset(write_preset(tmp_path, **changes))
