"""Pack a folder of images and labels into shards."""

from pathlib import Path

from dakpn.data.datasets import load_preset
from dakpn.data.manifest import DatasetIndex
from dakpn.data.pack import pack_dataset


def main(
    source: Path, output: str, dataset: str, split: str | None, rows_per_shard: int, labelled: bool | None = None
) -> DatasetIndex:
    """Pack `source`, laid out as the preset `dataset`, into `output`; see `dakpn.data.pack.pack_dataset`."""
    return pack_dataset(source, output, load_preset(dataset), split, rows_per_shard, labelled)


if __name__ == "__main__":
    from workflows.cli import run

    run("pack")
