"""What a report is made of. Every part but the title may be missing: a report can be drawn mid-run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dakpn.errors import DataError
from dakpn.evaluation.statistics import Pair, Role

IGNORE_ID = 255

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ParameterMap:
    """One predicted parameter, for every pixel of an example.

    Args:
        values: float [H,W]; non-finite pixels are drawn grey and counted.
        low: value at the lower end of the color scale.
        high: value at its upper end.
        center: the value that changes nothing (0 for a shift or a sigma, 1 for a gain).
        unit: what the numbers are ("degrees", "px", "x"); may be empty.

    Raises:
        DataError: `values` is not [H,W], or the scale is empty or not finite.
    """

    values: np.ndarray
    low: float
    high: float
    center: float
    unit: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.size == 0:
            raise DataError(f"parameter map has shape {self.values.shape}; expected [H,W], one value a pixel")
        if not all(map(math.isfinite, (self.low, self.high, self.center))) or self.low >= self.high:
            raise DataError(
                f"parameter map has the scale {self.low}..{self.high} around {self.center}; "
                "expected finite numbers with low < high"
            )


@dataclass(frozen=True, slots=True, eq=False)
class TranslationExample:
    """One synthetic image before and after the translation.

    Args:
        key: the image's key in its dataset.
        before: uint8 [H,W,3], the synthetic image.
        after: uint8 [H,W,3], the translated image, of the same size.
        label: uint8 [H,W] train ids (255 = ignored), or None.
        maps: parameter name -> what was predicted for it; drawn in this order.

    Raises:
        DataError: a picture of another type, or pictures of different sizes.
    """

    key: str
    before: np.ndarray
    after: np.ndarray
    label: np.ndarray | None = None
    maps: Mapping[str, ParameterMap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_picture(self.before, f"example {self.key!r}, before")
        check_picture(self.after, f"example {self.key!r}, after")
        if self.before.shape != self.after.shape:
            raise DataError(
                f"example {self.key!r}: before is {self.before.shape} and after is {self.after.shape}; "
                "expected the same size, since the translation never resamples"
            )
        if self.label is not None and (self.label.shape != self.before.shape[:2] or self.label.dtype != np.uint8):
            raise DataError(
                f"example {self.key!r}: label is {self.label.dtype} {self.label.shape}; "
                f"expected uint8 {self.before.shape[:2]} train ids"
            )


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over training steps. Curves of one `group` share a plot.

    Args:
        steps: optimizer updates, ascending.
        values: one number a step; NaN and infinities leave a gap and are counted.
        group: title of the plot ("adversarial", "identity", "discriminator", "segmenter").

    Raises:
        DataError: the two lists differ in length.
    """

    steps: Sequence[int]
    values: Sequence[float]
    group: str = ""

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise DataError(
                f"curve of group {self.group!r} has {len(self.steps)} steps and {len(self.values)} values; "
                "expected one value a step"
            )


@dataclass(frozen=True, slots=True)
class ContenderResult:
    """Scores of one way to train the downstream net, one entry a seed.

    Args:
        name: "source-only", "DA-KPN", "FDA", "oracle", ...
        seeds: the seeds, in the order of the lists below.
        miou: mean IoU a seed, 0..1; a non-finite score is left out of every mean.
        per_class_iou: seed x class, 0..1; None where a class has no pixels. May be empty.
        pixel_accuracy: a seed, 0..1. May be empty.
        role: Role of the contender. The verdict compares the first of "ours" with the first of "source_only" and the
            best "baseline".
        draws: Draws of real labelled images, one an entry; may be empty, for the same one in all.

    Raises:
        DataError: lists of different lengths, or scores outside 0..1.
    """

    name: str
    seeds: Sequence[int]
    miou: Sequence[float]
    per_class_iou: Sequence[Sequence[float | None]] = ()
    pixel_accuracy: Sequence[float] = ()
    role: Role = "baseline"
    draws: Sequence[int] = ()

    def __post_init__(self) -> None:
        count = len(self.seeds)
        if len(self.miou) != count or any(
            len(part) not in (0, count) for part in (self.per_class_iou, self.pixel_accuracy, self.draws)
        ):
            raise DataError(
                f"contender {self.name!r} has {count} seeds, {len(self.miou)} mIoU, "
                f"{len(self.per_class_iou)} per-class, {len(self.pixel_accuracy)} accuracy entries "
                f"and {len(self.draws)} draws; expected one a seed"
            )
        scores = [*self.miou, *self.pixel_accuracy, *(v for row in self.per_class_iou for v in row)]
        bad = [v for v in scores if v is not None and math.isfinite(v) and not 0.0 <= v <= 1.0]
        if bad:
            raise DataError(f"contender {self.name!r} has a score of {bad[0]}; expected fractions 0..1, not percent")

    @property
    def scores(self) -> dict[Pair, float]:
        """Finite mIoU by seed and draw."""
        pairs = zip(self.seeds, self.draws or [0] * len(self.seeds), strict=True)
        return {pair: value for pair, value in zip(pairs, self.miou, strict=True) if math.isfinite(value)}


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """All that one page shows. A missing part leaves its section out, or the page says it is not there.

    Args:
        title: the run in a few words.
        subtitle: one more line, such as the datasets.
        created: date and time, as text.
        notices: what a reader must know to read the numbers rightly; shown right under the verdict.
        examples: pictures to judge.
        real_samples: uint8 [H,W,3] images of the target domain.
        class_names: name of every train id.
        class_colors: (r, g, b) of every train id, 0..255; missing ones are made up.
        curves: name -> curve.
        contenders: downstream scores.
        protocol: how it was measured, as label -> text.
        digests: what was used, as name -> digest.
        config_yaml: the resolved config.
        timings: part of the run -> seconds.
        source_name: what the pictures before translation are called.
        detail: curves over labels, comparisons, measures and their pictures; None without an evaluation.
        target_name: what the pictures of the target domain are called; say so when it is simulated.
    """

    title: str
    subtitle: str = ""
    created: str = ""
    notices: Sequence[str] = ()
    examples: Sequence[TranslationExample] = ()
    real_samples: Sequence[np.ndarray] = ()
    class_names: Sequence[str] = ()
    class_colors: Sequence[Rgb] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    contenders: Sequence[ContenderResult] = ()
    protocol: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    config_yaml: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    source_name: str = "Synthetic"
    target_name: str = "Real"
    detail: "EvaluationDetail | None" = None

    def __post_init__(self) -> None:
        for index, image in enumerate(self.real_samples):
            check_picture(image, f"real sample {index}")


def check_picture(image: np.ndarray, what: str) -> None:
    """Refuses anything but a uint8 [H,W,3] picture.

    Raises:
        DataError: naming `what`, the type and shape got, and the ones expected.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(f"{what} is {image.dtype} {image.shape}; expected a uint8 picture [H,W,3]")


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
    """A contender over the number of real labelled images."""

    name: str
    role: Role
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
    against_best_other: str
    best_other: str
    sequences: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AgainstRow:
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
        contact: rows of the contact sheet, inputs first and real neighbors last.
        worst: worst cases of label preservation.
    """

    label_curves: Sequence[LabelCurve] = ()
    comparisons: Sequence[Comparison] = ()
    sequences: Sequence[str] = ()
    against_each: Sequence[AgainstRow] = ()
    label_counts: Sequence[int] = ()
    measures: Sequence[MeasureRow] = ()
    measured_on: str = ""
    contact: Sequence[ContactRow] = ()
    worst: Sequence[WorstCase] = ()
