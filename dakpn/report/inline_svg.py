"""A figure of matplotlib as SVG that is a part of a page, in the page's own colors and font.

matplotlib is loaded by the first figure.
"""

import io
import logging
import re
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree  # reads what matplotlib wrote a moment before

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS_PER_INCH = 72
_FONT_SIZE = 11.5
_LONG_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_VARIABLES = ("ours", "source", "oracle", "soft", "ink", "rule", "c0", "c1", "c2", "c3", "c4", "c5", "c6")
COLORS = {name: f"#fe{number:02x}dc" for number, name in enumerate(_VARIABLES)}
"""What matplotlib draws with, and the style sheet's variable that takes its place."""


@contextmanager
def figure_of(width: int, height: int, salt: str) -> "Iterator[Figure]":
    """A figure of so many pixels whose look does not depend on the user's settings of matplotlib."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its cache of fonts
    import matplotlib
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": f"dakpn {salt}", "text.parse_math": False, "font.size": _FONT_SIZE,
        "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": COLORS["rule"],
        "grid.linewidth": 1.0, "xtick.major.size": 0, "ytick.major.size": 0, "xtick.labelcolor": COLORS["soft"],
        "ytick.labelcolor": COLORS["soft"], "xtick.major.pad": 6,
    }  # fmt: skip
    look |= {f"axes.spines.{side}": False for side in ("left", "bottom", "right", "top")}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's font may have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(look)
        size = (width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH)
        yield Figure(size, dpi=_PIXELS_PER_INCH, layout="constrained")


def tip_mark(tips: list[str], text: str) -> str:
    """Keeps the words that a pointer shows over what is drawn next, and returns their mark in the SVG."""
    tips.append(text)
    return f"tip-{len(tips) - 1}"


def printable(text: str) -> str:
    """The text without line breaks and control characters, which would end an SVG."""
    return "".join(c if c.isprintable() else " " for c in text)


def inline_svg(figure: "Figure", label: str, tips: Sequence[str]) -> Markup:
    """The SVG element for a page: without what an SVG file has beside it, and with the style sheet's colors."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - written a line before
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        kept = {name: value for name, value in element.attrib.items() if name != "clip-path"}  # nothing lies outside
        element.attrib = {name.rpartition("}")[2]: _shortened(name, value) for name, value in kept.items()}
    used = {element.get("href", "").removeprefix("#") for element in root.iter()}
    _tidy(root, used, tips)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    # The serializer escapes names and tips.
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704


def _tidy(parent: ElementTree.Element, used: Container[str], tips: Sequence[str]) -> None:
    """Drops what shows nothing, backgrounds and ids that nothing refers to, and puts tips where their marks are."""
    for child in list(parent):
        mark = child.get("id", "")
        if mark not in used:
            child.attrib.pop("id", None)
        _tidy(child, used, tips)
        shows_nothing = child.tag in ("g", "defs") and len(child) == 0
        if child.tag in ("metadata", "style", "clipPath") or mark.startswith("patch_") or shows_nothing:
            parent.remove(child)
        if mark.startswith("tip-"):
            tip = ElementTree.Element("title")
            tip.text = tips[int(mark.removeprefix("tip-"))]
            child.insert(0, tip)


def _shortened(name: str, value: str) -> str:
    if name == "style":
        parts = (part.strip() for part in value.split(";"))
        kept = ";".join(part.replace(": ", ":") for part in parts if part and not part.startswith("font-family"))
        for variable, color in COLORS.items():
            kept = kept.replace(color, f"var(--{variable})")
        return kept
    if name in ("d", "x", "y", "transform"):
        return _LONG_NUMBER.sub(lambda found: f"{round(float(found[0]), 1) + 0.0:g}", " ".join(value.split()))
    return value
