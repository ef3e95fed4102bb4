"""The same workflows on a real S3-compatible server."""

import io
import json
import os
import re
import time
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.failures import actionable_error
from cluster.ingest import prepared_on_ray
from dakpn import storage
from dakpn.config import CheckConfig, PackConfig, TranslateConfig, VerifyConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import StorageError, VerificationError
from dakpn.models.weights import load_predictor
from dakpn.training.reporting import read_metrics
from tests.command import assert_failed, dakpn, dakpn_process
from tests.integration.test_ingest import examples, stream
from tests.scenes import ROWS_PER_SHARD, Scenes, tiny_training, uploaded
from workflows import check, pack, train, translate, verify


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
    done = dakpn_process("pack", scenes.source, f"{bucket}/out", AWS_SECRET_ACCESS_KEY="wrong-secret-123")  # noqa: S106 - that is the point
    sentence = assert_failed(done, 1, f"{bucket}/out", "credentials")
    assert "wrong-secret-123" not in sentence
    assert "dakpn-tests" not in sentence


def test_a_server_that_does_not_answer_ends_in_one_sentence(bucket: str, scenes: Scenes) -> None:
    done = dakpn("pack", scenes.source, f"{bucket}/out", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert_failed(done, 1, f"{bucket}/out", "AWS_ENDPOINT_URL")


@pytest.mark.usefixtures("ray_here")
def test_pack_translate_and_verify_between_buckets(bucket: str, scenes: Scenes, weights: str) -> None:
    source, output = f"{bucket}/packed", f"{bucket}/translated"
    packing = PackConfig(
        source=str(scenes.source), output=source, dataset="camvid", rows_per_shard=ROWS_PER_SHARD, labels=True
    )
    index = pack.main(packing)
    local = manifest.read_index(scenes.synthetic)
    assert [shard.sha256 for shard in index.shards] == [shard.sha256 for shard in local.shards]
    assert pack.main(packing) == index

    job = TranslateConfig(weights=uploaded(weights, bucket), input=source, output=output, workers=2)
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
        uploaded(str(scenes.folder / name), f"{bucket}/{name}")
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


def test_a_dataset_in_a_bucket_is_checked(bucket: str, scenes: Scenes) -> None:
    uri = uploaded(scenes.synthetic, f"{bucket}/packed")
    report = check.main(CheckConfig(source=uri))
    assert (report.ok, report.images, report.labelled, report.source) == (True, 12, 12, "parquet")
    local = check.main(CheckConfig(source=scenes.synthetic))
    assert report.label_ids == local.label_ids

    shard = manifest.shard_uri(uri, manifest.read_index(uri).shards[1].name)
    storage.write_bytes(shard, storage.read_bytes(shard)[:-40])
    done = dakpn("check", uri, "--json")
    assert done.returncode == 1, done.stderr
    problems = json.loads(done.stdout)["problems"]
    assert {(p["kind"], p["path"]) for p in problems} == {("damaged", shard)}
    assert len(problems) == ROWS_PER_SHARD

    done = dakpn("check", uri, "--fix", "quarantine", "--output", f"{bucket}/bad.json")
    assert done.returncode == 3, done.stderr
    index = pack.main(PackConfig(source=uri, output=f"{bucket}/clean", exclude=f"{bucket}/bad.json"))
    assert index.rows == 12 - ROWS_PER_SHARD
    assert_failed(dakpn("check", f"{bucket}/nothing-there"), 2, f"{bucket}/nothing-there")


@pytest.mark.usefixtures("ray_here")
def test_datasets_of_other_tools_in_a_bucket_are_packed(bucket: str, scenes: Scenes) -> None:
    rows = [s for shard in manifest.read_index(scenes.synthetic).shards for s in _rows(scenes.synthetic, shard.name)]
    encoded = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for part in range(2):
        some = rows[6 * part : 6 * part + 6]
        columns = {
            "image": pa.array([{"bytes": s.image, "path": s.image_path} for s in some], encoded),
            "annotation": pa.array([{"bytes": s.label, "path": None} for s in some], encoded),
            "caption": pa.array(["a street"] * 6),
        }
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="snappy")
        storage.write_bytes(f"{bucket}/theirs/data/{part:04d}.parquet", buffer.getvalue())
    for workers, kind in ((1, "parquet"), (2, "webdataset")):
        out = f"{bucket}/packed-{workers}"
        index = pack.main(
            PackConfig(source=f"{bucket}/theirs/data", output=out, dataset="camvid", format=kind, workers=workers)
        )
        found = [s for shard in index.shards for s in _rows(out, shard.name, kind)]
        assert [(s.image, s.label) for s in found] == [(s.image, s.label) for s in rows]


def _rows(uri: str, name: str, kind: FormatName = "parquet") -> list[Sample]:
    return list(read_shard(manifest.shard_uri(uri, name, kind)))


def _remove(bucket: str) -> None:
    files = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for path in files.find(bucket):
        files.rm_file(path)
    files.rmdir(bucket.removeprefix("s3://"))


def test_a_bucket_that_disappears_while_it_is_read_is_named(bucket: str, scenes: Scenes) -> None:
    uri = uploaded(scenes.synthetic, f"{bucket}/packed")
    names = [shard.name for shard in manifest.read_index(uri).shards]
    rows = (row for name in names for row in _rows(uri, name))
    next(rows)
    _remove(bucket)
    with pytest.raises(StorageError, match=rf"cannot read {uri}/{names[1]}\.parquet: "):
        list(rows)
    with pytest.raises(StorageError, match=r"cannot list .*the bucket does not exist"):
        storage.preflight(uri, write=False)
    with pytest.raises(StorageError, match=f"cannot list {uri}: the bucket does not exist"):
        check.main(CheckConfig(source=uri))


@pytest.mark.usefixtures("ray_here")
def test_a_bucket_that_disappears_under_the_training_stream_is_named(bucket: str, scenes: Scenes) -> None:
    uri = uploaded(scenes.synthetic, f"{bucket}/packed")
    samples = stream(uri)
    assert len(examples(prepared_on_ray(samples), 12)["low"]) == 12
    _remove(bucket)
    with pytest.raises(Exception, match=r"cannot read") as caught:
        examples(prepared_on_ray(samples), 12)
    known = actionable_error(caught.value)
    assert isinstance(known, StorageError)
    assert re.search(rf"cannot read {uri}/train-0000\d-of-00003\.parquet: ", str(known))
    assert "\n" not in str(known)


def test_no_credential_is_in_anything_that_is_written_or_said(bucket: str, scenes: Scenes) -> None:
    out = f"{bucket}/packed"
    said = []
    for arguments in (
        ("pack", scenes.source, out, "--rows-per-shard", "4"),
        ("pack", out, f"{bucket}/tar", "--format", "webdataset"),
        ("check", out, "--json"),
        ("check", out, "--fix", "quarantine", "--output", f"{bucket}/bad.json"),
        ("pack", f"{bucket}/nothing", f"{bucket}/out"),
        ("verify", "--input", out, "--output", f"{bucket}/nothing"),
        ("pack", scenes.source, "s3://no-such-bucket-here/out"),
    ):
        done = dakpn(*arguments)
        said.append(done.stdout + done.stderr)
    files = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    written = {path: files.cat_file(path) for path in files.find(bucket)}
    assert any(path.endswith("_dakpn/run.json") for path in written)
    assert any(path.endswith("README.md") for path in written)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        secret = os.environ[name]
        assert not [text for text in said if secret in text]
        assert not [path for path, data in written.items() if secret.encode() in data]
