"""Pack images and labels into shards, or convert a packed dataset: in this process, or as Ray tasks."""

import json
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, cast

import typer

from dakpn import storage
from dakpn.datasets.formats import FormatName
from dakpn.datasets.inventory import Inventory
from dakpn.datasets.manifest import DatasetIndex, ShardMarker, read_run
from dakpn.errors import DakpnError, DataError
from dakpn.images.upright import Orientation
from dakpn.sources.exclusions import Exclusions, KeepRule, source_keys
from dakpn.sources.pack import PackPlan, PackRequest, ShardJob, finish_pack, pack_shard, plan_pack
from dakpn.sources.preset import load_preset
from dakpn.sources.row_checks import CheckDepth
from dakpn.wording import counted
from workflows.inventory_table import print_inventory

logger = logging.getLogger(__name__)


def main(
    source: str,
    output: str,
    dataset: str | None,
    split: str | None,
    rows_per_shard: int | None,
    labelled: bool | None = None,
    output_format: FormatName = "parquet",
    workers: int = 1,
    exclude: str | None = None,
    keep: str | None = None,
    check: CheckDepth = "pixels",
    orientation: Orientation | None = None,
) -> DatasetIndex:
    """Pack `source` into `output`; see `dakpn.sources.pack.PackRequest`.

    Args:
        source: URI of a folder, a packed dataset or other tools' files.
        output: URI of the packed dataset.
        dataset: name of the preset; None takes camvid for a folder of `images`.
        split: name of a split; None takes the only one, "all" takes every one.
        rows_per_shard: None takes 256 for a folder, fewer of large images; else as the source is cut.
        labelled: True requires labels, False leaves them out, None takes them if there are any.
        output_format: of the shards.
        workers: 1 packs in this process; more are Ray tasks of one CPU each, on as many machines as Ray has. Each
            must see a local source and a local output under the same path.
        exclude: URI of an exclusion manifest, as `dakpn check --fix quarantine` writes it; its bad rows are left out.
        keep: a rule `PATTERN:LOW-HIGH` (see `KeepRule`); rows that it does not keep are left out too.
        check: "headers" leaves pixels and label ids unread, for a source that `dakpn check` has found clean.
        orientation: how the label of an image with an orientation tag lies, where sizes do not tell; None refuses it.

    Raises:
        UsageError: bad arguments, a source that cannot be packed, or an output that holds something else.
        DataError: images or labels that cannot be used; finished shards are kept, and a rerun makes the others.
        StorageError: a file that cannot be read or written.
    """
    preset = load_preset(dataset) if dataset else None
    source, output = storage.absolute(source), storage.absolute(output)  # tasks may run in another folder
    storage.preflight(output, write=True)
    exclusions = Exclusions.read(exclude) if exclude else None
    if keep:
        rest = KeepRule.parse(keep).exclusions(source_keys(source, preset, split), source)
        exclusions = exclusions.joined(rest) if exclusions else rest
    request = PackRequest(
        source, output, preset, split, rows_per_shard, labelled, output_format, exclusions, check, orientation
    )
    plan = plan_pack(request)
    if exclusions:
        _tell_of_exclusions(exclusions, plan)
    jobs = plan.todo
    logger.info("%d of %s to pack, %d done before", len(jobs), counted(len(plan.jobs), "shard"), len(plan.finished))
    made = _pack_on_ray(jobs, workers) if workers > 1 and len(jobs) > 1 else map(pack_shard, jobs)
    markers = []
    for marker in made:
        markers.append(marker)
        images, shards = counted(marker.rows, "image"), counted(len(jobs), "shard")
        logger.info("%s: %s (%d of %s)", marker.name, images, len(markers), shards)
    return finish_pack(plan, markers)


def print_result(output: str, index: DatasetIndex, as_json: bool = False) -> None:
    """Print what was packed, and what became of all that the source holds, to stdout."""
    kind = "labelled" if index.labelled else "unlabelled"
    inventory = Inventory.from_dict(read_run(output).get("inventory", {}))
    if as_json:
        shards = [shard.name for shard in index.shards]
        values = {"dataset": output, "images": index.rows, "labelled": index.labelled, "shards": shards}
        typer.echo(json.dumps({**values, "inventory": inventory.to_dict()}, indent=2))
        return
    typer.echo(f"{output}: {counted(index.rows, f'{kind} image')} in {counted(len(index.shards), 'shard')}")
    print_inventory(inventory)


def _tell_of_exclusions(exclusions: Exclusions, plan: PackPlan) -> None:
    left_out = plan.source.excluded
    logger.info("%s left out; the run record names them", counted(len(left_out), "row"))
    if exclusions.dataset.rstrip("/") != plan.source.uri.rstrip("/"):
        logger.warning("the exclusion manifest is of %s, not of %s", exclusions.dataset, plan.source.uri)
    if absent := exclusions.reasons.keys() - {row.key for row in left_out}:
        logger.warning("%d excluded keys are not in the source, such as %r", len(absent), min(absent))


def _try_shard(job: ShardJob) -> ShardMarker | str:
    """Pack one shard; an error that a user can act on comes back as text."""
    try:
        return pack_shard(job, threads=1)
    except DakpnError as error:
        return str(error)


def _pack_on_ray(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardMarker]:
    """Yield markers as shards are finished; the failed ones are reported when all others are done."""
    import ray  # takes seconds to load, which packing in this process should not

    from cluster.session import ray_session

    workers = min(workers, len(jobs))
    errors: list[str] = []
    try_shard = ray.remote(_try_shard).options(num_cpus=1)
    with ray_session(cpus=workers):
        waiting = iter(jobs)
        running: list[Any] = [try_shard.remote(job) for job in islice(waiting, workers)]
        while running:
            (ready,), running = ray.wait(running)
            if (job := next(waiting, None)) is not None:
                running.append(try_shard.remote(job))
            result = cast("ShardMarker | str", ray.get(ready))
            if isinstance(result, str):
                errors.append(result)
                logger.error("%s", result)
            else:
                yield result
    if errors:
        raise DataError(
            f"{len(errors)} of {counted(len(jobs), 'shard')} failed, first: {errors[0]}; mend the source and run "
            "the same command again: finished shards are kept"
        )


if __name__ == "__main__":
    from workflows.cli import run

    run("pack")
