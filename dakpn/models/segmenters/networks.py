"""Segmentation networks by their config."""

from collections.abc import Mapping
from pathlib import Path

from dakpn.config import (
    EfficientNetLiteConfig,
    FcnResnet50Config,
    NetworkConfig,
    SegformerConfig,
    SmallNetworkConfig,
)
from dakpn.config.base import Size
from dakpn.errors import UsageError
from dakpn.models.segmenters.efficientnet_lite import EfficientNetLite, require_published, start_from_imagenet
from dakpn.models.segmenters.fcn import FcnResnet50, start_from_torchvision
from dakpn.models.segmenters.segformer import LEAST_SIDE, Segformer, require_transformers, start_from_hub_folder
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


def require_network(config: NetworkConfig, sizes: Mapping[str, Size]) -> None:
    """Check, without building it, that the network can be built and begun as its config says.

    Args:
        config: of the network.
        sizes: (h, w) of the images that it will see, by the setting that says so.

    Raises:
        UsageError: an optional package or the pretrained weights are missing, or images are too small.
        WeightsError: a package holds other weights than the published ones.
    """
    require_sides(config, sizes)
    match config:
        case SegformerConfig():
            require_transformers()
        case EfficientNetLiteConfig(pretrained=True, variant=variant):
            require_published(variant)
    pretrained = getattr(config, "pretrained", None)
    if isinstance(pretrained, Path) and not pretrained.exists():
        raise UsageError(f"pretrained weights {pretrained} are not there; give a local path")


def require_sides(config: NetworkConfig, sizes: Mapping[str, Size]) -> None:
    """Check that images have the pixels that the network needs; see `require_network`. Raises `UsageError`."""
    least = LEAST_SIDE if isinstance(config, SegformerConfig) else 1
    for setting, (height, width) in sizes.items():
        if min(height, width) < least:
            raise UsageError(
                f"got {setting} = [{height}, {width}], expected at least {least} pixels in height and width for the "
                f"network `{config.kind}`; raise it, or take another network"
            )
