"""A folder of images as a source of training samples, read as it lies, without packing it first."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.datasets.schema import Sample
from dakpn.errors import UsageError
from dakpn.sources.pack_sources import open_source
from dakpn.sources.preset import DatasetPreset, load_preset
from dakpn.sources.row_checks import checked_rows
from dakpn.sources.rows import PairRows
from dakpn.sources.source_path import file_size

_READERS = 4


@dataclass(frozen=True)
class FolderDataset:
    """A `SampleSource` of the files below a folder, in groups like the shards that packing would make of them.

    Rows are checked by their headers as they are read; packing looks at every pixel. Good for a notebook; a cluster
    reads packed shards faster.

    Attributes:
        uri: URI of the folder.
        index: classes and groups; its digest follows from names, sizes and times of the files.
        groups: the files, by the name of their group.
    """

    uri: str
    index: DatasetIndex
    groups: Mapping[str, PairRows]

    @classmethod
    def open(
        cls, uri: str, preset: str | DatasetPreset, split: str | None = None, *, labelled: bool | None = None
    ) -> Self:
        """Find the files; none is read.

        Args:
            uri: folder of images (and labels).
            preset: name of one, path of a YAML file, or one made by hand; says how the folder is laid out.
            split: to take; None takes the only one, "all" every one.
            labelled: True requires labels, False leaves them out, None takes them if they are there.

        Raises:
            UsageError: nothing that fits the preset is there.
            StorageError: the folder cannot be listed.
        """
        source = open_source(uri, load_preset(preset) if isinstance(preset, str) else preset, split, None, labelled)
        groups = {
            f"files-{number:05d}": rows for number, rows in enumerate(source.shards) if isinstance(rows, PairRows)
        }
        if len(groups) < len(source.shards):
            raise UsageError(f"got {uri}, which is no folder of images; expected one, or use PackedDataset.open")
        space = source.label_space
        shards = [_entry(name, rows) for name, rows in groups.items()]
        index = DatasetIndex(label_space=space and space.to_dict(), labelled=space is not None, shards=shards)
        return cls(source.uri, index, groups)

    def shard_uri(self, name: str) -> str:
        """The folder and the group: an error names the file, too."""
        return f"{self.uri} ({name})"

    def read(self, name: str) -> Iterator[Sample]:
        """See `SampleSource`; images come upright."""
        space = LabelSpace.from_dict(self.index.label_space) if self.index.label_space else None
        for row in checked_rows(self.groups[name], space, _READERS, "headers"):
            yield row.sample


def _entry(name: str, rows: PairRows) -> ShardEntry:
    content = json.dumps(rows.state(), default=str).encode()
    size = sum(file_size(path) for pair in rows.pairs for path in pair.files)
    return ShardEntry(name=name, rows=len(rows.pairs), sha256=hashlib.sha256(content).hexdigest(), bytes=size)
