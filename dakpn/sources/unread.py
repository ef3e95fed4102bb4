"""What people also keep datasets in and is not read, what to do with it, and what to say where no dataset is found."""

import re
from collections.abc import Iterable, Sequence

from dakpn import storage
from dakpn.datasets.inventory import is_left_out
from dakpn.errors import UsageError
from dakpn.sources.layout import IMAGE_SUFFIXES
from dakpn.sources.source_path import all_names_below, is_folder, source_path

_SOME = 5
_TO_PARQUET = "write it as Parquet with `datasets.load_from_disk(FOLDER)[SPLIT].to_parquet(FILE)`"
_AS_FILES = "write its images and labels as files, as Parquet or as an uncompressed webdataset"
_WAYS = tuple(
    (re.compile(pattern, re.IGNORECASE), way)
    for pattern, way in (
        (r"\.(zip|7z|rar)(\.\d+)?$|\.z\d\d$", "unpack it, and pack the folder"),
        (r"\.(tar\.gz|tgz)$", "decompress it with `gunzip`, or unpack it and pack the folder"),
        (r"\.tar\.(\d+|part.*|[a-z]a|a[a-z])$", "join its parts to one .tar file with `cat`"),
        (r"\.(tar\.(bz2|xz|zst|lz4|lzma|lz|br|z)|tbz2?|txz|tzst|tlz)$", "unpack it, and pack the folder"),
        (r"\.(parquet|arrow)\.(gz|zst|bz2|xz)$", "decompress it"),
        (r"\.(arrow|feather|ipc)$", _TO_PARQUET),
        (r"\.tfrec(ords?)?(-\d+-of-\d+)?$|\.(rec|mds|beton|msgpack|avro|orc|lance)$", _AS_FILES),
        (r"(^|/)data\.mdb$|\.(l?mdb|sqlite3?|db)$", _AS_FILES),
        (r"\.(h5|hdf5|he5|nc|npz|npy|mat|pkl|pickle|pt|pth|zarr)$|\.zarr/", _AS_FILES),
        (r"\.(mp4|avi|mov|mkv|webm|bag|mcap|db3)$", "write its frames as images, such as with ffmpeg"),
    )
)  # fmt: skip


def way_out(name: str) -> str:
    """Return what to do with a file that holds data and is not read, by its name; empty for other files."""
    return next((way for pattern, way in _WAYS if pattern.search(name)), "")


def refuse_unread(uri: str, names: Iterable[str]) -> None:
    """Refuse a folder without a dataset that can be read, if it holds one that cannot.

    Args:
        uri: The folder.
        names: Names of all files below it.

    Raises:
        UsageError: It holds such a file; the message names it and says what to do.
    """
    shown = sorted(name for name in names if not any(map(is_left_out, name.split("/"))))
    if any(name.endswith(("dataset_dict.json", "state.json")) for name in shown):
        raise UsageError(
            f"{uri} was written by `save_to_disk` of the library datasets, which is not read; {_TO_PARQUET}"
        )
    if found := [name for name in shown if way_out(name)]:
        more = f" (and {len(found) - 1} more such)" if len(found) > 1 else ""
        raise UsageError(f"{uri} holds {found[0]}, a file that is not read{more}; {way_out(found[0])}")


def nothing_found(uri: str, fitting: Sequence[str]) -> UsageError:
    """Say what is there instead of a dataset.

    Args:
        uri: Where one was expected.
        fitting: Names of the presets that have the folders that are there.
    """
    if not is_folder(uri):
        if storage.exists(uri):
            return UsageError(f"{uri} is a file that is not read; give the folder of a dataset")
        source_path(uri)  # says whether there is a bucket at all
        return UsageError(f"the folder {uri} does not exist; expected the dataset there: check the path")
    names = sorted(name for name in all_names_below(source_path(uri)) if not any(map(is_left_out, name.split("/"))))
    folders = sorted({name.partition("/")[0] for name in names if "/" in name})
    files = [name for name in names if "/" not in name]
    if fitting:
        return UsageError(
            f"{uri} holds the folders {some(folders)}, as the presets {', '.join(fitting)} have them; name one of "
            "these with --dataset"
        )
    images = any(name.lower().endswith(IMAGE_SUFFIXES) for name in names)
    if not images:
        refuse_unread(uri, names)
    kinds = (("folders", folders), ("files", files))
    there = " and ".join(f"the {kind} {some(listed)}" for kind, listed in kinds if listed)
    way = "for images without labels give --dataset images; else " if images else ""
    return UsageError(
        f"{uri} holds {there or 'nothing'}, which no preset that has labels fits; {way}describe the layout in a YAML "
        "file and give it with --dataset (docs/datasets.md), or name the folder of a dataset"
    )


def some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    return ", ".join(names[:_SOME]) + (f" and {len(names) - _SOME} more" if len(names) > _SOME else "")
