"""Datasets in every format go through the workflow, and their formats can be mixed."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from cluster.ingest import prepared_on_ray
from dakpn.config import PackConfig, TranslateConfig, VerifyConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.datasets.stream import prepared_in_threads
from dakpn.errors import UsageError, VerificationError
from dakpn.segmentation.examples import load_examples
from tests.integration.test_ingest import examples, stream
from tests.scenes import Scenes
from workflows import pack, translate, verify

KINDS: tuple[FormatName, ...] = get_args(FormatName)


def samples_of(uri: str) -> Iterator[Sample]:
    index = manifest.read_index(uri)
    for shard in index.shards:
        yield from read_shard(manifest.shard_uri(uri, shard.name, index.format))


@pytest.fixture(scope="module")
def packed(ray_here: None, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, str]:
    """The synthetic scenes in every format; two of them packed on Ray."""
    folder = tmp_path_factory.mktemp("formats")
    for kind in KINDS:
        workers = 1 if kind == "parquet" else 2
        pack.main(PackConfig(source=scenes.synthetic, output=str(folder / kind), format=kind, workers=workers))
    return {kind: str(folder / kind) for kind in KINDS}


def test_translation_keeps_the_format_and_its_result_does_not_depend_on_it(
    packed: dict[FormatName, str], weights: str, tmp_path: Path
) -> None:
    for kind in KINDS:
        config = TranslateConfig(weights=weights, input=packed[kind], output=str(tmp_path / kind), workers=0)
        assert translate.main(config).format == kind
        assert translate.main(config).format == kind  # nothing is left to do
    expected = list(samples_of(str(tmp_path / "parquet")))
    for kind in KINDS:
        assert list(samples_of(str(tmp_path / kind))) == expected
        for other in KINDS:
            report = verify.compare(VerifyConfig(input=packed[kind], output=str(tmp_path / other), workers=1))
            assert report.rows == len(expected)
            # Of the same rows in another format only the certificate's word on its input does not hold.
            assert [d.message for d in report.differences if "certificate.json: input is" not in d.message] == []
            assert report.ok == (kind == other)
    label = next((tmp_path / "folder" / "labels").rglob("*.png"))
    label.write_bytes(label.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match="is not the file that was written"):
        verify.main(VerifyConfig(input=packed["parquet"], output=str(tmp_path / "folder"), workers=1))


def test_translation_never_writes_over_its_input_or_over_other_files(
    packed: dict[FormatName, str], weights: str, scenes: Scenes
) -> None:
    with pytest.raises(UsageError, match="input and output are both"):
        translate.main(TranslateConfig(weights=weights, input=packed["folder"], output=packed["folder"] + "/"))
    with pytest.raises(UsageError, match="already holds images, expected an empty folder"):
        translate.main(TranslateConfig(weights=weights, input=packed["folder"], output=str(scenes.source)))
    with pytest.raises(UsageError, match=r"already holds train-00000-of-00003\.parquet"):
        translate.main(TranslateConfig(weights=weights, input=packed["folder"], output=packed["parquet"]))


def test_training_and_evaluation_read_every_format(packed: dict[FormatName, str]) -> None:
    streamed = examples(prepared_in_threads(stream(packed["parquet"]), 1), 12)
    held = load_examples(packed["parquet"], (24, 32))
    for kind in KINDS:
        for name, array in examples(prepared_on_ray(stream(packed[kind])), 12).items():
            np.testing.assert_array_equal(array, streamed[name])
        np.testing.assert_array_equal(load_examples(packed[kind], (24, 32)).labels, held.labels)
