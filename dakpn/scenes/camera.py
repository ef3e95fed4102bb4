"""A simulated camera: what separates a photograph from a rendering when nothing moves.

The pixels of a photograph depend on what they show: glass and metal clip where tarmac does not, foliage moves
in the wind, the sky floods the sensor. The camera therefore responds to each class in its own way, and to each
image with its own exposure, color cast and focus. All of it acts on color, sharpness and noise; geometry is
untouched.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from dakpn.scenes.canvas import Scene, UInt8Array
from dakpn.scenes.classes import RoadClass
from dakpn.scenes.view import FloatArray

_GAMMA = 2.2
_BLUR_STEPS = (0.0, 0.7, 1.4, 2.4)
"""Standard deviations in pixels, at 256 pixels of width, between which the local blur is interpolated."""
_REFERENCE_WIDTH = 256


class ClassResponse(NamedTuple):
    """How the camera renders one class."""

    gain: tuple[float, float, float]
    """Factors of linear red, green and blue."""
    blur: float
    """Added standard deviation in pixels, at 256 pixels of width."""
    noise: float
    """Factor of the sensor's noise."""


_RESPONSES: dict[RoadClass, ClassResponse] = {
    RoadClass.SKY: ClassResponse((1.35, 1.35, 1.32), 0.9, 0.3),
    RoadClass.BUILDING: ClassResponse((0.86, 0.8, 0.74), 0.1, 1.0),
    RoadClass.POLE: ClassResponse((0.7, 0.72, 0.76), 0.0, 0.8),
    RoadClass.ROAD: ClassResponse((1.1, 1.14, 1.24), 0.3, 1.3),
    RoadClass.PAVEMENT: ClassResponse((1.16, 1.12, 1.08), 0.2, 1.2),
    RoadClass.TREE: ClassResponse((0.85, 0.82, 0.62), 0.7, 1.1),
    RoadClass.SIGN: ClassResponse((1.1, 1.05, 1.0), 0.0, 0.7),
    RoadClass.FENCE: ClassResponse((0.8, 0.82, 0.84), 0.2, 1.0),
    RoadClass.CAR: ClassResponse((1.05, 1.1, 1.2), 0.0, 0.8),
    RoadClass.PEDESTRIAN: ClassResponse((0.8, 0.76, 0.76), 0.5, 0.9),
    RoadClass.BICYCLIST: ClassResponse((0.84, 0.8, 0.8), 0.6, 0.9),
    RoadClass.VOID: ClassResponse((1.0, 1.0, 1.0), 0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Shot:
    """Settings of one photograph."""

    brightness: float
    """Mean linear luminance that the metering aims at."""
    cast: FloatArray
    """White-balance error: factors of red, green and blue [3]."""
    flare: float
    """Fraction of the mean light that veils the whole picture."""
    contrast: float
    """Strength of the S-shaped tone curve, 0..1."""
    saturation: float
    vignette: float
    """Fraction of the light lost in the corners."""
    defocus: float
    """Blur in the center, standard deviation in pixels at 256 pixels of width."""
    corner_blur: float
    """Blur added in the corners."""
    noise: float
    """Standard deviation of the sensor's noise at full brightness, 0..1."""
    class_drift: FloatArray
    """Gain of each class in this picture, [classes, 1]."""


def sample_shot(rng: np.random.Generator) -> Shot:
    """Draw the settings of one photograph; one in five is taken at dusk."""
    dusk = rng.random() < 1 / 5
    warmth = rng.normal(0.02, 0.09)
    return Shot(
        brightness=rng.uniform(0.05, 0.09) if dusk else rng.uniform(0.15, 0.38),
        cast=np.array([1 + warmth, 1 + rng.normal(0.02, 0.03), 1 - warmth], np.float32),
        flare=rng.uniform(0.0, 0.08),
        contrast=rng.uniform(0.2, 0.8),
        saturation=rng.uniform(0.55, 0.9),
        vignette=rng.uniform(0.15, 0.5),
        defocus=rng.uniform(0.0, 0.45),
        corner_blur=rng.uniform(0.2, 1.1),
        noise=rng.uniform(0.008, 0.024) * (1.6 if dusk else 1.0),
        class_drift=rng.lognormal(0, 0.16, (len(_RESPONSES), 1)).astype(np.float32),
    )


def take_photograph(scene: Scene, shot: Shot, rng: np.random.Generator) -> Scene:
    """Photograph a scene; the label is returned as it is.

    Args:
        scene: picture and label.
        shot: this photograph's settings.
        rng: the sensor's noise.

    Returns:
        The photograph, uint8 [H, W, 3], and the same label.
    """
    radius = _squared_radius(*scene.label.shape)
    exposed = _expose(scene, shot, radius)
    developed = _develop(exposed, shot)
    blurred = _blur(developed, _class_map(scene.label, "blur")[..., 0] + shot.defocus + shot.corner_blur * radius)
    noisy = blurred + _sensor_noise(blurred, shot, rng) * _class_map(scene.label, "noise")
    return Scene((noisy * 255 + 0.5).clip(0, 255).astype(np.uint8), scene.label)


def _squared_radius(height: int, width: int) -> FloatArray:
    """Squared distance from the center [H, W]; 1 in the corners."""
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return (rows**2 + columns**2) / 2


def _class_map(label: UInt8Array, quantity: str) -> FloatArray:
    """Look up a quantity of `ClassResponse` per pixel [H, W, channels], softened across edges."""
    table = np.array([getattr(_RESPONSES[road_class], quantity) for road_class in RoadClass], np.float32)
    return _soften(table.reshape(len(RoadClass), -1)[label])


def _soften(values: FloatArray) -> FloatArray:
    """Average 3 x 3 neighbors of [H, W, channels]; the border repeats."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down = padded[:-2] + padded[1:-1] + padded[2:]
    return (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / 9


def _expose(scene: Scene, shot: Shot, radius: FloatArray) -> FloatArray:
    """Light on the sensor [H, W, 3], linear, metered to the shot's mean brightness."""
    linear = (scene.image.astype(np.float32) / 255) ** _GAMMA
    gains = _class_map(scene.label, "gain") * _soften(shot.class_drift[scene.label])
    light = linear * gains * shot.cast * (1 - shot.vignette * radius)[..., None]
    mean = float(light.mean())
    return (light + shot.flare * mean) * (shot.brightness / max(mean, 1e-4))


def _develop(light: FloatArray, shot: Shot) -> FloatArray:
    """Tone curve with a soft shoulder, gamma, contrast and saturation; 0..1."""
    tone = np.clip(1 - np.exp(-1.6 * light), 0, 1) ** (1 / _GAMMA)
    curve = tone * tone * (3 - 2 * tone)
    tone = tone + (curve - tone) * shot.contrast
    grey = tone.mean(axis=-1, keepdims=True)
    return np.clip(grey + (tone - grey) * shot.saturation, 0, 1)


def _blur(image: FloatArray, sigma: FloatArray) -> FloatArray:
    """Gaussian blur of [H, W, 3] whose standard deviation [H, W] varies from pixel to pixel."""
    picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    pixels_per_unit = image.shape[1] / _REFERENCE_WIDTH
    result = image
    for lower, upper in pairwise(_BLUR_STEPS):
        blurred = picture.filter(ImageFilter.GaussianBlur(upper * pixels_per_unit))
        share = np.clip((sigma - lower) / (upper - lower), 0, 1)[..., None]
        result = result + (np.asarray(blurred, np.float32) / 255 - result) * share
    return result


def _sensor_noise(image: FloatArray, shot: Shot, rng: np.random.Generator) -> FloatArray:
    """Noise [H, W, 3] that grows with brightness; most of it is shared by the channels."""
    shared = rng.standard_normal((*image.shape[:2], 1), np.float32)
    colored = rng.standard_normal(image.shape, np.float32)
    grains = 0.8 * shared + 0.6 * colored
    clumped = 0.8 * grains + 0.8 * _soften(grains)
    return shot.noise * (0.35 + 0.65 * np.sqrt(image)) * clumped
