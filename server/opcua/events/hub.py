"""Who is told of an event: the monitored items on its source and on the notifiers above it, up to the Server object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from asyncua import ua

from server.core.layout import ObjectSpec
from server.core.site import SITE_ALIAS
from server.runtime.memory import utc_now

from ..access import Kind, Permission, granted, permits
from ..nodes import NS_SITE, NS_UA
from ..properties import site_id
from .delivery import Delivery
from .event import Event, base_fields, make_event
from .types import EventTypes

if TYPE_CHECKING:
    from ..server import UaServer
    from ..session import User

SERVER_OBJECT: Final = ua.NodeId(ua.ObjectIds.Server, NS_UA)
_TYPE: Final = ua.VariantType
MODEL_CHANGE_SEVERITY: Final = 100
OVERFLOW_SEVERITY: Final = 300


class EventHub:
    """Takes events and has them delivered to those who may know."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self.types = EventTypes(server.nodes)
        self.zone = ZoneInfo(server.settings.timezone)
        self.listeners: list[Callable[[Event], None]] = []
        self.delivery = Delivery(server, self.overflow)

    def emit(self, event: Event) -> None:
        """Tell everybody who listens and may know. Nothing is kept when nobody does."""
        for listener in self.listeners:
            listener(event)
        listening = [s for s in self._server.subscriptions if s.items.events.items]
        if listening:
            may = {user: self.may_receive(user, event) for user in {s.user for s in listening}}
            notifiers = frozenset(self.notifiers(event.source))
            self.delivery.tell(event, notifiers, (s for s in listening if may[s.user]))

    def heard(self, permissions: str) -> bool:
        """True when somebody monitors events who may receive those of this class."""
        listening = (s.user.roles for s in self._server.subscriptions if s.items.events.items)
        return any(granted(roles, permissions) & Permission.RECEIVE_EVENTS for roles in listening)

    def of_server(self, type_id: int, text: str, severity: int, permissions: str = Kind.MEASURE, **fields: ua.Variant) -> Event:
        """An event of the Server object, of a standard type; `fields` beyond those of BaseEventType by browse name."""
        kind = ua.NodeId(type_id, NS_UA)
        known = base_fields(kind, SERVER_OBJECT, "Server", utc_now(), text, severity, self.zone)
        return make_event(kind, SERVER_OBJECT, known | {(name,): value for name, value in fields.items()}, permissions)

    def overflow(self) -> Event:
        """The event that stands for lost ones; every item gets it whatever it filters."""
        text = "events were lost: the queue of the monitored item was full"
        return self.of_server(ua.ObjectIds.EventQueueOverflowEventType, text, OVERFLOW_SEVERITY)

    def may_receive(self, user: User, event: Event) -> bool:
        """True when the user may have events of this class and of this source (Part 3, 8.55)."""
        source = self._server.nodes.get(event.source)
        known = source is not None and permits(user, source, Permission.RECEIVE_EVENTS)
        return known and bool(granted(user.roles, event.permissions) & Permission.RECEIVE_EVENTS)

    def notifiers(self, source: ua.NodeId) -> Iterator[ua.NodeId]:
        """The source and everything above it on the way to the Server object."""
        yield source
        if source.NamespaceIndex == NS_SITE:
            alias = str(source.Identifier).partition("/")[0]
            yield site_id(alias)
            yield site_id(SITE_ALIAS)
        yield SERVER_OBJECT

    def model_changed(
        self, added: Iterable[ObjectSpec] = (), removed: Iterable[ObjectSpec] = (), changed: Iterable[ObjectSpec] = ()
    ) -> None:
        """Tell that objects of the site came, went, or have other nodes below them (GeneralModelChangeEvent)."""
        verbs = ua.ModelChangeStructureVerbMask
        other = verbs.ReferenceAdded | verbs.ReferenceDeleted
        told = ((added, verbs.NodeAdded), (removed, verbs.NodeDeleted), (changed, other))
        changes = [change for objects, verb in told for change in self._changes(objects, verb)]
        if changes:
            text, listed = f"{len(changes)} objects of the site changed", ua.Variant(changes, _TYPE.ExtensionObject)
            self.emit(self.of_server(ua.ObjectIds.GeneralModelChangeEventType, text, MODEL_CHANGE_SEVERITY, Changes=listed))

    def _changes(self, objects: Iterable[ObjectSpec], verb: int) -> Iterator[ua.ModelChangeStructureDataType]:
        for obj in objects:
            node = self._server.nodes.get(site_id(obj.alias))
            kind = node.type_definition if node is not None else ua.NodeId()
            yield ua.ModelChangeStructureDataType(Affected=site_id(obj.alias), AffectedType=kind, Verb=int(verb))
