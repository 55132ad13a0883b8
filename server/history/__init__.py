"""Time series of the site: written by the historian, read by the OPC UA server."""

from .aggregates import (
    AGGREGATES,
    CALCULATED,
    DEFAULTS,
    INTERPOLATED,
    PARTIAL,
    UNCERTAIN_DATA_SUB_NORMAL,
    Configuration,
    Kind,
    processed,
)
from .database import DamagedError, HistoryError, database_url
from .edits import Edit, HistoryEditor, Outcome, TooMany
from .events import StoredEvent, append_events, read_events
from .reader import HistoryReader, Modification
from .writer import HistoryWriter

__all__ = [
    "AGGREGATES",
    "CALCULATED",
    "DEFAULTS",
    "INTERPOLATED",
    "PARTIAL",
    "UNCERTAIN_DATA_SUB_NORMAL",
    "Configuration",
    "DamagedError",
    "Edit",
    "HistoryEditor",
    "HistoryError",
    "HistoryReader",
    "HistoryWriter",
    "Kind",
    "Modification",
    "Outcome",
    "StoredEvent",
    "TooMany",
    "append_events",
    "database_url",
    "processed",
    "read_events",
]
