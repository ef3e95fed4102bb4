"""Progress of a sweep, wherever its trials are: read from what they keep in the sweep's folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dakpn.config import TuneConfig
from dakpn.errors import DakpnError
from dakpn.progress import ShowProgress, progress
from dakpn.tuning.records import SweepFolder

_LOOK_EVERY_S = 5.0


@contextmanager
def sweep_progress(config: TuneConfig) -> Iterator[None]:
    """Show scores taken, trials begun and failed, and the best score while the block runs."""
    done = threading.Event()
    with progress("tuning", "scores") as show:
        thread = threading.Thread(target=_follow, args=(config, show, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _follow(config: TuneConfig, show: ShowProgress, done: threading.Event) -> None:
    each = -(-config.adversarial.steps // config.report_every_steps)
    best_of = max if config.tune.objective.mode == "max" else min
    while not done.wait(_LOOK_EVERY_S):
        try:
            records = SweepFolder(config.output).records()
        except DakpnError:
            continue  # whoever needs them will say so
        scores = [record.last.objective for record in records if record.last]
        failed = sum(record.failure is not None for record in records)
        note = f"{len(records)} of {config.tune.trials} trials begun" + (f", {failed} failed" if failed else "")
        if scores:
            note += f", best {config.tune.objective.kind} {best_of(scores):.4g}"
        show(sum(len(record.scores) for record in records), each * config.tune.trials, note)
