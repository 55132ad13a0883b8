"""Events: what happened, who is told, and in which words (Part 4, 7.22.3; Part 5, 6.4).

something happens ─► Event ─► EventHub ─► users who may know ─► Delivery, in turns: items that monitor its source or a notifier
                                                                above ─► where clause ─► queue
"""

from .event import Event, Path, base_fields
from .hub import EventHub

__all__ = ["Event", "EventHub", "Path", "base_fields"]
