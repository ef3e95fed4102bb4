"""Which color means which class, as simulators write it down in JSON files beside their labels.

Read are, wherever they stand in a file, objects with the name and the color of a label, such as
`{"label_name": "car", "pixel_value": {"r": 0, "g": 0, "b": 142, "a": 255}}` (Unity Perception; also `labelName` and
`pixelValue`, and a list for a color); and objects whose keys are colors, such as
`{"(0, 0, 142, 255)": {"class": "car"}}` (Isaac Sim, Omniverse Replicator), or are ids: `{"2": {"class": "car"}}`. The
latter two are written for each image anew, and may say something else in each.
"""

import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from dakpn.errors import DataError, UsageError
from dakpn.sources.source_path import SourcePath, all_names_below, read_file

BACKGROUND = (0, 0, 0)
"""Color of pixels without a label, which a legend does not name."""

_Entry: TypeAlias = tuple[str, tuple[int, int, int]]
_Named: TypeAlias = tuple[str, list[float]]

_NAMES = ("label_name", "labelName")
_COLORS = ("pixel_value", "pixelValue")
_KEY = re.compile(r"\(\s*(\d+),\s*(\d+),\s*(\d+)(?:,\s*\d+)?\s*\)")
_NO_CLASS = frozenset(("BACKGROUND", "UNLABELLED"))
NAME = "{name}"
"""In the name of a legend: that of the image which it belongs to."""


def read_legend(root: SourcePath, patterns: Sequence[str]) -> list[_Entry]:
    """Return names of classes and their colors, red, green and blue, 0..255, each once, sorted.

    Args:
        root: Folder of the dataset.
        patterns: Names of files below it; of the first pattern by which some name colors, all files are read.

    Raises:
        UsageError: No file names a color.
        DataError: A file is no JSON, or a color is none.
        StorageError: A file cannot be read.
    """
    names = sorted(all_names_below(root))
    for pattern in patterns:
        found: list[_Named] = []
        for name in names:
            if fnmatchcase(name.rpartition("/")[2], pattern):
                found += _entries(_load(root / name))
        if found:
            return _whole_numbers(found, str(root))
    raise UsageError(
        f"{root} holds no legend of its labels; expected {' or '.join(patterns)} with name and color of each class: "
        "copy it there, or write a preset with label_format colors and class_colors"
    )


def read_class_names(root: SourcePath, patterns: Sequence[str]) -> list[str]:
    """Return the names of the classes in all legends that belong to an image each, sorted.

    Args:
        root: Folder of the dataset.
        patterns: Names of such files, with `NAME` for that of the image; all that is there is read.

    Raises:
        UsageError: No file names a class.
        DataError: A file is no JSON.
        StorageError: A file cannot be read.
    """
    globs = [pattern.replace(NAME, "*") for pattern in patterns]
    found: set[str] = set()
    for name in all_names_below(root):
        if any(fnmatchcase(name.rpartition("/")[2], glob) for glob in globs):
            found |= set(read_image_legend(root / name).values()) - {""}
    if not found:
        raise UsageError(
            f"{root} holds no legend of its labels; expected {' or '.join(patterns)} for each image, with its "
            "classes: copy them there"
        )
    return sorted(found)


def read_image_legend(path: SourcePath) -> dict[tuple[int, int, int] | int, str]:
    """Return color, or id, -> class, as the legend of one image says it; the class is empty where there is none.

    Raises:
        DataError: The file is no JSON, or gives one color to two classes.
        StorageError: The file cannot be read.
    """
    values = _load(path)
    found: dict[tuple[int, int, int] | int, str] = {}
    for text, inner in values.items() if isinstance(values, dict) else ():
        named = inner.get("class") if isinstance(inner, dict) else None
        color = _KEY.fullmatch(text)
        if not isinstance(named, str) or not (color or text.isdecimal()):
            continue
        name = "" if named in _NO_CLASS else named
        key = (int(color[1]), int(color[2]), int(color[3])) if color else int(text)
        if found.setdefault(key, name) != name:
            raise DataError(f"{path}: the classes {found[key]!r} and {name!r} have the color {key}; render it again")
    return found


def _load(path: SourcePath) -> Any:
    try:
        return json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error}); expected the legend of a simulator: copy it again") from error


def _entries(values: Any) -> Iterator[_Named]:
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if not isinstance(value, dict):
            continue
        name = next((value[key] for key in _NAMES if key in value), None)
        color = next((value[key] for key in _COLORS if key in value), None)
        if isinstance(name, str) and color is not None:
            yield name, _channels(color)
            continue
        for key, inner in value.items():
            named = inner.get("class") if isinstance(inner, dict) else None
            text = _KEY.fullmatch(key)
            if text is None or not isinstance(named, str):
                pending.append(inner)
            elif named not in _NO_CLASS:
                yield named, [float(text[channel]) for channel in (1, 2, 3)]


def _channels(color: Any) -> list[float]:
    """Return red, green and blue; fewer if they are no numbers."""
    values = [color.get(channel) for channel in "rgb"] if isinstance(color, dict) else color
    return [float(value) for value in values[:3] if isinstance(value, int | float)] if isinstance(values, list) else []


def _whole_numbers(found: list[_Named], origin: str) -> list[_Entry]:
    """Return colors as numbers of 0..255: a legend in which none is above 1 gives fractions."""
    most = max((value for _, color in found for value in color), default=0)
    scale = 255 if 0 < most <= 1 else 1
    entries = set()
    for name, color in found:
        if len(color) < 3 or not all(0 <= value * scale <= 255 for value in color):
            raise DataError(f"{origin}: the legend gives {name!r} no color of red, green and blue; copy it again")
        red, green, blue = (round(value * scale) for value in color)
        entries.add((name, (red, green, blue)))
    return sorted(entries)
