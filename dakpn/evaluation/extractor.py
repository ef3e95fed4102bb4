"""Networks whose features the distances between two sets of images are taken in, each named with its digest."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from dakpn.errors import UsageError, WeightsError
from dakpn.models.precision import CPU
from dakpn.models.segmenters.efficientnet_lite import published_classifier, published_digest

_INPUT_SIZE = (224, 224)
_BATCH = 16


@dataclass(frozen=True)
class Extractor:
    """A network that makes features of images.

    Attributes:
        name: `NAME@DIGEST`, part of every figure taken with it.
        network: images float [B, 3, H, W] in 0..1 -> features [B, D].
        size: images are resized to this first; None leaves them.
        device: Device of the network.
    """

    name: str
    network: nn.Module
    size: tuple[int, int] | None
    device: torch.device = CPU

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Features [N, D] of images uint8 [N, H, W, 3]."""
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float().div(255)
            if self.size is not None:
                batch = F.interpolate(batch, self.size, mode="bilinear", antialias=True, align_corners=False)
            batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
            parts.append(self.network(batch).cpu())
        return torch.cat(parts).double().numpy()

    def on(self, device: torch.device) -> "Extractor":
        """Return the same extractor on a device."""
        return replace(self, network=self.network.to(device), device=device)


def load_extractor(name: str) -> Extractor | None:
    """The extractor of `MeasuresConfig.extractor`; None for "none".

    Raises:
        UsageError: its package or file is missing.
        WeightsError: the file is no TorchScript module, or the package holds other weights.
    """
    if name == "none":
        return None
    if name == "efficientnet_lite0":
        try:
            network = published_classifier(0)
        except UsageError as error:
            raise UsageError(f"{error}, or set measures.extractor to none") from error
        return Extractor(f"efficientnet-lite0@{published_digest(0)[:12]}", network, _INPUT_SIZE)
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"extractor {name} is not there; give efficientnet_lite0, none, or the path of a TorchScript file"
        )
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise WeightsError(f"extractor {name} cannot be loaded ({error}); expected a TorchScript module") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Extractor(f"{path.stem}@{digest[:12]}", network, None)
