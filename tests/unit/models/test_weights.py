"""Weights on storage: the digest in a URI, and what is refused."""

import io
import json
import pickle
from pathlib import Path

import pytest
import torch

from dakpn.errors import WeightsError
from dakpn.models.weights import load_predictor


@pytest.fixture
def copied(weights: str, tmp_path: Path) -> Path:
    """Weights that a test may damage."""
    for path in Path(weights).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_digest_in_the_uri_takes_those_weights_and_no_others(copied: Path) -> None:
    digest = load_predictor(str(copied))[2]
    assert load_predictor(f"{copied}@{digest}")[2] == digest
    assert digest in (copied / "README.md").read_text()
    config = json.loads((copied / "config.json").read_text())
    config["predictor"]["translation"]["stages"][0]["hue_shift"] = 0.05
    (copied / "config.json").write_text(json.dumps(config, indent=2))
    (copied / "facts.json").unlink()
    assert load_predictor(str(copied))[2] != digest
    with pytest.raises(WeightsError) as caught:
        load_predictor(f"{copied}@{digest}")
    assert f"expected {digest}" in str(caught.value)
    assert f"weights {copied} have the digest sha256:" in str(caught.value)


def test_one_changed_bit_of_a_tensor_is_found(copied: Path) -> None:
    digest = load_predictor(str(copied))[2]
    tensors = copied / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + bytes([tensors.read_bytes()[-1] ^ 1]))
    with pytest.raises(
        WeightsError, match=r"digest is sha256:\w+ in facts\.json, expected sha256:\w+ as in the weights"
    ):
        load_predictor(str(copied))
    (copied / "facts.json").unlink()
    load_predictor(str(copied))
    with pytest.raises(WeightsError, match="others than the URI names"):
        load_predictor(f"{copied}@{digest}")


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64])
def test_a_digest_that_is_none_is_refused(copied: Path, digest: str) -> None:
    with pytest.raises(WeightsError, match="expected sha256: and 64 hexadecimal digits"):
        load_predictor(f"{copied}@sha256:{digest}")


class Canary:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("kind", ["pickle", "torch zip", "old torch"])
def test_a_pickle_in_place_of_the_tensors_is_refused_and_never_run(copied: Path, tmp_path: Path, kind: str) -> None:
    mark, file = tmp_path / "ran", io.BytesIO()
    match kind:
        case "pickle":
            file.write(pickle.dumps(Canary(mark)))
        case "torch zip":
            torch.save(Canary(mark), file)
        case "old torch":
            torch.save(Canary(mark), file, _use_new_zipfile_serialization=False)
    (copied / "model.safetensors").write_bytes(file.getvalue())
    with pytest.raises(WeightsError, match="is a pickle, which could run any code as it is loaded, and is refused"):
        load_predictor(str(copied))
    assert not mark.exists()
    torch.load(io.BytesIO(file.getvalue()), weights_only=False) if kind != "pickle" else pickle.loads(file.getvalue())  # noqa: S301
    assert mark.exists()  # the canary is a real one
