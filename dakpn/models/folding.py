"""Faster inference: batch normalization folded into the convolution before it, channels-last memory."""

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def optimize_for_inference(network: Network) -> Network:
    """A copy in eval mode that computes the same, but for rounding, faster.

    A BatchNorm2d that a module registers right after a Conv2d is taken to follow it: so it is in every network here.
    The copy's state dict has other names; weights are saved from the original.
    """
    folded = copy.deepcopy(network).requires_grad_(False).eval()
    for module in folded.modules():
        _fold_children(module)
    return folded.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _fold_children(module: nn.Module) -> None:
    for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
