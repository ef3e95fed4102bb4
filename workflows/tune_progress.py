"""Progress of a sweep, wherever its trials are: read from what they keep in the sweep's folder."""

from contextlib import AbstractContextManager

from dakpn.config import TuneConfig
from dakpn.errors import DakpnError
from dakpn.progress import ShowProgress, followed
from dakpn.tuning.records import SweepFolder
from dakpn.wording import counted

_LOOK_EVERY_S = 5.0


def sweep_progress(config: TuneConfig) -> AbstractContextManager[None]:
    """Show scores taken, trials begun and failed, and the best score while the block runs."""
    return followed("tuning", "scores", _LOOK_EVERY_S, lambda show: _look(config, show))


def _look(config: TuneConfig, show: ShowProgress) -> None:
    try:
        records = SweepFolder(config.output).records()
    except DakpnError:
        return  # whoever needs them will say so
    each = -(-config.adversarial.steps // config.report_every_steps)
    best_of = max if config.tune.objective.mode == "max" else min
    scores = [record.last.objective for record in records if record.last]
    failed = sum(record.failure is not None for record in records)
    note = f"{len(records)} of {counted(config.tune.trials, 'trial')} begun" + (f", {failed} failed" if failed else "")
    if scores:
        note += f", best {config.tune.objective.kind} {best_of(scores):.4g}"
    show(sum(len(record.scores) for record in records), each * config.tune.trials, note)
