"""What every segmentation network promises, and the small one (about 0.9 M parameters) that comes along."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.config import SmallNetworkConfig

_MEAN, _SPREAD = 0.45, 0.25


class Segmenter(nn.Module, ABC):
    """A segmentation network, used as encoder and as downstream net; it normalizes its input itself."""

    @abstractmethod
    def coarse_logits(self, images: Tensor) -> Tensor:
        """Class logits [B, C, h', w'] on the network's own grid, of images float [B, 3, H, W] in 0..1."""

    def forward(self, images: Tensor) -> Tensor:
        """Class logits [B, C, H, W] of images float [B, 3, H, W] in 0..1, any H and W."""
        return resize_like(self.coarse_logits(images), images)


class SmallSegmenter(Segmenter):
    """Fully convolutional: strides 2/4/8/16, global context, and a U-Net style decoder up to stride 4."""

    def __init__(self, config: SmallNetworkConfig, num_classes: int) -> None:
        super().__init__()
        first, second, third, fourth = config.widths
        decoded = (second + third) // 2
        self.stride2 = conv_block(3, first, stride=2)
        self.stride4 = nn.Sequential(conv_block(first, second, stride=2), ResidualBlock(second))
        self.stride8 = nn.Sequential(conv_block(second, third, stride=2), ResidualBlock(third))
        self.stride16 = nn.Sequential(conv_block(third, fourth, stride=2), ResidualBlock(fourth))
        self.context = nn.Linear(fourth, fourth)
        self.decode8 = nn.Sequential(conv_block(fourth + third, third, kernel=1), ResidualBlock(third))
        self.decode4 = nn.Sequential(conv_block(third + second, decoded, kernel=1), conv_block(decoded, decoded))
        self.classify = nn.Conv2d(decoded, num_classes, 1)

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits at stride 4."""
        at4 = self.stride4(self.stride2((images - _MEAN) / _SPREAD))
        at8 = self.stride8(at4)
        at16 = self.stride16(at8)
        at16 = at16 + self.context(at16.mean((2, 3)))[:, :, None, None]
        at8 = self.decode8(torch.cat((resize_like(at16, at8), at8), 1))
        at4 = self.decode4(torch.cat((resize_like(at8, at4), at4), 1))
        return self.classify(at4)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_block(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        return F.relu(features + self.second(self.first(features)))


def conv_block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resize_to(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of [B, C, h, w] to a height and width."""
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def resize_like(features: Tensor, reference: Tensor) -> Tensor:
    """Bilinear resize of [B, C, h, w] to the reference's height and width."""
    return resize_to(features, (reference.shape[-2], reference.shape[-1]))


class ImagenetNormalization(nn.Module):
    """Centers and scales images [B, 3, H, W] in 0..1 as networks pretrained on ImageNet expect; has no state."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, channels in (("mean", (0.485, 0.456, 0.406)), ("spread", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(channels).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Same shape in and out."""
        return (images - self.mean) / self.spread
