"""The formats of a dataset behind one interface: Parquet shards, webdataset archives, a plain folder of files."""

from dakpn.data.formats.base import FormatName, RowAccess, RowBlock, ShardFormat, ShardRow, WrittenShard
from dakpn.data.formats.folder import FolderFormat
from dakpn.data.formats.parquet import ParquetFormat
from dakpn.data.formats.webdataset import WebdatasetFormat

FORMATS: dict[FormatName, ShardFormat] = {
    "parquet": ParquetFormat(),
    "webdataset": WebdatasetFormat(),
    "folder": FolderFormat(),
}
"""Every format by its name."""

__all__ = ["FORMATS", "FormatName", "RowAccess", "RowBlock", "ShardFormat", "ShardRow", "WrittenShard"]
