"""Params as the output of the translation job: from the command line, on two workers, in a bucket."""

import hashlib
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from dakpn import storage
from dakpn.config import VerifyConfig
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.images import codec
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from dakpn.translation.on_the_fly import TranslatingDataset
from dakpn.translation.params_dataset import read_params
from dakpn.translation.translator import Translator
from tests.command import dakpn
from tests.scenes import CAMVID
from tests.unit.translation.stored import store_params
from workflows import verify

_SHARDS = 12


@pytest.fixture
def place(s3_server: str | None, tmp_path: Path) -> str:
    """A new bucket; a folder where the S3 server is not installed."""
    if s3_server is None:
        return str(tmp_path / "place")
    fsspec.filesystem("s3", endpoint_url=f"http://{s3_server}").mkdir("params")
    return "s3://params"


def digests(uri: str) -> dict[str, str]:
    """Of the shards, and of what is recorded of them."""
    found = [*storage.list_files(uri, ".parquet"), *storage.list_files(f"{uri}/_dakpn/shards")]
    return {name.rpartition("/")[2]: hashlib.sha256(storage.read_bytes(name)).hexdigest() for name in found}


def test_two_workers_store_the_bytes_of_one_process_and_a_reader_gets_the_translator_s_images(
    ray_here: str, weights_for_any_image: str, place: str, tmp_path: Path
) -> None:
    weights, source, output = weights_for_any_image, f"{place}/source", f"{place}/params"
    write_dataset(tmp_path / "rendered", 2 * _SHARDS, 0, partial(render_scene, size=(48, 64)), processes=1)
    pack_dataset(tmp_path / "rendered", source, CAMVID, None, 2, labelled=True)
    straight = store_params(weights, source, tmp_path / "straight", draws=2)
    arguments = ["translate", "--weights", weights, "--input", source, "--output", output]
    arguments += ["content=params", "draws=2", "workers=2"]

    planned = dakpn(*arguments, "--dry-run")
    assert planned.stdout.startswith(f"{2 * _SHARDS} images in {_SHARDS} shards to translate"), planned.stderr
    assert not storage.exists(output)

    done = dakpn(*arguments)
    assert (done.returncode, done.stdout) == (0, f"{output}: params of {2 * _SHARDS} images in {_SHARDS} shards\n")
    assert digests(output) == digests(str(straight))

    report = verify.compare(VerifyConfig(input=source, output=output, weights=weights, workers=2))
    assert (report.differences, report.retranslated) == ([], 2 * _SHARDS)
    assert [len(row.looks) for row in read_params(output)] == [2] * (2 * _SHARDS)
    images, read = SegmentationDataset(source), TranslatingDataset(output, draw=1)
    sample = images.sample(3)
    expected = Translator.load(weights, draw=1).translate(codec.decode_image(sample.image, ""), sample.key)
    np.testing.assert_array_equal(read[3]["image"].transpose(1, 2, 0), expected)
