"""The formats of a dataset behind one interface: Parquet shards, webdataset archives, a plain folder of files."""

from dakpn.config import FormatName
from dakpn.datasets.formats.base import RowAccess, RowBlock, ShardFormat, ShardRow, WrittenShard
from dakpn.datasets.formats.folder import FolderFormat
from dakpn.datasets.formats.parquet import ParquetFormat
from dakpn.datasets.formats.webdataset import WebdatasetFormat

FORMATS: dict[FormatName, ShardFormat] = {
    "parquet": ParquetFormat(),
    "webdataset": WebdatasetFormat(),
    "folder": FolderFormat(),
}
"""Every format by its name."""

__all__ = ["FORMATS", "FormatName", "RowAccess", "RowBlock", "ShardFormat", "ShardRow", "WrittenShard"]
