"""Alarms & Conditions (Part 9): every alarm of the site as a node with a life of its own.

frame ─► server.core.alarm_step ─► Change ─► server.core.condition ─► event ─► clients
                                                  ▲                      └──► alarms.json
                      methods: Acknowledge, ... ──┘
"""

from typing import Any

from asyncua import ua

from . import methods, refresh
from .conditions import Conditions
from .nodes import ALARMS, ConditionNodes


def implementations() -> dict[ua.NodeId, Any]:
    """All methods of conditions, for the table of the Call service."""
    return {**methods.implementations(), **refresh.implementations()}


__all__ = ["ALARMS", "ConditionNodes", "Conditions", "implementations"]
