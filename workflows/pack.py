"""Pack images and labels into shards, or convert a packed dataset: in this process, or as Ray tasks."""

import json
import logging
from collections.abc import Iterator, Sequence

import typer

from dakpn import storage
from dakpn.config import PackConfig
from dakpn.datasets.inventory import Inventory
from dakpn.datasets.manifest import DatasetIndex, ShardMarker, read_run
from dakpn.errors import DakpnError, DataError
from dakpn.sources.exclusions import Exclusions
from dakpn.sources.pack import PackPlan, PackRequest, ShardJob, finish_pack, pack_shard, plan_pack
from dakpn.wording import counted
from workflows.check import print_inventory

logger = logging.getLogger(__name__)


def main(config: PackConfig) -> DatasetIndex:
    """Pack what is not packed yet, in this process or as Ray tasks on as many machines as Ray has.

    Each of these machines must see a local source and a local output under the same path.

    Raises:
        UsageError: a source that cannot be packed, or an output that holds something else.
        DataError: images or labels that cannot be used; finished shards are kept, and a rerun makes the others.
        StorageError: a file that cannot be read or written.
    """
    storage.preflight(storage.absolute(config.output), write=True)
    request = PackRequest.of(config)
    plan = plan_pack(request)
    if request.exclude:
        _tell_of_exclusions(request.exclude, plan)
    jobs = plan.todo
    logger.info("%d of %s to pack, %d done before", len(jobs), counted(len(plan.jobs), "shard"), len(plan.finished))
    on_ray = config.workers > 1 and len(jobs) > 1
    markers = []
    for marker in _pack_on_ray(jobs, config.workers) if on_ray else map(pack_shard, jobs):
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
        keys = counted(len(absent), "excluded key is", "excluded keys are")
        logger.warning("%s not in the source, such as %r", keys, min(absent))


def _try_shard(job: ShardJob) -> ShardMarker | str:
    """Pack one shard; an error that a user can act on comes back as text."""
    try:
        return pack_shard(job, threads=1)
    except DakpnError as error:
        return str(error)


def _pack_on_ray(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardMarker]:
    """Yield markers as shards are finished; the failed ones are reported when all others are done."""
    from cluster.pool import run_tasks  # loads Ray, which takes seconds that packing in this process should not
    from cluster.session import ray_session

    workers = min(workers, len(jobs))
    errors: list[str] = []
    with ray_session(cpus=1, wanted_cpus=workers):  # a cluster may grow, and a smaller one does it in more time
        for _, result in run_tasks(_try_shard, jobs, workers):
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
    from workflows import as_command

    as_command("pack")
