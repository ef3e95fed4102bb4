"""A folder of a bucket is listed page by page, as it is, and within bounds."""

from collections.abc import Callable

import pytest

from dakpn import storage
from dakpn.errors import StorageError
from dakpn.storage import listing
from tests.key_server import KeyServer

Serve = Callable[..., KeyServer]


def test_all_files_below_a_folder_are_listed_with_sizes_and_versions(serve_keys: Serve) -> None:
    names = [f"d{i % 3}/{i:03d}.png" for i in range(25)]
    server = serve_keys({f"data/{name}": name.encode() for name in names} | {"data": b"", "data2/x": b""}, page=10)
    found = storage.list_tree("s3://bucket/data/")
    assert sorted(found) == sorted(names)
    assert len(server.requests) == 3
    for name, file in found.items():
        assert file == (len(name), storage.fingerprint(f"s3://bucket/data/{name}"))
    assert sorted(storage.list_tree("s3://bucket")) == ["data", *sorted(f"data/{name}" for name in names), "data2/x"]


def test_names_are_not_cleaned_up_and_placeholders_of_folders_left_out(serve_keys: Serve) -> None:
    names = ["../a", "b//c", "./d", "/e", "f\\g", "h\0i", "j\nk", "ä ö+%2F"]
    serve_keys({f"x/{name}": b"1" for name in [*names, "", "folder/"]})
    assert sorted(storage.list_tree("s3://bucket/x")) == sorted(names)


def test_a_file_or_nothing_is_an_empty_folder(serve_keys: Serve) -> None:
    serve_keys({"x.zip": b"1"})
    assert storage.list_tree("s3://bucket/x.zip") == storage.list_tree("s3://bucket/y") == {}


def test_a_listing_that_does_not_end_is_refused(serve_keys: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve_keys({f"x/{i}": b"" for i in range(10)}, page=3)
    monkeypatch.setattr(listing, "MOST_FILES", 5)
    with pytest.raises(StorageError, match=r"s3://bucket/x holds more than 5 files; name a folder further down"):
        storage.list_tree("s3://bucket/x")
    server.stuck = True
    monkeypatch.setattr(listing, "MOST_FILES", 1000)
    with pytest.raises(StorageError, match=r"cannot list s3://bucket/x: the server's listing does not go on"):
        storage.list_tree("s3://bucket/x")
