"""What a translation job has to do, and what is done before: known from a few listings, before any worker starts.

Of the weights their facts alone are read, so that planning needs neither torch nor the workers' GPUs.
"""

import hashlib
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass

from dakpn import storage
from dakpn.config import TranslateConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.manifest import DatasetIndex, ShardEntry, ShardMarker
from dakpn.datasets.output_lock import JobClaim, claim_folder, read_claim, refuse_other_shards
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import UsageError
from dakpn.models.function.fused_stages import why_stages_not_fused
from dakpn.models.weights_facts import PredictorFacts, predictor_facts
from dakpn.translation.job_report import read_report
from dakpn.translation.shard_task import RESULT_VERSION, ShardTask
from dakpn.wording import counted

logger = logging.getLogger(__name__)

_READERS = 32  # markers are small, and storage is slow to answer


@dataclass(frozen=True)
class TranslationPlan:
    """A job, before its work.

    Attributes:
        config: Of the job.
        index: Of the input.
        weights: What is known of the weights.
        claim: By which jobs with other settings tell that the output is not theirs.
        finished: Shard -> completion marker, of those made of this input with these settings.
        todo: The shards to be made now, the largest first: none of them starts when all others are done.
    """

    config: TranslateConfig
    index: DatasetIndex
    weights: PredictorFacts
    claim: JobClaim
    finished: dict[str, ShardMarker]
    todo: list[ShardTask]

    @property
    def left(self) -> int:
        """Shards that will still not be done when all of `todo` are."""
        return len(self.index.shards) - len(self.finished) - len(self.todo)


def plan_translation(
    config: TranslateConfig, only: Collection[str] | None = None, retry_failed: bool = False
) -> TranslationPlan:
    """Find out what is to be done; nothing is written.

    Args:
        config: Of the job.
        only: Names of shards; the others are left as they are. None takes all.
        retry_failed: Take those that failed in the last run or have quarantined rows, and make them again.

    Raises:
        UsageError: The input is not a finished dataset, has no shard of a name in `only`, or does not fit the weights.
        WeightsError: The weights cannot be used.
        StorageError: Something cannot be read or listed.
    """
    index = manifest.read_index(config.input)
    if unknown := sorted(set(only or ()) - {shard.name for shard in index.shards}):
        shards = counted(len(index.shards), "shard is", "shards are")
        raise UsageError(
            f"{config.input} has no shard {unknown[0]!r}; its {shards} named as "
            f"{index.shards[0].name if index.shards else 'none'}"
        )
    weights = predictor_facts(config.weights)
    weights.require_fit(config.weights, config.style, index, config.input)
    reason = why_stages_not_fused([stage.name for stage in weights.stages])
    if reason is not None and not config.num_gpus:
        logger.warning(
            "the fused kernels cannot compute the stages of these weights: %s; translation takes the torch form, about "
            "ten times as long an image",
            reason,
        )
    tasks = _tasks(config, index, weights.digest)
    finished = _finished(config.output, tasks, output_format(config, index))
    chosen = set(tasks) if only is None else set(only)
    if retry_failed:
        again = {name for name, marker in finished.items() if marker.quarantined} & chosen
        chosen &= {failure.shard for failure in read_report(config.output).failures} | again
        finished = {name: marker for name, marker in finished.items() if name not in again}
    todo = [task for task in tasks.values() if task.name in chosen and task.name not in finished]
    depends_on = {"version": RESULT_VERSION, "weights": weights.digest, "settings": config.settings}
    claim = JobClaim.of(storage.absolute(config.input).rstrip("/"), depends_on)
    return TranslationPlan(config, index, weights, claim, finished, sorted(todo, key=lambda t: (-t.bytes, t.name)))


def output_format(config: TranslateConfig, index: DatasetIndex) -> FormatName:
    """The format of the output's shards: the input's, but for params, which are kept in Parquet."""
    return "parquet" if config.content == "params" else index.format


def claim_output(plan: TranslationPlan) -> None:
    """Take the output folder for the job, and clear away what killed runs and a former cut of the input left there.

    Raises:
        UsageError: It is the input's, or holds something else.
        StorageError: It cannot be written.
    """
    config, index = plan.config, plan.index
    kind = output_format(config, index)
    if storage.absolute(config.input).rstrip("/") == storage.absolute(config.output).rstrip("/"):
        raise UsageError(f"input and output are both {config.input}; write to another folder")
    storage.preflight(config.output, write=True)
    names = {shard.name for shard in index.shards}
    before = read_claim(config.output)
    if before is not None and before.input == plan.claim.input and kind != "folder":
        _delete_former_shards(config.output, kind, names)
    refuse_other_shards(config.output, kind, names)
    if before is None and storage.exists(storage.join(config.output, manifest.FOLDER, "dataset.json")):
        raise UsageError(f"{config.output} holds a dataset that no translation wrote; write to a new folder")
    claim_folder(config.output, kind)
    if plan.todo:
        storage.delete(storage.join(config.output, "_SUCCESS"))
    plan.claim.take(config.output)
    delete_orphans(config.output, names)


def delete_orphans(output: str, names: Collection[str]) -> None:
    """Delete temporary files of dead writers, and records of shards that the dataset does not have.

    Raises:
        StorageError: Something cannot be listed or deleted.
    """
    count = storage.delete_leftovers(output)
    for folder in ("shards", "manifest", "quarantine"):
        for uri in storage.list_files(storage.join(output, manifest.FOLDER, folder)):
            if uri.rpartition("/")[2].rpartition(".")[0] not in names:
                storage.delete(uri)
                count += 1
    if count:
        logger.info("%s of former runs deleted from %s", counted(count, "orphan file"), output)


def _delete_former_shards(output: str, shard_format: FormatName, names: Collection[str]) -> None:
    """Delete the shards of a translation of this very input from when it was cut into other shards."""
    kind = FORMATS[shard_format]
    if former := [name for name in kind.names(output) if name not in names]:
        shards = counted(len(former), "shard")
        logger.info("%s from a former cut of the input deleted, such as %s", shards, former[0])
    for name in former:
        storage.delete(kind.uri(output, name))


def _tasks(config: TranslateConfig, index: DatasetIndex, weights_digest: str) -> dict[str, ShardTask]:
    kind = FORMATS[index.format]
    folder = storage.join(config.input, kind.folder) if kind.folder else config.input
    versions = storage.fingerprints(folder, kind.suffix)
    tasks = {}
    for shard in index.shards:
        version = versions.get(shard.name + kind.suffix, "missing")
        tasks[shard.name] = _task(config, index.format, shard, version, weights_digest)
    return tasks


def _task(
    config: TranslateConfig, shard_format: FormatName, shard: ShardEntry, version: str, weights_digest: str
) -> ShardTask:
    inputs = {
        "format": manifest.FORMAT_VERSION,
        "version": RESULT_VERSION,
        "shard": shard.name,
        "input": version,
        "weights": weights_digest,
        "settings": config.settings,
    }
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return ShardTask(shard.name, shard_format, shard.rows, shard.bytes, version, fingerprint)


def _finished(output: str, tasks: dict[str, ShardTask], shard_format: FormatName) -> dict[str, ShardMarker]:
    """Return the markers that hold, of shards that are there: two listings, and a read for each marker."""
    there = set(FORMATS[shard_format].names(output)) & set(manifest.marked_shards(output)) & set(tasks)
    markers = map_in_threads(lambda name: manifest.read_marker(output, name), sorted(there), _READERS, 4 * _READERS)
    return {
        marker.name: marker
        for marker in markers
        if marker is not None and marker.certificate and marker.fingerprint == tasks[marker.name].fingerprint
    }
