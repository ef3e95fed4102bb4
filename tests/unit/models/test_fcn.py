"""FCN-ResNet50 is torchvision's in names, shapes and dilation, and starts from torchvision's checkpoints."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dakpn.config import FcnResnet50Config
from dakpn.errors import WeightsError
from dakpn.models.segmenters.fcn import FcnResnet50, start_from_torchvision
from dakpn.models.segmenters.networks import build_untrained_network
from dakpn.models.segmenters.segmenter import Segmenter
from tests.unit.models.network_samples import CLASSES, images, random_network


def resnet_names() -> list[str]:
    """Names of torchvision's resnet50, written down from its layout."""
    batch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{part}" for part in batch_norm)]
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            place = f"layer{layer}.{block}"
            for i in (1, 2, 3):
                names += [f"{place}.conv{i}.weight", *(f"{place}.bn{i}.{part}" for part in batch_norm)]
            if block == 0:
                names += [f"{place}.downsample.0.weight", *(f"{place}.downsample.1.{part}" for part in batch_norm)]
    return names


def test_fcn_resnet50_has_the_names_shapes_and_size_of_torchvisions() -> None:
    network = FcnResnet50(21)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    backbone = [name for name in shapes if name.startswith("backbone.")]
    assert backbone == [f"backbone.{name}" for name in resnet_names()]
    assert sum(p.numel() for p in network.parameters()) == 32_957_013
    assert sum(p.numel() for p in network.backbone.parameters()) == 23_508_032  # 25,557,032 less the classifier
    assert shapes["backbone.layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.0.weight"] == (512, 2048, 3, 3)
    assert shapes["classifier.4.weight"] == (21, 512, 1, 1)
    assert shapes["classifier.4.bias"] == (21,)
    # The digest of torchvision 0.28's 326 names and shapes, in order.
    listing = "\n".join(f"{name} {shape}" for name, shape in shapes.items())
    assert hashlib.sha256(listing.encode()).hexdigest().startswith("0c41f22cc800b8ce364d8a16c6ba5455")


def test_the_last_two_layers_dilate_as_torchvisions() -> None:
    backbone = FcnResnet50(2).backbone
    for layer, expected in {
        "layer1": [1, 1, 1],
        "layer2": [1, 1, 1, 1],
        "layer3": [1, 2, 2, 2, 2, 2],
        "layer4": [2, 4, 4],
    }.items():
        convolutions = [block.conv2 for block in backbone.get_submodule(layer)]  # pyright: ignore[reportArgumentType]
        assert [convolution.dilation[0] for convolution in convolutions] == expected
        assert [convolution.padding[0] for convolution in convolutions] == expected
        assert [convolution.stride[0] for convolution in convolutions][1:] == [1] * (len(expected) - 1)


@pytest.fixture(scope="module")
def trained_fcn() -> Segmenter:
    return random_network(FcnResnet50Config())


def auxiliary() -> dict[str, Tensor]:
    return {"aux_classifier.0.weight": torch.zeros(256, 1024, 3, 3), "aux_classifier.4.bias": torch.zeros(CLASSES)}


def test_an_auxiliary_classifier_is_ignored(trained_fcn: Segmenter) -> None:
    state = trained_fcn.state_dict() | auxiliary()
    network = FcnResnet50(CLASSES)
    network.load_state_dict(state)
    nn.ModuleDict({"encoder": network}).load_state_dict({f"encoder.{name}": state[name] for name in state})
    with torch.no_grad():
        assert torch.equal(network.eval()(images()), trained_fcn(images()))
    with pytest.raises(RuntimeError, match="auxiliary"):
        network.load_state_dict(state | {"auxiliary.0.weight": torch.zeros(1)})  # another name is not


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_training_starts_from_a_torchvision_checkpoint(trained_fcn: Segmenter, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"fcn{suffix}"
    tensors = trained_fcn.state_dict() | auxiliary()
    torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    network = build_untrained_network(FcnResnet50Config(pretrained=path), CLASSES).eval()
    with torch.no_grad():
        assert torch.equal(network(images()), trained_fcn(images()))
    other = build_untrained_network(FcnResnet50Config(pretrained=path), CLASSES + 2)
    assert torch.equal(other.get_parameter("classifier.0.weight"), trained_fcn.get_parameter("classifier.0.weight"))
    assert len(other.get_parameter("classifier.4.weight")) == CLASSES + 2


def test_training_starts_from_a_resnet50_of_imagenet(trained_fcn: Segmenter, tmp_path: Path) -> None:
    state = {n.removeprefix("backbone."): t for n, t in trained_fcn.state_dict().items() if n.startswith("backbone.")}
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet50.pth")
    network = FcnResnet50(CLASSES)
    start_from_torchvision(network, tmp_path / "resnet50.pth")
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, state[name])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"not a checkpoint", "cannot be read"),
        (torch.zeros(3), "does not hold names and tensors"),
        ({"features.0.weight": torch.zeros(1)}, "names do not fit, among them features.0.weight"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, "size mismatch"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "names do not fit, among them backbone.bn1.weight"),
    ],
    ids=["missing", "garbage", "tensor", "other", "shape", "incomplete"],
)
def test_other_files_are_refused_as_a_start(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=message) as caught:
        start_from_torchvision(FcnResnet50(CLASSES), path)
    assert str(path) in str(caught.value)
