"""The Call service (Part 4, 5.12.2): a method of the site is a checked write into the process image.

`EFFECTS` says which channel a method writes and with what; control takes it at the next cycle, and its consequence is to
be read from the nodes. A call is Good when it was accepted. Methods of the Server object answer about the caller's own
subscriptions. Every attempt is audited.

The outputs of all methods of a request share one message. Once it is full, methods that declare outputs are not called any
more: nothing is changed of which the client could not be told.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from server.core.layout import CONTROLLER, DEVICE, SITE, ObjectSpec
from server.core.natures import SiteMode, StartStop, StartStoppable

from . import limits, planning, proposals, write
from .access import ENCRYPTED, Kind, Permission, permits
from .metadata import Refused
from .nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_SUBTYPE, NS_SITE, NS_UA, Node, NodeStore
from .service import Service, ServiceError
from .state_machines import NAME as STATE_MACHINE
from .turns import Turn

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Reply, Session

_CODES: Final = ua.StatusCodes
_TYPE: Final = ua.VariantType
_IDS: Final = ua.ObjectIds
_BUILT_IN_MAX: Final = 25
_HIDDEN: Final = "(not shown)"
_NEVER_REFUSED: Final = ("EmergencyStop",)
"""Methods that a full disk must not stand in the way of."""
OVERRIDE_S: Final = (1.0, 86_400.0)
OUTPUTS_BYTES: Final = 4_096
"""Room in the answer without which no method is called that declares outputs. What a method tells of a change takes less."""
_HEAD_BYTES: Final = 64
_RESULT_BYTES: Final = 16
_STATUS_BYTES: Final = 4


Outputs: TypeAlias = list[ua.Variant]
Implementation: TypeAlias = "Callable[[UaServer, Session, Node, list[Any]], Outputs | Awaitable[Outputs]]"
"""implementation(server, session, object, arguments): the outputs, at once or later. Raises Refused."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a method writes. value: fixed, or None for the method's one argument, which `accepts` must accept. only_while: what
    the channel must show now."""

    channel: str
    value: float | None = None
    accepts: Callable[[float], bool] = isfinite
    only_while: float | None = None


_START_STOP: Final = StartStoppable.StartStop.name
EFFECTS: Final[dict[tuple[str, str], Effect]] = {
    (SITE, "SetMode"): Effect("Mode", accepts=lambda mode: mode in (SiteMode.Standby, SiteMode.Run)),
    (SITE, "AcquireManualOverride"): Effect("OverrideRemaining", accepts=lambda s: OVERRIDE_S[0] <= s <= OVERRIDE_S[1]),
    (SITE, "ReleaseManualOverride"): Effect("OverrideRemaining", 0.0),
    (SITE, "EmergencyStop"): Effect("EmergencyStopActive", 1.0),
    (SITE, "ResetEmergencyStop"): Effect("EmergencyStopActive", 0.0),
    (DEVICE, "Start"): Effect(_START_STOP, float(StartStop.Start)),
    (DEVICE, "Stop"): Effect(_START_STOP, float(StartStop.Stop)),
    (DEVICE, "Acknowledge"): Effect(StartStoppable.StartStopFailed.name, 0.0, only_while=1.0),
    (CONTROLLER, "Enable"): Effect("Enabled", 1.0),
    (CONTROLLER, "Disable"): Effect("Enabled", 0.0),
}
"""By kind of object and name of method."""


class _Room:
    """Bytes that the answer may still take. A result without outputs is set aside for each method from the start."""

    def __init__(self, size_max: int, wanted: Sequence[ua.CallMethodRequest]) -> None:
        self._left = size_max - _HEAD_BYTES - sum(map(_bare_bytes, wanted))
        if self._left < 0:
            raise ServiceError(_CODES.BadResponseTooLarge, f"not even the StatusCodes fit into {size_max} bytes")

    def check(self, nodes: NodeStore, method: Node) -> None:
        """Refused when the method declares outputs, and there may be no room for them."""
        if self._left < OUTPUTS_BYTES and _declared(nodes, method, "OutputArguments"):
            raise Refused(_CODES.BadResponseTooLarge)

    def take(self, result: ua.CallMethodResult, wanted: ua.CallMethodRequest) -> None:
        """Enter a result; its outputs are left out when they do not fit, and nothing follows that has some."""
        more = len(struct_to_binary(result)) - _bare_bytes(wanted)
        if more > self._left:
            result.OutputArguments = []
            result.StatusCode = ua.StatusCode(_CODES.BadResponseTooLarge) if result.StatusCode.is_good() else result.StatusCode
            self._left = 0
        self._left -= max(0, min(more, self._left))


def _bare_bytes(wanted: ua.CallMethodRequest) -> int:
    return _RESULT_BYTES + _STATUS_BYTES * len(wanted.InputArguments)


def _size_max(reply: Reply | None) -> int:
    """Most bytes of the answer: what we take ourselves, or less when the client says so."""
    stated = reply.max_message_size if reply is not None else 0
    return min(stated or limits.MESSAGE_SIZE_MAX, limits.MESSAGE_SIZE_MAX)


async def call_service(
    server: UaServer, session: Session, request: ua.CallRequest, reply: Reply | None = None
) -> ua.CallResponse:
    """The Call service: each method on its own, in order, while the answer has room; it comes when the effects show in the image.

    So a client that takes the override may write set-points as soon as it has the answer.
    """
    response, effective, turn = ua.CallResponse(), False, Turn()
    room = _Room(_size_max(reply), request.Parameters.MethodsToCall)
    for wanted in request.Parameters.MethodsToCall:
        if turn.over():
            await asyncio.sleep(0)
            turn.begin()
        method = _method_of(server, wanted)
        result = await call(server, session, wanted, method, room)
        room.take(result, wanted)
        response.Results.append(result)
        if result.StatusCode.is_good() and _is_of_control(method):
            continue
        server.audit(
            "call",
            session=session,
            object=wanted.ObjectId.to_string(),
            method=wanted.MethodId.to_string(),
            arguments=_shown_arguments(method, wanted),
            status=result.StatusCode.name,
        )
        effective |= result.StatusCode.is_good() and _is_of_site(server, wanted.ObjectId)
    if effective:
        await server.applied()
    return response


def _is_of_control(method: Node | None) -> bool:
    """A method that control itself calls, every cycle: what it decides is in its journal; who controls is audited elsewhere."""
    return method is not None and method.permissions == Kind.REMOTE


def _shown_arguments(method: Node | None, wanted: ua.CallMethodRequest) -> list[Any]:
    """The arguments for the audit trail; what a user tells about himself is his own."""
    if method is not None and method.permissions == Kind.OWN:
        return [_HIDDEN] * len(wanted.InputArguments)
    return [write.shown(argument.Value) for argument in wanted.InputArguments]


def _is_of_site(server: UaServer, node_id: ua.NodeId) -> bool:
    return _object_of(server, node_id) is not None


def _object_of(server: UaServer, node_id: ua.NodeId) -> ObjectSpec | None:
    """The object of the site that a method acts on: itself, or the one whose state machine is meant."""
    if node_id.NamespaceIndex != NS_SITE or not isinstance(node_id.Identifier, str):
        return None
    return server.layout.by_alias.get(node_id.Identifier.removesuffix(f"/{STATE_MACHINE}"))


async def call(
    server: UaServer, session: Session, wanted: ua.CallMethodRequest, method: Node | None, room: _Room
) -> ua.CallMethodResult:
    """Call one method, None where the object has no such. What is wrong is in the StatusCodes of the result."""
    result = ua.CallMethodResult()
    try:
        target = _target(server, session, wanted)
        if method is None:
            raise Refused(_CODES.BadMethodInvalid)
        if not permits(session.user, method, Permission.CALL):
            raise Refused(_refusal(session, method))
        room.check(server.nodes, method)
        result.InputArgumentResults = check_arguments(server.nodes, method, wanted.InputArguments)
        if any(status.value for status in result.InputArgumentResults):
            raise Refused(_CODES.BadInvalidArgument)
        if method.browse_name.Name not in _NEVER_REFUSED:
            server.check_auditable()
        values = [argument.Value for argument in wanted.InputArguments]
        implementation = server.methods.get(method.node_id)
        if implementation is None:
            outputs = _run(server, session, target, method, values, result)
        else:
            outputs = implementation(server, session, target, values)
        result.OutputArguments = await outputs if inspect.isawaitable(outputs) else outputs
    except Refused as refused:
        result.StatusCode = ua.StatusCode(refused.status)
        result.OutputArguments = refused.outputs
    except ServiceError as failed:
        result.StatusCode = ua.StatusCode(failed.status)
    return result


def _refusal(session: Session, node: Node) -> int:
    """Why a method may not be called, or one of the object: the channel is not encrypted, or the user has not the role."""
    in_clear = node.permissions in ENCRYPTED and not session.user.encrypted
    return int(_CODES.BadSecurityModeInsufficient if in_clear else _CODES.BadUserAccessDenied)


def _target(server: UaServer, session: Session, wanted: ua.CallMethodRequest) -> Node:
    """The object. Refused when there is none, or the user does not see it."""
    target = server.nodes.get(wanted.ObjectId)
    if target is None:
        raise Refused(_CODES.BadNodeIdUnknown)
    if not permits(session.user, target, Permission.BROWSE):
        raise Refused(_refusal(session, target))
    return target


def _method_of(server: UaServer, wanted: ua.CallMethodRequest) -> Node | None:
    """The object's own method, whose permissions count, also when it is named by the declaration in the object's type or a base
    of it; a condition takes the methods of its state machines, too. None when the object has no such method."""
    nodes = server.nodes
    target, named = nodes.get(wanted.ObjectId), nodes.get(wanted.MethodId)
    if target is None or named is None or named.node_class is not ua.NodeClass.Method:
        return None
    if server.conditions.takes(target.node_id, named.node_id):
        return named
    own = [m for m in map(nodes.get, target.targets(HAS_COMPONENT)) if m is not None and m.browse_name == named.browse_name]
    for method in own:
        if method.node_id == named.node_id or _is_declared(nodes, target, named):
            return method
    return None


def _is_declared(nodes: NodeStore, target: Node, method: Node) -> bool:
    """True for a method of the object's type or a base of it."""
    kind: Node | None = nodes.get(target.type_definition)
    while kind is not None:
        if method.node_id in kind.targets(HAS_COMPONENT):
            return True
        base = kind.targets(HAS_SUBTYPE, forward=False)
        kind = nodes.get(base[0]) if base else None
    return False


# Arguments.


def declared_arguments(nodes: NodeStore, method: Node) -> list[ua.Argument]:
    """The InputArguments of a method."""
    return _declared(nodes, method, "InputArguments")


def _declared(nodes: NodeStore, method: Node, name: str) -> list[ua.Argument]:
    for property_ in map(nodes.get, method.targets(HAS_PROPERTY)):
        if property_ is not None and property_.browse_name.Name == name and isinstance(property_.value, ua.DataValue):
            return list(property_.value.Value.Value)
    return []


def check_arguments(nodes: NodeStore, method: Node, given: Sequence[ua.Variant]) -> list[ua.StatusCode]:
    """The InputArgumentResults: BadTypeMismatch where the type is wrong. Raises Refused when the number is."""
    declared = declared_arguments(nodes, method)
    if len(given) < len(declared):
        raise Refused(_CODES.BadArgumentsMissing)
    if len(given) > len(declared):
        raise Refused(_CODES.BadTooManyArguments)
    return [
        ua.StatusCode(_CODES.Good if _fits(nodes, argument, value) else _CODES.BadTypeMismatch)
        for argument, value in zip(declared, given, strict=True)
    ]


def _fits(nodes: NodeStore, argument: ua.Argument, value: ua.Variant) -> bool:
    wants_array = argument.ValueRank >= 0
    return value.VariantType is built_in_type(nodes, argument.DataType) and bool(value.is_array) == wants_array


def built_in_type(nodes: NodeStore, data_type: ua.NodeId) -> ua.VariantType:
    """The built-in type in which values of a DataType travel (Part 6, 5.1)."""
    while True:
        if data_type.NamespaceIndex == NS_UA and 0 < data_type.Identifier <= _BUILT_IN_MAX:
            return ua.VariantType(data_type.Identifier)
        if data_type == ua.NodeId(_IDS.Enumeration, NS_UA):
            return _TYPE.Int32
        node = nodes.get(data_type)
        bases = node.targets(HAS_SUBTYPE, forward=False) if node is not None else []
        if not bases:
            return _TYPE.Variant
        data_type = bases[0]


# Implementations.


def _run(
    server: UaServer, session: Session, target: Node, method: Node, values: list[Any], result: ua.CallMethodResult
) -> Outputs | Awaitable[Outputs]:
    name = method.browse_name.Name
    if target.node_id == ua.NodeId(_IDS.Server, NS_UA) and name in _SERVER_METHODS:
        return _SERVER_METHODS[name](server, session, values)
    obj = _object_of(server, target.node_id)
    if obj is not None and proposals.is_foreign(obj) and name in proposals.METHODS:
        return proposals.METHODS[name](server, session, target, values)
    if obj is not None and (obj.kind, name) in planning.METHODS:
        return planning.METHODS[obj.kind, name](server, session, obj, values)
    effect = EFFECTS.get((obj.kind, name)) if obj is not None else None
    channel = server.layout.by_node.get(f"{obj.alias}/{effect.channel}") if obj is not None and effect is not None else None
    if effect is None or channel is None:
        raise Refused(_CODES.BadNotExecutable)
    value = float(values[0]) if effect.value is None else effect.value
    if effect.value is None and not effect.accepts(value):
        result.InputArgumentResults = [ua.StatusCode(_CODES.BadOutOfRange)]
        raise Refused(_CODES.BadInvalidArgument)
    if effect.only_while is not None and server.frame.get(channel.slot) != effect.only_while:
        raise Refused(_CODES.BadInvalidState)
    status = write.put(server, session, [channel.slot], [value])
    if status:
        raise Refused(status)
    return []


def _get_monitored_items(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    items, handles = server.subscriptions.monitored_items(session, values[0])
    return [ua.Variant(items, _TYPE.UInt32, is_array=True), ua.Variant(handles, _TYPE.UInt32, is_array=True)]


def _resend_data(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    server.subscriptions.resend(session, values[0])
    return []


_SERVER_METHODS: Final[dict[str, Callable[[UaServer, Session, list[Any]], list[ua.Variant]]]] = {
    "GetMonitoredItems": _get_monitored_items,
    "ResendData": _resend_data,
}

SERVICES: Final[dict[type, Service]] = {
    ua.CallRequest: Service(call_service, operations="MethodsToCall", most=limits.NODES_PER_METHOD_CALL, takes_reply=True),
}
