"""What the page shows of an evaluation beyond one score per contender."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dakpn.errors import DataError
from dakpn.report.data import check_picture


@dataclass(frozen=True, slots=True)
class LabelPoint:
    """Scores of a contender with N real labelled images.

    Args:
        real_labelled: N.
        miou: mean over seeds and draws, 0..1.
        low, high: 95 % interval of that mean; None for a single score.
    """

    real_labelled: int
    miou: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class LabelCurve:
    """A contender over the number of real labelled images; `role` is "ours", "baseline", "oracle" or "rival"."""

    name: str
    role: str
    points: Sequence[LabelPoint]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row of the table of paired comparisons; texts are ready to be shown."""

    contender: str
    role: str
    real_labelled: int
    scores: int
    miou: str
    against_source_only: str
    against_best_rival: str
    best_rival: str
    sequences: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RivalRow:
    """DA-KPN's paired differences from one contender, ready to be shown: a text for each number of real labels."""

    contender: str
    role: str
    differences: Sequence[str]


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """A contender's measures; texts are ready to be shown, "" for what was not measured."""

    contender: str
    role: str
    frechet: str
    kernel: str
    preservation: str
    accuracy: str
    offset: str
    moved: str
    lost: str
    color_distance: str
    variety: str
    translation_time: str
    training_time: str
    cost: str


@dataclass(frozen=True, slots=True, eq=False)
class ContactRow:
    """One row of the contact sheet: uint8 pictures [H,W,3], a column each."""

    name: str
    pictures: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        for number, picture in enumerate(self.pictures):
            check_picture(picture, f"picture {number} of {self.name}")


@dataclass(frozen=True, slots=True, eq=False)
class WorstCase:
    """An image on which the source-trained net lost most by a translation.

    Args:
        contender, key: whose, and which.
        before, after: uint8 [H,W,3].
        prediction: uint8 [h,w], what the net says of `after`.
        accuracy_before, accuracy_after: share of pixels that agree with the label.
    """

    contender: str
    key: str
    before: np.ndarray
    after: np.ndarray
    prediction: np.ndarray
    accuracy_before: float
    accuracy_after: float

    def __post_init__(self) -> None:
        check_picture(self.before, f"worst case {self.key!r}, before")
        check_picture(self.after, f"worst case {self.key!r}, after")
        if self.prediction.ndim != 2 or self.prediction.dtype != np.uint8:
            raise DataError(
                f"worst case {self.key!r}: prediction is {self.prediction.dtype} {self.prediction.shape}; "
                "expected uint8 [H,W] train ids"
            )


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationDetail:
    """All parts may be empty.

    Args:
        label_curves: mIoU over the number of real labelled images.
        comparisons: paired, a row each contender and number; each has a score for each of `sequences`.
        sequences: names of the test set's, if they are told apart.
        against_each: DA-KPN against every other contender, by the numbers of real labels in `label_counts`.
        measures: a row each contender.
        measured_on: a sentence on what was measured, and with what.
        contact: rows of the contact sheet, inputs first and real neighbours last.
        worst: worst cases of label preservation.
    """

    label_curves: Sequence[LabelCurve] = ()
    comparisons: Sequence[Comparison] = ()
    sequences: Sequence[str] = ()
    against_each: Sequence[RivalRow] = ()
    label_counts: Sequence[int] = ()
    measures: Sequence[MeasureRow] = ()
    measured_on: str = ""
    contact: Sequence[ContactRow] = ()
    worst: Sequence[WorstCase] = ()
