"""History over OPC UA (Part 11, Part 13): reading raw, modified, at times and aggregated, and correcting it.

request ─► service ─► cursor (where one node's reading goes on) ─► thread ─► one page, packed ─► answer and continuation point
"""

from .access import History
from .answer import PAGE_VALUES_MAX
from .service import SERVICES

__all__ = ["PAGE_VALUES_MAX", "SERVICES", "History"]
