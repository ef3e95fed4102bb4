"""The pinhole view: where a point of the street lands in the image, and which point a pixel shows.

Street coordinates are meters: x to the right of the road's center line, y up from the ground, z ahead of the
camera. A bend shifts everything sideways by `curve * z**2`, a heading by `heading * z`. Both keep vertical
surfaces separable: the columns of the image decide the depth of a wall along the road, the rows its height.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
FloatArray = NDArray[np.floating]

NEAREST = 0.4
"""Points nearer than this many meters are drawn as if they stood there."""

FARTHEST = 400.0
"""The ground fades into the horizon at this distance, in meters."""


@dataclass(frozen=True, slots=True)
class View:
    """A camera standing at (`eye_x`, `eye_height`, 0) and looking along the road, in pixels and meters."""

    width: int
    height: int
    focal: float
    horizon: float
    eye_x: float
    eye_height: float
    curve: float
    heading: float

    def pixels_per_metre(self, z: float) -> float:
        """Return the scale of an upright object `z` meters ahead."""
        return self.focal / max(z, NEAREST)

    def project(self, x: float, y: float, z: float) -> Point:
        """Return the image position (column, row) of a street point."""
        depth = max(z, NEAREST)
        sideways = x - self.eye_x + (self.curve * depth - self.heading) * depth
        scale = self.focal / depth
        return self.width / 2 + scale * sideways, self.horizon + scale * (self.eye_height - y)

    def wall_depth(self, x: float) -> FloatArray:
        """Return the depth z of the plane at `x` along the road, per column [W]; inf where it is not seen."""
        slope = self._column_slope() + self.heading
        offset = x - self.eye_x
        discriminant = slope**2 - 4 * self.curve * offset
        root = np.sqrt(np.maximum(discriminant, 0))
        denominator = slope + np.copysign(root, offset)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = 2 * offset / denominator
        seen = (discriminant >= 0) & (denominator * offset > 0)
        return np.where(seen, depth, np.inf).astype(np.float32)

    def lateral_at(self, z: float) -> FloatArray:
        """Return street x of each image column [W] at depth `z`."""
        return (self._column_slope() * z + self.eye_x + (self.heading - self.curve * z) * z).astype(np.float32)

    def height_at(self, rows: FloatArray, z: FloatArray | float) -> FloatArray:
        """Return height y above the ground that image `rows` show at depth `z` (broadcast)."""
        return self.eye_height - (rows - self.horizon) * (z / self.focal)

    def first_ground_row(self) -> int:
        """Return the first image row that lies wholly below the horizon."""
        return min(max(int(np.ceil(self.horizon)), 0), self.height)

    def ground(self) -> tuple[FloatArray, FloatArray]:
        """Return the street coordinates of the ground below the horizon: x [R, W] and z [R, 1]."""
        rows = np.arange(self.first_ground_row(), self.height, dtype=np.float32) + 0.5
        z = np.minimum(self.focal * self.eye_height / (rows - self.horizon), FARTHEST)[:, None]
        x = self._column_slope()[None, :] * z + self.eye_x + (self.heading - self.curve * z) * z
        return x.astype(np.float32), z.astype(np.float32)

    def _column_slope(self) -> FloatArray:
        columns = np.arange(self.width, dtype=np.float32) + 0.5
        return (columns - self.width / 2) / np.float32(self.focal)
