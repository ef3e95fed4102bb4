"""Label files that no net can use as they are: 16-bit RGB, and one mask for each part of a face."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dakpn.datasets.manifest import shard_uri
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.sources import label_reading
from dakpn.sources.pack import pack_dataset
from dakpn.sources.pairs import SourcePair
from dakpn.sources.preset import load_preset


def write_rgb16(pixels: NDArray[np.uint16], filters: list[int]) -> bytes:
    """A PNG of 16-bit RGB, row by row as the specification says, with the row filters in turn."""
    height, width, _ = pixels.shape
    rows = [bytes(6 * width), *(row.astype(">u2").tobytes() for row in pixels)]
    lines = [_filtered(filters[y % len(filters)], rows[y + 1], rows[y]) for y in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    gamma = _chunk(b"gAMA", struct.pack(">I", 100000))  # must not change numbers
    pixel_data = _chunk(b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + gamma + pixel_data + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _filtered(kind: int, row: bytes, above: bytes) -> bytes:
    line = bytearray([kind])
    for i, value in enumerate(row):
        left, up, corner = (row[i - 6], above[i], above[i - 6]) if i >= 6 else (0, above[i], 0)
        estimate = left + up - corner
        paeth = min((left, up, corner), key=lambda near: abs(estimate - near))
        line.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
    return bytes(line)


def synthia_pair(folder: Path, data: bytes) -> SourcePair:
    (folder / "label.png").write_bytes(data)
    return SourcePair("0", folder / "image.png", folder / "label.png", "first_channel")


def random_label(seed: int = 0, highest: int = 22) -> NDArray[np.uint16]:
    pixels = np.random.default_rng(seed).integers(0, 65536, (13, 11, 3)).astype(np.uint16)
    pixels[..., 0] = np.random.default_rng(seed + 1).integers(0, highest + 1, (13, 11))
    pixels[0, 0, 0] = highest
    return pixels


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_the_first_channel_of_16_bits_is_read_exactly(tmp_path: Path, filters: list[int]) -> None:
    pixels = random_label()
    pair = synthia_pair(tmp_path, write_rgb16(pixels, filters))
    label = codec.decode_label(pair.read_label((13, 11)).data, "x")
    assert label.dtype == np.uint8
    assert np.array_equal(label, pixels[..., 0])
    assert pair.read_label((13, 11)) == pair.read_label((13, 11))


def test_ids_beyond_8_bits_are_kept_for_the_class_map_to_refuse(tmp_path: Path) -> None:
    pixels = random_label(highest=300)
    label = codec.decode_label(synthia_pair(tmp_path, write_rgb16(pixels, [1])).read_label((13, 11)).data, "x")
    assert np.array_equal(label, pixels[..., 0])
    with pytest.raises(DataError, match="unknown label id"):
        load_preset("synthia").label_space.to_train_ids(label, "x")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_single_channel_is_kept_byte_for_byte(tmp_path: Path, dtype: type) -> None:
    data = codec.encode_label(random_label()[..., 0].astype(dtype))
    assert synthia_pair(tmp_path, data).read_label((13, 11)).data == data


def test_8_bit_colors_are_refused(tmp_path: Path) -> None:
    data = codec.encode_image(np.zeros((8, 8, 3), np.uint8), "png")
    with pytest.raises(DataError, match=r"label\.png: got a label with 8-bit colors, expected 16-bit RGB"):
        synthia_pair(tmp_path, data).read_label((8, 8))


def test_a_damaged_16_bit_file_is_named(tmp_path: Path) -> None:
    data = bytearray(write_rgb16(random_label(), [4]))
    data[len(data) // 2] ^= 1
    with pytest.raises(DataError, match=r"label\.png: the PNG file is damaged"):
        synthia_pair(tmp_path, bytes(data)).read_label((13, 11))
    with pytest.raises(DataError, match=r"label\.png: .*truncated"):
        synthia_pair(tmp_path, bytes(data[:100])).read_label((13, 11))


def test_rows_that_are_missing_are_damage(tmp_path: Path) -> None:
    tall = write_rgb16(random_label(), [0]).replace(struct.pack(">II", 11, 13), struct.pack(">II", 11, 14))
    tall = tall[:29] + struct.pack(">I", zlib.crc32(tall[12:29])) + tall[33:]
    with pytest.raises(DataError, match=r"label\.png: the PNG file is damaged"):
        synthia_pair(tmp_path, tall).read_label((14, 11))


def test_without_its_decoder_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_reading, "pyspng", None)
    with pytest.raises(UsageError, match="pip install pyspng"):
        synthia_pair(tmp_path, write_rgb16(random_label(), [0])).read_label((13, 11))


def make_faces(root: Path, masks: dict[str, NDArray[np.uint8]], images: tuple[str, ...] = ("0",)) -> list[SourcePair]:
    (root / "CelebA-HQ-img").mkdir(parents=True)
    for name in images:
        image = codec.encode_image(np.zeros((8, 8, 3), np.uint8), "jpeg")
        (root / f"CelebA-HQ-img/{name}.jpg").write_bytes(image)
    for name, mask in masks.items():
        path = root / f"CelebAMask-HQ-mask-anno/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return load_preset("celebamask_hq").find_pairs(root, None, labelled=True)


def mask(*rows: str) -> NDArray[np.uint8]:
    return np.array([[255 * int(value) for value in row] for row in rows], np.uint8)


def test_the_later_part_wins_and_missing_parts_are_none(tmp_path: Path) -> None:
    masks = {
        "0/00000_hair": mask("1100", "0000", "0000", "0000"),
        "0/00000_skin": mask("0111", "0110", "0110", "0000"),
        "0/00000_nose": np.repeat(mask("0000", "0010", "0000", "0000")[..., None], 3, axis=2),  # RGB as published
        "0/00000_cloth": mask("0000", "0000", "0011", "0011"),
    }
    pair = make_faces(tmp_path, masks)[0]
    assert [part.class_id for part in pair.label_parts] == [1, 2, 13, 18]
    assert len(pair.files) == 5
    merged = [[13, 13, 1, 1], [0, 1, 2, 0], [0, 1, 18, 18], [0, 0, 18, 18]]
    assert codec.decode_label(pair.read_label((4, 4)).data, "x").tolist() == merged
    enlarged = codec.decode_label(pair.read_label((8, 8)).data, "x")
    assert np.array_equal(enlarged, np.array(merged).repeat(2, 0).repeat(2, 1))
    for size in ((6, 6), (8, 4), (2, 2)):  # for the size check to refuse
        assert codec.decode_label(pair.read_label(size).data, "x").shape == (4, 4)


def test_every_part_is_known_and_found_in_the_folder_of_its_number(tmp_path: Path) -> None:
    parts = load_preset("celebamask_hq").label_parts
    assert list(parts.values()) == list(range(1, 19))
    masks = {f"7/14001_{part}": mask("1" * 18) for part in parts}
    masks |= {"6/13999_skin": mask("1"), "6/14001_skin": mask("0")}
    first, second = make_faces(tmp_path, masks, ("13999", "14001"))
    assert (first.key, second.key) == ("13999", "14001")
    assert [part.path.name for part in second.label_parts] == [f"14001_{part}.png" for part in parts]
    assert codec.decode_label(second.read_label((1, 18)).data, "x").tolist() == [[18] * 18]
    assert second.label_path == tmp_path / "CelebAMask-HQ-mask-anno/14001.png"


def test_an_image_without_any_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"CelebA-HQ-img/1\.jpg has no label; expected .*/0/00001_PART\.png"):
        make_faces(tmp_path, {"0/00000_skin": mask("1")}, ("0", "1"))


def test_an_image_whose_name_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"face\.jpg: expected an image named by its number"):
        make_faces(tmp_path, {"0/00000_skin": mask("1")}, ("face",))


def test_faces_without_masks(tmp_path: Path) -> None:
    make_faces(tmp_path, {"0/00000_skin": mask("1")})
    assert load_preset("celebamask_hq").find_pairs(tmp_path, None, labelled=False)[0].files == (
        tmp_path / "CelebA-HQ-img/0.jpg",
    )


def test_masks_of_different_sizes_are_refused(tmp_path: Path) -> None:
    pair = make_faces(tmp_path, {"0/00000_skin": mask("11"), "0/00000_nose": mask("1")})[0]
    with pytest.raises(DataError, match=r"00000_nose\.png: got a mask of 1 x 1 pixels, expected 2 x 1"):
        pair.read_label((1, 2))


def test_a_jpeg_mask_is_refused(tmp_path: Path) -> None:
    pair = make_faces(tmp_path, {"0/00000_skin": mask("1")})[0]
    jpeg = codec.encode_image(np.zeros((8, 8, 3), np.uint8), "jpeg")
    pair.label_parts[0].path.write_bytes(jpeg)
    with pytest.raises(DataError, match=r"00000_skin\.png: got a JPEG mask"):
        pair.read_label((8, 8))


def test_a_pair_without_a_label_has_none_to_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 has no label"):
        SourcePair("0", tmp_path / "0.png", None).read_label((8, 8))


def test_labels_that_were_made_are_packed(tmp_path: Path) -> None:
    pixels = random_label()
    for folder in ("RGB", "GT/LABELS"):
        (tmp_path / "source" / folder).mkdir(parents=True)
    (tmp_path / "source/GT/LABELS/0.png").write_bytes(write_rgb16(pixels, [4]))
    (tmp_path / "source/RGB/0.png").write_bytes(codec.encode_image(np.zeros((13, 11, 3), np.uint8), "png"))
    index = pack_dataset(tmp_path / "source", str(tmp_path / "out"), load_preset("synthia"), None, 2, labelled=True)
    sample = next(iter(read_shard(shard_uri(str(tmp_path / "out"), index.shards[0].name))))
    assert sample.label_path == "GT/LABELS/0.png"
    assert np.array_equal(codec.decode_label(sample.label or b"", "x"), pixels[..., 0])
