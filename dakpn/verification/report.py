"""What the verification of a translated dataset found: every difference by its kind, and what was looked at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from dakpn.datasets.certificate import ShardCertificate
from dakpn.datasets.manifest import Content
from dakpn.wording import counted

DifferenceKind = Literal[
    "missing_shard",
    "extra_shard",
    "unreadable_shard",
    "unreadable_row",
    "missing_row",
    "extra_row",
    "duplicate_row",
    "row_order",
    "label",
    "path",
    "image_size",
    "image",
    "pixels",
    "source",
    "params",
    "quarantine",
    "index",
    "certificate",
    "run_record",
]
SCHEMA_VERSION = 1
"""Version of what `VerificationReport.to_dict` returns."""


class Difference(NamedTuple):
    """One way in which an output breaks a promise, or in which something claimed of it is not so.

    Attributes:
        kind: What it is.
        shard: Name of the shard; empty if it concerns the dataset.
        key: Key of the row; empty if it concerns the shard or the dataset.
        message: A sentence that names the file and what was got and expected.
    """

    kind: DifferenceKind
    shard: str
    key: str
    message: str


@dataclass(frozen=True)
class ShardFindings:
    """What was found in one shard and its input.

    Attributes:
        name: Name of the shard.
        rows: Rows of the input.
        quarantined: Those of them that are in the quarantine.
        certificate: What a true certificate says of it, computed from the input's labels and sizes; None where a
            row of the input could not be read.
        retranslated: Images that were translated again.
        differences: All of them.
    """

    name: str
    rows: int
    quarantined: int
    certificate: ShardCertificate | None
    retranslated: int
    differences: tuple[Difference, ...]


@dataclass
class VerificationReport:
    """What was found.

    Attributes:
        input, output: URIs of the two datasets.
        labelled: Whether the input has labels.
        shards: Shards of the input.
        content: Content of the output.
        rows: Rows of the input.
        quarantined: Those of them that are in the quarantine.
        retranslated: Images that were translated again and compared.
        certified: Whether there is a certificate.
        seconds: That the comparison of the shards took.
        settings: What it depended on: the sample, its seed and so on.
        differences: All of them, by shard and row.
        notes: Sentences on what could not be compared, which is no difference.
    """

    input: str
    output: str
    labelled: bool
    shards: int
    content: Content = "pixels"
    rows: int = 0
    quarantined: int = 0
    retranslated: int = 0
    certified: bool = False
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def images_per_second(self) -> float:
        """Rows of the input for each second; 0 before any were compared."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def summary(self) -> str:
        """What holds, in a line, of a report without differences."""
        kept = self.rows - self.quarantined
        if self.content == "params":
            what = f"params of {counted(kept, 'image and label', 'images and labels')} as in the input"
        else:
            one, several = ("label", "labels") if self.labelled else ("image", "images")
            equal = "byte-identical" if self.labelled else "of equal size"
            what = f"{counted(kept, one, several)} {equal}"
        quarantined = f", {counted(self.quarantined, 'row')} quarantined" if self.quarantined else ""
        return f"{what}{quarantined} ({self.images_per_second:.0f} images/s)"

    @property
    def difference_counts(self) -> dict[str, int]:
        """Kind -> number of differences, sorted."""
        return dict(sorted(Counter(difference.kind for difference in self.differences).items()))

    def add(self, findings: Sequence[ShardFindings]) -> None:
        """Add what was found in the shards."""
        for found in findings:
            self.rows += found.rows
            self.quarantined += found.quarantined
            self.retranslated += found.retranslated
            self.differences += found.differences

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            **asdict(self),
            "images_per_second": self.images_per_second,
            "difference_counts": self.difference_counts,
            "differences": [difference._asdict() for difference in self.differences],
        }
