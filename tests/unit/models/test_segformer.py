"""SegFormer through the optional package transformers: what is said without it, size, pretrained weights."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dakpn.config import SegformerConfig
from dakpn.errors import UsageError, WeightsError
from dakpn.models.segmenters.networks import build_network, build_untrained_network, require_network
from dakpn.models.segmenters.segformer import LEAST_SIDE
from tests.command import assert_failed, dakpn
from tests.scenes import Scenes
from tests.unit.models.network_samples import CLASSES, images, needs_transformers, random_network


def test_without_transformers_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find_spec(name))
    for refuse in (lambda: require_network(SegformerConfig(), {}), lambda: build_network(SegformerConfig(), 2)):
        with pytest.raises(UsageError, match=r"pip install 'dakpn\[transformers\]'"):
            refuse()


@needs_transformers
def test_images_that_are_too_small_are_refused_before_the_work(scenes: Scenes, tmp_path: Path) -> None:
    done = dakpn(
        *("train", "workflows/configs/smoke.yaml", f"run={tmp_path}/run"),
        *(f"synthetic={scenes.synthetic}", f"real={scenes.real}"),
        *("encoder.network={kind: segformer}", "encoder.training.size=[28, 40]"),
    )
    assert_failed(done, 2, "encoder.training.size = [28, 40]", "at least 29 pixels", "segformer")
    network = build_network(SegformerConfig(), CLASSES).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, LEAST_SIDE, LEAST_SIDE)).shape[-2:] == (LEAST_SIDE, LEAST_SIDE)


@needs_transformers
def test_segformer_b0_has_the_published_size() -> None:
    assert sum(p.numel() for p in build_network(SegformerConfig(), 150).parameters()) == 3_752_694


@needs_transformers
def test_training_starts_from_a_local_hub_folder(tmp_path: Path) -> None:
    trained = random_network(SegformerConfig())
    trained.model.save_pretrained(tmp_path)  # pyright: ignore[reportCallIssue]
    same = build_untrained_network(SegformerConfig(pretrained=tmp_path), CLASSES).eval()
    with torch.no_grad():
        assert torch.equal(same(images()), trained(images()))
    other = build_untrained_network(SegformerConfig(pretrained=tmp_path), CLASSES + 2)
    assert other(images()).shape[1] == CLASSES + 2
    with pytest.raises(WeightsError, match="change `variant`"):
        build_untrained_network(SegformerConfig(variant="b1", pretrained=tmp_path), CLASSES)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be used"):
        build_untrained_network(SegformerConfig(pretrained=tmp_path), CLASSES)
    with pytest.raises(WeightsError, match="are not there"):
        build_untrained_network(SegformerConfig(pretrained=tmp_path / "none"), CLASSES)


def test_the_other_networks_do_not_import_transformers() -> None:
    program = (
        "import sys; from dakpn.config import SmallNetworkConfig; "
        "from dakpn.models.segmenters.networks import build_network; "
        "build_network(SmallNetworkConfig(), 2); sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
