"""Verify an output dataset against its input, shard by shard in parallel, without trusting its manifests."""

import logging

import ray

from cluster.session import ray_session
from dakpn.config import VerifyConfig
from dakpn.data import manifest
from dakpn.errors import VerificationError
from dakpn.inference.verification import shard_differences

logger = logging.getLogger(__name__)
_SHOWN = 20


def main(config: VerifyConfig) -> int:
    """Compare both datasets and return the number of rows verified.

    Raises:
        UsageError: one of the two is not a finished dataset.
        VerificationError: something is missing or differs; the message names it.
    """
    source, result = manifest.read_index(config.input), manifest.read_index(config.output)
    expected = {shard.name for shard in source.shards}
    found = {shard.name for shard in result.shards}
    differences = [f"{config.output}: shard {name} is missing" for name in sorted(expected - found)]
    differences += [
        f"{config.output}: shard {name} has no counterpart in the input" for name in sorted(found - expected)
    ]
    with ray_session(cpus=config.workers):
        compare = ray.remote(shard_differences).options(num_cpus=1)
        pending = [
            compare.remote(
                manifest.shard_uri(config.input, name, source.format),
                manifest.shard_uri(config.output, name, result.format),
            )
            for name in sorted(expected & found)
        ]
        differences += [sentence for reference in pending for sentence in ray.get(reference)]
    if differences:
        for sentence in differences[:_SHOWN]:
            logger.error("%s", sentence)
        raise VerificationError(
            f"{config.output} does not hold up against {config.input}: {len(differences)} differences, first: "
            f"{differences[0]}; translate it again"
        )
    return source.rows


if __name__ == "__main__":
    from workflows.cli import run

    run("verify")
