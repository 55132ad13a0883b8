"""Write requests of many numbers, resolved once and checked a column at a time.

Problem: a client that sends a thousand set-points a second sends the same NodeIds each time. Making a thousand DataValues,
finding their nodes, and asking what the user may write costs tens of microseconds a value; a core has a few.

Idea: such a request is the same bytes but for its values and times. Its first one becomes a Plan: the bytes that stay, where the
values are, the slot, range and right of each. The next one that differs in nothing else is compared as a whole, its values are
copied out as columns, and what is left per value is arithmetic. What is not one plain number makes no plan and is written one by
one (`write`); plans hold what the user may write, so one whose roles change is another user.

    request   count | NodeId attribute range mask kind ######## time.... | NodeId ... ######## time....
    kept      ##############################################          ....######                   ....
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType, Spec
from server.core.layout import DEVICE, Channel, Layout
from server.core.natures import StartStoppable

from .access import Permission, permits
from .decode import NUMBER_FORMS, Place, Reader, check_end, place_of_value, read_node_id
from .metadata import has_attribute
from .nodes import Node, NodeStore
from .turns import Turn, Work
from .vocabulary import BUILT_IN

if TYPE_CHECKING:
    from .session import User

_CODES: Final = ua.StatusCodes
VALUES_MIN: Final = 8
"""Fewer values are written one by one."""
NAME_LENGTH_MAX: Final = 256
_COUNT_BYTES: Final = 4
_STATUS: Final = np.uint32


def name(node_id: ua.NodeId) -> str:
    """A NodeId fit for a line of the audit trail."""
    return str(node_id.to_string())[:NAME_LENGTH_MAX]


# What may be written.


def target_status(user: User, node: Node, attribute: int, foreign: bool) -> int:
    """0 when the user may write the attribute, else why not. foreign: a StatusCode or a server time is to be written, too."""
    if not has_attribute(node, attribute):
        return int(_CODES.BadAttributeIdInvalid)
    if attribute != ua.AttributeIds.Value or not node.access_level & ua.AccessLevel.CurrentWrite.mask:
        return int(_CODES.BadNotWritable)
    if not permits(user, node, Permission.WRITE):
        return int(_CODES.BadUserAccessDenied)
    if foreign:
        return int(_CODES.BadWriteNotSupported)
    return 0 if node.channel is not None else int(_CODES.BadNotWritable)


def type_status(spec: Spec, kind: ua.VariantType, is_array: bool) -> int:
    """0 when a value of this type and rank is exactly what the variable declares."""
    if spec.data_type in (DataType.STRING, DataType.DATETIME):
        return int(_CODES.BadWriteNotSupported)
    return 0 if kind is BUILT_IN[spec.data_type] and is_array == spec.array else int(_CODES.BadTypeMismatch)


# Plans.


class _Column(NamedTuple):
    """The values of one wire type: their rows in the request, and the positions of their bytes, a row for each."""

    kind: ua.VariantType
    form: np.dtype[Any]
    rows: NDArray[np.intp]
    at: NDArray[np.int64]

    def read(self, data: NDArray[np.uint8]) -> NDArray[Any]:
        """The values in the bytes of a request."""
        found: NDArray[Any] = data[self.at].view(self.form)[:, 0]
        return found if self.kind is not ua.VariantType.Boolean else found != 0


class _Row(NamedTuple):
    """A value as it is judged. status: what no value can change; slot: -1 for none; device: needs the manual override."""

    status: int
    slot: int
    spec: Spec | None
    device: bool


class WritePlan:
    """A Write request as it is carried out."""

    def __init__(self, data: bytes, nodes: Sequence[ua.NodeId], places: Sequence[Place], rows: Sequence[_Row]) -> None:
        self.nodes = [name(node) for node in nodes]
        self._columns = list(_columns(places))
        self._kept = np.full(len(data), 0xFF, np.uint8)
        for column in self._columns:
            self._kept[column.at] = 0
        for place in places:
            self._kept[place.times : place.end] = 0
        self._bytes = np.frombuffer(data, np.uint8) & self._kept
        specs = [row.spec for row in rows]
        self.slots = np.array([row.slot for row in rows])
        self._status = np.array([row.status for row in rows], _STATUS)
        self._devices = np.array([row.device for row in rows])
        self._low = np.array([-np.inf if s is None or s.low is None else s.low for s in specs])
        self._high = np.array([np.inf if s is None or s.high is None else s.high for s in specs])
        self._states = list(_states(specs))

    def fits(self, data: bytes) -> bool:
        """True when a request differs from that of the plan in nothing but values and times."""
        if len(data) != len(self._bytes):
            return False
        return not ((np.frombuffer(data, np.uint8) ^ self._bytes) & self._kept).any()

    def values(self, data: bytes) -> tuple[NDArray[np.float64], list[Any]]:
        """The values of a request as numbers, and as they are shown."""
        found, numbers = np.frombuffer(data, np.uint8), np.empty(len(self.nodes))
        shown: list[Any] = [None] * len(self.nodes)
        for column in self._columns:
            values = column.read(found)
            numbers[column.rows] = values
            if len(self._columns) == 1:
                return numbers, values.tolist()
            for row, value in zip(column.rows.tolist(), values.tolist(), strict=True):
                shown[row] = value
        return numbers, shown

    def check(self, numbers: NDArray[np.float64], override: bool) -> NDArray[np.uint32]:
        """A StatusCode for each value, 0 where it is to be written. override: somebody holds the manual override."""
        wrong = ~(np.isfinite(numbers) & (numbers >= self._low) & (numbers <= self._high))
        for rows, states in self._states:
            wrong[rows] |= ~np.isin(numbers[rows], states)
        status = self._status.copy()
        status[(status == 0) & wrong] = _CODES.BadOutOfRange
        if not override:
            status[(status == 0) & self._devices] = _CODES.BadInvalidState
        return status


def _columns(places: Sequence[Place]) -> list[_Column]:
    found = []
    for kind in dict.fromkeys(place.kind for place in places):
        form = np.dtype("<" + NUMBER_FORMS[kind].replace("?", "B"))
        rows = np.array([i for i, place in enumerate(places) if place.kind == kind])
        at = np.array([place.value for place in places if place.kind == kind])
        found.append(_Column(ua.VariantType(kind), form, rows, at[:, None] + np.arange(form.itemsize)))
    return found


def _states(specs: Sequence[Spec | None]) -> list[tuple[NDArray[np.intp], list[int]]]:
    """The rows of each enumeration, and its states."""
    rows: dict[Any, list[int]] = {}
    for i, spec in enumerate(specs):
        if spec is not None and spec.states is not None:
            rows.setdefault(spec.states, []).append(i)
    return [(np.array(those), [int(state) for state in states]) for states, those in rows.items()]


def head(data: bytes) -> bytes:
    """The count and the first NodeId of a request's parameters, by which plans are told apart. DecodeError."""
    reader = Reader(data, _COUNT_BYTES)
    read_node_id(reader)
    return data[: reader.position]


def plan_writes(nodes: NodeStore, layout: Layout, user: User, data: bytes, count: int) -> Work[WritePlan | None]:
    """The plan of the parameters of a request of `count` values; None when they are not all plain numbers. DecodeError."""
    reader, turn = Reader(data, _COUNT_BYTES), Turn()
    ids, places, rows = [], [], []
    for _ in range(count):
        node_id = read_node_id(reader)
        place = place_of_value(reader)
        if place is None:
            return None
        ids.append(node_id)
        places.append(place)
        rows.append(_row(nodes.get(node_id), layout, user, place))
        if turn.over():
            yield
            turn.begin()
    check_end(reader)
    return WritePlan(data, ids, places, rows)


def _row(node: Node | None, layout: Layout, user: User, place: Place) -> _Row:
    if node is None:
        return _Row(int(_CODES.BadNodeIdUnknown), -1, None, False)
    status = target_status(user, node, place.attribute, place.foreign)
    channel = node.channel
    if status or channel is None:
        return _Row(status, -1, None, False)
    status = type_status(channel.spec, ua.VariantType(place.kind), False)
    return _Row(status, channel.slot, channel.spec, needs_override(layout, channel))


def needs_override(layout: Layout, channel: Channel) -> bool:
    """Set-points of devices are the engine's, unless an operator holds the manual override. What is wished of the state machine
    of a device is not: the engine decides on it."""
    if layout.by_alias[channel.alias].kind != DEVICE:
        return False
    wished = channel.spec.name == StartStoppable.StartStop.name
    return not (wished and layout.find(channel.alias, StartStoppable.OperatingState) is not None)
