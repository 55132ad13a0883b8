"""The site's own nodes, computed from the layout when they are asked for.

    Objects/EMS                     ns=4;s=site             EnergyManagerType
        Overview/<key figures>      the channels of the site that a simple client wants
        Devices/<alias>             ns=4;s=ess0             EmsDeviceType, its natures by HasInterface
            <channel>               ns=4;s=ess0/Soc         with EngineeringUnits, EURange or EnumStrings below
            StateMachine            ns=4;s=ess0/StateMachine of a device that is started and stopped, and of the site
        Controllers/<alias>         ns=4;s=peak0            ControllerType, settings under Parameters
        Integrations/<entry>                                ConfigEntryType
        Cycle                       ns=4;s=cycle            CycleType

The identifier alone says what a node is: an object, a channel, or `parent/member`. Nothing is built beforehand but two
dictionaries over the layout, so a site of 100,000 channels starts as fast as one of ten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua import ua

from server.core import natures
from server.core.alarms import AlarmSpec
from server.core.channel import Access, Spec
from server.core.layout import CONTROLLER, CYCLE, DEVICE, ENTRY, PROCESS, SITE, Channel, Layout, ObjectSpec
from server.core.nature import Method, Nature
from server.core.site import CYCLE_ALIAS, SITE_ALIAS

from . import (
    administration,
    explaining,
    packed,
    planning,
    properties,
    proposals,
    push,
    reload,
    remote,
    state_machines,
    vocabulary,
)
from .access import EVERYBODYS, WHOLE_SITE, Kind
from .conditions import ALARMS, ConditionNodes
from .events.hub import SERVER_OBJECT
from .history.configuration import NAME as HISTORY
from .history.configuration import history_reference, make_history_node
from .history.processed import FUNCTIONS
from .nodes import (
    EVENTS,
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    NO_EVENTS,
    NS_DI,
    NS_SERVER,
    NS_SITE,
    NS_TYPES,
    NS_UA,
    ORGANIZES,
    Glance,
    Node,
    NodeStore,
    Reference,
)
from .nodeset import code, load
from .properties import site_id, type_id
from .standard import LocalNodes, TypeNodes

if TYPE_CHECKING:
    from .server import UaServer

HAS_NOTIFIER: Final = ua.NodeId(ua.ObjectIds.HasNotifier, 0)
HAS_INTERFACE: Final = ua.NodeId(ua.ObjectIds.HasInterface, 0)
OBJECTS_FOLDER: Final = ua.NodeId(ua.ObjectIds.ObjectsFolder, 0)
DEVICE_SET: Final = ua.NodeId(5001, NS_DI)
ENTRY_NAME: Final = "EMS"
TENANT: Final = "Tenant"
"""Property of a device: the tenant it belongs to."""
PARAMETERS: Final = "Parameters"
IDENTIFICATION: Final = "Identification"
OVERVIEW: Final = "Overview"
FOLDER_OF: Final = {DEVICE: "Devices", CONTROLLER: "Controllers", ENTRY: "Integrations", PROCESS: "Processes"}
OVERVIEW_CHANNELS: Final = (
    natures.Site.Mode,
    natures.Site.WorstState,
    natures.Site.GridPower,
    natures.Site.ProductionPower,
    natures.Site.EssPower,
    natures.Site.ConsumptionPower,
    natures.Site.EvPower,
    natures.Site.EssSoc,
    natures.Site.EssCapacity,
    natures.Site.SelfConsumption,
    natures.Site.Autarky,
    natures.Site.Frequency,
    natures.Site.GridImportEnergy,
    natures.Site.GridExportEnergy,
    natures.Site.ProductionEnergy,
    natures.Site.ConsumptionEnergy,
    natures.Site.EmergencyStopActive,
    natures.Site.OverrideRemaining,
)

_HISTORY: Final = ua.AccessLevel.HistoryRead.mask | ua.AccessLevel.HistoryWrite.mask
_AGGREGATES_FOLDER: Final = ua.ObjectIds.Server_ServerCapabilities_AggregateFunctions
_CALLABLE: Final = {
    ua.AttributeIds.Executable: ua.Variant(True, ua.VariantType.Boolean),
}
_OBJECT: Final = {ua.AttributeIds.EventNotifier: NO_EVENTS}
_NOTIFIER: Final = {ua.AttributeIds.EventNotifier: EVENTS}
NOTIFIERS: Final = (SITE, *FOLDER_OF)
"""Kinds of objects that tell events: their own, and the site those of all others."""


class _Face(NamedTuple):
    """What all channels of one declaration share. glances: of the properties; told: of the channel itself, as Browse tells it."""

    browse_name: ua.QualifiedName
    display_name: ua.LocalizedText
    description: ua.LocalizedText
    data_type: ua.NodeId
    type_definition: ua.NodeId
    properties: Mapping[str, properties.Property]
    glances: Mapping[str, Glance]
    told: bytes


def _is_parameter(obj: ObjectSpec, declared: Mapping[str, Spec], spec: Spec) -> bool:
    """A setting of a controller; what it only shows is its own component."""
    return obj.kind == CONTROLLER and spec.name not in declared and spec.access is Access.PROPOSE


@lru_cache(maxsize=4096)
def _face(spec: Spec, declared: Spec) -> _Face:
    """declared: the channel as its nature has it; the type of the variable follows that, the properties what is known here."""
    data_type = ua.NodeId(vocabulary.DATA_TYPE_IDS[spec.data_type], NS_UA)
    if spec.states is not None:
        data_type = type_id(vocabulary.enumeration_name(spec.states)) or data_type
    name, shown = ua.QualifiedName(spec.name, NS_TYPES), ua.LocalizedText(spec.name)
    type_definition = ua.NodeId(vocabulary.variable_type(declared), NS_UA)
    facets = properties.of_channel(spec)
    return _Face(
        name,
        shown,
        ua.LocalizedText(spec.doc, "en"),
        data_type,
        type_definition,
        facets,
        {name: properties.glance(facet) for name, facet in facets.items()},
        packed.described(name, shown, int(ua.NodeClass.Variable), type_definition),
    )


@cache
def _declarations(kinds: tuple[type[Nature], ...]) -> dict[str, Spec]:
    """All channels that these natures declare."""
    found: dict[str, Spec] = {}
    for nature in kinds:
        found |= nature.channels()
    return found


class SiteNodes:
    """Makes the nodes of the site's namespace from the layout."""

    def __init__(self, server: UaServer, version: str) -> None:
        self._server = server
        self._version = version
        self._faces: dict[tuple[int, int], _Face] = {}
        self.adopt(server.layout, server.settings.alarms)

    def adopt(self, layout: Layout, alarms: Iterable[AlarmSpec]) -> None:
        """Make nodes of this layout and these alarms from now on."""
        self._faces.clear()
        self._layout = layout
        self._conditions = ConditionNodes(self._server, alarms)
        self._channels: dict[str, list[Channel]] = defaultdict(list)
        for channel in layout.channels:
            self._channels[channel.alias].append(channel)

    def make(self, identifier: Any) -> Node | None:
        """The node of a string identifier, or None."""
        node = self._make(identifier) if isinstance(identifier, str) else None
        if node is not None:
            node.tenant = self._tenant(*identifier.split("/"))
        return node

    def _tenant(self, alias: str, *member: str) -> str:
        """Whom a node belongs to: the tenant of its device; what leads to devices is everybody's."""
        obj = self._layout.by_alias[alias]
        if obj.kind == SITE:
            return EVERYBODYS if not member or member == (FOLDER_OF[DEVICE],) else WHOLE_SITE
        return (obj.properties.get(TENANT) if obj.kind == DEVICE else None) or WHOLE_SITE

    def _make(self, identifier: str) -> Node | None:
        channel = self._layout.by_node.get(identifier)
        if channel is not None:
            return self._variable(channel)
        obj = self._layout.by_alias.get(identifier)
        if obj is not None:
            return self._object(obj)
        parent, _, name = identifier.rpartition("/")
        return self._member(identifier, parent, name)

    def _member(self, identifier: str, parent: str, name: str) -> Node | None:
        channel = self._layout.by_node.get(parent)
        if channel is not None and name != HISTORY:
            is_configured = name == properties.CONFIGURED
            facet = self._configured(channel) if is_configured else self._face_of(channel).properties.get(name)
            return None if facet is None else properties.property_node(parent, facet)
        if history_of := self._historized_above(identifier):
            return make_history_node(*history_of)
        condition = self._conditions.make(identifier)
        if condition is not None:
            return condition
        machine = state_machines.make(self._layout, identifier)
        if machine is not None:
            return machine
        obj = self._layout.by_alias.get(parent)
        if obj is not None:
            return self._part(obj, identifier, name)
        alias, _, method = parent.rpartition("/")
        owner = self._layout.by_alias.get(alias)
        declared = next((m for m in _methods(owner) if m.name == method), None) if owner is not None else None
        found = properties.arguments(declared, name) if declared is not None else None
        return None if found is None else properties.property_node(parent, found)

    def _historized_above(self, identifier: str) -> tuple[Channel, str] | None:
        """The historized channel whose configuration this is part of, and the path below it."""
        node, found, path = identifier.partition(f"/{HISTORY}")
        channel = self._layout.by_node.get(node) if found else None
        return (channel, HISTORY + path) if channel is not None and self._layout.historized(channel) else None

    def _configured(self, channel: Channel) -> properties.Property | None:
        return properties.configured(channel, self._layout.by_alias[channel.alias])

    # Objects.

    def _object(self, obj: ObjectSpec) -> Node:
        label = ENTRY_NAME if obj.kind == SITE else obj.properties.get("Label") or obj.alias
        well_known = {SITE: ENTRY_NAME, CYCLE: CYCLE.capitalize()}.get(obj.kind)
        browse_name = ua.QualifiedName(well_known, NS_TYPES) if well_known else ua.QualifiedName(obj.alias, NS_SITE)
        return Node(
            site_id(obj.alias),
            ua.NodeClass.Object,
            browse_name,
            ua.LocalizedText(well_known or label),
            ua.LocalizedText(obj.doc) if obj.doc else None,
            references=partial(self._object_references, obj),
            permissions=Kind.MEASURE,
            attributes=_NOTIFIER if obj.kind in NOTIFIERS else _OBJECT,
        )

    def _object_references(self, obj: ObjectSpec) -> Iterator[Reference]:
        yield from self._types(obj)
        if obj.kind == SITE:
            yield Reference(ORGANIZES, False, OBJECTS_FOLDER)
            yield from (Reference(HAS_COMPONENT, True, site_id(f"{obj.alias}/{name}")) for name in vocabulary.FOLDERS)
            yield Reference(HAS_COMPONENT, True, site_id(administration.SECURITY))
            yield Reference(HAS_COMPONENT, True, site_id(remote.OBJECT.alias))
            yield Reference(HAS_COMPONENT, True, site_id(explaining.OBJECT.alias))
            if CYCLE_ALIAS in self._layout.by_alias:
                yield Reference(HAS_COMPONENT, True, site_id(CYCLE_ALIAS))
        elif obj.kind == CYCLE:
            yield Reference(HAS_COMPONENT, False, site_id(SITE_ALIAS))
        else:
            yield Reference(ORGANIZES, False, site_id(f"{SITE_ALIAS}/{FOLDER_OF[obj.kind]}"))
        if obj.kind == DEVICE:
            yield Reference(ORGANIZES, False, DEVICE_SET)
            yield Reference(HAS_COMPONENT, True, site_id(f"{obj.alias}/{IDENTIFICATION}"))
        if obj.kind == CONTROLLER:
            yield Reference(HAS_COMPONENT, True, site_id(f"{obj.alias}/{PARAMETERS}"))
        declared = _declarations(obj.natures)
        for channel in self._channels[obj.alias]:
            if not _is_parameter(obj, declared, channel.spec):
                yield Reference(HAS_COMPONENT, True, site_id(channel.node), self._glance(obj, channel))
        for method in _methods(obj):
            yield Reference(HAS_COMPONENT, True, site_id(f"{obj.alias}/{method.name}"))
        if state_machines.machine_of(self._layout, obj) is not None:
            yield Reference(HAS_COMPONENT, True, site_id(f"{obj.alias}/{state_machines.NAME}"))
        for name in properties.texts_of(obj, self._version):
            yield Reference(HAS_PROPERTY, True, site_id(f"{obj.alias}/{name}"))
        yield from self._notifiers(obj)
        yield from self._conditions.references(obj.alias)

    def _notifiers(self, obj: ObjectSpec) -> Iterator[Reference]:
        """The way events take: from everything to the site, from there to the Server object."""
        if obj.kind == SITE:
            yield Reference(HAS_NOTIFIER, False, SERVER_OBJECT)
            others = (o for o in self._layout.objects if o.kind in FOLDER_OF)
            yield from (Reference(HAS_NOTIFIER, True, site_id(o.alias)) for o in others)
        elif obj.kind in FOLDER_OF:
            yield Reference(HAS_NOTIFIER, False, site_id(SITE_ALIAS))

    def _types(self, obj: ObjectSpec) -> Iterator[Reference]:
        own = next((vocabulary.OBJECT_TYPES[n] for n in obj.natures if n in vocabulary.OBJECT_TYPES), vocabulary.DEVICE_TYPE)
        yield Reference(HAS_TYPE_DEFINITION, True, type_id(own) or ua.NodeId(ua.ObjectIds.BaseObjectType, NS_UA))
        for nature in obj.natures:
            interface = type_id(vocabulary.interface_name(nature))
            if interface is not None:
                yield Reference(HAS_INTERFACE, True, interface)

    def _part(self, obj: ObjectSpec, identifier: str, name: str) -> Node | None:
        """A folder, method or property of an object."""
        if obj.kind == SITE and name in vocabulary.FOLDERS:
            return self._folder(identifier, name)
        if obj.kind == CONTROLLER and name == PARAMETERS:
            return self._parameters(obj, identifier)
        if obj.kind == DEVICE and name == IDENTIFICATION:
            return self._identification(obj, identifier)
        method = next((m for m in _methods(obj) if m.name == name), None)
        if method is not None:
            return self._method(obj, method)
        return self._property(obj, name)

    def _group(
        self, identifier: str, name: ua.QualifiedName, doc: str, type_id: ua.NodeId, members: Callable[[], Iterator[Reference]]
    ) -> Node:
        return Node(
            site_id(identifier),
            ua.NodeClass.Object,
            name,
            ua.LocalizedText(name.Name),
            ua.LocalizedText(doc, "en"),
            references=lambda: (Reference(HAS_COMPONENT, False, site_id(identifier.rpartition("/")[0])), *members()),
            type_definition=type_id,
            permissions=Kind.MEASURE,
            attributes=_OBJECT,
        )

    def _folder(self, identifier: str, name: str) -> Node:
        def members() -> Iterator[Reference]:
            if name == OVERVIEW:
                found = (self._layout.find(SITE_ALIAS, spec) for spec in OVERVIEW_CHANNELS)
                yield from (Reference(ORGANIZES, True, site_id(c.node)) for c in found if c is not None)
            if name == FOLDER_OF[CONTROLLER]:
                yield Reference(HAS_COMPONENT, True, reload.METHOD)
            if name == ALARMS:
                yield from self._conditions.overview()
            for obj in self._layout.objects:
                if FOLDER_OF.get(obj.kind) == name:
                    yield Reference(ORGANIZES, True, site_id(obj.alias))

        folder = ua.NodeId(ua.ObjectIds.FolderType, NS_UA)
        return self._group(identifier, ua.QualifiedName(name, NS_TYPES), vocabulary.FOLDERS[name], folder, members)

    def _parameters(self, obj: ObjectSpec, identifier: str) -> Node:
        def members() -> Iterator[Reference]:
            declared = _declarations(obj.natures)
            for channel in self._channels[obj.alias]:
                if _is_parameter(obj, declared, channel.spec):
                    yield Reference(HAS_COMPONENT, True, site_id(channel.node))

        folder = ua.NodeId(ua.ObjectIds.FolderType, NS_UA)
        name = ua.QualifiedName(PARAMETERS, NS_TYPES)
        return self._group(identifier, name, "The settings of the controller.", folder, members)

    def _identification(self, obj: ObjectSpec, identifier: str) -> Node:
        def members() -> Iterator[Reference]:
            for name in properties.texts_of(obj, self._version):
                yield Reference(ORGANIZES, True, site_id(f"{obj.alias}/{name}"))

        name = ua.QualifiedName(IDENTIFICATION, NS_DI)
        return self._group(identifier, name, "What the device is.", ua.NodeId(1005, NS_DI), members)

    # Variables.

    def _face_of(self, channel: Channel) -> _Face:
        """As `_face`, found by identity first: hashing a declaration costs more than making the node."""
        spec = channel.spec
        declared = _declarations(self._layout.by_alias[channel.alias].natures).get(spec.name, spec)
        key = (id(spec), id(declared))
        face = self._faces.get(key)
        if face is None:
            face = self._faces[key] = _face(spec, declared)
        return face

    def _variable(self, channel: Channel) -> Node:
        spec = channel.spec
        obj = self._layout.by_alias[channel.alias]
        face = self._face_of(channel)
        history = _HISTORY if self._layout.historized(channel) else 0
        is_parameter = _is_parameter(obj, _declarations(obj.natures), spec)
        parent = f"{channel.alias}/{PARAMETERS}" if is_parameter else channel.alias
        configured = self._configured(channel)
        glances = face.glances if configured is None else {**face.glances, properties.CONFIGURED: properties.glance(configured)}
        return Node(
            site_id(channel.node),
            ua.NodeClass.Variable,
            face.browse_name,
            face.display_name,
            face.description,
            references=lambda: (
                Reference(HAS_COMPONENT, False, site_id(parent)),
                *(Reference(HAS_PROPERTY, True, site_id(f"{channel.node}/{name}"), glance) for name, glance in glances.items()),
                *((history_reference(channel),) if history else ()),
                *self._overview(channel),
            ),
            type_definition=face.type_definition,
            data_type=face.data_type,
            value_rank=1 if spec.array else -1,
            array_dimensions=(channel.length,) if spec.array else None,
            access_level=vocabulary.access_level(spec) | history,
            channel=channel,
            eu_range=vocabulary.eu_range(spec),
            permissions=_permission_class(obj, spec),
        )

    def _glance(self, obj: ObjectSpec, channel: Channel) -> Glance | None:
        """What Browse tells of a channel of an object; the site is everybody's, but what it shows is not."""
        if obj.kind == SITE:
            return None
        return Glance(int(ua.NodeClass.Variable), _permission_class(obj, channel.spec), self._face_of(channel).told)

    def _overview(self, channel: Channel) -> Iterator[Reference]:
        if channel.alias == SITE_ALIAS and any(spec.name == channel.spec.name for spec in OVERVIEW_CHANNELS):
            yield Reference(ORGANIZES, False, site_id(f"{SITE_ALIAS}/{OVERVIEW}"))

    def _property(self, obj: ObjectSpec, name: str) -> Node | None:
        text = properties.texts_of(obj, self._version).get(name)
        if text is None:
            return None
        folder = f"{obj.alias}/{IDENTIFICATION}" if obj.kind == DEVICE else ""
        return properties.property_node(obj.alias, properties.of_object(obj, name, text), folder)

    # Methods.

    def _method(self, obj: ObjectSpec, method: Method) -> Node:
        identifier = f"{obj.alias}/{method.name}"

        def references() -> Iterator[Reference]:
            yield Reference(HAS_COMPONENT, False, site_id(obj.alias))
            machine = state_machines.machine_of(self._layout, obj)
            if machine is not None and method in machine.methods:
                yield Reference(HAS_COMPONENT, False, site_id(f"{obj.alias}/{state_machines.NAME}"))
            for name in properties.ARGUMENTS:
                if properties.arguments(method, name) is not None:
                    yield Reference(HAS_PROPERTY, True, site_id(f"{identifier}/{name}"))

        return Node(
            site_id(identifier),
            ua.NodeClass.Method,
            ua.QualifiedName(method.name, NS_TYPES),
            ua.LocalizedText(method.name),
            ua.LocalizedText(method.doc, "en"),
            references=references,
            permissions=_method_class(obj, method),
            attributes=_CALLABLE,
        )


def _methods(obj: ObjectSpec) -> tuple[Method, ...]:
    """The methods that do something: those of the site and of controllers, and those that start and stop devices."""
    if obj.kind == DEVICE:
        has_machine = any(use.spec.name == natures.StartStoppable.OperatingState.name for use in obj.channels)
        return natures.StartStoppable.methods if has_machine else ()
    return obj.natures[0].methods if obj.kind in (SITE, CONTROLLER) and obj.natures else ()


def _method_class(obj: ObjectSpec, method: Method) -> Kind:
    if obj.kind == CONTROLLER and method.name in proposals.METHODS:
        return Kind.PROPOSE
    if method.name in planning.PERMISSIONS:
        return planning.PERMISSIONS[method.name]
    return Kind.CONFIGURE if obj.kind == CONTROLLER else Kind.OPERATE


def _permission_class(obj: ObjectSpec, spec: Spec) -> Kind:
    if spec.access is not Access.PROPOSE:
        return Kind.MEASURE
    return Kind.PARAMETER if obj.kind == CONTROLLER else Kind.SETPOINT


def build_nodes(server: UaServer) -> tuple[NodeStore, SiteNodes]:
    """The address space of a server: types from the compiled nodesets, the site from its layout; and who makes the latter."""
    layout = server.layout
    types = TypeNodes(load(server.settings.directory / "data" / "cache"))
    local = LocalNodes(server.namespaces)
    standard = types.source(NS_UA)
    site = SiteNodes(server, types.version)
    types.link(ua.ObjectIds.ObjectsFolder, ORGANIZES, site_id(SITE_ALIAS))
    for obj in layout.objects:
        if obj.kind == DEVICE:
            types.link(code(NS_DI, int(DEVICE_SET.Identifier)), ORGANIZES, site_id(obj.alias))
    for folder in (ua.ObjectIds.HistoryServerCapabilities_AggregateFunctions, _AGGREGATES_FOLDER):
        for function in FUNCTIONS:
            types.link(folder, ORGANIZES, function)
            types.link(int(function.Identifier), ORGANIZES, ua.NodeId(folder, NS_UA), forward=False)
    types.link(int(SERVER_OBJECT.Identifier), HAS_NOTIFIER, site_id(SITE_ALIAS))
    types.link(ua.ObjectIds.ServerConfiguration, HAS_COMPONENT, push.GET_CERTIFICATES)
    for entry in local.entries:
        types.link(ua.ObjectIds.Server_Namespaces, HAS_COMPONENT, entry)
    store = NodeStore(
        {
            NS_UA: lambda identifier: standard(identifier) or push.make(identifier),
            NS_SERVER: local.make,
            NS_DI: types.source(NS_DI),
            NS_TYPES: types.source(NS_TYPES),
            NS_SITE: lambda identifier: (
                administration.OBJECT.make(identifier)
                or remote.OBJECT.make(identifier)
                or explaining.OBJECT.make(identifier)
                or reload.make(identifier)
                or site.make(identifier)
            ),
        }
    )
    return store, site
