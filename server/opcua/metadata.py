"""Every attribute but Value (Part 3, 5.9): which node classes have it, and how it is read for a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from .access import ENCRYPTED, Permission, permits
from .nodes import Node
from .role_permissions import role_permissions

if TYPE_CHECKING:
    from .server import UaServer
    from .session import User

_ID: Final = ua.AttributeIds
_TYPE: Final = ua.VariantType
_CODES: Final = ua.StatusCodes
_CLASS: Final = ua.NodeClass
_RESTRICTED: Final = ua.AccessRestrictionType.SigningRequired | ua.AccessRestrictionType.SessionRequired
_SECRET: Final = _RESTRICTED | ua.AccessRestrictionType.EncryptionRequired | ua.AccessRestrictionType.ApplyRestrictionsToBrowse


class Refused(Exception):
    """One operation is refused; `status` goes into its result, `outputs` are what a method says all the same."""

    def __init__(self, status: int, outputs: Sequence[ua.Variant] = ()) -> None:
        super().__init__(ua.StatusCode(status).name)
        self.status = int(status)
        self.outputs = list(outputs)


Reader = Callable[["UaServer", "User", Node], ua.Variant | None]
VARIABLES: Final = (_CLASS.Variable, _CLASS.VariableType)
_EVERY: Final = tuple(c for c in _CLASS if c is not _CLASS.Unspecified)


def _dimensions(server: UaServer, user: User, node: Node) -> ua.Variant:
    found = list(node.array_dimensions) if node.array_dimensions is not None else None
    return ua.Variant(found, _TYPE.UInt32, is_array=True)


def user_access_level(user: User, node: Node) -> int:
    """The part of AccessLevel that this user may use."""
    level = node.access_level
    for bit, permission in (
        (ua.AccessLevel.CurrentRead, Permission.READ),
        (ua.AccessLevel.CurrentWrite, Permission.WRITE),
        (ua.AccessLevel.HistoryRead, Permission.READ_HISTORY),
        (ua.AccessLevel.HistoryWrite, Permission.MODIFY_HISTORY),
    ):
        if not permits(user, node, permission):
            level &= ~bit.mask
    return level


def _user_executable(server: UaServer, user: User, node: Node) -> ua.Variant:
    return ua.Variant(permits(user, node, Permission.CALL), _TYPE.Boolean)


def _interval_ms(server: UaServer, user: User, node: Node) -> ua.Variant:
    """Image values can change every cycle; everything else is watched without a bound."""
    return ua.Variant(server.image.clock.cycle_ns / 1e6 if node.channel is not None else 0.0, _TYPE.Double)


def _roles(server: UaServer, user: User, node: Node) -> ua.Variant:
    if not permits(user, node, Permission.READ_ROLE_PERMISSIONS):
        raise Refused(_CODES.BadUserAccessDenied)
    return ua.Variant(role_permissions(node.permissions), _TYPE.ExtensionObject, is_array=True)


def _user_roles(server: UaServer, user: User, node: Node) -> ua.Variant:
    return ua.Variant(role_permissions(node.permissions, user.roles), _TYPE.ExtensionObject, is_array=True)


def _restrictions(node: Node) -> int:
    """There are no sessions but signed ones; what is secret is seen over encrypted ones only (Part 3, 8.56)."""
    return int(_SECRET if node.permissions in ENCRYPTED else _RESTRICTED)


def _stored(attribute: int) -> Reader:
    return lambda server, user, node: node.attributes.get(attribute)


def _constant(value: Any, kind: ua.VariantType) -> Reader:
    variant = ua.Variant(value, kind)
    return lambda server, user, node: variant


def _of(kind: ua.VariantType, function: Callable[[Node], Any]) -> Reader:
    return lambda server, user, node: ua.Variant(function(node), kind)


_HISTORY_READ: Final = ua.AccessLevel.HistoryRead.mask
READERS: Final[Mapping[int, tuple[tuple[ua.NodeClass, ...], Reader]]] = {
    _ID.NodeId: (_EVERY, _of(_TYPE.NodeId, lambda node: node.node_id)),
    _ID.NodeClass: (_EVERY, _of(_TYPE.Int32, lambda node: int(node.node_class))),
    _ID.BrowseName: (_EVERY, _of(_TYPE.QualifiedName, lambda node: node.browse_name)),
    _ID.DisplayName: (_EVERY, _of(_TYPE.LocalizedText, lambda node: node.display_name)),
    _ID.Description: (_EVERY, _of(_TYPE.LocalizedText, lambda node: node.description or ua.LocalizedText())),
    _ID.WriteMask: (_EVERY, _constant(0, _TYPE.UInt32)),
    _ID.UserWriteMask: (_EVERY, _constant(0, _TYPE.UInt32)),
    _ID.RolePermissions: (_EVERY, _roles),
    _ID.UserRolePermissions: (_EVERY, _user_roles),
    _ID.AccessRestrictions: (_EVERY, _of(_TYPE.UInt16, _restrictions)),
    _ID.IsAbstract: (_EVERY, _stored(_ID.IsAbstract)),
    _ID.Symmetric: ((_CLASS.ReferenceType,), _stored(_ID.Symmetric)),
    _ID.InverseName: ((_CLASS.ReferenceType,), _stored(_ID.InverseName)),
    _ID.ContainsNoLoops: ((_CLASS.View,), _constant(True, _TYPE.Boolean)),
    _ID.EventNotifier: ((_CLASS.Object, _CLASS.View), _stored(_ID.EventNotifier)),
    _ID.DataType: (VARIABLES, _of(_TYPE.NodeId, lambda node: node.data_type)),
    _ID.ValueRank: (VARIABLES, _of(_TYPE.Int32, lambda node: node.value_rank)),
    _ID.ArrayDimensions: (VARIABLES, _dimensions),
    _ID.AccessLevel: ((_CLASS.Variable,), _of(_TYPE.Byte, lambda node: node.access_level)),
    _ID.AccessLevelEx: ((_CLASS.Variable,), _of(_TYPE.UInt32, lambda node: node.access_level)),
    _ID.UserAccessLevel: (
        (_CLASS.Variable,),
        lambda server, user, node: ua.Variant(user_access_level(user, node), _TYPE.Byte),
    ),
    _ID.MinimumSamplingInterval: ((_CLASS.Variable,), _interval_ms),
    _ID.Historizing: ((_CLASS.Variable,), _of(_TYPE.Boolean, lambda node: bool(node.access_level & _HISTORY_READ))),
    _ID.Executable: ((_CLASS.Method,), _stored(_ID.Executable)),
    _ID.UserExecutable: ((_CLASS.Method,), _user_executable),
    _ID.DataTypeDefinition: ((_CLASS.DataType,), _stored(_ID.DataTypeDefinition)),
}
"""Every attribute but Value: which node classes have it, and how it is read. None means that this node has it not."""


def has_attribute(node: Node, attribute: int) -> bool:
    """True when nodes of this class have the attribute."""
    if attribute == _ID.Value:
        return node.node_class in VARIABLES
    return attribute in READERS and node.node_class in READERS[attribute][0]
