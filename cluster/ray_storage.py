"""The storage of a job as Ray's own book-keeping takes it."""

import pyarrow.fs
from pyarrow.fs import FSSpecHandler, PyFileSystem

from dakpn import storage
from dakpn.storage.location import is_local, locate


def ray_storage(uri: str) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """A folder and its file system for Ray; None is Ray's own choice, this machine's.

    pyarrow's S3 knows neither our options nor AWS_ENDPOINT_URL: ours goes in its place.
    """
    files, path = locate(uri)
    if is_local(files):
        return storage.absolute(uri), None
    return path, PyFileSystem(FSSpecHandler(files))
