"""Take an output folder for a job: nothing of another job or of the user is mixed in or overwritten."""

from collections.abc import Collection

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.errors import UsageError

_ADVICE = "write to a new folder, or delete this one first"


def refuse_other_shards(output_uri: str, format: FormatName, names: Collection[str]) -> None:  # noqa: A002
    """Keep a job from mixing its shards with those of another, which a reader could not tell apart.

    Args:
        output_uri: Folder to write.
        format: Of the shards to be written.
        names: Of the shards to be written.

    Raises:
        UsageError: The folder holds other shards, or shards of another format.
        StorageError: The folder cannot be listed.
    """
    for other, shard_format in FORMATS.items():
        for name in shard_format.names(output_uri):
            if other != format or name not in names:
                raise UsageError(
                    f"{output_uri} already holds {name}{shard_format.suffix}, expected none but the {len(names)} "
                    f"shards of this job as {format}; {_ADVICE}"
                )


def claim_folder(output_uri: str, format: FormatName) -> None:  # noqa: A002 - the word that says it
    """Make sure that a plain folder of images overwrites no files but its own; the other formats cannot.

    Call it before the first shard is written. It leaves a file, so that a job that was stopped knows its folder.

    Raises:
        UsageError: The folder holds files that no job put there: the originals, perhaps.
        StorageError: The folder cannot be listed or written.
    """
    if format != "folder" or storage.exists(storage.join(output_uri, manifest.FOLDER)):
        return
    if there := [*storage.list_folders(output_uri), *storage.list_files(output_uri)]:
        raise UsageError(
            f"{output_uri} already holds {there[0].rpartition('/')[2]}, expected an empty folder: the images and "
            f"labels to be written could overwrite it; {_ADVICE}"
        )
    storage.write_json(storage.join(output_uri, manifest.FOLDER, "format.json"), {"format": format})
