"""Facades: walls, brick, windows and shop fronts as functions of the position on the wall."""

from dataclasses import dataclass

import numpy as np

from dakpn.scenes.looks import Rgb
from dakpn.scenes.painter import Painter
from dakpn.scenes.view import FloatArray

_COURSE = 0.16
"""Height of a course of brick in meters; about twice a real one, so that it shows at this resolution."""

_SHOP_HEIGHT = 3.2
_PANES = 97
"""Number of different window panes; a prime, so that rows of windows do not repeat."""


@dataclass(frozen=True)
class Facade:
    """Materials and proportions of one building's walls; lengths in meters, colors 0..255."""

    wall: Rgb
    frame: Rgb
    glass: Rgb
    shop: Rgb | None
    """Color of a shop front on the ground floor, if there is one."""
    brick: bool
    storey: float
    bay: float
    """Distance from one window to the next."""
    window_width: float
    """Fraction of a bay."""
    window_height: float
    """Fraction of a storey."""
    panes: FloatArray
    """Brightness of each pane of glass [_PANES]."""
    grain: float

    def paint(self, painter: Painter, u: FloatArray, v: FloatArray, footprint: FloatArray, height: float) -> FloatArray:
        """Color the wall at `u` meters along it and `v` meters above the ground (broadcast to [h, w]).

        Args:
            painter: supplies the stains.
            u: position along the wall, [1, w].
            v: height above the ground, [h, w] or [h, 1].
            footprint: meters a pixel covers along the wall, [1, w]; fine detail fades with it.
            height: height of the wall; no window is cut by its top.

        Returns:
            float32 [h, w, 3], 0..255, unlit.
        """
        u, v, footprint = np.broadcast_arrays(u, v, footprint)
        brightness = 1 + 0.3 * self.grain * painter.noise.sample(u, v, 9.0)
        if self.brick:
            brightness = brightness * self._courses(u, v, footprint)
        brightness = brightness * np.where(v < 0.5, 0.85, 1)  # a damp, dirty plinth
        colors = self.wall * brightness[..., None]
        self._paint_windows(u, v, height, colors)
        if self.shop is not None:
            self._paint_shop(u, v, self.shop, colors)
        return colors

    def _courses(self, u: FloatArray, v: FloatArray, footprint: FloatArray) -> FloatArray:
        course = np.floor(v / _COURSE)
        mortar = (v / _COURSE) % 1.0 < 0.2
        shade = ((course * 7 + np.floor(u / 0.4 + 0.5 * (course % 2)) * 13) % 5 - 2) * 0.06
        visible = np.clip(1 - footprint / 0.15, 0, 1)
        return 1 + (np.where(mortar, 0.18, 0) + shade) * visible

    def _paint_windows(self, u: FloatArray, v: FloatArray, height: float, colors: FloatArray) -> None:
        first = _SHOP_HEIGHT if self.shop is not None else 0.3
        bay, level = np.floor(u / self.bay), np.floor((v - first) / self.storey)
        across = np.abs((u / self.bay) % 1.0 - 0.5) * 2
        up = np.abs(((v - first) / self.storey) % 1.0 - 0.5) * 2
        whole = (level >= 0) & (first + (level + 1) * self.storey < height + 0.5)

        frame = whole & (across < self.window_width + 0.1) & (up < self.window_height + 0.08)
        pane = whole & (across < self.window_width) & (up < self.window_height)
        bars = pane & ((across < 0.05) | (up < 0.05))
        colors[frame] = self.frame
        brightness = self.panes[(bay * 31 + level * 17).astype(np.int32) % _PANES]
        sky_reflection = 0.85 + 0.4 * ((v - first) / self.storey % 1.0)
        colors[pane] = (self.glass * (brightness * sky_reflection)[..., None])[pane]
        colors[bars] = self.frame * 0.9

    def _paint_shop(self, u: FloatArray, v: FloatArray, color: Rgb, colors: FloatArray) -> None:
        fascia = (v > 2.5) & (v < _SHOP_HEIGHT)
        window = (v > 0.6) & (v < 2.45) & ((u / 2.2) % 1.0 > 0.08)
        stall_riser = v <= 0.6
        shade = self.panes[np.floor(u / 2.2).astype(np.int32) % _PANES][window]
        colors[fascia] = color
        colors[stall_riser] = color * 0.6
        colors[window] = self.glass * 0.7 * shade[:, None]


def choose_facade(painter: Painter, storey: float) -> Facade:
    """Draw materials and proportions for one building from the scene's palette."""
    rng, palette = painter.rng, painter.palette
    return Facade(
        wall=painter.pick(palette.walls),
        frame=painter.pick(palette.window_frames),
        glass=painter.pick(palette.glass),
        shop=painter.pick(palette.shop_fronts) if rng.random() < 0.4 else None,
        brick=rng.random() < palette.brick_share,
        storey=storey,
        bay=rng.uniform(1.8, 3.4),
        window_width=rng.uniform(0.35, 0.6),
        window_height=rng.uniform(0.45, 0.62),
        panes=rng.choice(np.array([0.7, 0.85, 1.0, 1.15, 1.5], np.float32), _PANES),
        grain=palette.grain,
    )
