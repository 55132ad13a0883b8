"""Time series of the site: written by the historian, read by the OPC UA server."""

from .store import HistoryReader, HistoryWriter, database_url

__all__ = ["HistoryReader", "HistoryWriter", "database_url"]
