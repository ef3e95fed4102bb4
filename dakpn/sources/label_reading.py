"""Label files as tools and simulators write them, made into one channel of class ids that no tool can misread.

A file that holds one channel of ids is kept byte for byte. All others become a PNG of their ids, exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import DataError, FormatError, UsageError
from dakpn.images import codec, png
from dakpn.images.header import ImageHeader, read_header
from dakpn.images.upright import orientation_of

try:  # the one decoder here that keeps 16 bits a channel
    import pyspng
except ImportError:
    pyspng = None

LabelFormat = Literal[
    "class_ids", "first_channel", "first_channel_8bit", "grey", "colors", "legend", "celebamask_parts"
]
"""What label files hold: class ids in one channel; 16-bit RGB or 8-bit RGB(A) with class ids in red; ids in grey that
was saved as RGB(A); a color for each class; colors or ids whose meaning a legend beside each tells; a mask for each
part of a face. A file of one channel is taken as ids by the first four."""

Color: TypeAlias = tuple[int, int, int]

_EDGE_REACH = 2
_NAMED_COLORS = 5


class ReadLabel(NamedTuple):
    """An encoded label of one channel, and what was done to make it so: (what, which of it)."""

    data: bytes
    changes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LabelReader:
    """Reads the label files of a dataset.

    Attributes:
        format: What they hold.
        colors: Label id and its color, red, green and blue, 0..255; several ids may share one: then the first that is
            a class counts. Empty where colors are not known.
        class_ids: The label ids that mean a class, and not "ignored".
        ignored_id: A label id that is ignored, for pixels of unknown color; None if there is none.
        most_unknown: For the format "colors": the largest share, 0..1, of an image's pixels whose color is not known.
        compare_palette: Whether the palette of a file of ids is compared with `colors`.
        names: For the format "legend": name of each class, by its id.
        stored_ids: Id in a file of one channel -> label id, where they differ; empty where they are the same.
    """

    format: LabelFormat = "class_ids"
    colors: tuple[tuple[int, Color], ...] = ()
    class_ids: frozenset[int] = frozenset()
    ignored_id: int | None = None
    most_unknown: float = 0.0
    compare_palette: bool = True
    names: tuple[str, ...] = ()
    stored_ids: tuple[tuple[int, int], ...] = ()

    def by_legend(self, legend: Mapping[Color | int, str]) -> "LabelReader":
        """Return the reader of one label file, given color or id -> class, which is empty where there is none."""
        ignored = self.ignored_id if self.ignored_id is not None else len(self.names)
        ids = {key: self.names.index(name) if name in self.names else ignored for key, name in legend.items()}
        colors = tuple((id_, key) for key, id_ in ids.items() if isinstance(key, tuple))
        stored = tuple((key, id_) for key, id_ in ids.items() if isinstance(key, int))
        if stored:
            return replace(self, format="class_ids", stored_ids=((0, ignored), *stored), compare_palette=False)
        return replace(self, format="colors", colors=((ignored, (0, 0, 0)), *colors))

    def read(self, data: bytes, origin: str) -> ReadLabel:
        """Return the label as one channel of class ids.

        Raises:
            DataError: The file is damaged or not of the format, its palette is in an order that cannot be told, or too
                many pixels have a color that is not known.
            UsageError: A decoder is missing.
        """
        header = read_header(data, origin)
        if header.format != "png":
            return ReadLabel(data)  # for the codec to refuse
        if (turn := orientation_of(data)) != 1:
            raise FormatError(
                f"{origin}: got a label with an orientation tag ({turn}), which viewers apply and others do not; "
                "expected none: turn its pixels (`magick IN -auto-orient OUT`) or take away the tag (`exiftool "
                "-Orientation= FILE`), whichever fits its image"
            )
        if self.format == "colors":
            return self._from_colors(data, header, origin)
        if self.stored_ids and header.channels == "grey":
            return self._from_stored_ids(data, origin)
        if header.channels == "palette":
            return self._from_palette(data, origin)
        if header.channels == "grey" or self.format in ("class_ids", "celebamask_parts"):
            return ReadLabel(data)  # for the codec to take or to refuse
        if self.format == "first_channel":
            return ReadLabel(_first_of_16_bits(data, header, origin), (("labels made of their red channel", ""),))
        if header.bits != 8:
            raise FormatError(
                f"{origin}: got a label with {header.channels} of {header.bits} bits, expected 8; choose the "
                "label_format first_channel if class ids are in red"
            )
        pixels = codec.decode_colors(data, origin)
        if self.format == "first_channel_8bit":
            ids = np.ascontiguousarray(pixels[..., 0])
            return ReadLabel(codec.encode_label(ids), (("labels made of their red channel", ""),))
        if different := int((pixels != pixels[..., :1]).any(axis=2).sum()):
            raise FormatError(
                f"{origin}: got a label with {different} pixels whose red, green and blue differ, expected grey; "
                "choose the label_format colors or first_channel_8bit"
            )
        return ReadLabel(codec.encode_label(np.ascontiguousarray(pixels[..., 0])), (("labels made of grey RGB", ""),))

    def state(self) -> list[Any]:
        """Return what JSON can hold and changes when labels are read in another way; nothing of plain class ids."""
        if self.format in ("class_ids", "celebamask_parts"):
            return [] if self.compare_palette else ["palette ignored"]
        if self.format == "legend":
            return [self.format, list(self.names)]
        if self.format == "colors":
            return [self.format, [list(entry) for entry in self.colors], self.ignored_id, self.most_unknown]
        return [self.format]

    @cached_property
    def _id_of_color(self) -> Mapping[Color, int]:
        by_class_first = sorted(self.colors, key=lambda entry: entry[0] not in self.class_ids)
        return {color: id_ for id_, color in reversed(by_class_first)}

    def _from_stored_ids(self, data: bytes, origin: str) -> ReadLabel:
        stored = codec.decode_label(data, origin)
        meaning = dict(self.stored_ids)
        found = [int(value) for value in np.unique(stored)]
        if unknown := [value for value in found if value not in meaning]:
            raise DataError(
                f"{origin}: got the ids {', '.join(map(str, unknown[:_NAMED_COLORS]))}, unknown to its legend; "
                "render it again"
            )
        table = np.zeros(max(found) + 1, np.uint16)
        table[found] = [meaning[value] for value in found]
        return ReadLabel(
            codec.encode_label(_narrow(table[stored])), (("labels whose ids are as their legends say", ""),)
        )

    # ---- palettes

    def _from_palette(self, data: bytes, origin: str) -> ReadLabel:
        """Return a file of indices as it is if its colors agree with those of the ids, or tell nothing; else remap it.

        Tools that optimize files or count colors sort the palette: the colors stay, and the indices become others.
        """
        palette = _palette(data, origin)
        classes = {color: id_ for color, id_ in self._id_of_color.items() if id_ in self.class_ids}
        if not self.compare_palette or not classes.keys() & set(palette):
            return ReadLabel(data)
        ids_of = {color: {id_ for id_, other in self.colors if other == color} for color in classes}

        def in_order(index: int) -> bool:
            return palette[index] not in classes or index in ids_of[palette[index]]

        if all(map(in_order, range(len(palette)))):
            return ReadLabel(data)
        indices = codec.decode_label(data, origin)
        used = [int(index) for index in np.unique(indices)]
        if max(used) >= len(palette):
            raise DataError(
                f"{origin}: its palette has {len(palette)} colors, got the index {max(used)}; get the original"
            )
        if all(map(in_order, used)):
            return ReadLabel(data)
        unknown = [index for index in used if palette[index] not in self._id_of_color]
        if unknown:
            wrong = next(index for index in used if not in_order(index))
            raise DataError(
                f"{origin}: got a palette in an order of its own: index {wrong} has the color of the id "
                f"{classes[palette[wrong]]}; and the color {palette[unknown[0]]} belongs to no id: get the original "
                "file, or give a preset with `palette: ignored` if the indices are the ids"
            )
        table = np.zeros(max(used) + 1, np.uint16)
        table[used] = [self._id_of_color[palette[index]] for index in used]
        return ReadLabel(codec.encode_label(_narrow(table[indices])), (("palettes put in order by their colors", ""),))

    # ---- colors

    def _from_colors(self, data: bytes, header: ImageHeader, origin: str) -> ReadLabel:
        if header.channels == "grey" or header.bits > 8:
            raise FormatError(
                f"{origin}: got a label with {header.channels} of {header.bits} bits, expected the colors of classes; "
                "choose the label_format class_ids if it holds ids"
            )
        pixels = codec.decode_colors(data, origin)
        known = sorted((_code(color), id_) for color, id_ in self._id_of_color.items())
        codes, ids = (np.array(values, np.int64) for values in zip(*known, strict=True))
        found = pixels.astype(np.int64) @ np.array((1 << 16, 1 << 8, 1))
        place = np.searchsorted(codes, found).clip(max=len(codes) - 1)
        unknown = codes[place] != found
        label = ids[place]
        changes = [("labels made of their colors", "")]
        if unknown.any():
            edges = unknown & _between_known(pixels, unknown)
            strange = unknown & ~edges
            self._require_few(strange, pixels, origin)
            label[unknown] = self.ignored_id if self.ignored_id is not None else 0
            if edges.any():
                changes.append(("labels with blended edges, which are ignored", f"{edges.sum()} pixels"))
            if strange.any():
                named = _named_colors(pixels[strange])
                changes.append(("labels with unknown colors, which are ignored", f"{strange.sum()} pixels, {named}"))
        return ReadLabel(codec.encode_label(_narrow(label)), tuple(changes))

    def _require_few(self, strange: NDArray[np.bool_], pixels: NDArray[np.uint8], origin: str) -> None:
        share = strange.mean()
        if share > self.most_unknown:
            raise DataError(
                f"{origin}: {strange.sum()} pixels ({100 * share:.3g} %) have colors that no class has: "
                f"{_named_colors(pixels[strange])}; expected at most {100 * self.most_unknown:g} %: add their colors "
                "to the preset, or raise its most_unknown"
            )


def _palette(data: bytes, origin: str) -> list[Color]:
    try:
        entries = png.read_chunks(data).get(b"PLTE", b"")
    except ValueError as error:
        raise DataError(
            f"{origin}: the PNG data is damaged ({error}); expected a complete image: copy or download it again"
        ) from error
    values = np.frombuffer(entries[: len(entries) // 3 * 3], np.uint8).reshape(-1, 3)
    return [(int(red), int(green), int(blue)) for red, green, blue in values]


def _between_known(pixels: NDArray[np.uint8], unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which pixels are a blend of known colors nearby: what anti-aliasing makes of an edge between two classes.

    In each channel such a pixel lies between the least and the greatest value of known colors at most two pixels away
    in either direction, and these are not all one color. A blend that is by chance the color of a third class is not
    seen.
    """
    low = np.where(unknown[..., None], 255, pixels).astype(np.uint8)
    high = np.where(unknown[..., None], 0, pixels).astype(np.uint8)
    for axis in (0, 1):
        low, high = _reduced(low, axis, np.minimum), _reduced(high, axis, np.maximum)
    inside = (low <= pixels) & (pixels <= high)
    return np.logical_and.reduce(inside, axis=2) & np.logical_or.reduce(low < high, axis=2)


def _reduced(values: NDArray[np.uint8], axis: int, reduce: np.ufunc) -> NDArray[np.uint8]:
    """Return the least or greatest value of the pixels up to `_EDGE_REACH` away along an axis."""
    result = values.copy()
    for step in range(1, _EDGE_REACH + 1):
        here = [slice(None)] * 3
        there = [slice(None)] * 3
        here[axis], there[axis] = slice(step, None), slice(None, -step)
        for one, other in ((tuple(here), tuple(there)), (tuple(there), tuple(here))):
            result[one] = reduce(result[one], values[other])
    return result


def _named_colors(colors: NDArray[np.uint8]) -> str:
    found, counts = np.unique(colors, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_NAMED_COLORS]
    named = ", ".join(f"({', '.join(map(str, found[i].tolist()))}) x {counts[i]}" for i in most)
    return named + (f" and {len(found) - len(most)} more" if len(found) > len(most) else "")


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _narrow(ids: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    return np.ascontiguousarray(ids, np.uint8) if ids.max() <= 255 else np.ascontiguousarray(ids, np.uint16)


def _first_of_16_bits(data: bytes, header: ImageHeader, origin: str) -> bytes:
    if header.channels != "rgb":
        return data  # for the codec to refuse
    if header.bits != 16:
        raise FormatError(
            f"{origin}: got a label with 8-bit colors, expected 16-bit RGB with class ids in red, or a single channel "
            "of class ids; get the original, or choose the label_format first_channel_8bit"
        )
    if pyspng is None:
        raise UsageError(f"{origin}: reading 16-bit RGB labels takes pyspng, which is missing: pip install pyspng")
    codec.image_size(data, origin)  # refuses what is too large
    try:
        # pyspng does not check checksums and knows chunks that change colors: only verified pixels reach it.
        stored = pyspng.load(png.join_chunks(png.read_chunks(data)))
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise DataError(f"{origin}: the PNG file is damaged ({error}); copy or download it again") from error
    ids = stored[..., 0]
    return codec.encode_label(np.ascontiguousarray(ids.astype(np.uint8) if ids.max() <= 255 else ids))
