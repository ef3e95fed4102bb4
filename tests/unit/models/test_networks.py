"""The networks behind one protocol: what they take and give, their weights files, faster inference, configs."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dakpn.config import (
    EfficientNetLiteConfig,
    EvaluateConfig,
    FcnResnet50Config,
    HeadConfig,
    NetworkConfig,
    PredictorConfig,
    SegformerConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.config_file import build_config, parse_config, to_yaml
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import ConfigError, UsageError, WeightsError
from dakpn.models.predictor import KernelPredictor
from dakpn.models.segmenters.networks import require_network
from dakpn.models.weights import load_predictor, load_segmenter, save_predictor, save_segmenter
from tests.unit.models.network_samples import CLASSES, NETWORKS, images, random_network

SPACE = LabelSpace("letters", tuple("abcde"))


@pytest.mark.parametrize(("config", "stride"), NETWORKS)
@pytest.mark.parametrize("size", [(40, 56), (37, 61)], ids=["even", "odd"])
def test_logits_have_the_size_of_the_images_and_come_from_the_coarse_ones(
    config: NetworkConfig, stride: int, size: tuple[int, int]
) -> None:
    network = random_network(config)
    with torch.no_grad():
        coarse, logits = network.coarse_logits(images(*size)), network(images(*size))
    assert coarse.shape == (2, CLASSES, *(-(-side // stride) for side in size))
    assert logits.shape == (2, CLASSES, *size)
    torch.testing.assert_close(logits, F.interpolate(coarse, size, mode="bilinear", align_corners=False))


@pytest.mark.parametrize(("config", "stride"), NETWORKS)
def test_gradients_reach_every_parameter(config: NetworkConfig, stride: int) -> None:
    network = copy.deepcopy(random_network(config)).train()
    network(images()).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    first, *_ = network.parameters()
    assert first.grad is not None
    assert first.grad.abs().max() > 0


@pytest.mark.parametrize(("config", "stride"), NETWORKS)
def test_segmenter_weights_come_back(config: NetworkConfig, stride: int, tmp_path: Path) -> None:
    network = random_network(config)
    save_segmenter(str(tmp_path), network, config, SPACE, "card")
    loaded, loaded_config, _, _ = load_segmenter(str(tmp_path))
    assert loaded_config == config
    with torch.no_grad():
        assert torch.equal(loaded(images()), network(images()))


def predictor(network: NetworkConfig) -> KernelPredictor:
    config = PredictorConfig(
        num_classes=CLASSES,
        prediction_size=(32, 48),
        network=network,
        head=HeadConfig(condition="encoder"),
        translation=TranslationConfig(),
        style=StyleConfig(kind="none"),
    )
    built = KernelPredictor(config)
    built.encoder.load_state_dict(random_network(network).state_dict())
    nn.init.normal_(built.head.weight)
    return built.eval()


@pytest.mark.parametrize(("config", "stride"), NETWORKS)
def test_a_predictor_for_inference_predicts_the_same_without_batch_norm(config: NetworkConfig, stride: int) -> None:
    original = predictor(config)
    names = list(original.state_dict())
    fast = original.for_inference()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    with torch.no_grad():
        expected, found = original.encoder(images()), fast.encoder(images())
        assert expected.std() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        torch.testing.assert_close(fast(images()), original(images()), rtol=0, atol=1e-4)
    assert list(original.state_dict()) == names  # the original is left as it was


def test_weights_hold_the_predictor_as_it_was_trained(tmp_path: Path) -> None:
    original = predictor(SmallNetworkConfig())
    with pytest.raises(WeightsError, match="made for inference cannot be saved"):
        save_predictor(str(tmp_path), original.for_inference(), SPACE, "card")
    assert not list(tmp_path.iterdir())
    save_predictor(str(tmp_path), original, SPACE, "card")
    loaded, _, _ = load_predictor(str(tmp_path))
    assert torch.equal(loaded(images()), original(images()))


def test_weights_from_before_there_was_a_choice_of_networks_still_load(tmp_path: Path) -> None:
    save_predictor(str(tmp_path), predictor(SmallNetworkConfig(widths=(4, 8, 8, 16))), SPACE, "card")
    config = tmp_path / "config.json"
    text = config.read_text()
    assert '"kind": "small",' in text
    config.write_text(text.replace('"kind": "small",', ""))
    (tmp_path / "facts.json").unlink()  # such weights have none
    assert load_predictor(str(tmp_path))[0].config.network == SmallNetworkConfig(widths=(4, 8, 8, 16))


def evaluate(*overrides: str) -> EvaluateConfig:
    return build_config(EvaluateConfig, {"output": "o", "contenders": {"a": "b"}, "real_test": "t"}, overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], SmallNetworkConfig()),
        (["network.widths=[1, 2, 3, 4]"], SmallNetworkConfig(widths=(1, 2, 3, 4))),
        (["network.kind=fcn_resnet50", "network.pretrained=a/b.pth"], FcnResnet50Config(pretrained=Path("a/b.pth"))),
        (["network={kind: segformer, variant: b2}"], SegformerConfig(variant="b2")),
        (
            ["network={kind: efficientnet_lite, variant: 2, decoder_width: 64}"],
            EfficientNetLiteConfig(variant=2, decoder_width=64),
        ),
    ],
    ids=["default", "no kind", "fcn_resnet50", "segformer", "efficientnet_lite"],
)
def test_networks_are_chosen_by_kind_and_read_back(overrides: list[str], expected: NetworkConfig) -> None:
    config = evaluate(*overrides)
    assert config.network == expected
    assert parse_config(EvaluateConfig, to_yaml(config), origin="round trip") == config


def test_an_unknown_network_and_a_key_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="'small', 'fcn_resnet50', 'segformer', 'efficientnet_lite'"):
        evaluate("network.kind=vgg")
    with pytest.raises(ConfigError, match=r"unknown key network\.fcn_resnet50\.widths; valid here: kind, pretrained"):
        evaluate("network.kind=fcn_resnet50", "network.widths=[1, 2, 3, 4]")


def test_pretrained_weights_that_are_not_there_are_found_before_any_work() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth are not there"):
        require_network(FcnResnet50Config(pretrained=Path("nowhere.pth")), {})
