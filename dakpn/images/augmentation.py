"""Random views of a labelled image: flip, zoomed crop, colour. Pixels and labels move together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dakpn.images import codec

Pixels = NDArray[np.uint8]
Ids = NDArray[np.uint8] | NDArray[np.uint16]

MAX_ZOOM = 0.3
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from its image. All draws are uniform.

    Attributes:
        flip: Share of the views that are mirrored, 0..1.
        max_zoom: A view shows 1 / (1 + z) of each side at a random place, z from 0 to this.
        brightness, contrast, saturation: A factor from 1 - x to 1 + x each, 0 <= x <= 1.
    """

    flip: float = 0.5
    max_zoom: float = MAX_ZOOM
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def view(
        self, image: Pixels, label: Ids | None, size: tuple[int, int] | None, rng: np.random.Generator
    ) -> tuple[Pixels, Ids | None]:
        """Return a random view of an image and its label.

        Args:
            image: [H, W, 3].
            label: [H, W]; None without a label.
            size: (h, w) of the view; None keeps (H, W).
            rng: The only source of chance; as many numbers are drawn for every image.
        """
        zoom, vertical, horizontal, mirrored, *tones = rng.random(7)
        window = crop_window(image.shape[:2], self.max_zoom * zoom, vertical, horizontal)
        size = size or image.shape[:2]
        step = -1 if mirrored < self.flip else 1
        view = codec.resize_image(np.ascontiguousarray(image[window]), size)[:, ::step]
        ids = None if label is None else codec.resize_label(label[window], size)[:, ::step]
        return self._recolor(view, tones), ids

    def _recolor(self, image: Pixels, tones: list[float]) -> Pixels:
        ranges = (self.brightness, self.contrast, self.saturation)
        if not any(ranges):
            return image
        brightness, contrast, saturation = (1 + x * (2 * tone - 1) for x, tone in zip(ranges, tones, strict=True))
        pixels = image.astype(np.float32) * np.float32(brightness)
        grey = (pixels @ _LUMA)[..., None]
        mean = grey.mean()
        # Saturation moves a pixel from or to its grey, contrast from or to the mean of all greys.
        pixels = mean + np.float32(contrast) * (grey + np.float32(saturation) * (pixels - grey) - mean)
        return pixels.round().clip(0, 255).astype(np.uint8)


def crop_window(size: tuple[int, int], zoom: float, vertical: float, horizontal: float) -> tuple[slice, slice]:
    """Return rows and columns of a crop.

    Args:
        size: (H, W) of the image.
        zoom: The crop has 1 / (1 + zoom) of each side, at least a pixel.
        vertical: Its place, from 0, at the top, to 1, exclusive.
        horizontal: Likewise, from the left.
    """
    height, width = (max(1, int(side / (1 + zoom))) for side in size)
    top = int(vertical * (size[0] - height + 1))
    left = int(horizontal * (size[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)
