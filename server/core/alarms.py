"""Alarms as declarations: which values of which channel are wrong, how badly, and in which words.

Every state channel with a level raises an alarm without being asked, and so do a device that reports a fault or cannot be
heard, a controller that fails and an entry that cannot be set up (`standing_alarms`). Limits on numbers come from site.toml.
The supervisor's status and the OPC UA server evaluate the same declarations with the same step (`alarm_step`).

A watched value lies in a *zone*: 0 is normal, every other zone has a severity and words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

from .channel import DataType, Level
from .layout import CONTROL, CONTROLLER, DEVICE, ENTRY, PROCESS, Channel, Layout
from .natures import CommState, ConfigEntry, ControllerStatus, Device, EntryState, ProcessStatus, RunState, StartStoppable
from .site import ENTRY_PREFIX, PROCESS_PREFIX, SITE_ALIAS
from .words import power

SEVERITY: Final[Mapping[Level, int]] = {Level.Ok: 0, Level.Info: 200, Level.Warning: 500, Level.Fault: 800}
"""OPC UA severity, 1 to 1000, of a level; low to 333, medium to 666, high above (Part 9)."""
COMM_LOST_AFTER_S: Final = 1.0
"""A device is silent for this long before it raises an alarm; when the site starts it has not been asked yet."""
NORMAL: Final = 0
CERTIFICATE_SOON, CERTIFICATE_URGENT = 1, 2
"""Zones of a certificate: it expires within weeks; within days, or it has expired."""


STANDSTILL_NODE: Final = f"{PROCESS_PREFIX}{CONTROL}/StandstillAlarm"
CERTIFICATES_NODE: Final = f"{SITE_ALIAS}/CertificatesAlarm"


class LimitZone(IntEnum):
    """Zones of a number with limits; only one holds at a time."""

    Normal = NORMAL
    High = 1
    HighHigh = 2
    Low = 3
    LowLow = 4


class Zone(NamedTuple):
    """A zone that is not normal. severity: 1 to 1000; text: in an operator's words, `{value}` stands for the value."""

    severity: int
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a number in its unit; None where there is none. An alarm ends `hysteresis` inside the limit it passed."""

    low_low: float | None = None
    low: float | None = None
    high: float | None = None
    high_high: float | None = None
    hysteresis: float = 0.0


@dataclass(frozen=True, slots=True)
class AlarmSpec:
    """One alarm.

    node: its NodeId string; source: alias of the object concerned; name: shown; channel: node of the watched channel, ""
        for an alarm that is reported by a part of the server itself.
    zones: what is not normal. Without `limits` the zone is the value itself: a state, or 1 for true.
    on_delay_s, off_delay_s: how long the value must stay abnormal, or normal, before that counts.
    latch: stays until it is reset; confirm: wants a confirmation after the acknowledgement.
    words: nodes of text channels that say more than the zone's text.
    silencer: node of an alarm that suppresses this one while it is active, "" for none.
    echo: comes only while no other state of the same source is at least as severe.
    over: what is said when it is normal again, "" for what was said before; unit: of the value.
    certificate: name of the certificate of the site that is watched instead of a channel.
    """

    node: str
    source: str
    name: str
    channel: str
    zones: Mapping[int, Zone]
    limits: Limits | None = None
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    latch: bool = False
    confirm: bool = False
    words: tuple[str, ...] = ()
    silencer: str = ""
    echo: bool = False
    over: str = ""
    unit: str = ""
    certificate: str = ""

    def message(self, zone: int, value: float, told: str = "", before: str = "") -> str:
        """What an operator reads. told: the words of the `words` channels; before: what was said last."""
        text = self.over or f"over: {before}" if zone == NORMAL else told or self.zones[zone].text
        words = text.replace("{value}", quantity(value, self.unit))
        return words[:1].upper() + words[1:]


def told(alarm: AlarmSpec, layout: Layout, text: Callable[[Channel], str]) -> str:
    """What the text channels of an alarm say now. text: reads one."""
    return "; ".join(words for node in alarm.words if (words := text(layout.by_node[node])))


def quantity(value: float, unit: str) -> str:
    """A value with its unit: 9.8 %, 23.1 kW."""
    return power(value, unit) if unit in ("W", "var", "VA", "Wh") else f"{round(value, 2):g} {unit}".rstrip()


def level_of(severity: int) -> Level:
    """The level whose severity is nearest from below; Info at least."""
    return max((level for level, least in SEVERITY.items() if least <= severity), default=Level.Info) or Level.Info


class Standing(NamedTuple):
    """An alarm that every channel of this name of this kind of object raises. words: nodes of its text, from the alias."""

    kind: str
    channel: str
    name: str
    zones: Mapping[int, Zone]
    on_delay_s: float = 0.0
    words: tuple[str, ...] = ()
    echo: bool = False


_FAULT: Final = SEVERITY[Level.Fault]
_ENTRY_REASON: Final = f"{ENTRY_PREFIX}{{alias}}/{ConfigEntry.Reason.name}"
STANDING: Final = (
    Standing(
        DEVICE,
        Device.CommState.name,
        "CommLost",
        {CommState.Down: Zone(_FAULT, "the device does not answer")},
        on_delay_s=COMM_LOST_AFTER_S,
        words=(_ENTRY_REASON,),
    ),
    Standing(
        DEVICE,
        Device.State.name,
        "DeviceFault",
        {level: Zone(SEVERITY[level], f"the device reports a {level.name.lower()}") for level in (Level.Warning, Level.Fault)},
        words=(_ENTRY_REASON,),
        echo=True,
    ),
    Standing(
        DEVICE,
        StartStoppable.StartStopFailed.name,
        StartStoppable.StartStopFailed.name,
        {1: Zone(_FAULT, "the device failed and waits for an operator")},
        words=(f"{{alias}}/{StartStoppable.StartStopReason.name}", _ENTRY_REASON),
    ),
    Standing(
        CONTROLLER,
        ControllerStatus.RunState.name,
        "ControllerFailed",
        {RunState.Fault: Zone(_FAULT, "the controller fails")},
        words=(f"{{alias}}/{ControllerStatus.Explanation.name}",),
    ),
    Standing(
        ENTRY,
        ConfigEntry.State.name,
        "SetupFailed",
        {
            state: Zone(_FAULT, "the entry cannot be set up")
            for state in (EntryState.SetupError, EntryState.MigrationError, EntryState.FailedUnload)
        },
        words=(f"{{alias}}/{ConfigEntry.Reason.name}",),
    ),
    Standing(
        PROCESS,
        ProcessStatus.State.name,
        "ProcessTrouble",
        {level: Zone(SEVERITY[level], "the process is in trouble") for level in (Level.Warning, Level.Fault)},
        words=(f"{{alias}}/{ProcessStatus.Reason.name}",),
    ),
)


def standing_alarms(layout: Layout) -> Iterator[AlarmSpec]:
    """The alarms that need no configuration, in the order of the channels."""
    for channel in layout.channels:
        alarm = _flag(channel) or _standing(layout, channel)
        if alarm is not None:
            yield replace(alarm, silencer=silencer_of(layout, alarm))
    control = PROCESS_PREFIX + CONTROL
    if control in layout.by_alias:
        zones = {1: Zone(_FAULT, "control freezes no image; every value is as it was")}
        yield AlarmSpec(STANDSTILL_NODE, control, "Standstill", "", zones)


def silencer_of(layout: Layout, alarm: AlarmSpec) -> str:
    """The alarm that tells that the alarm's device cannot be heard; its other alarms add nothing then."""
    silencer = alarm_node(alarm.source, "CommLost")
    return silencer if alarm.node != silencer and layout.find(alarm.source, Device.CommState) is not None else ""


def certificate_alarms(names: Iterable[str]) -> Iterator[AlarmSpec]:
    """The alarms of the site's own certificates, by name, and the one of everything else about certificates."""
    if not (names := tuple(names)):
        return
    warning, fault = SEVERITY[Level.Warning], SEVERITY[Level.Fault]
    zones = {CERTIFICATE_SOON: Zone(warning, "expires soon"), CERTIFICATE_URGENT: Zone(fault, "expires in a few days")}
    for name in names:
        title = f"{name[:1].upper()}{name[1:]}Certificate"
        yield AlarmSpec(alarm_node(SITE_ALIAS, title), SITE_ALIAS, title, "", zones, certificate=name)
    trouble = {CERTIFICATE_SOON: Zone(warning, "something is wrong with certificates")}
    yield AlarmSpec(CERTIFICATES_NODE, SITE_ALIAS, "Certificates", "", trouble)


def alarm_node(alias: str, name: str) -> str:
    """NodeId string of an object's alarm."""
    return f"{alias}/{name}Alarm"


def _flag(channel: Channel) -> AlarmSpec | None:
    """The alarm of a boolean state channel."""
    spec = channel.spec
    if not spec.level or spec.data_type is not DataType.BOOLEAN or spec.array:
        return None
    zones = {1: Zone(SEVERITY[spec.level], spec.doc.rstrip("."))}
    return AlarmSpec(alarm_node(channel.alias, spec.name), channel.alias, spec.name, channel.node, zones)


def _standing(layout: Layout, channel: Channel) -> AlarmSpec | None:
    """The alarm of a channel that says how its object is."""
    kind, alias = layout.by_alias[channel.alias].kind, channel.alias
    rule = next((r for r in STANDING if (r.kind, r.channel) == (kind, channel.spec.name)), None)
    if rule is None:
        return None
    words = tuple(node for each in rule.words if (node := each.format(alias=alias)) in layout.by_node)
    return AlarmSpec(
        alarm_node(alias, rule.name),
        alias,
        rule.name,
        channel.node,
        {int(state): zone for state, zone in rule.zones.items()},
        on_delay_s=rule.on_delay_s,
        words=words,
        echo=rule.echo,
    )
