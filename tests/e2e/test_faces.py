"""Face parsing from its command lines: the recipe that comes along, a few steps of it, on real sample faces."""

import json
from pathlib import Path

import pytest

from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from tests.command import dakpn
from tests.paths import SHARED_DATA

FACES = None if SHARED_DATA is None else SHARED_DATA / "facesynth100"
TINY = (
    "encoder.training.size=[64,64]", "encoder.training.steps=4", "encoder.training.batch_size_per_worker=4",
    "encoder.network.widths=[8,16,16,32]", "encoder.adaptation_rounds=1", "prediction_size=[32,32]",
    "style.entries=20", "discriminator.widths=[8,16]", "adversarial.patch_size=[64,64]", "adversarial.steps=4",
    "adversarial.batch_size_per_worker=2", "report_every=2", "checkpoint_every=4",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(FACES is None or not FACES.is_dir(), reason="the Face Synthetics sample is not on this machine")
def test_the_recipe_for_faces_trains_translates_and_keeps_every_label(ray_here: str, tmp_path: Path) -> None:
    """CelebAMask-HQ may not be passed on: the synthetic faces, without labels, stand in for the photographs."""
    assert FACES is not None
    synthetic, real, out = (str(tmp_path / name) for name in ("synthetic", "real", "translated"))
    config = "workflows/configs/facesynthetics_celebamask.yaml"
    weights = f"{tmp_path}/run/weights"
    for arguments in (
        ("pack", FACES, synthetic, "--dataset", "facesynthetics", "--labels"),
        ("pack", FACES, real, "--dataset", "facesynthetics", "--no-labels"),
        ("train", config, f"run={tmp_path}/run", f"synthetic={synthetic}", f"real={real}", *TINY),
        ("translate", "--weights", weights, "--input", synthetic, "--output", out),
        ("verify", "--input", synthetic, "--output", out),
    ):
        done = dakpn(*arguments)
        assert done.returncode == 0, f"{arguments}\n{done.stderr}"
    before, after = manifest.read_index(synthetic), manifest.read_index(out)
    assert before.rows == after.rows == 100
    assert after.label_space is not None
    assert "upper lip" in json.dumps(after.label_space)
    pairs = [
        (old, new)
        for shard in before.shards
        for old, new in zip(*(read_shard(manifest.shard_uri(uri, shard.name)) for uri in (synthetic, out)), strict=True)
    ]
    assert all(old.label == new.label and old.key == new.key for old, new in pairs)
    assert all(old.image != new.image for old, new in pairs)
