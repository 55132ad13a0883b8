"""State machines of the site and of devices as OPC UA has them (Part 16): types, instances, and what they tell as events.

    ns=4;s=ess0/StateMachine                OperatingStateMachineType, a FiniteStateMachineType
        CurrentState                        its name; below it Id and Number
        LastTransition                      its name; below it Id, Number and TransitionTime
        AvailableStates, AvailableTransitions
        Start, Stop, Acknowledge            the methods of the device

Types are drawn from the tables in state_machine.py, values from two channels: the state, and the number of the last transition,
whose source time is when it was. States and transitions are nodes of the type; what is an Id here is one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.channel import Spec
from server.core.image import Image
from server.core.layout import DEVICE, SITE, Channel, Layout, ObjectSpec
from server.core.nature import Method, Nature
from server.core.natures import OperatingState, Site, SiteMode, StartStoppable
from server.core.state_machine import DEVICE as DEVICE_TABLE
from server.core.state_machine import SITE as SITE_TABLE
from server.core.state_machine import Transition, edges, number_of, states_of
from server.core.status import BAD_WAITING_FOR_INITIAL_DATA, is_bad
from server.core.ticks import to_datetime

from .access import Kind
from .events.event import Path, base_fields, make_event
from .nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_TYPE_DEFINITION, NO_EVENTS, NS_TYPES, NS_UA, Node, Reference
from .properties import site_id, type_id

if TYPE_CHECKING:
    from .server import UaServer

_IDS: Final = ua.ObjectIds
_TYPE: Final = ua.VariantType
NAME: Final = "StateMachine"
TRANSITION_EVENT: Final = ua.NodeId(_IDS.TransitionEventType, NS_UA)
TRANSITION_SEVERITY: Final = 100


@dataclass(frozen=True)
class MachineType:
    """A type of state machines. nature: of the objects that have one; state, last: channels with the state and the number of
    the last transition; methods: those that cause transitions, by the transitions they cause."""

    name: str
    doc: str
    nature: type[Nature]
    states: type[IntEnum]
    table: Sequence[Transition[Any, Any]]
    edges: tuple[tuple[IntEnum, IntEnum], ...]
    state: Spec
    last: Spec
    causes: Mapping[str, tuple[tuple[IntEnum, IntEnum], ...]]

    @property
    def methods(self) -> tuple[Method, ...]:
        """Methods that the machine itself has."""
        return tuple(m for m in self.nature.methods if m.name in self.causes)

    def state_id(self, state: int) -> ua.NodeId:
        """The node of a state."""
        return _declared(f"{self.name}/{self.states(state).name}")

    def transition_name(self, number: int) -> str:
        """Name of a numbered transition."""
        source, target = states_of(number)
        return f"{self.states(source).name}To{self.states(target).name}"

    def transition_id(self, number: int) -> ua.NodeId:
        """The node of a numbered transition."""
        return _declared(f"{self.name}/{self.transition_name(number)}")


_S = OperatingState
_SITE_EDGES: Final = tuple(edges(SITE_TABLE))
_DEVICE_EDGES: Final = tuple(edges(DEVICE_TABLE))
SITE_MACHINE: Final = MachineType(
    "SiteStateMachineType",
    "How the site runs.",
    Site,
    SiteMode,
    SITE_TABLE,
    _SITE_EDGES,
    Site.Mode,
    Site.LastTransition,
    {},
)
DEVICE_MACHINE: Final = MachineType(
    "OperatingStateMachineType",
    "How a device is started and stopped.",
    StartStoppable,
    OperatingState,
    DEVICE_TABLE,
    _DEVICE_EDGES,
    StartStoppable.OperatingState,
    StartStoppable.LastTransition,
    {
        "Start": ((_S.Stopped, _S.Starting),),
        "Stop": ((_S.Stopped, _S.Stopping), (_S.Starting, _S.Stopping), (_S.Running, _S.Stopping)),
        "Acknowledge": ((_S.Failed, _S.Stopped),),
    },
)
MACHINES: Final = (SITE_MACHINE, DEVICE_MACHINE)


def _declared(symbol: str) -> ua.NodeId:
    found = type_id(symbol)
    if found is None:
        raise LookupError(f"{symbol} is not in the nodeset")
    return found


def machine_of(layout: Layout, obj: ObjectSpec) -> MachineType | None:
    """The type of an object's state machine, None for objects without one."""
    if obj.kind == SITE:
        return SITE_MACHINE
    has = obj.kind == DEVICE and layout.find(obj.alias, DEVICE_MACHINE.state) is not None
    return DEVICE_MACHINE if has else None


# Instances.


@dataclass(frozen=True, slots=True)
class _Instance:
    """The state machine of an object, with the channels it is read from."""

    type: MachineType
    alias: str
    state: Channel
    last: Channel


Value = Callable[[_Instance, Image], ua.DataValue]


def _of_channel(
    channel: Callable[[_Instance], Channel], kind: ua.VariantType, value: Callable[[MachineType, int, Image], Any]
) -> Value:
    def read(machine: _Instance, frame: Image) -> ua.DataValue:
        slot = channel(machine).slot
        number, status = frame.get(slot), int(frame.status[slot])
        if number is None:
            return ua.DataValue(ua.Variant(), ua.StatusCode(status if is_bad(status) else BAD_WAITING_FOR_INITIAL_DATA))
        try:
            found = ua.Variant(value(machine.type, int(number), frame), kind)
        except (ValueError, LookupError):  # a number that the type does not know
            return ua.DataValue(ua.Variant(), ua.StatusCode(ua.StatusCodes.BadOutOfRange))
        return ua.DataValue(found, ua.StatusCode(status), to_datetime(int(frame.source[slot])))

    return read


_state = partial(_of_channel, lambda machine: machine.state)
_last = partial(_of_channel, lambda machine: machine.last)


def _text(name: str) -> ua.LocalizedText:
    return ua.LocalizedText(name, "en")


def _time(machine: _Instance, frame: Image) -> ua.DataValue:
    last = _NUMBER_OF_LAST(machine, frame)
    if is_bad(last.StatusCode.value) or last.SourceTimestamp is None:
        return ua.DataValue(ua.Variant(), last.StatusCode)
    return ua.DataValue(ua.Variant(last.SourceTimestamp, _TYPE.DateTime), last.StatusCode, last.SourceTimestamp)


def _all(ids: Callable[[MachineType], list[ua.NodeId]]) -> Value:
    return lambda machine, _: ua.DataValue(ua.Variant(ids(machine.type), _TYPE.NodeId, is_array=True))


_NUMBER_OF_LAST: Final = _last(_TYPE.UInt32, lambda type_, number, _: number)


@dataclass(frozen=True, slots=True)
class _Member:
    """A variable below a state machine. kind: its variable type; below a variable it is a property."""

    data_type: int
    value: Value
    kind: int = _IDS.PropertyType
    is_array: bool = False


_MEMBERS: Final[Mapping[Path, _Member]] = {
    ("CurrentState",): _Member(
        _IDS.LocalizedText,
        _state(_TYPE.LocalizedText, lambda type_, state, _: _text(type_.states(state).name)),
        _IDS.FiniteStateVariableType,
    ),
    ("CurrentState", "Id"): _Member(_IDS.NodeId, _state(_TYPE.NodeId, lambda type_, state, _: type_.state_id(state))),
    ("CurrentState", "Number"): _Member(_IDS.UInt32, _state(_TYPE.UInt32, lambda type_, state, _: state)),
    ("LastTransition",): _Member(
        _IDS.LocalizedText,
        _last(_TYPE.LocalizedText, lambda type_, number, _: _text(type_.transition_name(number))),
        _IDS.FiniteTransitionVariableType,
    ),
    ("LastTransition", "Id"): _Member(_IDS.NodeId, _last(_TYPE.NodeId, lambda type_, number, _: type_.transition_id(number))),
    ("LastTransition", "Number"): _Member(_IDS.UInt32, _NUMBER_OF_LAST),
    ("LastTransition", "TransitionTime"): _Member(_IDS.UtcTime, _time),
    ("AvailableStates",): _Member(
        _IDS.NodeId, _all(lambda type_: [type_.state_id(s) for s in type_.states]), _IDS.BaseDataVariableType, is_array=True
    ),
    ("AvailableTransitions",): _Member(
        _IDS.NodeId,
        _all(lambda type_: [type_.transition_id(number_of(*edge)) for edge in type_.edges]),
        _IDS.BaseDataVariableType,
        is_array=True,
    ),
}


def make(layout: Layout, identifier: str) -> Node | None:
    """The node of a state machine or of one of its members; None for all other identifiers."""
    alias, *path = identifier.split("/")
    obj = layout.by_alias.get(alias)
    kind = machine_of(layout, obj) if obj is not None and path[:1] == [NAME] else None
    if kind is None:
        return None
    state, last = layout.find(alias, kind.state), layout.find(alias, kind.last)
    if state is None or last is None:
        return None
    machine = _Instance(kind, alias, state, last)
    if path == [NAME]:
        return _object(machine)
    return _variable(machine, tuple(path[1:])) if tuple(path[1:]) in _MEMBERS else None


def _below(machine: _Instance, path: Path) -> ua.NodeId:
    return site_id("/".join((machine.alias, NAME, *path)))


def _children(machine: _Instance, parent: Path) -> Iterator[Reference]:
    for path in _MEMBERS:
        if path[:-1] == parent:
            yield Reference(HAS_PROPERTY if parent else HAS_COMPONENT, True, _below(machine, path))


def _object(machine: _Instance) -> Node:
    def references() -> Iterator[Reference]:
        yield Reference(HAS_TYPE_DEFINITION, True, _declared(machine.type.name))
        yield Reference(HAS_COMPONENT, False, site_id(machine.alias))
        yield from _children(machine, ())
        yield from (Reference(HAS_COMPONENT, True, site_id(f"{machine.alias}/{m.name}")) for m in machine.type.methods)

    return Node(
        _below(machine, ()),
        ua.NodeClass.Object,
        ua.QualifiedName(NAME, NS_TYPES),
        ua.LocalizedText(NAME),
        ua.LocalizedText(machine.type.doc, "en"),
        references=references,
        permissions=Kind.MEASURE,
        attributes={ua.AttributeIds.EventNotifier: NO_EVENTS},
    )


def _variable(machine: _Instance, path: Path) -> Node:
    member = _MEMBERS[path]
    kind = HAS_PROPERTY if path[:-1] else HAS_COMPONENT
    return Node(
        _below(machine, path),
        ua.NodeClass.Variable,
        ua.QualifiedName(path[-1], NS_UA),
        ua.LocalizedText(path[-1]),
        references=lambda: (
            Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(member.kind, NS_UA)),
            Reference(kind, False, _below(machine, path[:-1])),
            *_children(machine, path),
        ),
        data_type=ua.NodeId(member.data_type, NS_UA),
        value_rank=1 if member.is_array else -1,
        array_dimensions=(0,) if member.is_array else None,
        access_level=ua.AccessLevel.CurrentRead.mask,
        value=lambda server: member.value(machine, server.frame),
        permissions=Kind.MEASURE,
    )


# Events.


class Transitions:
    """Tells every transition as a TransitionEvent of the object whose machine it is; not what happened before the start."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        layout = server.layout
        kinds = ((obj, machine_of(layout, obj)) for obj in layout.objects)
        found = ((obj, kind, layout.find(obj.alias, kind.last)) for obj, kind in kinds if kind is not None)
        self._watched = [(obj, kind, last.slot) for obj, kind, last in found if last is not None]
        self._seen: dict[int, int] = {}

    def tick(self, frame: Image) -> None:
        """Look at a frame."""
        for obj, kind, slot in self._watched:
            number = frame.get(slot)
            if number is None:
                continue
            moment = int(frame.source[slot])
            if self._seen.get(slot, moment) != moment:
                self._tell(obj, kind, int(number), moment)
            self._seen[slot] = moment

    def _tell(self, obj: ObjectSpec, kind: MachineType, number: int, moment: int) -> None:
        hub = self._server.events
        source, target = (kind.states(state) for state in states_of(number))
        name = obj.properties.get("Label") or obj.alias
        known = base_fields(
            TRANSITION_EVENT,
            site_id(obj.alias),
            name,
            moment,
            f"{source.name} to {target.name}",
            TRANSITION_SEVERITY,
            hub.zone,
        )
        fields = {
            ("Transition",): ua.Variant(_text(kind.transition_name(number)), _TYPE.LocalizedText),
            ("Transition", "Id"): ua.Variant(kind.transition_id(number), _TYPE.NodeId),
            ("FromState",): ua.Variant(_text(source.name), _TYPE.LocalizedText),
            ("FromState", "Id"): ua.Variant(kind.state_id(source), _TYPE.NodeId),
            ("ToState",): ua.Variant(_text(target.name), _TYPE.LocalizedText),
            ("ToState", "Id"): ua.Variant(kind.state_id(target), _TYPE.NodeId),
        }
        hub.emit(make_event(TRANSITION_EVENT, site_id(obj.alias), known | fields))
