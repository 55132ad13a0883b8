"""A layout with one of each kind of object, and a server over it whose handlers tests call directly."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from asyncua import ua
from opcua_site import FakeImage

from certs import TrustList
from controllers.peak_shaving import PeakShaving
from server.core.alarms import AlarmSpec
from server.core.channel import Spec
from server.core.controller import controller_object
from server.core.image import Image, blank_records
from server.core.layout import DEVICE, ENTRY, SUPERVISOR, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.nature import Nature
from server.core.natures import Battery, ConfigEntry, Device, DigitalIo, ManagedEss, Meter, Pv, Tariff
from server.core.site import SiteSettings, cycle_object, site_object
from server.opcua.conditions import Conditions
from server.opcua.counts import ServerCounts
from server.opcua.events import EventHub
from server.opcua.events.audit import AuditEvents
from server.opcua.model import build_nodes
from server.opcua.plans import Plans
from server.opcua.push import Configuration
from server.opcua.session import User

ENTRY_USES = tuple(ChannelUse(spec) for spec in ConfigEntry.channels().values())


def device(alias: str, natures: tuple[type[Nature], ...], lengths: dict[str, int] | None = None, **fields: Any) -> ObjectSpec:
    """A device with every channel of its natures; arrays have a length of 4 unless told."""
    specs: dict[str, Spec] = {}
    for nature in (Device, *natures):
        specs |= nature.channels()
    uses = tuple(ChannelUse(s, (lengths or {}).get(s.name, 4) if s.array else 1, 1.0) for s in specs.values())
    return ObjectSpec(alias, DEVICE, "modbus", (Device, *natures), uses, "Plant", "A simulated device.", **fields)


def site_objects() -> list[ObjectSpec]:
    """One object of each kind, and one device of most natures."""
    settings = SiteSettings("3f2a", "Demo site", "Europe/Vienna", grid_meter="meter0")
    ess = {"Manufacturer": "ACME", "Model": "Store 10", "SerialNumber": "S1", "Firmware": "1.2", "Label": "Battery"}
    return [
        site_object(settings),
        cycle_object(),
        controller_object(PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000}),
        ObjectSpec("entry.ess0", ENTRY, SUPERVISOR, (ConfigEntry,), ENTRY_USES, "ConfigEntry", "Entry.", {"Driver": "modbus"}),
        device("ess0", (ManagedEss,), properties=ess),
        device("bat0", (Battery,)),
        device("meter0", (Meter,), properties={"MeterRole": "Grid"}),
        device("pv0", (Pv,)),
        device("io0", (DigitalIo,)),
        device("tariff0", (Tariff,)),
    ]


def site_layout() -> Layout:
    """The layout of `site_objects`."""
    return build_layout(site_objects())


class Sessions(list[Any]):
    """As many sessions as a test says."""

    cumulated = 0


class Subscriptions(list[Any]):
    """The subscriptions as the Server object's methods see them."""

    cumulated = 0

    def monitored_items(self, session: Any, number: int) -> tuple[list[int], list[int]]:
        self.asked = (session, number)
        return [1, 2], [10, 20]

    def resend(self, session: Any, number: int) -> None:
        self.asked = (session, number)


@dataclass
class Settings:
    """Where the compiled types are cached; no alarms."""

    directory: Path
    alarms: tuple[AlarmSpec, ...] = ()
    timezone: str = "UTC"
    remote: bool = False


class Server:
    """What the handlers need of the server, over an image that the test fills."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.settings = Settings(directory)
        self.layout = layout
        self.image: Any = FakeImage(layout)
        self.inbox, self.propose = self.image.inbox, self.image.proposals.put
        self.namespaces = ["http://opcfoundation.org/UA/", "urn:test:server", "http://opcfoundation.org/UA/DI/"]
        self.namespaces += ["urn:unified-ems:types", "urn:unified-ems:3f2a"]
        self.started = time.time()
        self.started_monotonic = time.monotonic()
        self.counts = ServerCounts()
        self.sessions = Sessions()
        self.subscriptions = Subscriptions()
        self.audited: list[tuple[str, dict[str, Any]]] = []
        self.waited = 0
        self.remote = SimpleNamespace(held=False)
        self.methods: dict[ua.NodeId, Any] = {}
        self.application_uri = self.namespaces[1]
        self.users: list[User] = []
        self.security = SimpleNamespace(trust=TrustList(directory), certificate=b"")
        self.configuration = Configuration(self)  # type: ignore[arg-type]
        self.frame = Image(blank_records(layout.slots), cycle=1, frozen_at=time.monotonic_ns())
        self.nodes, _ = build_nodes(self)  # type: ignore[arg-type]
        self.read_plans: Plans[Any] = Plans()
        self.write_plans: Plans[Any] = Plans()
        self.events = EventHub(self)  # type: ignore[arg-type]
        self.audit_events = AuditEvents(self)  # type: ignore[arg-type]
        self.conditions = Conditions(self, self.settings.alarms)  # type: ignore[arg-type]

    def record(self, event: str, session: Any = None, **fields: Any) -> dict[str, Any]:
        self.audited.append((event, fields))
        return fields

    def audit(self, event: str, **fields: Any) -> None:
        self.record(event, **fields)

    def check_auditable(self) -> None:
        pass

    async def applied(self) -> None:
        self.waited += 1

    def set(self, node: str, value: float, status: int = 0, source: int = 133_000_000_000_000_000, index: int = 0) -> None:
        """Put a value into the frame."""
        self.frame.records[self.layout.by_node[node].slot + index] = (value, source, 0, status, 0)


@dataclass(eq=False)
class Session:
    """A session of a user with these roles."""

    user: User
    continuations: dict[bytes, Any]


def session(*roles: str) -> Session:
    """A session of a user with these roles."""
    return Session(User("anna", frozenset(roles), 7), {})


def at(identifier: str) -> ua.NodeId:
    """`ess0/Soc` in the site's namespace, or a NodeId as text."""
    return ua.NodeId.from_string(identifier) if "=" in identifier else ua.NodeId(identifier, 4)


def with_range(layout_object: ObjectSpec, name: str, low: float, high: float) -> ObjectSpec:
    """The object with a range on one of its channels, as a driver that knows the device's rating declares it."""
    rated = {use.spec.name: use for use in layout_object.channels}
    rated[name] = replace(rated[name], spec=replace(rated[name].spec, low=low, high=high))
    return replace(layout_object, channels=tuple(rated.values()))
