"""Tables of the history. One row is one value of one channel at one source time, with the quality it had.

`sample` is clustered by (series, time), so that a range of one channel is one run of pages. A value that is not a number
is stored as NULL. Times are OPC UA ticks: 100 ns since 1601-01-01 UTC, the source time the driver gave.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, SmallInteger, String, Table

metadata: Final = MetaData()

series: Final = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("node", String(256), nullable=False, unique=True),
)

sample: Final = Table(
    "sample",
    metadata,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("time", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double),
    Column("status", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

version: Final = Table("schema_version", metadata, Column("version", SmallInteger, primary_key=True))

VERSION: Final = 1
