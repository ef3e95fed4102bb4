"""Which N real labelled images a draw takes."""

from collections.abc import Sequence

import numpy as np

from dakpn.config import RealLabelledConfig
from dakpn.datasets.sequences import positions_by_sequence
from dakpn.errors import UsageError
from dakpn.wording import counted


def choose_real(keys: Sequence[str], config: RealLabelledConfig, count: int, draw: int) -> list[int]:
    """Positions of `count` keys, sorted; a pure function of the arguments.

    With a sequence pattern all are of one sequence, and the draws take the sequences that are long enough in turn.
    Of the same sequence a draw's smaller choices are parts of its larger ones.

    Raises:
        UsageError: there are fewer keys, no sequence is long enough, or a key belongs to none.
    """
    if count > len(keys):
        raise UsageError(f"got {count} real labelled images to choose from {len(keys)} of {config.dataset}; ask fewer")
    if count == len(keys):
        return list(range(len(keys)))
    candidates = list(range(len(keys)))
    if config.sequence is not None:
        sequences = positions_by_sequence(keys, config.sequence, "real_labelled.sequence", config.dataset)
        long_enough = [name for name in sorted(sequences) if len(sequences[name]) >= count]
        if not long_enough:
            longest = max(map(len, sequences.values()))
            raise UsageError(
                f"no sequence of {config.dataset} has {counted(count, 'image')} (the longest has {longest}); lower "
                "real_labelled.counts, or leave out real_labelled.sequence"
            )
        candidates = sequences[long_enough[draw % len(long_enough)]]
    order = np.random.default_rng([draw, len(candidates)]).permutation(len(candidates))
    return sorted(candidates[i] for i in order[:count])
