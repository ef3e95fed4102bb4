"""`dakpn pack` on images as cameras write them and labels as simulators do: every reader sees the same afterwards."""

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dakpn.datasets import manifest
from dakpn.datasets.label_space import LabelSpace, one_sided_classes
from dakpn.datasets.schema import Sample
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.images import codec
from dakpn.sources.preset import load_preset
from tests.command import assert_failed, dakpn

H, W = 6, 9
RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (H, W, 3), np.uint8)
IDS = RNG.integers(0, 12, (H, W), np.uint8)
GTA5 = load_preset("gta5")


def saved(pixels: NDArray[Any], kind: str, orientation: int | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_pair(root: Path, image: bytes, label: bytes | None, ending: str = "png") -> Path:
    for folder, data, name in (("images", image, f"a.{ending}"), ("labels", label, "a.png")):
        if data is not None:
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(data)
    return root


def row_of(out: Path) -> Sample:
    return SegmentationDataset(str(out)).sample(0)


def stored_as(shown: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels that viewers show as `shown` when the orientation is applied."""
    for rows, columns in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        for across in (False, True):
            pixels = np.ascontiguousarray((shown.swapaxes(0, 1) if across else shown)[::rows, ::columns])
            file = Image.open(io.BytesIO(saved(pixels, "PNG", orientation)))
            if np.array_equal(np.asarray(ImageOps.exif_transpose(file)), shown):
                return pixels
    raise AssertionError(orientation)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_lie_upright_for_every_reader(tmp_path: Path, orientation: int, kind: str) -> None:
    options = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}[kind]
    data = saved(stored_as(PICTURE, orientation), kind, orientation, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"a.{kind.lower()}").write_bytes(data)
    done = dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "images", "--format", "folder")
    assert done.returncode == 0, done.stderr
    row = row_of(tmp_path / "out")
    foreign = Image.open(tmp_path / "out/a.png")
    assert foreign.getexif().get(0x0112, 1) == 1
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(foreign)), expected)
    assert np.array_equal(codec.decode_image(row.image, "row"), expected)
    (changed,) = manifest.read_run(str(tmp_path / "out"))["inventory"]["changed"]
    assert changed["what"] == "images turned upright as their orientation tag says"
    assert "1" in done.stdout


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_of_the_other_size_is_found_by_it(tmp_path: Path, orientation: int, shown: bool) -> None:
    image = saved(stored_as(PICTURE, orientation), "PNG", orientation)
    label = codec.encode_label(IDS if shown else stored_as(IDS, orientation))
    root = write_pair(tmp_path / "in", image, label)
    assert dakpn("pack", root, tmp_path / "out").returncode == 0
    assert dakpn("check", root).returncode == 0
    row = row_of(tmp_path / "out")
    assert np.array_equal(codec.decode_image(row.image, "row"), PICTURE)
    assert np.array_equal(codec.decode_label(row.label or b"", "row"), IDS)
    assert (row.label == label) == shown


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_label_that_fits_both_ways_is_asked_about(tmp_path: Path, kind: str) -> None:
    image = saved(stored_as(PICTURE, 3), kind, 3)
    root = write_pair(tmp_path / "in", image, codec.encode_label(IDS), kind.lower())
    words = "nothing tells whether its label", "--orientation shown or --orientation stored"
    assert_failed(dakpn("pack", root, tmp_path / "out"), 1, str(root / "images"), *words)
    (problem,) = json.loads(dakpn("check", root, "--json").stdout)["problems"]
    assert problem["kind"] == "undecidable_orientation"
    for choice, expected in (("shown", IDS), ("stored", IDS[::-1, ::-1])):
        assert dakpn("check", root, "--orientation", choice).returncode == 0
        assert dakpn("pack", root, tmp_path / choice, "--orientation", choice).returncode == 0
        assert np.array_equal(codec.decode_label(row_of(tmp_path / choice).label or b"", "row"), expected)


def test_upright_images_are_kept_byte_for_byte(tmp_path: Path) -> None:
    image = saved(PICTURE, "JPEG", 1)
    root = write_pair(tmp_path / "in", image, codec.encode_label(IDS), "JPE")
    assert dakpn("pack", root, tmp_path / "out").returncode == 0
    assert (row_of(tmp_path / "out").image, row_of(tmp_path / "out").image_path) == (image, "images/a.JPE")


def test_webp_becomes_png_and_animations_and_damage_are_refused(tmp_path: Path) -> None:
    image = saved(PICTURE, "WEBP", lossless=True)
    root = write_pair(tmp_path / "in", image, codec.encode_label(IDS), "webp")
    assert dakpn("pack", root, tmp_path / "out").returncode == 0
    row = row_of(tmp_path / "out")
    assert row.image_path == "images/a.png"
    assert np.array_equal(codec.decode_image(row.image, "row"), PICTURE)
    frames = [Image.fromarray(PICTURE), Image.fromarray(PICTURE[::-1].copy())]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    for bad, words in ((buffer.getvalue(), "of 2 frames"), (image[: len(image) // 2], "truncated or damaged")):
        write_pair(root, bad, None, "webp")
        assert_failed(dakpn("pack", root, tmp_path / "no"), 1, "a.webp", words)


def png_of(depth: int, color: int, rows: bytes, interlaced: int = 0) -> bytes:
    """A PNG file of these rows, each with the number of its filter in front."""
    header = struct.pack(">IIBBBBB", W, H, depth, color, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def animated(frames: list[NDArray[Any]]) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "PNG", save_all=True, append_images=images[1:])
    return buffer.getvalue()


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PASSES = [PICTURE[y::dy, x::dx] for x, y, dx, dy in ADAM7]
INTERLACED = b"".join(b"\0" + row.tobytes() for part in PASSES if part.size for row in part)
GREY = PICTURE[..., 0].copy()
OPAQUE = np.full_like(GREY, 255)
KINDS = {
    "RGBA": (saved(np.dstack([PICTURE, OPAQUE]), "PNG"), PICTURE),
    "grey": (saved(GREY, "PNG"), np.repeat(GREY[..., None], 3, axis=2)),
    "grey and alpha": (saved(np.dstack([GREY, OPAQUE]), "PNG"), np.repeat(GREY[..., None], 3, axis=2)),
    "1 bit": (saved(GREY > 127, "PNG"), np.repeat(255 * (GREY > 127).astype(np.uint8)[..., None], 3, axis=2)),
    "interlaced": (png_of(8, 2, INTERLACED, 1), PICTURE),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_png_are_read_as_they_look(tmp_path: Path, kind: str) -> None:
    data, expected = KINDS[kind]
    root = write_pair(tmp_path / "in", data, codec.encode_label(IDS))
    assert dakpn("pack", root, tmp_path / "out", "--dataset", "camvid").returncode == 0
    assert row_of(tmp_path / "out").image == data
    assert np.array_equal(codec.decode_image(data, "row"), expected)


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


REFUSED = {
    "16 bits": (png_of(16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in PICTURE)), "with 16 bits"),
    "16-bit grey": (saved(GREY.astype(np.uint16), "PNG"), "convert it as it should look"),
    "transparent": (saved(np.dstack([PICTURE, GREY]), "PNG"), "with transparent pixels"),
    "animated": (animated([PICTURE, PICTURE[::-1].copy()]), "an animated PNG of 2 frames"),
    "CMYK": (cmyk(), "a CMYK image"),
    "empty": (b"", "an empty file"),
    "TIFF": (saved(PICTURE, "TIFF"), "convert the TIFF file"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_images_that_have_no_one_look_are_refused(tmp_path: Path, kind: str) -> None:
    data, words = REFUSED[kind]
    root = write_pair(tmp_path / "in", data, codec.encode_label(IDS))
    assert_failed(dakpn("pack", root, tmp_path / "out", "--dataset", "camvid"), 1, "a.png", words)
    (problem,) = json.loads(dakpn("check", root, "--dataset", "camvid", "--json").stdout)["problems"]
    assert words in problem["message"]


REFUSED_LABELS = {
    "turned": (saved(IDS, "PNG", 3), "an orientation tag (3)"),
    "turned on its side": (saved(np.rot90(IDS).copy(), "PNG", 6), "an orientation tag (6)"),
    "animated": (animated([IDS, IDS[::-1].copy()]), "an animated PNG of 2 frames"),
    "larger": (codec.encode_label(np.kron(IDS, np.ones((2, 2), np.uint8))), "of 18 x 12 pixels, expected 9 x 6"),
    "JPEG": (saved(IDS, "JPEG"), "a JPEG label"),
    "alpha": (saved(np.dstack([IDS, IDS, IDS, IDS]), "PNG"), "label_format"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED_LABELS)
def test_labels_that_may_not_fit_their_images_are_refused(tmp_path: Path, kind: str) -> None:
    data, words = REFUSED_LABELS[kind]
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), data)
    assert_failed(dakpn("pack", root, tmp_path / "out", "--dataset", "camvid"), 1, "labels/a.png", words)
    assert words in dakpn("check", root, "--dataset", "camvid", "--json").stdout


# ---- palettes


def gta5_label(order: list[int], palette: dict[int, tuple[int, int, int]]) -> tuple[bytes, NDArray[np.uint8]]:
    """A palette file of ids whose colors stand at other indices, and the ids."""
    ids = RNG.choice(np.array(order, np.uint8), (H, W))
    indices = np.vectorize(order.index)(ids).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([value for id_ in order for value in palette[id_]])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), ids


USED = [23, 7, 26, 11, 0, 8, 21]
COLORS = dict(GTA5.label_colors)


def test_a_palette_in_another_order_is_put_in_order_by_its_colors(tmp_path: Path) -> None:
    label, ids = gta5_label(USED, COLORS)
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), label)
    assert dakpn("check", root, "--dataset", "gta5").returncode == 0
    done = dakpn("pack", root, tmp_path / "out", "--dataset", "gta5")
    assert "palettes put in order by their colors" in done.stdout
    expected = GTA5.label_space.to_train_ids(ids, "x")
    found = codec.decode_label(row_of(tmp_path / "out").label or b"", "row")
    assert np.array_equal(GTA5.label_space.to_train_ids(found, "x"), expected)


def test_a_palette_in_order_or_of_other_colors_is_kept(tmp_path: Path) -> None:
    every = list(range(35))
    for number, palette in enumerate((COLORS, {id_: (id_, id_, id_) for id_ in every})):
        label, _ = gta5_label(every, palette)
        root = write_pair(tmp_path / f"in{number}", saved(PICTURE, "PNG"), label)
        assert dakpn("pack", root, tmp_path / f"out{number}", "--dataset", "gta5").returncode == 0
        assert row_of(tmp_path / f"out{number}").label == label


def test_a_palette_of_which_one_color_is_unknown_is_refused_unless_it_means_nothing(tmp_path: Path) -> None:
    label, _ = gta5_label(USED, COLORS | {23: (1, 2, 3)})
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), label)
    words = "has the color of the id", "(1, 2, 3) belongs to no id", "palette: ignored"
    assert_failed(dakpn("pack", root, tmp_path / "out", "--dataset", "gta5"), 1, *words)
    (tmp_path / "own.yaml").write_text("extends: gta5\npalette: ignored\n")
    assert dakpn("pack", root, tmp_path / "out", "--dataset", tmp_path / "own.yaml").returncode == 0
    assert row_of(tmp_path / "out").label == label


# ---- what simulators write


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("preset", "tag", "train_id"), [("carla", 14, 13), ("carla_0_9_13", 7, 0)])
def test_tags_of_carla_are_read_from_red(tmp_path: Path, channels: int, preset: str, tag: int, train_id: int) -> None:
    tags = np.full((H, W), tag, np.uint8)
    pixels = np.dstack([tags, IDS, IDS, np.full_like(tags, 255)])[..., :channels] if channels > 1 else tags
    label = saved(np.ascontiguousarray(pixels), "PNG")
    root = tmp_path / "in"
    for folder, data in (("rgb/town", saved(PICTURE, "JPEG")), ("semantic/town", label)):
        (root / folder).mkdir(parents=True)
        (root / folder / f"a.{'jpg' if 'rgb' in folder else 'png'}").write_bytes(data)
    done = dakpn("pack", root, tmp_path / "out", "--dataset", preset)
    assert done.returncode == 0, done.stderr
    assert SegmentationDataset(str(tmp_path / "out"))[0]["label"].tolist() == [[train_id] * W] * H
    (share,) = [
        c for c in json.loads(dakpn("check", root, "--dataset", preset, "--json").stdout)["classes"] if c["pixels"]
    ]
    assert share["train_id"] == train_id


def own_preset(folder: Path, text: str) -> Path:
    (folder / "own.yaml").write_text(text)
    return folder / "own.yaml"


def colored(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array([COLORS[i] for i in range(35)], np.uint8)[ids]


@pytest.mark.parametrize("alpha", [False, True])
def test_colors_of_classes_become_ids(tmp_path: Path, alpha: bool) -> None:
    ids = RNG.choice(np.array(USED, np.uint8), (H, W))
    pixels = colored(ids)
    if alpha:
        pixels = np.dstack([pixels, np.zeros((H, W), np.uint8)])
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), saved(pixels, "PNG"))
    assert_failed(dakpn("pack", root, tmp_path / "x", "--dataset", "gta5"), 1, "label_format colors")
    preset = own_preset(tmp_path, "extends: gta5\nlabel_format: colors\n")
    assert dakpn("pack", root, tmp_path / "out", "--dataset", preset).returncode == 0
    expected = GTA5.label_space.to_train_ids(ids, "x")
    assert np.array_equal(SegmentationDataset(str(tmp_path / "out"))[0]["label"], expected)


def test_blended_edges_are_ignored_and_unknown_colors_are_an_error_above_a_share(tmp_path: Path) -> None:
    ids = np.full((40, 50), 7, np.uint8)
    ids[:, 25:] = 23
    pixels = colored(ids)
    pixels[:, 25] = pixels[:, :26].mean(axis=1) // 2 + pixels[:, 30] // 2  # a blend of road and sky
    image = saved(RNG.integers(0, 256, (40, 50, 3), np.uint8), "PNG")
    preset = own_preset(tmp_path, "extends: gta5\nlabel_format: colors\n")
    root = write_pair(tmp_path / "in", image, saved(pixels, "PNG"))
    done = dakpn("pack", root, tmp_path / "out", "--dataset", preset)
    assert "blended edges" in done.stdout
    label = SegmentationDataset(str(tmp_path / "out"))[0]["label"]
    expected = np.where(ids == 7, 0, 10)
    expected[:, 25] = 255
    assert np.array_equal(label, expected)

    pixels[5:7, 3:5] = (255, 0, 255)
    write_pair(root, image, saved(pixels, "PNG"))
    words = "4 pixels (0.2 %) have colors that no class has: (255, 0, 255) x 4", "at most 0.1 %"
    assert_failed(dakpn("pack", root, tmp_path / "no", "--dataset", preset), 1, *words)
    preset = own_preset(tmp_path, "extends: gta5\nlabel_format: colors\nmost_unknown: 0.01\n")
    assert (
        "4 pixels, (255, 0, 255) x 4"
        in dakpn("pack", root, tmp_path / "few", "--dataset", preset, COLUMNS="200").stdout
    )
    assert (SegmentationDataset(str(tmp_path / "few"))[0]["label"][5:7, 3:5] == 255).all()


def test_grey_saved_as_rgb_is_read_and_colors_are_no_grey(tmp_path: Path) -> None:
    preset = own_preset(tmp_path, "extends: camvid\nlabel_format: grey\n")
    shapes = (np.repeat(IDS[..., None], 3, axis=2), np.dstack([IDS, np.full_like(IDS, 255)]), IDS)
    for number, pixels in enumerate(shapes):
        root = write_pair(tmp_path / f"in{number}", saved(PICTURE, "PNG"), saved(pixels, "PNG"))
        assert dakpn("pack", root, tmp_path / f"out{number}", "--dataset", preset).returncode == 0
        assert np.array_equal(codec.decode_label(row_of(tmp_path / f"out{number}").label or b"", "row"), IDS)
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), saved(PICTURE, "PNG"))
    assert_failed(dakpn("pack", root, tmp_path / "x", "--dataset", preset), 1, "differ, expected grey", "colors")


UNITY = {  # as versions write it: numbers of 0..255, fractions, or with each frame
    "annotation_definitions.json": {"annotationDefinitions": [{"spec": [
        {"label_name": "Car", "pixel_value": {"r": 0, "g": 0, "b": 142, "a": 255}},
        {"label_name": "road", "pixel_value": {"r": 128, "g": 64, "b": 128, "a": 255}},
    ]}]},
    "sub/annotation_definitions.json": {"annotation_definitions": [{"spec": [
        {"label_name": "Car", "pixel_value": {"r": 0.0, "g": 0.0, "b": 142 / 255, "a": 1.0}},
        {"label_name": "road", "pixel_value": {"r": 128 / 255, "g": 64 / 255, "b": 128 / 255, "a": 1.0}},
    ]}]},
    "sequence.0/step0.frame_data.json": {"captures": [{"annotations": [{"instances": [
        {"labelName": "Car", "pixelValue": [0, 0, 142, 255]}, {"labelName": "road", "pixelValue": [128, 64, 128, 255]},
    ]}]}]},
    "semantic_segmentation_labels_0000.json": {
        "(0, 0, 0, 0)": {"class": "BACKGROUND"},
        "(0, 0, 142, 255)": {"class": "Car"},
        "(128, 64, 128, 255)": {"class": "road"},
    },
}  # fmt: skip


def unity_scene(root: Path) -> NDArray[np.uint8]:
    """Write a frame as Unity's package does, and return its train ids."""
    colors = np.array([(0, 0, 142, 255), (128, 64, 128, 255), (0, 0, 0, 0)], np.uint8)
    ids = RNG.integers(0, 3, (H, W))
    (root / "sequence.0").mkdir(parents=True)
    (root / "sequence.0/step0.camera.png").write_bytes(saved(PICTURE, "PNG"))
    (root / "sequence.0/step0.camera.semantic segmentation.png").write_bytes(saved(colors[ids], "PNG"))
    (root / "sequence.0/step0.camera.instance segmentation.png").write_bytes(saved(PICTURE, "PNG"))
    return np.array([13, 0, 255])[ids]


@pytest.mark.parametrize("legend", UNITY)
def test_the_legend_of_a_simulator_gives_classes_and_colors(tmp_path: Path, legend: str) -> None:
    root = tmp_path / "in"
    expected = unity_scene(root)
    assert_failed(dakpn("pack", root, tmp_path / "x", "--dataset", "unity_perception"), 2, "no legend of its labels")
    (root / legend).parent.mkdir(exist_ok=True)
    (root / legend).write_text(json.dumps(UNITY[legend]))
    own = "extends: unity_perception\nclass_map: {Car: car}\n"
    if "labels" in legend:
        own += "legend: [semantic_segmentation_labels_*.json]\n"
    else:
        words = "nothing says what Car is among the classes of cityscapes"
        assert_failed(dakpn("pack", root, tmp_path / "x", "--dataset", "unity_perception"), 2, words)
    preset = own_preset(tmp_path, own)
    done = dakpn("pack", root, tmp_path / "out", "--dataset", preset)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(SegmentationDataset(str(tmp_path / "out"))[0]["label"], expected)
    assert dakpn("check", root, "--dataset", preset).returncode == 0


@pytest.mark.parametrize("legend", ["not json", '{"spec": [{"label_name": "Car", "pixel_value": "red"}]}'])
def test_a_damaged_legend_is_one_sentence(tmp_path: Path, legend: str) -> None:
    unity_scene(tmp_path / "in")
    (tmp_path / "in/annotation_definitions.json").write_text(legend)
    assert_failed(
        dakpn("pack", tmp_path / "in", tmp_path / "out", "--dataset", "unity_perception"), 1, str(tmp_path / "in")
    )


ISAAC = {  # of two frames: the writer gave the colors, and ids, to other classes in the second
    "colors": ({"(1, 2, 3, 4)": "Car", "(9, 9, 9, 255)": "road"}, {"(9, 9, 9, 255)": "Car", "(1, 2, 3, 4)": "road"}),
    "ids": ({"2": "Car", "3": "road"}, {"300": "Car", "2": "road"}),
}  # fmt: skip


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("kind", ISAAC)
@pytest.mark.parametrize("archived", [False, True])
def test_each_image_of_isaac_is_read_by_its_own_legend(
    tmp_path: Path, kind: str, folders: bool, archived: bool
) -> None:
    ids = RNG.integers(0, 3, (H, W))
    rgb, seg = ("rgb/", "semantic_segmentation/") if folders else ("", "")
    files: dict[str, bytes] = {}
    for number, legend in enumerate(ISAAC[kind]):
        if kind == "colors":
            keys = [tuple(map(int, key.strip("()").split(", "))) for key in legend]
            pixels = np.array([(0, 0, 0, 0), *keys], np.uint8)[ids]
        else:
            pixels = np.array([0, *map(int, legend)], np.uint16)[ids]
        classes = {key: {"class": name} for key, name in legend.items()} | {"(0, 0, 0, 0)": {"class": "BACKGROUND"}}
        files[f"{rgb}rgb_000{number}.png"] = saved(PICTURE, "PNG")
        files[f"{seg}semantic_segmentation_000{number}.png"] = saved(pixels, "PNG")
        files[f"{seg}semantic_segmentation_labels_000{number}.json"] = json.dumps(classes).encode()
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    root = tmp_path / "in"
    if archived:
        with tarfile.open(tmp_path / "run.tar", "w") as archive:
            archive.add(root, "run")
        root = tmp_path / "run.tar"
    sentence = assert_failed(
        dakpn("pack", root, tmp_path / "x", "--dataset", "isaac_sim"), 2, "nothing says what Car is"
    )
    assert "class_map: {Car: NAME}" in sentence
    preset = own_preset(tmp_path, "extends: isaac_sim\nclass_map: {Car: car}\n")
    done = dakpn("pack", root, tmp_path / "out", "--dataset", preset)
    assert done.returncode == 0, done.stderr
    assert manifest.read_run(str(tmp_path / "out"))["inventory"]["left_out"] == []
    dataset = SegmentationDataset(str(tmp_path / "out"))
    for number, order in enumerate(ISAAC[kind]):
        meaning = np.array([255, *({"Car": 13, "road": 0}[name] for name in order.values())])
        assert np.array_equal(dataset[number]["label"], meaning[ids])


def test_a_legend_of_isaac_that_lacks_or_says_too_little_is_one_sentence(tmp_path: Path) -> None:
    preset = own_preset(tmp_path, "extends: isaac_sim\nclass_map: {Car: car}\n")
    root = tmp_path / "in"
    root.mkdir()
    for number in range(2):
        (root / f"rgb_{number}.png").write_bytes(saved(PICTURE, "PNG"))
        (root / f"semantic_segmentation_{number}.png").write_bytes(codec.encode_label(IDS))
    command = ("pack", root, tmp_path / "out", "--dataset", preset)
    assert_failed(
        dakpn(*command), 2, "holds no legend of its labels; expected semantic_segmentation_labels_{name}.json"
    )
    (root / "semantic_segmentation_labels_0.json").write_text('{"1": {"class": "Car"}}')
    assert_failed(dakpn(*command), 2, "semantic_segmentation_1.png has no legend")
    (root / "semantic_segmentation_labels_1.json").write_text('{"1": {"class": "Car"}}')
    assert_failed(dakpn(*command), 1, "semantic_segmentation_0.png: got the ids 2, 3", "unknown to its legend")


def test_the_palette_of_airsim_is_read_by_a_preset(tmp_path: Path) -> None:
    colors = np.array([(0, 0, 0), (153, 108, 6), (112, 105, 191)], np.uint8)
    ids = RNG.integers(0, 3, (H, W))
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), saved(np.dstack([colors[ids], OPAQUE]), "PNG"))
    page = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
    (text,) = [block.split("```")[0] for block in page.split("```yaml\n")[1:] if "name: airsim" in block]
    done = dakpn("pack", root, tmp_path / "out", "--dataset", own_preset(tmp_path, text))
    assert done.returncode == 0, done.stderr
    assert np.array_equal(SegmentationDataset(str(tmp_path / "out"))[0]["label"], np.array([255, 0, 1])[ids])


# ---- two sides with different classes

NAMES = "class_map: {pavement: sidewalk, tree: vegetation, sign: traffic sign, pedestrian: person, bicyclist: rider"


def test_classes_of_one_side_become_those_of_the_other_by_their_names(tmp_path: Path) -> None:
    root = write_pair(tmp_path / "in", saved(PICTURE, "PNG"), codec.encode_label(IDS))
    preset = own_preset(tmp_path, f"extends: camvid\nclasses_of: cityscapes\n{NAMES}}}\n")
    assert dakpn("pack", root, tmp_path / "out", "--dataset", preset).returncode == 0
    dataset = SegmentationDataset(str(tmp_path / "out"))
    space = load_preset("cityscapes").label_space
    assert dataset.label_space is not None
    assert dataset.label_space.class_names == space.class_names
    own = load_preset("camvid").class_names
    other = dict(
        zip(
            ("pavement", "tree", "sign", "pedestrian", "bicyclist"),
            ("sidewalk", "vegetation", "traffic sign", "person", "rider"),
            strict=True,
        )
    )
    expected = [255 if i == 11 else space.class_names.index(other.get(own[i], own[i])) for i in IDS.ravel()]
    assert dataset[0]["label"].ravel().tolist() == expected
    report = json.loads(dakpn("check", root, "--dataset", preset, "--json").stdout)
    assert report["classes_without_id"] == [
        "wall",
        "traffic light",
        "terrain",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ]
    assert "no label id means it" in dakpn("check", root, "--dataset", preset, COLUMNS="200").stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"classes_of: cityscapes\n{NAMES[:-18]}}}", "nothing says what bicyclist is among the classes of cityscapes"),
        (
            f"classes_of: cityscapes\n{NAMES}, curb: road}}",
            "class_map has curb; expected its own classes: sky, building",
        ),
        (f"classes_of: cityscapes\n{NAMES}, car: auto}}", "nothing says what car is"),
        ("class_map: {tree: vegetation}", "and no classes_of"),
        ("classes_of: cityscape", "unknown dataset preset 'cityscape'"),
    ],
)
def test_a_class_map_that_leaves_something_open_is_refused(tmp_path: Path, text: str, words: str) -> None:
    preset = own_preset(tmp_path, f"extends: camvid\n{text}\n")
    assert_failed(dakpn("pack", tmp_path, tmp_path / "out", "--dataset", preset), 2, "own.yaml", words)


def test_a_class_that_only_one_side_has_is_named_with_what_mends_it(tmp_path: Path) -> None:
    faces, celeba = load_preset("facesynthetics").label_space, load_preset("celebamask_hq").label_space
    (sentence,) = one_sided_classes("synthetic", faces, "real", celeba)
    assert sentence.startswith("only the labels of real can hold earring, necklace, those of synthetic cannot")
    assert "`classes_of: facesynthetics` and `class_map: {earring: ignore, necklace: ignore}`" in sentence
    text = "extends: celebamask_hq\nclasses_of: facesynthetics\nclass_map: {earring: ignore, necklace: ignore}\n"
    mended = load_preset(str(own_preset(tmp_path, text))).label_space
    assert one_sided_classes("synthetic", faces, "real", mended) == []
    one, other = LabelSpace("one", ("a", "b")), LabelSpace("other", ("b", "c"))
    assert [said.partition(",")[0] for said in one_sided_classes("x", one, "y", other)] == [
        "only the labels of x can hold a",
        "only the labels of y can hold c",
    ]
