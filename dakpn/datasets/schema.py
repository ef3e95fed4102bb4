"""One row of a dataset, and the names that a row may carry."""

import unicodedata
from dataclasses import dataclass

from dakpn.errors import DataError


@dataclass(frozen=True, slots=True)
class Sample:
    """An encoded image and, when the dataset has labels, its encoded label.

    Attributes:
        key: Name of the row in its dataset; see `validate_key`.
        image: Encoded image, exactly the bytes of the source file.
        image_path: Where the image lies below its source folder, a relative POSIX path.
        label: Encoded label, exactly the bytes of the source file; None without a label.
        label_path: Like `image_path`, for the label.
    """

    key: str
    image: bytes
    image_path: str
    label: bytes | None
    label_path: str | None


def validate_path(path: str) -> str:
    """Return `path` unchanged if it is safe to use below any folder or inside an archive.

    Safe is a relative POSIX path without empty, "." or ".." parts, backslashes, control characters or
    characters that UTF-8 cannot hold.

    Raises:
        DataError: The path is none of that.
    """
    if not path:
        raise DataError("an empty name was found where a relative path was expected; name the file")
    if "\\" in path or not all(map(_can_be_shown, path)):
        raise DataError(
            f"the name {path!r} holds a backslash or an unprintable character; "
            "expected a relative path with '/' between its parts: rename the file"
        )
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise DataError(
            f"the name {path!r} is not a plain relative path; expected one without a leading '/', "
            "'//', '.' or '..': rename the file or repack the dataset"
        )
    return path


def _can_be_shown(character: str) -> bool:
    # Spaces of other scripts are in names as people write them; line and paragraph separators are not.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def validate_key(key: str) -> str:
    """Return `key` unchanged if it can name a row in every format.

    A key is a safe relative path (see `validate_path`) whose last part holds no dot: a webdataset archive
    takes all that follows the first dot for the file's type.

    Raises:
        DataError: The key is none of that.
    """
    validate_path(key)
    if "." in key.rpartition("/")[2]:
        raise DataError(
            f"the key {key!r} has a dot in its last part, which archives take for a file type; "
            "expected none: replace it by '_', as packing does"
        )
    return key


def key_from_path(path: str) -> str:
    """Return the key of a file: its relative POSIX path without extension, other dots of its name as "_".

    Raises:
        DataError: The path is not safe; see `validate_path`.
    """
    folder, slash, name = path.rpartition("/")
    return validate_key(folder + slash + name.rpartition(".")[0].replace(".", "_"))
