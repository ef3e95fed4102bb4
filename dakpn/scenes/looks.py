"""What a look consists of: a palette of materials and a range of weathers. Looks never move anything."""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Rgb = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Swatch:
    """A family of colors: uniform ranges of hue (turns), saturation and value (0..1)."""

    hue: Range
    saturation: Range
    value: Range

    def pick(self, rng: np.random.Generator) -> Rgb:
        """Draw one color [3] in 0..255."""
        hue, saturation, value = (rng.uniform(*bounds) for bounds in (self.hue, self.saturation, self.value))
        return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32) * 255


Swatches = tuple[Swatch, ...]


def pick_color(swatches: Swatches, rng: np.random.Generator) -> Rgb:
    """Draw a color [3] in 0..255 from one of the swatches; listing one twice makes it twice as likely."""
    return swatches[rng.integers(len(swatches))].pick(rng)


@dataclass(frozen=True, slots=True)
class Palette:
    """The materials of a street."""

    walls: Swatches
    brick_share: float
    """Fraction of the buildings whose walls show courses of brick."""
    roofs: Swatches
    window_frames: Swatches
    glass: Swatches
    shop_fronts: Swatches
    tarmac: Swatches
    paving: Swatches
    grass: Swatches
    leaves: Swatches
    bark: Swatches
    center_line: Swatches
    edge_line: Swatches
    car_paint: Swatches
    clothes: Swatches
    skin: Swatches
    metal: Swatches
    fence: Swatches
    signs: Swatches
    grain: float
    """Strength of surface texture; 1 is that of the synthetic look."""


@dataclass(frozen=True, slots=True)
class WeatherRange:
    """Ranges from which each scene draws its own weather."""

    zenith: Swatches
    horizon: Swatches
    cloud_cover: Range
    """0 is a clear sky, 1 a closed one."""
    cloud_brightness: Range
    sun: Range
    """Strength of direct light; 0 casts no shadows."""
    sun_warmth: Range
    """0 is white light, 1 the orange of a low sun."""
    sun_elevation: Range
    """Degrees above the horizon."""
    ambient: Range
    haze_distance: Range
    """Metres at which a surface has lost 63 % of its own color."""


@dataclass(frozen=True, slots=True)
class Look:
    """Materials and weather of one visual domain."""

    palette: Palette
    weather: WeatherRange
