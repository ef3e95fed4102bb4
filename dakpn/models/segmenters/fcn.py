"""FCN on a dilated ResNet-50, laid out as torchvision's `fcn_resnet50`, so that its state dicts fit."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dakpn.errors import WeightsError
from dakpn.models.segmenters.segmenter import ImagenetNormalization, Segmenter

_EXPANSION = 4
_AUXILIARY, _LAST = "aux_classifier.", "classifier.4."


class FcnResnet50(Segmenter):
    """33.0 M parameters, output stride 8. An auxiliary classifier in a loaded state dict is ignored.

    Source: Long, Shelhamer, Darrell 2015 (FCN); Yu, Koltun 2016 (dilation); layout and initialization of torchvision.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = ImagenetNormalization()
        self.backbone = DilatedResnet50()
        inputs = 512 * _EXPANSION
        self.classifier = nn.Sequential(
            nn.Conv2d(inputs, inputs // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(inputs // 4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(inputs // 4, num_classes, 1),
        )
        self.register_load_state_dict_pre_hook(_drop_auxiliary_classifier)

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits at stride 8."""
        return self.classifier(self.backbone(self.normalize(images)))


class DilatedResnet50(nn.Module):
    """ResNet-50 without its classifier, whose last two layers dilate instead of striding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(64, 64, 3)
        self.layer2 = _layer(256, 128, 4, stride=2)
        self.layer3 = _layer(512, 256, 6, dilations=(1, 2))
        self.layer4 = _layer(1024, 512, 3, dilations=(2, 4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, 2048, H/8, W/8] of normalized images [B, 3, H, W]."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(stem))))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a skip connection; the 3 x 3 one strides."""

    def __init__(self, inputs: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, 4 x width, H / stride, W / stride] of features [B, inputs, H, W]."""
        skipped = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + skipped)


def start_from_torchvision(network: FcnResnet50, path: Path) -> None:
    """Load a state dict of torchvision's fcn_resnet50, or of its resnet50 into the backbone alone.

    What the file lacks, and the last convolution if it has another number of classes, stays as it is.

    Raises:
        WeightsError: missing, damaged, or of another architecture.
    """
    tensors = _read_state_dict(path)
    if "conv1.weight" in tensors:
        tensors = {f"backbone.{name}": tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    own = network.state_dict()
    if any(name.startswith(_LAST) and tensor.shape != own[name].shape for name, tensor in tensors.items()):
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_LAST)}
    try:
        misfit = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise _misfit(path, str(error)) from error
    lacking = [name for name in misfit.missing_keys if name.startswith("backbone.")]
    if wrong := [*misfit.unexpected_keys, *lacking]:
        raise _misfit(path, f"{len(wrong)} names do not fit, among them {wrong[0]}")


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        load = load_file if path.suffix == ".safetensors" else partial(torch.load, weights_only=True)
        tensors = load(path)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"pretrained weights {path} cannot be read ({error}); give a local .pth or .safetensors state dict"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise _misfit(path, "it does not hold names and tensors")
    return tensors


def _layer(
    inputs: int, width: int, blocks: int, *, stride: int = 1, dilations: tuple[int, int] = (1, 1)
) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride=stride, dilation=dilations[0])
    rest = (Bottleneck(width * _EXPANSION, width, dilation=dilations[1]) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _drop_auxiliary_classifier(module: nn.Module, state: dict[str, Any], prefix: str, *unused: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + _AUXILIARY)]:
        del state[name]


def _misfit(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"pretrained weights {path} do not fit ({reason}); expected a state dict of torchvision's fcn_resnet50 or "
        "resnet50"
    )
