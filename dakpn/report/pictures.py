"""Pictures as data URIs: enlarged cleanly when small, shrunk and compressed when large."""

import base64
import colorsys
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from PIL import Image

from dakpn.report.data import IGNORE_ID, EvaluationDetail, ParameterMap, ReportData, Rgb, TranslationExample
from dakpn.report.plots import number
from dakpn.report.verdict import percent

# One law for every map: pale = the pixel is left as it was, blue = less, orange = more.
_BELOW = ((244, 243, 239), (166, 205, 232), (66, 138, 196), (18, 62, 126))
_ABOVE = ((244, 243, 239), (251, 200, 136), (222, 108, 38), (126, 38, 14))
_NOT_FINITE: Rgb = (128, 128, 128)
_JPEG_QUALITIES = (92, 85, 75, 60, 40, 20)
_LEVELS = 63


@dataclass(frozen=True, slots=True)
class Frame:
    """How large a picture is embedded: pixels across, and the most bytes before base64."""

    min_width: int
    max_width: int
    max_bytes: int


LARGE = Frame(min_width=512, max_width=880, max_bytes=160_000)
OVERLAY = Frame(min_width=512, max_width=880, max_bytes=100_000)
THUMBNAIL = Frame(min_width=1, max_width=420, max_bytes=32_000)
MAP_WIDTH = 300
_MOST_COLUMNS = 6


def picture_uri(image: np.ndarray, frame: Frame) -> str:
    """A data URI of a uint8 [H,W,3] picture: PNG when it fits the frame's bytes, else JPEG."""
    return _encode(fit(image, frame), frame.max_bytes)


def fit(image: np.ndarray, frame: Frame) -> np.ndarray:
    """Brings a picture to the frame's width.

    Small ones grow by a whole factor with every pixel kept square, so that noise and blur are seen as
    they are; large ones shrink with an area filter.
    """
    height, width = image.shape[:2]
    if width > frame.max_width:
        size = (frame.max_width, max(1, round(height * frame.max_width / width)))
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    factor = math.ceil(frame.min_width / width)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay_uri(image: np.ndarray, label: np.ndarray, colors: Sequence[Rgb], frame: Frame = OVERLAY) -> str:
    """The label [H,W] laid over a picture: tinted regions with sharp outlines; ignored pixels stay bare."""
    base = fit(image, frame).astype(np.float32)
    rows, columns = (np.arange(new) * old // new for new, old in zip(base.shape[:2], label.shape, strict=True))
    ids = label[np.ix_(rows, columns)]
    tint = color_table(colors)[ids].astype(np.float32)
    strength = np.where(ids == IGNORE_ID, 0.0, 0.42).astype(np.float32)
    strength[_outline(ids)] = 1.0
    mixed = base + (tint - base) * strength[..., None]
    return _encode(mixed.round().astype(np.uint8), frame.max_bytes)


def _outline(ids: np.ndarray) -> np.ndarray:
    """Mask [H,W]: pixels on the class side of a border between two labels."""
    edge = np.zeros(ids.shape, bool)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge & (ids != IGNORE_ID)


def color_table(colors: Sequence[Rgb]) -> np.ndarray:
    """uint8 [256,3]: the colors given, then made-up ones spread over the hues."""
    table = np.zeros((256, 3), np.uint8)
    for index in range(256):
        hue = (0.58 + index * 0.61803398875) % 1.0
        made_up = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.62, 0.85)]
        table[index] = np.clip(colors[index], 0, 255) if index < len(colors) else made_up
    return table


def map_uri(parameter: ParameterMap) -> str:
    """A parameter map in color, as a palette PNG."""
    values = parameter.values.astype(np.float32)
    height, width = values.shape
    if width > MAP_WIDTH:
        size = (MAP_WIDTH, max(1, round(height * MAP_WIDTH / width)))
        values = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    known = np.isfinite(values)
    shares = np.where(known, values - parameter.center, 0.0) / _extent(parameter)
    levels = np.clip(np.rint(shares * _LEVELS), -_LEVELS, _LEVELS).astype(np.int16) + _LEVELS
    indices = np.where(known, levels, 2 * _LEVELS + 1).astype(np.uint8)
    picture = Image.fromarray(indices)
    ramp = [channel for level in range(-_LEVELS, _LEVELS + 1) for channel in diverging(level / _LEVELS)]
    picture.putpalette([*ramp, *_NOT_FINITE])
    return _data_uri("png", _png(picture))


def difference_map(before: np.ndarray, after: np.ndarray) -> ParameterMap:
    """What the eye is meant to find: mean absolute change of the three channels, in levels of 255."""
    values = np.abs(after.astype(np.float32) - before.astype(np.float32)).mean(axis=2)
    high = max(32.0, math.ceil(float(np.percentile(values, 99)) / 16) * 16)
    return ParameterMap(values, low=0.0, high=high, center=0.0, unit="of 255")


def legend_gradient(parameter: ParameterMap) -> str:
    """A CSS gradient from `low` to `high` with the same colors as the map."""
    low, high, extent = parameter.low, parameter.high, _extent(parameter)
    stops = []
    for index in range(17):
        value = low + (high - low) * index / 16
        red, green, blue = diverging((value - parameter.center) / extent)
        stops.append(f"rgb({red} {green} {blue}) {100 * index / 16:.4g}%")
    return f"linear-gradient(90deg, {', '.join(stops)})"


def diverging(share: float) -> Rgb:
    """Color of a value: -1 = as far below the identity as the scale goes, 0 = identity, 1 = above."""
    ramp = np.array(_ABOVE if share >= 0 else _BELOW, np.float32)
    at = min(abs(share), 1.0) * (len(ramp) - 1)
    red, green, blue = (round(float(np.interp(at, range(len(ramp)), ramp[:, c]))) for c in range(3))
    return red, green, blue


def _extent(parameter: ParameterMap) -> float:
    return max(parameter.high - parameter.center, parameter.center - parameter.low)


def _encode(image: np.ndarray, max_bytes: int) -> str:
    picture = Image.fromarray(image)
    data = _png(picture)
    if len(data) <= max_bytes:
        return _data_uri("png", data)
    for quality in _JPEG_QUALITIES:
        data = _jpeg(picture, quality)
        if len(data) <= max_bytes:
            break
    return _data_uri("jpeg", data)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class MapView:
    """A parameter map ready to be drawn, with its legend."""

    name: str
    uri: str
    gradient: str
    low: str
    high: str
    center: str
    center_at: float
    unit: str
    seen: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A card: the pictures of one example as data URIs."""

    key: str
    before: str
    after: str
    overlay: str
    maps: tuple[MapView, ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class WorstView:
    """A worst case of label preservation, as data URIs and texts."""

    contender: str
    key: str
    before: str
    after: str
    input_uri: str
    output_uri: str
    overlay_uri: str


@dataclass(frozen=True, slots=True)
class ClassChip:
    """A class with its color, for legends."""

    name: str
    color: str


def line_up(report: ReportData) -> list[tuple[str, str, str]]:
    """Side by side: (before, after, real) thumbnails, with "" where one of them is missing."""
    examples = report.examples[:_MOST_COLUMNS]
    rows = (
        [_thumbnail(example.before) for example in examples],
        [_thumbnail(example.after) for example in examples],
        [_thumbnail(image) for image in report.real_samples[:_MOST_COLUMNS]],
    )
    return list(zip_longest(*rows, fillvalue=""))


def contact_sheet(detail: EvaluationDetail | None) -> list[tuple[str, list[str]]]:
    """Rows of the contact sheet: a name, and a thumbnail for each picture."""
    rows = detail.contact if detail else ()
    return [(row.name, [_thumbnail(picture) for picture in row.pictures]) for row in rows if row.pictures]


def worst_cases(report: ReportData) -> list[WorstView]:
    """The worst cases of label preservation, ready to be drawn."""
    return [
        WorstView(
            contender=case.contender,
            key=case.key,
            before=percent(case.accuracy_before, 0),
            after=percent(case.accuracy_after, 0),
            input_uri=_thumbnail(case.before),
            output_uri=_thumbnail(case.after),
            overlay_uri=overlay_uri(case.after, case.prediction, report.class_colors, THUMBNAIL),
        )
        for case in (report.detail.worst if report.detail else ())
    ]


def _thumbnail(image: np.ndarray) -> str:
    return picture_uri(image, THUMBNAIL)


def example_view(example: TranslationExample, report: ReportData) -> ExampleView:
    """The card of one example."""
    overlay = ""
    if example.label is not None:
        overlay = overlay_uri(example.after, example.label, report.class_colors)
    change = difference_map(example.before, example.after)
    maps = [_map("visible change", change), *(_map(name, part) for name, part in example.maps.items())]
    height, width = example.before.shape[:2]
    return ExampleView(
        key=example.key,
        before=picture_uri(example.before, LARGE),
        after=picture_uri(example.after, LARGE),
        overlay=overlay,
        maps=tuple(maps),
        width=width,
        height=height,
    )


def _map(name: str, parameter: ParameterMap) -> MapView:
    known = parameter.values[np.isfinite(parameter.values)]
    seen = "no finite value"
    if known.size:
        low, high = (number(float(v), 2) for v in np.percentile(known, (5, 95)))
        seen = f"{low} everywhere" if low == high else f"{low} to {high}"
    missing = parameter.values.size - known.size
    at = 100 * (parameter.center - parameter.low) / (parameter.high - parameter.low)
    return MapView(
        name=name,
        uri=map_uri(parameter),
        gradient=legend_gradient(parameter),
        low=number(parameter.low),
        high=number(parameter.high),
        center=number(parameter.center) if 5 < at < 95 else "",
        center_at=round(at, 2),
        unit=parameter.unit,
        seen=f"{seen}; {missing} pixels not finite" if missing and known.size else seen,
    )


def class_chips(examples: Sequence[TranslationExample], names: Sequence[str], colors: Sequence[str]) -> list[ClassChip]:
    """The classes that occur in the labels shown."""
    present: set[int] = set()
    for example in examples:
        if example.label is not None:
            present.update(np.unique(example.label).tolist())
    return [ClassChip(names[i] if i < len(names) else f"class {i}", colors[i]) for i in sorted(present - {IGNORE_ID})]
