"""One network of each kind, small enough for tests."""

import functools
import importlib.util

import pytest
import torch
from torch import Tensor, nn

from dakpn.config import EfficientNetLiteConfig, FcnResnet50Config, NetworkConfig, SegformerConfig, SmallNetworkConfig
from dakpn.models.segmenters.networks import build_network
from dakpn.models.segmenters.segmenter import Segmenter

CLASSES = 5
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="the optional package transformers is not installed: pip install 'dakpn[transformers]'",
)
NETWORKS = [
    pytest.param(SmallNetworkConfig(widths=(4, 8, 8, 16)), 4, id="small"),
    pytest.param(FcnResnet50Config(), 8, id="fcn_resnet50"),
    pytest.param(SegformerConfig(), 4, id="segformer", marks=needs_transformers),
    pytest.param(EfficientNetLiteConfig(variant=1, decoder_width=16), 4, id="efficientnet_lite"),
]


@functools.cache
def random_network(config: NetworkConfig) -> Segmenter:
    """Shared by the tests, which must not change it.

    In eval mode, with batch statistics and affine terms that are not those of a fresh network.
    """
    torch.manual_seed(0)
    network = build_network(config, CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                nn.init.normal_(tensor, std=0.2)
            for tensor in (module.running_var, module.weight):
                nn.init.uniform_(tensor, 0.5, 1.0)
    return network.eval()


def images(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
