"""How long a few images of a translation job take, measured in this process."""

import time
from collections.abc import Sequence
from itertools import islice

from dakpn.config import TranslateConfig
from dakpn.datasets import manifest
from dakpn.translation.job_estimate import Sample
from dakpn.translation.job_plan import TranslationPlan
from dakpn.translation.row_pipeline import translate_rows
from dakpn.translation.shard_rows import InputRow, input_rows
from dakpn.translation.shard_task import ShardTask
from dakpn.translation.translator import Translator, device_at_hand

_SAMPLED_SHARDS, _FEWEST_ROWS = 3, 4


def measure(plan: TranslationPlan) -> Sample:
    """Translate a few images of shards that are left; nothing is written.

    Raises:
        DataError: A shard of the sample is damaged.
        WeightsError: The weights are not those of their facts.
        StorageError: It cannot be read.
    """
    config = plan.config
    if not plan.todo:
        return Sample(0, 0, 0.0)
    translator = Translator.of_job(config, plan.index, device_at_hand(config))
    seconds, bad, sampled = 0.0, 0, 0
    for number, task in enumerate(_spread(plan.todo)):
        rows = _read(config, task)
        if number == 0:
            _translate(translator, config, task, rows[:1])  # compiles the kernels
        start = time.perf_counter()
        bad += _translate(translator, config, task, rows)
        seconds += time.perf_counter() - start
        sampled += len(rows)
    return Sample(sampled, bad, seconds)


def _spread(todo: Sequence[ShardTask]) -> Sequence[ShardTask]:
    return todo[:: max(1, len(todo) // _SAMPLED_SHARDS)][:_SAMPLED_SHARDS]


def _read(config: TranslateConfig, task: ShardTask) -> list[InputRow]:
    rows = input_rows(manifest.shard_uri(config.input, task.name, task.format))
    return list(islice(rows, max(_FEWEST_ROWS, config.encoder_batch)))


def _translate(translator: Translator, config: TranslateConfig, task: ShardTask, rows: Sequence[InputRow]) -> int:
    made = translate_rows(translator, config, rows, task.name, threads=config.decode_workers)
    return sum(row.quarantined is not None for row in made)
