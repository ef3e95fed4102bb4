"""What a sweep leaves on storage, and what each of its trials tells: enough to go on, and to make the results from."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dakpn import storage
from dakpn.config import TuneConfig
from dakpn.config_file import parse_config, to_yaml
from dakpn.errors import ConfigError
from dakpn.training.run_folder import RunFolder

_FREE_TO_CHANGE = {"max_concurrent"}


@dataclass(frozen=True)
class Score:
    """One score of a trial.

    Attributes:
        step: Step of the predictor's training.
        objective: the less or the more the better, as the objective has it.
        run: URI of the run folder that the weights are in.
        values: Values of the search space that the steps before were taken with.
        seconds: that training and scoring took since the score before.
        mious: seed -> mIoU 0..1 of its segmenter, where the objective is their mean; else empty.
    """

    step: int
    objective: float
    run: str
    values: dict[str, Any]
    seconds: float
    mious: dict[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> str:
        """URI of the weights, those of the newest score of their run."""
        return RunFolder(self.run).weights


@dataclass(frozen=True)
class Pointer:
    """Where a trial goes on: what Ray Tune keeps as its checkpoint, in place of the checkpoint itself.

    Attributes:
        trial: id of the trial that wrote the checkpoint.
        run: URI of its run folder.
        step: Step of the checkpoint.
        values: that it was trained with.
        donor: what that run itself went on from; None if it began anew.
    """

    trial: str
    run: str
    step: int
    values: dict[str, Any]
    donor: "Pointer | None" = None

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Pointer":
        """From what `dataclasses.asdict` gave."""
        donor = told["donor"]
        return cls(**{**told, "donor": None if donor is None else cls.from_dict(donor)})


@dataclass(frozen=True)
class TrialRecord:
    """All that is kept of a trial.

    Attributes:
        trial: its id.
        started: seconds since 1970.
        values: Values of the search space, as they are now.
        scores: by ascending step.
        failure: why it ended before its time.
        donors: ids of the trials whose checkpoints it went on from, and at which step.
    """

    trial: str
    started: float
    values: dict[str, Any]
    scores: tuple[Score, ...] = ()
    failure: str | None = None
    donors: tuple[tuple[str, int], ...] = ()

    @property
    def last(self) -> Score | None:
        """The newest score."""
        return self.scores[-1] if self.scores else None

    def score_at(self, step: int, run: str) -> Score | None:
        """The score of this step in this run folder, if it was taken before."""
        return next((score for score in self.scores if (score.step, score.run) == (step, run)), None)

    def scored(self, score: Score) -> "TrialRecord":
        """With one more score; later ones were of a past that did not come to be."""
        return replace(self, scores=(*(s for s in self.scores if s.step < score.step), score), values=score.values)

    def went_on_from(self, donor: Pointer) -> "TrialRecord":
        """With a donor, named once."""
        named = (donor.trial, donor.step)
        return self if named in self.donors else replace(self, donors=(*self.donors, named))


@dataclass(frozen=True)
class TrialFolder:
    """URIs of what one trial writes."""

    uri: str
    trial: str = field(kw_only=True)

    @property
    def downstream(self) -> str:
        """Results of the segmenters that score it."""
        return storage.join(self.uri, "downstream")

    def run(self, donor: Pointer | None, values: dict[str, Any]) -> str:
        """The run folder: a first one, and one for every checkpoint of another trial and values to go on with."""
        if donor is None:
            return storage.join(self.uri, "run")
        text = json.dumps([donor.run, donor.step, values], sort_keys=True)
        return storage.join(self.uri, f"run-from-{donor.trial}-{hashlib.sha256(text.encode()).hexdigest()[:8]}")

    def read(self) -> TrialRecord | None:
        """What the trial has told so far."""
        if not storage.exists(self._record):
            return None
        told = storage.read_json(self._record)
        scores = tuple(Score(**score) for score in told.pop("scores"))
        donors = tuple((trial, step) for trial, step in told.pop("donors"))
        return TrialRecord(**told, scores=scores, donors=donors)

    def write(self, record: TrialRecord) -> None:
        """Keep what the trial tells."""
        storage.write_json(self._record, asdict(record))

    @property
    def _record(self) -> str:
        return storage.join(self.uri, "trial.json")


@dataclass(frozen=True)
class SweepFolder:
    """The layout of a sweep's folder."""

    uri: str

    @property
    def config(self) -> str:
        """The resolved config."""
        return storage.join(self.uri, "config.yaml")

    @property
    def shared(self) -> RunFolder:
        """Source segmenter and style bank for all trials."""
        return RunFolder(storage.join(self.uri, "shared"))

    @property
    def ray(self) -> str:
        """Ray Tune's own book-keeping."""
        return storage.join(self.uri, "ray")

    @property
    def downstream(self) -> str:
        """The evaluation that a proxy is correlated with."""
        return storage.join(self.uri, "downstream")

    def result(self, name: str) -> str:
        """A file of results: results.json, trials.csv, best.yaml, report.html."""
        return storage.join(self.uri, name)

    def trial(self, trial: str) -> TrialFolder:
        """A trial's folder."""
        return TrialFolder(storage.join(self.uri, "trials", trial), trial=trial)

    def records(self) -> list[TrialRecord]:
        """What all trials have told, in the order in which they were started."""
        folders = storage.list_folders(storage.join(self.uri, "trials"))
        names = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
        records = [record for name in names if (record := self.trial(name).read()) is not None]
        return sorted(records, key=lambda record: (record.started, record.trial))

    def begin(self, config: TuneConfig) -> None:
        """Write the resolved config, or make sure that the one there allows this one to go on.

        Raises:
            ConfigError: the folder holds a sweep with other settings.
        """
        if storage.exists(self.config):
            text = storage.read_bytes(self.config).decode()
            before = parse_config(TuneConfig, text, origin=self.config)
            changed = [name for name in TuneConfig.model_fields if _fixed(before, name) != _fixed(config, name)]
            if changed:
                raise ConfigError(
                    f"{self.uri} holds a sweep with other settings ({', '.join(changed)}); expected the same ones to "
                    "go on: set `tune.output` to a new folder, or restore the settings"
                )
        storage.write_bytes(self.config, to_yaml(config).encode())


def _fixed(config: TuneConfig, name: str) -> Any:
    if name == "tune":
        return config.tune.model_dump(exclude=_FREE_TO_CHANGE)
    return getattr(config, name)
