"""Time series of the site: written by the historian, read by the OPC UA server."""

from .database import DamagedError, HistoryError, database_url
from .reader import HistoryReader
from .writer import HistoryWriter

__all__ = ["DamagedError", "HistoryError", "HistoryReader", "HistoryWriter", "database_url"]
