"""The storage of a job as Ray's own book-keeping takes it."""

import pyarrow.fs
from pyarrow.fs import FSSpecHandler, PyFileSystem

from dakpn import storage
from dakpn.storage.location import is_local, locate


class _FolderlessHandler(FSSpecHandler):
    """A bucket for pyarrow, in which keys need no folder.

    pyarrow's own S3 client writes an empty object for each folder, which some servers refuse or take for a folder that
    no key can lie in; s3fs asks whether the bucket exists, which users of a prefix may not.
    """

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing: whatever is written brings its folders along."""


def ray_storage(uri: str) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """A folder and its file system for Ray; None is Ray's own choice, this machine's.

    pyarrow's S3 knows neither our options nor AWS_ENDPOINT_URL: ours goes in its place.
    """
    files, path = locate(uri)
    if is_local(files):
        return storage.absolute(uri), None
    return path, PyFileSystem(_FolderlessHandler(files))
