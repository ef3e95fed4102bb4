"""Translate one shard of a dataset: the unit of work of the translation job. Knows nothing of its engine.

Order of writes: the output shard, its quarantine, its row manifest, its completion marker. The names and bytes are pure
functions of the input shard, the weights and the config, so a retry or a second job writes the same again.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dakpn import storage
from dakpn.config import TranslateConfig
from dakpn.datasets import manifest
from dakpn.datasets.certificate import ShardCertificate
from dakpn.datasets.formats.base import require_safe_names
from dakpn.datasets.manifest import DatasetIndex, RowRecord, ShardMarker
from dakpn.datasets.output_lock import JobClaim
from dakpn.datasets.quarantine import QuarantinedRow, write_quarantine
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import write_shard
from dakpn.errors import DakpnError, DataError, UsageError, WeightsError
from dakpn.segmentation.examples import limit_threads
from dakpn.translation.row_pipeline import Spent, TranslatedRow, translate_rows
from dakpn.translation.shard_rows import InputRow
from dakpn.translation.shard_task import ShardResult, ShardTask
from dakpn.translation.stored_params import write_params_shard
from dakpn.translation.translator import Translator
from dakpn.wording import counted


@dataclass
class ShardWork:
    """Translates shards with one set of weights.

    Attributes:
        translator: With the weights in memory.
        config: Of the job.
        claim: The job's hold on the output; None takes it for granted.
        on_row: Called with each row that is done or in the quarantine.
        spent: See `row_pipeline.Spent`; the stage "write" comes once a shard.
    """

    translator: Translator
    config: TranslateConfig
    claim: JobClaim | None = None
    on_row: Callable[[TranslatedRow], None] = lambda row: None
    spent: Spent = field(default=lambda stage, seconds: None)

    def translate(self, task: ShardTask, rows: Iterable[InputRow]) -> ShardMarker:
        """Translate and write one shard: images in the format of the input, or params.

        Args:
            task: Names the shard.
            rows: Its rows, as `input_rows(self.source(task))` yields them.

        Raises:
            DataError: The input is damaged, has more or fewer rows than its index says, or changed meanwhile.
            UsageError: A job with other settings took the output.
            StorageError: Input unreadable or output not writable.
        """
        made = _Made()
        done = self._done(task, rows, made)
        if self.config.content == "params":
            target = manifest.shard_uri(self.config.output, task.name)
            written = write_params_shard(target, (row.params for row in done if row.params is not None))
        else:
            target = manifest.shard_uri(self.config.output, task.name, task.format)
            written = write_shard(target, (row.sample for row in done if row.sample is not None))
        self.spent("write", time.perf_counter() - made.ended)
        if task.format == "folder" and self.config.content == "pixels":
            _delete_former_files(self.config.output, made)
        certificate = ShardCertificate.of(task.name, made.done, len(made.quarantined))
        marker = ShardMarker(
            name=task.name,
            fingerprint=task.fingerprint,
            rows=len(made.done),
            quarantined=len(made.quarantined),
            sha256=written.sha256,
            bytes=written.bytes,
            certificate=certificate.model_dump(mode="json"),
        )
        write_quarantine(self.config.output, task.name, made.quarantined)
        manifest.write_rows(self.config.output, task.name, made.records)
        manifest.write_marker(self.config.output, marker)
        return marker

    def source(self, task: ShardTask) -> str:
        """URI of the input's shard."""
        return manifest.shard_uri(self.config.input, task.name, task.format)

    def _done(self, task: ShardTask, rows: Iterable[InputRow], made: "_Made") -> Iterator[TranslatedRow]:
        """Yield the rows; at their end, before the shard is put in place, check that all is well."""
        translated = translate_rows(
            self.translator,
            self.config,
            rows,
            self.source(task),
            threads=self.config.decode_workers,
            spent=self.spent,
        )
        for row in translated:
            made.add(row)
            self.on_row(row)
            yield row
        made.ended = time.perf_counter()
        self._check(task, made)

    def _check(self, task: ShardTask, made: "_Made") -> None:
        source = self.source(task)
        if (found := len(made.records)) != task.rows:
            rows = counted(found, "row")
            raise DataError(f"{source}: found {rows}, expected the {task.rows} of its index; pack it again")
        if (version := storage.fingerprint(source)) != task.input_version:
            raise DataError(
                f"{source} changed while it was translated ({version}, expected {task.input_version}); run the same "
                "command again when nothing writes to it"
            )
        if self.claim is not None:
            self.claim.require(self.config.output)


def load_translator(config: TranslateConfig, index: DatasetIndex, weights_digest: str) -> Translator:
    """The job's translator; this process computes in one thread from now on, for float sums depend on their number.

    Args:
        config: Of the job.
        index: Of its input.
        weights_digest: Of the weights that the job was planned with.

    Raises:
        WeightsError: The weights are other ones.
        UsageError: The workers' device is not there.
    """
    limit_threads(1)
    translator = Translator.of_job(config, index)
    if (found := translator.weights_digest) != weights_digest:
        raise WeightsError(
            f"the weights {config.weights} are other ones ({found}) than when the job started ({weights_digest}); "
            "run it again"
        )
    return translator


def try_shard(work: ShardWork, task: ShardTask, rows: Iterable[InputRow], reasons: list[str]) -> ShardResult:
    """Translate a shard as `ShardWork.translate` does; an error that a user can act on is part of the result.

    Args:
        work: What translates.
        task: Names the shard.
        rows: Its rows.
        reasons: Why rows went to the quarantine; whoever watches the rows fills it.
    """
    marker = error = None
    fatal = False
    try:
        marker = work.translate(task, rows).model_dump_json()
    except MemoryError:
        error = f"{work.source(task)}: out of memory; use larger nodes, fewer workers a node, or smaller shards"
    except DakpnError as problem:
        error, fatal = str(problem), isinstance(problem, UsageError | WeightsError)
    return ShardResult(name=task.name, marker=marker, error=error, fatal=fatal, reasons=reasons)


@dataclass
class _Made:
    """The rows of a shard so far; `ended` is when the last one came, by `time.perf_counter`."""

    records: list[RowRecord] = field(default_factory=list)
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    paths: set[str | None] = field(default_factory=set)
    ended: float = 0.0

    @property
    def done(self) -> list[RowRecord]:
        return [record for record in self.records if record.status == "done"]

    def add(self, row: TranslatedRow) -> None:
        self.records.append(row.record)
        if row.quarantined is not None:
            self.quarantined.append(row.quarantined)
        if row.sample is not None:
            self.paths |= {row.sample.image_path, row.sample.label_path}


def translate_sample(
    translator: Translator, config: TranslateConfig, sample: Sample, uri: str
) -> tuple[Sample, RowRecord]:
    """Translate one encoded sample of the shard `uri` in this thread; its label keeps its bytes.

    Raises:
        DataError: The image or label cannot be decoded, or they differ in size.
    """
    (row,) = translate_rows(translator, config, [InputRow(0, sample.key, sample, None)], uri, threads=0)
    if row.sample is None:
        raise DataError(row.record.reason or f"{uri}: {sample.key} cannot be translated")
    return row.sample, row.record


def _delete_former_files(output: str, made: _Made) -> None:
    """Take away what an earlier run, with a better input, wrote for rows that are in the quarantine now."""
    for path in {path for row in made.quarantined for path in _safe_paths(row)} - made.paths:
        storage.delete(storage.join(output, path))


def _safe_paths(row: QuarantinedRow) -> list[str]:
    if row.image is None or row.image_path is None:
        return []
    try:
        require_safe_names(Sample(row.key, row.image, row.image_path, row.label, row.label_path), "")
    except DataError:
        return []
    return [path for path in (row.image_path, row.label_path) if path is not None]
