"""The light of one scene: sky, direct sun and haze, drawn from a look's range of weathers."""

from dataclasses import dataclass

import numpy as np

from dakpn.scenes.canvas import Color
from dakpn.scenes.looks import Rgb, WeatherRange, pick_color
from dakpn.scenes.view import FloatArray

Vector = tuple[float, float, float]

UP: Vector = (0.0, 1.0, 0.0)
TO_CAMERA: Vector = (0.0, 0.0, -1.0)
TO_LEFT: Vector = (-1.0, 0.0, 0.0)
TO_RIGHT: Vector = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Light:
    """One scene's weather. Colors are [3]: 0..255 for the sky's, about 0..1 for the light's."""

    zenith: Rgb
    horizon: Rgb
    cloud_cover: float
    cloud_brightness: float
    ambient: Rgb
    sun: Rgb
    sun_direction: Vector
    haze_distance: float

    def on(self, normal: Vector) -> Rgb:
        """Light [3] that a surface with this unit normal receives."""
        facing = max(0.0, sum(a * b for a, b in zip(normal, self.sun_direction, strict=True)))
        return self.ambient * (0.85 + 0.15 * normal[1]) + self.sun * facing

    def through_haze(self, colors: FloatArray, z: FloatArray | np.floating) -> FloatArray:
        """Blend `colors` [..., 3] towards the horizon's color with their depth `z` [...]."""
        fraction = np.asarray(1 - np.exp(-z / self.haze_distance))[..., None]
        return colors + (self.horizon - colors) * fraction

    def shade(self, color: Rgb, normal: Vector, z: float, strength: float = 1.0) -> Color:
        """Return the color of a lit, hazy surface; `strength` scales the light, e.g. in a shadow."""
        lit = color * self.on(normal) * strength
        red, green, blue = self.through_haze(lit, np.float32(z)).clip(0, 255)
        return int(red), int(green), int(blue)

    def shadow_offset(self, height: float) -> tuple[float, float]:
        """How far (x, z) the shadow of a point `height` meters above the ground falls."""
        x, y, z = self.sun_direction
        return -height * x / y, -height * z / y


def sample_light(weather: WeatherRange, rng: np.random.Generator) -> Light:
    """Draw one scene's weather."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(*weather.sun_elevation))
    warmth = rng.uniform(*weather.sun_warmth)
    zenith = pick_color(weather.zenith, rng)
    sky_tint = zenith / max(float(zenith.mean()), 1.0)
    return Light(
        zenith=zenith,
        horizon=pick_color(weather.horizon, rng),
        cloud_cover=rng.uniform(*weather.cloud_cover),
        cloud_brightness=255 * rng.uniform(*weather.cloud_brightness),
        ambient=(rng.uniform(*weather.ambient) * (0.75 + 0.25 * sky_tint)).astype(np.float32),
        sun=np.array([1.0, 1 - 0.2 * warmth, 1 - 0.5 * warmth], np.float32) * rng.uniform(*weather.sun),
        sun_direction=(
            float(np.cos(elevation) * np.sin(azimuth)),
            float(np.sin(elevation)),
            float(np.cos(elevation) * np.cos(azimuth)),
        ),
        haze_distance=rng.uniform(*weather.haze_distance),
    )
