"""Tables of the history. Times are OPC UA ticks: 100 ns since 1601-01-01 UTC, the source time the driver gave.

    recent ─ seal ─▶ block (one hour of one series)  ─ fold ─▶ rollup (1 min, 15 min, 1 h of one series, 240 in a row)

`recent` is the journal of what arrived last: one row per flush, all series together, in the order of arrival. `block` and
`rollup` are what it becomes: columns of one series, packed (`codec`). A row per value would be easier to look at, and was
measured: see decision 0009.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table

metadata: Final = MetaData()

series: Final = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("node", String(256), nullable=False, unique=True),
)

recent: Final = Table(
    "recent",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

block: Final = Table(
    "block",
    metadata,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

rollup: Final = Table(
    "rollup",
    metadata,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

modified: Final = Table(
    "modified",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("series", Integer, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("value", Double),
    Column("status", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("user", String(128), nullable=False),
    Index("modified_by_time", "series", "time"),
)
"""What HistoryUpdate replaced or deleted: the old value, who changed it when, and how (HistoryUpdateType)."""

event: Final = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("source", String(256), nullable=False),
    Column("kind", String(256), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("event_by_time", "time"),
)
"""Events as they were sent. source, kind: NodeIds as strings; body: the event's fields as the OPC UA server encodes them."""

mark: Final = Table(
    "mark",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""What the store knows of itself: `alive`, until when the historian listened; `from/<seconds>`, what retention has left."""

version: Final = Table("schema_version", metadata, Column("version", SmallInteger, primary_key=True))

VERSION: Final = 2
