"""Each preset finds a small tree of its dataset, and maps ids as its publishers or its field do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.sources.preset import load_preset, preset_names
from tests.paths import SHARED_DATA

RGB = codec.encode_image(np.zeros((8, 8, 3), np.uint8), "png")
LABEL = codec.encode_label(np.zeros((8, 8), np.uint8))

# Each preset with its images, their labels, and the keys that they should get.
TREES = {
    "gta5": {"images/00002.png": ("labels/00002.png", "00002"), "images/00001.PNG": ("labels/00001.png", "00001")},
    "cityscapes": {
        f"leftImg8bit/{split}/{city}/{city}_000000_000019_leftImg8bit.png": (
            f"gtFine/{split}/{city}/{city}_000000_000019_gtFine_labelIds.png",
            f"{split}/{city}/{city}_000000_000019",
        )
        for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "munster"))
    },
    "synthia": {"RGB/0000001.png": ("GT/LABELS/0000001.png", "0000001")},
    "synthia_trainids": {"RGB/0000001.png": ("GT/LABELS/0000001_labelTrainIds.png", "0000001")},
    "camvid": {"images/val/a.b.png": ("labels/val/a.b.png", "val/a_b"), "images/0.jpg": ("labels/0.png", "0")},
    "facesynthetics": {"000000.png": ("000000_seg.png", "000000"), "000001.png": ("000001_seg.png", "000001")},
    "mmseg": {"img_dir/1.png": ("ann_dir/1.png", "1"), "img_dir/train/0.jpg": ("ann_dir/train/0.png", "train/0")},
    "carla": {"rgb/town/1.png": ("semantic/town/1.png", "town/1"), "rgb/2.jpg": ("semantic/2.png", "2")},
    "images": {"a/b/0.png": (None, "a/b/0"), "1.JPG": (None, "1"), "a/2.jpeg": (None, "a/2")},
}
TREES |= {"cityscapes16": TREES["cityscapes"], "carla_0_9_13": TREES["carla"]}

CITYSCAPES_TRAIN_IDS = dict(zip([7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33], range(19), strict=True))
SYNTHIA_TRAIN_IDS = {
    3: "road", 4: "sidewalk", 2: "building", 21: "wall", 5: "fence", 7: "pole", 15: "traffic light", 9: "traffic sign",
    6: "vegetation", 1: "sky", 10: "person", 17: "rider", 8: "car", 19: "bus", 12: "motorcycle", 11: "bicycle",
}  # fmt: skip


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_tree(root: Path, name: str, labelled: bool = True) -> Path:
    write(root, dict.fromkeys(TREES[name], RGB))
    return write(root, {label: LABEL for label, _ in TREES[name].values() if label and labelled})


def mapped(preset: str, ids: list[int]) -> list[int]:
    return load_preset(preset).label_space.to_train_ids(np.array([ids], np.uint8), "x")[0].tolist()


def test_every_preset_is_tried_here() -> None:
    assert set(preset_names()) == {*TREES, "celebamask_hq", "isaac_sim", "unity_perception"}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_describes_itself(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.description
    assert preset.folder_tree
    if preset.class_names:
        assert preset.licence
        assert "http" in preset.source
        assert len(set(preset.class_colors)) == len(preset.class_names)


@pytest.mark.parametrize("name", TREES)
def test_pairs_and_keys(name: str, tmp_path: Path) -> None:
    preset, root = load_preset(name), write_tree(tmp_path, name)
    pairs = preset.find_pairs(root, None)
    assert [pair.key for pair in pairs] == sorted(key for _, key in TREES[name].values())
    for pair in pairs:
        label, key = TREES[name][pair.image_path.relative_to(root).as_posix()]
        assert pair.key == key
        assert pair.label_path == (root / label if label else None)
        assert pair.files == tuple(filter(None, (pair.image_path, pair.label_path)))
        if label:
            assert pair.read_label((8, 8)).data == LABEL


@pytest.mark.parametrize("name", [name for name in TREES if name != "images"])
def test_labels_are_optional_and_a_single_missing_one_is_named(name: str, tmp_path: Path) -> None:
    preset, bare = load_preset(name), write_tree(tmp_path / "bare", name, labelled=False)
    assert [pair.label_path for pair in preset.find_pairs(bare, None)] == [None] * len(TREES[name])
    with pytest.raises(UsageError, match=r"labels, which were asked for,|has no label; expected"):
        preset.find_pairs(bare, None, labelled=True)
    root = write_tree(tmp_path / "full", name)
    assert all(pair.label_path is None for pair in preset.find_pairs(root, None, labelled=False))
    write(root, {extra_image(name): RGB})
    with pytest.raises(UsageError, match=r"extra\w*\.png has no label; expected .*extra\w*\.png: add it"):
        preset.find_pairs(root, None)


def extra_image(name: str) -> str:
    image = next(iter(TREES[name]))
    folder, _, last = image.rpartition("/")
    suffix = "_leftImg8bit.png" if "cityscapes" in name else ".png"
    assert last.endswith(suffix)
    return f"{folder}/extra{suffix}" if folder else f"extra{suffix}"


def test_splits(tmp_path: Path) -> None:
    cityscapes, root = load_preset("cityscapes"), write_tree(tmp_path, "cityscapes")
    assert cityscapes.find_splits(root) == ["train", "val"]
    assert [pair.key for pair in cityscapes.find_pairs(root, "val", True)] == ["val/munster/munster_000000_000019"]
    with pytest.raises(UsageError, match=r"leftImg8bit/test does not exist; expected the split .*train, val"):
        cityscapes.find_pairs(root, "test")


def test_a_split_is_refused_where_there_can_be_none(tmp_path: Path) -> None:
    synthia, root = load_preset("synthia"), write_tree(tmp_path, "synthia")
    assert synthia.find_splits(root) == []
    with pytest.raises(UsageError, match="got the split 'train', but synthia has no split folders"):
        synthia.find_pairs(root, "train")


def test_the_images_preset_has_no_labels(tmp_path: Path) -> None:
    images, root = load_preset("images"), write_tree(tmp_path, "images")
    with pytest.raises(UsageError, match="images has no labels, which were asked for"):
        images.find_pairs(root, None, labelled=True)
    with pytest.raises(UsageError, match="images has no classes"):
        _ = images.label_space


def test_face_synthetics_in_two_folders(tmp_path: Path) -> None:
    files = {"images/train/0.png": RGB, "labels/train/0.png": LABEL, "preview.png": RGB}
    pairs = load_preset("facesynthetics").find_pairs(write(tmp_path, files), "train", labelled=True)
    assert [(pair.key, pair.label_path) for pair in pairs] == [("train/0", tmp_path / "labels/train/0.png")]


@pytest.mark.parametrize("name", ["gta5", "cityscapes"])
def test_gta5_and_cityscapes_share_19_train_ids(name: str) -> None:
    known = [*range(35 if name == "gta5" else 34), 255]
    assert mapped(name, known) == [CITYSCAPES_TRAIN_IDS.get(label_id, 255) for label_id in known]
    with pytest.raises(DataError, match=rf"unknown label id {known[-2] + 1} "):
        mapped(name, [known[-2] + 1])
    assert load_preset(name).class_names == load_preset("cityscapes").class_names


def test_the_indices_of_a_palette_image_are_gta5_ids(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[7, 26], [34, 0]], np.uint8), "P")
    image.putpalette([0, 0, 0] * 7 + [128, 64, 128] + [9, 9, 9] * 248)
    root = write(tmp_path, {"images/1.png": RGB, "labels/1.png": b""})
    image.save(root / "labels/1.png")
    pair = load_preset("gta5").find_pairs(root, None)[0]
    ids = codec.decode_label(pair.read_label((2, 2)).data, "x")
    assert load_preset("gta5").label_space.to_train_ids(ids, "x").tolist() == [[0, 13], [255, 255]]


def test_synthia_and_cityscapes16_share_the_16_classes_that_synthia_has() -> None:
    names = load_preset("synthia").class_names
    missing = {"terrain", "truck", "train"}
    assert names == tuple(name for name in load_preset("cityscapes").class_names if name not in missing)
    assert names == load_preset("cityscapes16").class_names == load_preset("synthia_trainids").class_names
    expected = [names.index(SYNTHIA_TRAIN_IDS[i]) if i in SYNTHIA_TRAIN_IDS else 255 for i in range(23)]
    assert mapped("synthia", list(range(23))) == expected
    with pytest.raises(DataError, match="unknown label id 23 "):
        mapped("synthia", [23])
    assert mapped("cityscapes16", [7, 22, 27, 28, 31, 33, 0]) == [0, 255, 255, 13, 255, 15, 255]
    assert mapped("synthia_trainids", [0, 8, 9, 10, 14, 15, 16, 17, 18, 255]) == [
        0,
        8,
        255,
        9,
        255,
        13,
        255,
        14,
        15,
        255,
    ]


@pytest.mark.parametrize(
    "pair", [("gta5", "cityscapes"), ("synthia", "cityscapes16"), ("facesynthetics", "celebamask_hq")]
)
def test_the_colors_of_a_pair_agree(pair: tuple[str, str]) -> None:
    assert load_preset(pair[0]).class_colors == load_preset(pair[1]).class_colors


def test_face_synthetics_ids_become_those_of_celebamask_hq() -> None:
    faces, photos = load_preset("facesynthetics"), load_preset("celebamask_hq")
    assert faces.class_names == photos.class_names
    target = {
        1: 1,
        2: 2,
        3: 5,
        4: 4,
        5: 7,
        6: 6,
        7: 9,
        8: 8,
        9: 10,
        10: 11,
        11: 12,
        12: 17,
        13: 13,
        14: 13,
        15: 18,
        16: 3,
    }
    target[17] = 14
    assert mapped("facesynthetics", list(target)) == mapped("celebamask_hq", list(target.values()))
    assert mapped("facesynthetics", [0, 18, 255]) == [255] * 3
    assert mapped("celebamask_hq", list(range(19))) == [255, *range(18)]


@pytest.mark.skipif(SHARED_DATA is None, reason="the real Face Synthetics images are not on this machine")
def test_the_real_face_synthetics_are_found_and_every_id_is_known() -> None:
    faces = load_preset("facesynthetics")
    pairs = faces.find_pairs(SHARED_DATA / "facesynth100", None, labelled=True)
    assert len(pairs) == 100
    for pair in pairs[:20]:
        ids = codec.decode_label(pair.read_label((256, 256)).data, pair.key)
        train_ids = faces.label_space.to_train_ids(ids, pair.key)
        left, right = (
            np.nonzero(train_ids == faces.class_names.index(f"{side} brow"))[1] for side in ("left", "right")
        )
        assert not (left.size and right.size) or left.mean() < right.mean()


CARLA_TAGS = [
    "Unlabeled",
    "Roads",
    "SideWalks",
    "Building",
    "Wall",
    "Fence",
    "Pole",
    "TrafficLight",
    "TrafficSign",
    "Vegetation",
    "Terrain",
    "Sky",
    "Pedestrian",
    "Rider",
    "Car",
    "Truck",
    "Bus",
    "Train",
    "Motorcycle",
    "Bicycle",
    "Static",
    "Dynamic",
    "Other",
    "Water",
    "RoadLine",
    "Ground",
    "Bridge",
    "RailTrack",
    "GuardRail",
]
OLD_CARLA_TAGS = [
    "Unlabeled",
    "Building",
    "Fence",
    "Other",
    "Pedestrian",
    "Pole",
    "RoadLine",
    "Road",
    "SideWalk",
    "Vegetation",
    "Vehicles",
    "Wall",
    "TrafficSign",
    "Sky",
    "Ground",
    "Bridge",
    "RailTrack",
    "GuardRail",
    "TrafficLight",
    "Static",
    "Dynamic",
    "Water",
    "Terrain",
]
CARLA_CLASSES = {
    "Roads": "road", "Road": "road", "RoadLine": "road", "SideWalks": "sidewalk", "Pedestrian": "person",
    "TrafficLight": "traffic light", "TrafficSign": "traffic sign", "Vehicles": "car", "SideWalk": "sidewalk",
}  # fmt: skip


@pytest.mark.parametrize(("name", "tags"), [("carla", CARLA_TAGS), ("carla_0_9_13", OLD_CARLA_TAGS)])
def test_tags_of_carla_have_the_classes_of_cityscapes(name: str, tags: list[str]) -> None:
    names = load_preset("cityscapes").class_names
    expected = [CARLA_CLASSES.get(tag, tag.lower()) for tag in tags]
    assert mapped(name, list(range(len(tags)))) == [names.index(n) if n in names else 255 for n in expected]
