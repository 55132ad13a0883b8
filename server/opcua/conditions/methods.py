"""The methods of conditions: one table from the method's node to what it does, and who has it.

Methods belong to the types; the object of the call says which condition is meant. What was done is on disk when the caller has
the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.alarms import AlarmSpec
from server.core.condition import ConditionError, Remark
from server.runtime.memory import utc_now

from ..access import sees
from ..metadata import Refused
from ..nodes import NS_UA, Node

if TYPE_CHECKING:
    from ..server import UaServer
    from ..session import Session
    from .live import Live

_CODES: Final = ua.StatusCodes
COMMENT_LENGTH_MAX: Final = 1_000

Act = Callable[["Live", Remark, list[Any]], None]
"""act(condition, who and when, arguments). Raises ConditionError."""


def _always(spec: AlarmSpec) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ConditionMethod:
    """What a method does, and which conditions have it. Who may call it stands in `access`."""

    name: str
    act: Act
    offered: Callable[[AlarmSpec], bool] = _always


def _acknowledge(live: Live, remark: Remark, arguments: list[Any]) -> None:
    live.condition.acknowledge(arguments[0] or b"", _with(remark, arguments[1]))


def _confirm(live: Live, remark: Remark, arguments: list[Any]) -> None:
    live.condition.confirm(arguments[0] or b"", _with(remark, arguments[1]))


def _comment(live: Live, remark: Remark, arguments: list[Any]) -> None:
    live.condition.comment(arguments[0] or b"", _with(remark, arguments[1]))


def _with(remark: Remark, text: Any) -> Remark:
    words = (text.Text if isinstance(text, ua.LocalizedText) else "") or ""
    if len(words) > COMMENT_LENGTH_MAX:
        raise Refused(_CODES.BadOutOfRange)
    return Remark(words, remark.user, remark.time)


def _timed_shelve(live: Live, remark: Remark, arguments: list[Any]) -> None:
    live.condition.shelve(remark.time, arguments[0] / 1e3)


_METHODS: Final[Mapping[str, ConditionMethod]] = {
    "ConditionType_Enable": ConditionMethod("Enable", lambda live, by, _: live.condition.enable(by.time)),
    "ConditionType_Disable": ConditionMethod("Disable", lambda live, by, _: live.condition.disable(by.time)),
    "ConditionType_AddComment": ConditionMethod("AddComment", _comment),
    "AcknowledgeableConditionType_Acknowledge": ConditionMethod("Acknowledge", _acknowledge),
    "AcknowledgeableConditionType_Confirm": ConditionMethod("Confirm", _confirm, offered=lambda spec: spec.confirm),
    "AlarmConditionType_Suppress": ConditionMethod("Suppress", lambda live, by, _: live.condition.withhold(True, by.time)),
    "AlarmConditionType_Unsuppress": ConditionMethod("Unsuppress", lambda live, by, _: live.condition.withhold(False, by.time)),
    "AlarmConditionType_Reset": ConditionMethod(
        "Reset", lambda live, by, _: live.condition.reset(by.time), offered=lambda spec: spec.latch
    ),
}
_SHELVING: Final[Mapping[str, ConditionMethod]] = {
    "TimedShelve": ConditionMethod("TimedShelve", _timed_shelve),
    "OneShotShelve": ConditionMethod("OneShotShelve", lambda live, by, _: live.condition.shelve(by.time)),
    "Unshelve": ConditionMethod("Unshelve", lambda live, by, _: live.condition.unshelve(by.time)),
}
_PLACES: Final = ("AlarmConditionType_ShelvingState", "ShelvedStateMachineType")
"""Where the methods of shelving are declared; clients use either, on the condition or on its ShelvingState."""


def _node(name: str) -> ua.NodeId:
    return ua.NodeId(getattr(ua.ObjectIds, name), NS_UA)


IMPLEMENTED: Final[Mapping[ua.NodeId, ConditionMethod]] = {
    **{_node(name): method for name, method in _METHODS.items()},
    **{_node(f"{place}_{name}"): method for place in _PLACES for name, method in _SHELVING.items()},
}
"""Every method of a condition by the node that declares it."""


def implementations() -> dict[ua.NodeId, Any]:
    """For the table of the Call service."""
    return {node_id: partial(_call, method) for node_id, method in IMPLEMENTED.items()}


def _call(
    method: ConditionMethod, server: UaServer, session: Session, target: Node, arguments: list[Any]
) -> Awaitable[list[ua.Variant]]:
    """Act on the condition that the object of the call means. Raises Refused."""
    live = server.conditions.find(target.node_id)
    if live is None or not sees(session.user, target):
        raise Refused(_CODES.BadNodeIdUnknown)
    if not method.offered(live.spec):
        raise Refused(_CODES.BadMethodInvalid)
    remark = Remark("", session.user.name, utc_now())
    try:
        method.act(live, remark, arguments)
    except ConditionError as error:
        raise Refused(getattr(_CODES, error.status)) from error
    server.conditions.announce(live, disabled=method.name == "Disable")
    server.audit("condition", session=session, condition=live.spec.node, action=method.name, comment=live.condition.remark.text)
    return _kept(server)


async def _kept(server: UaServer) -> list[ua.Variant]:
    await server.conditions.store.saved()
    return []
