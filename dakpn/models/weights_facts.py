"""What must be known of predictor weights to plan a job, estimate it and certify it: facts, in JSON beside the weights.

They say all that decides which bytes a translation makes, short of the tensors themselves, of which they hold the
digest. So a process without torch and without a GPU plans a job for workers that have both. Whoever loads the tensors
checks the facts against them (`weights.load_predictor`).
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.datasets.certificate import ParamBounds
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import DatasetIndex
from dakpn.errors import DataError, StorageError, UsageError, WeightsError
from dakpn.models import weights_files
from dakpn.models.weights_files import FACTS

FORMAT_VERSION = 1
"""Version of the fields of the facts."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageFacts(_Record):
    """A stage of the translation function.

    Attributes:
        name: Name of its class, such as "GaussianBlur".
        radius: Pixels to each side that an output pixel of the stage depends on.
        params: Its params by name, and their bounds.
    """

    name: str
    radius: int
    params: ParamBounds


class PredictorFacts(_Record):
    """What is known of predictor weights without their tensors.

    Attributes:
        format_version: Version of this record.
        digest: Digest of config and tensors, as saving the weights returned it.
        tensor_bytes: Size of the file of the tensors.
        weight_count: Numbers in all tensors of the model.
        stages: Stages of the whole translation function, in order; a style affine comes first.
        label_space: The classes of the weights and their label ids, as `LabelSpace.to_dict` gives them.
        needs_label: Whether an image is translated only together with its label.
        condition: What the head looks at: "encoder", "label" or "both".
        style_keys: Keys of the real images in the style bank, in its order; empty without one.
        prediction_size: (h, w) at which params are predicted, in pixels.
    """

    format_version: int = FORMAT_VERSION
    digest: str
    tensor_bytes: int
    weight_count: int
    stages: tuple[StageFacts, ...]
    label_space: dict[str, Any]
    needs_label: bool
    condition: str
    style_keys: tuple[str, ...]
    prediction_size: tuple[int, int]

    @property
    def radius(self) -> int:
        """Pixels to each side that an output pixel depends on, the sum over the stages."""
        return sum(stage.radius for stage in self.stages)

    @property
    def params(self) -> ParamBounds:
        """The transform params of all stages, and their bounds."""
        parts = [stage.params for stage in self.stages]
        return ParamBounds(
            names=tuple(name for part in parts for name in part.names),
            low=tuple(value for part in parts for value in part.low),
            high=tuple(value for part in parts for value in part.high),
        )

    def require_fit(self, weights: str, style: str | None, index: DatasetIndex, uri: str) -> None:
        """Make sure that a job can be done with these weights; see `require_style` and `job_labels` for the errors.

        Args:
            weights: URI of the weights, for errors.
            style: Key of the style that all images are to take; None draws one for each.
            index: Index of the job's input.
            uri: URI of the job's input, for errors.
        """
        require_style(weights, style, self.style_keys)
        job_labels(index, uri, LabelSpace.from_dict(self.label_space), self.needs_label)


def require_style(weights: str, style: str | None, known: Sequence[str]) -> None:
    """Raise `UsageError` if the weights at this URI know these styles, and `style`, unless None, is none of them."""
    if style is not None and style not in known:
        some = f"{', '.join(known[:5])}, ... ({len(known)} in all)" if known else "none"
        raise UsageError(f"{weights} has no style {style!r}; expected the key of one of: {some}")


def job_labels(index: DatasetIndex, uri: str, labels: LabelSpace, needs_label: bool) -> LabelSpace:
    """What the label ids of the dataset with this index mean to weights trained with `labels`.

    Raises:
        UsageError: the dataset lacks labels that are looked at, or has other classes than the weights.
    """
    if not needs_label:
        return labels
    if index.label_space is None or not index.labelled:
        raise UsageError(
            f"{uri} has no labels, and the weights look at them; pack it with labels, or train with "
            "head.condition=encoder"
        )
    found = LabelSpace.from_dict(index.label_space)
    if found.class_names != labels.class_names:
        raise UsageError(
            f"{uri} has the classes {', '.join(found.class_names)}; expected those of the weights: "
            f"{', '.join(labels.class_names)}"
        )
    return found


def predictor_facts(uri: str) -> PredictorFacts:
    """The facts of predictor weights. Weights of a version that wrote none are loaded, with torch, and say them.

    Raises:
        WeightsError: the weights are missing or others than the URI's digest says, or the facts are damaged; and for
            weights without facts as for `load_predictor`.
    """
    folder, expected = weights_files.split_digest(uri)
    facts = read_facts(folder)
    if facts is None:
        from dakpn.models.weights import facts_of_tensors  # loads torch, which reading facts does without

        return facts_of_tensors(uri)
    weights_files.require_digest(folder, facts.digest, expected)
    try:
        found = storage.file_size(storage.join(folder, weights_files.TENSORS))
    except StorageError as error:
        raise weights_files.unreadable(folder, f"{weights_files.TENSORS} is expected there ({error})") from error
    if found != facts.tensor_bytes:
        raise mismatch(folder, "tensor_bytes", facts.tensor_bytes, found)
    return facts


def read_facts(folder: str) -> PredictorFacts | None:
    """The facts that lie in a folder of weights, not compared with anything; None if there are none.

    Raises:
        WeightsError: they are damaged or of another version.
        StorageError: they cannot be read.
    """
    uri = storage.join(folder, FACTS)
    if not storage.exists(uri):
        return None
    try:
        facts = PredictorFacts.model_validate(storage.read_json(uri))
    except (ValidationError, DataError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
        raise WeightsError(
            f"{uri} is damaged ({reason}); expected the facts of the weights beside it: delete the file, and they are "
            "made from the tensors"
        ) from error
    if facts.format_version != FORMAT_VERSION:
        raise WeightsError(
            f"{uri} has version {facts.format_version}, expected {FORMAT_VERSION}; delete the file, and the facts are "
            "made from the tensors"
        )
    return facts


def require_same(folder: str, claimed: PredictorFacts, found: PredictorFacts) -> None:
    """Raise `WeightsError`, which names the first field that differs, if facts are not those of the tensors."""
    for name in PredictorFacts.model_fields:
        if getattr(claimed, name) != getattr(found, name):
            raise mismatch(folder, name, getattr(claimed, name), getattr(found, name))


def mismatch(folder: str, field: str, claimed: Any, found: Any) -> WeightsError:
    """The error of facts that are not those of the weights beside them."""
    return WeightsError(
        f"weights {folder}: {field} is {claimed} in {FACTS}, expected {found} as in the weights: they were changed, or "
        f"are of another run; find the right ones, or delete {FACTS} to take these"
    )
