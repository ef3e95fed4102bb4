"""Segmentation networks by their config."""

from pathlib import Path

from dakpn.config import (
    EfficientNetLiteConfig,
    FcnResnet50Config,
    NetworkConfig,
    SegformerConfig,
    SmallNetworkConfig,
)
from dakpn.errors import UsageError
from dakpn.models.segmenters.efficientnet_lite import EfficientNetLite, require_published, start_from_imagenet
from dakpn.models.segmenters.fcn import FcnResnet50, start_from_torchvision
from dakpn.models.segmenters.segformer import Segformer, require_transformers, start_from_hub_folder
from dakpn.models.segmenters.segmenter import Segmenter, SmallSegmenter


def build_network(config: NetworkConfig, num_classes: int) -> Segmenter:
    """A network with random weights, about to be filled with those of a weights file.

    Raises:
        UsageError: an optional package is missing.
    """
    match config:
        case SmallNetworkConfig():
            return SmallSegmenter(config, num_classes)
        case FcnResnet50Config():
            return FcnResnet50(num_classes)
        case SegformerConfig():
            return Segformer(config, num_classes)
        case EfficientNetLiteConfig():
            return EfficientNetLite(config, num_classes)


def build_untrained_network(config: NetworkConfig, num_classes: int) -> Segmenter:
    """A network to be trained: random, or begun from the config's `pretrained` weights.

    Raises:
        UsageError: an optional package is missing.
        WeightsError: the pretrained weights are missing or do not fit.
    """
    match config:
        case FcnResnet50Config(pretrained=Path() as path):
            network = FcnResnet50(num_classes)
            start_from_torchvision(network, path)
        case SegformerConfig(pretrained=Path() as folder):
            network = Segformer(config, num_classes)
            start_from_hub_folder(network, folder)
        case EfficientNetLiteConfig(pretrained=True, variant=variant):
            network = EfficientNetLite(config, num_classes)
            start_from_imagenet(network, variant)
        case _:
            network = build_network(config, num_classes)
    return network


def require_network(config: NetworkConfig) -> None:
    """Check, without building it, that the network can be built and begun as its config says.

    Raises:
        UsageError: an optional package or the pretrained weights are missing.
        WeightsError: a package holds other weights than the published ones.
    """
    match config:
        case SegformerConfig():
            require_transformers()
        case EfficientNetLiteConfig(pretrained=True, variant=variant):
            require_published(variant)
    pretrained = getattr(config, "pretrained", None)
    if isinstance(pretrained, Path) and not pretrained.exists():
        raise UsageError(f"pretrained weights {pretrained} are not there; give a local path")
