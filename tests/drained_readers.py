"""A consumer of a Ray Data stream on one node, with tasks on others, too: `python -m tests.drained_readers FOLDER`.

Each task leaves `NUMBER-NODE` in FOLDER as it begins; the consumer's node is in `consumer`. At the end the driver
prints the numbers that the consumer got, in their order.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ray
import ray.data

from cluster.session import quiet_ray, ray_session

BLOCKS = 24
_TASK_S = 1.0


@ray.remote(num_cpus=1)
class Consumer:
    """Stands for a training worker: it owns the stream, as a worker does, and reads in order."""

    def numbers(self, folder: Path) -> list[int]:
        quiet_ray()
        (folder / "consumer").write_text(ray.get_runtime_context().get_node_id())
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False

        def read(batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
            (folder / f"{int(batch['id'][0])}-{ray.get_runtime_context().get_node_id()}").touch()
            time.sleep(_TASK_S)
            yield {"id": batch["id"], "bytes": np.zeros((1, 2**20), np.uint8)}  # too large to travel with the answer

        tasks = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(read, batch_size=1, num_cpus=0.5)  # pyright: ignore[reportArgumentType]
        return [int(batch["id"][0]) for batch in tasks.iter_batches(batch_size=1, prefetch_batches=2)]


def main() -> None:
    """Run the driver."""
    with ray_session(1):
        consumer = Consumer.remote()
        print(*ray.get(consumer.numbers.remote(Path(sys.argv[1]))))  # noqa: T201 - its result


if __name__ == "__main__":
    from tests import drained_readers

    drained_readers.main()
