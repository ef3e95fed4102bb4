"""Verify an output dataset against its input, shard by shard, without trusting its manifests."""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dakpn.config import TranslateConfig, VerifyConfig
from dakpn.datasets import manifest
from dakpn.datasets.manifest import Content, DatasetIndex
from dakpn.datasets.quarantine import read_quarantine
from dakpn.errors import DakpnError, VerificationError
from dakpn.models.weights_facts import PredictorFacts, mismatch, predictor_facts
from dakpn.models.weights_files import weights_digest
from dakpn.progress import progress
from dakpn.verification.claims import Claims, index_differences
from dakpn.verification.params_verification import compare_params, params_claims
from dakpn.verification.report import Difference, ShardFindings, VerificationReport
from dakpn.verification.verification import ShardPair, compare_shards
from dakpn.wording import counted

if TYPE_CHECKING:
    from dakpn.verification.retranslation import Recomputation

logger = logging.getLogger(__name__)
_SHOWN = 20


def main(config: VerifyConfig) -> int:
    """Compare both datasets and return the number of rows verified.

    Raises:
        UsageError: one of the two is not a finished dataset.
        WeightsError: the weights to translate with again cannot be used.
        VerificationError: something is missing or differs; the message names it.
    """
    report = compare(config)
    require_no_difference(report)
    return report.rows


def compare(config: VerifyConfig) -> VerificationReport:
    """Compare both datasets and return every difference.

    Raises:
        UsageError: one of the two is not a finished dataset.
        WeightsError: the weights to translate with again cannot be used.
        StorageError: the output cannot be listed.
    """
    if config.seed is None:
        config = config.model_copy(update={"seed": secrets.randbelow(2**31)})
    source, result = manifest.read_index(config.input), manifest.read_index(config.output, None)
    claims, weights = Claims.read(config.output), _weights_facts(config)
    report = VerificationReport(config.input, config.output, source.labelled, len(source.shards), result.content)
    report.settings = config.model_dump(include={"decode", "weights", "sample", "seed", "tolerance"})
    report.certified = claims.certificate is not None
    report.differences += claims.differences
    report.differences += index_differences(source, result, config.output)
    if config.weights and claims.run.config is None and not claims.differences:
        message = f"{config.output}: no record tells the settings of the translation, so no image was translated again"
        report.differences.append(Difference("run_record", "", "", message))
    if result.content == "params":
        report.differences += params_claims(config.output, source, claims.run.weights)
    began = time.monotonic()
    task = _Task(config, result.content, claims.run.config, weights.digest if weights else None)
    findings = sorted(_compare_all(task, source, result), key=lambda found: found.name)
    report.seconds = time.monotonic() - began
    report.add(findings)
    report.differences += claims.lies(source, findings, weights)
    report.notes += claims.notes()
    return report


def require_no_difference(report: VerificationReport) -> None:
    """Raise `VerificationError`, having logged the first differences, if there is any."""
    if report.ok:
        return
    for difference in report.differences[:_SHOWN]:
        logger.error("%s", difference.message)
    if (more := len(report.differences) - _SHOWN) > 0:
        logger.error("and %d more; --json prints all", more)
    raise VerificationError(
        f"{report.output} does not hold up against {report.input}: {counted(len(report.differences), 'difference')}, "
        f"first: {report.differences[0].message}; translate it again"
    )


def print_report(report: VerificationReport) -> None:
    """Print what was compared, and found equal, for people to stdout."""
    table = Table("", "", title=report.output, title_justify="left", show_header=False)
    table.add_row("rows", f"{report.rows} in {counted(report.shards, 'shard')}, in the input's order")
    if report.quarantined:
        table.add_row("quarantined", f"{report.quarantined} of them, original bytes kept")
    if report.content == "params":
        table.add_row("params", "every one of the image and label that are there")
    else:
        decoded = "every one decoded" if report.settings["decode"] else "no damage"
        table.add_row("labels", "every one byte-identical" if report.labelled else "none")
        table.add_row("images", f"every size equal, {decoded}")
    if report.settings["weights"]:
        seed = f" (seed {report.settings['seed']})" if report.settings["sample"] else ""
        table.add_row("translated again", f"{counted(report.retranslated, 'image')}, all equal{seed}")
    table.add_row("certificate", "all of it is so" if report.certified else "none")
    for note in report.notes:
        table.add_row("note", note)
    table.add_row("speed", f"{report.images_per_second:.0f} images/s, {report.seconds:.1f} s")
    Console().print(table)


@dataclass(frozen=True)
class _Task:
    """What a worker needs to know besides its shards.

    Attributes:
        config: Of the verification.
        content: Of the output.
        translated_with: The settings that images are to be translated with again; None translates none.
        weights_digest: Of the weights at `config.weights`, so that others at the same place are loaded anew.
    """

    config: VerifyConfig
    content: Content
    translated_with: TranslateConfig | None
    weights_digest: str | None


def _compare(task: _Task, pair: ShardPair) -> ShardFindings:
    """Compare an output shard with its input."""
    try:
        quarantined = list(read_quarantine(task.config.output, pair.name))
    except DakpnError as error:
        damaged = Difference("quarantine", pair.name, "", str(error))
        return ShardFindings(pair.name, 0, 0, None, 0, (damaged,))
    if task.content == "params":
        return compare_params(pair, quarantined, _again(task))
    return compare_shards(pair, quarantined, decode=task.config.decode, images=_again(task))


@cache  # a worker's process loads the weights once for all its shards
def _again(task: _Task) -> "Recomputation | None":
    """What translates again; the params of images as well as images."""
    config = task.config
    if config.weights is None or config.seed is None or task.translated_with is None:
        return None
    from dakpn.segmentation.examples import limit_threads
    from dakpn.verification.retranslation import Recomputation

    limit_threads(1)  # float sums depend on it, as in the translation
    job = task.translated_with.model_copy(update={"weights": config.weights, "input": config.input})
    return Recomputation.load(job, config.sample, config.seed, config.tolerance)


def _compare_all(task: _Task, source: DatasetIndex, result: DatasetIndex) -> Iterator[ShardFindings]:
    """Yield the findings of the shards that both indexes list, as they come."""
    results = {shard.name: shard for shard in result.shards}
    pairs = [
        ShardPair(
            shard.name,
            manifest.shard_uri(task.config.input, shard.name, source.format),
            manifest.shard_uri(task.config.output, shard.name, result.format),
            shard.rows,
            results[shard.name].rows,
        )
        for shard in source.shards
        if shard.name in results
    ]
    workers = min(task.config.workers, len(pairs))
    made = _compare_on_ray(task, pairs, workers) if workers > 1 else map(partial(_compare, task), pairs)
    done = 0
    with progress("verifying", "images") as show:
        for found in made:
            done += found.rows
            show(done, source.rows)
            yield found


def _compare_on_ray(task: _Task, pairs: Sequence[ShardPair], workers: int) -> Iterator[ShardFindings]:
    from cluster.pool import run_tasks  # loads Ray, which takes seconds that comparing in this process should not
    from cluster.session import ray_session

    with ray_session(cpus=workers):
        for _, found in run_tasks(_compare, pairs, workers, task):
            yield found


def _weights_facts(config: VerifyConfig) -> PredictorFacts | None:
    """The facts of the weights to translate with again, whose bytes have the digest that the facts say."""
    if config.weights is None:
        return None
    facts, digest = predictor_facts(config.weights), weights_digest(config.weights)
    if facts.digest != digest:
        raise mismatch(config.weights, "digest", facts.digest, digest)
    return facts


if __name__ == "__main__":
    from workflows import as_command

    as_command("verify")
