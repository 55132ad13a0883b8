"""The historian: subscribes what the server historizes and stores every change, with quality, at its source time.

    OPC UA subscription ─ Table ─ Buffer ─ (each second, in a thread) ─ HistoryWriter

While the database is away the buffer holds what arrives, up to a stated number of values; then the oldest are given up and
counted. While the server is away there is nothing to store: the client reconnects and the gap is visible as a gap. A kill
loses what was not flushed: at most FLUSH_S.
"""

from .historian import run

__all__ = ["run"]
