"""Small datasets in the CamVid layout, made on the spot, and a server of any keys."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dakpn.images.codec import encode_image, encode_label
from tests.key_server import KeyServer, key_server


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes `count` pairs of 12 x 16 pixels and gives the dataset's folder."""

    def make(count: int = 7, split: str = "train", labelled: bool = True, name: str = "source") -> Path:
        rng = np.random.default_rng(count)
        root = tmp_path / name
        for folder in ["images", "labels"][: 2 if labelled else 1]:
            (root / folder / split).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 256, (12, 16, 3), np.uint8)
            (root / "images" / split / f"{index:03d}.png").write_bytes(encode_image(image, "png"))
            if labelled:
                label = rng.integers(0, 12, (12, 16), np.uint8)
                (root / "labels" / split / f"{index:03d}.png").write_bytes(encode_label(label))
        return root

    return make


@pytest.fixture
def serve_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KeyServer]]:
    """Return a function that serves objects by key (see `KeyServer`) as s3://bucket, and gives the server."""
    with ExitStack() as stack:

        def serve(objects: dict[str, bytes], page: int = 1000) -> KeyServer:
            server = stack.enter_context(key_server(objects, page))
            variables = {
                "AWS_ENDPOINT_URL": server.url,
                "AWS_ACCESS_KEY_ID": "tests",
                "AWS_SECRET_ACCESS_KEY": "not-a-secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_MAX_ATTEMPTS": "2",
            }
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            return server

        yield serve
