"""The site's objects as the Devices page lists them: what each is, its channels grouped by nature, and how it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.client import ChannelInfo, ObjectInfo
from server.core.channel import Level
from server.core.natures import CommState, EntryState, MeterRole

from . import machine, natures, numbers
from .catalogue import Catalogue, kind, label, words
from .parameters import ends, span
from .readings import Readings, unix_time

KINDS = ("site", "device", "cycle", "object")
HEADLINES = (
    "GridPower", "ChargePower", "ActivePower", "DcPower", "LastDuration", "Temperature", "FlowTemperature", "Irradiance",
    "BuyPrice",
)  # fmt: skip
"""The one value a device is shown with in the tree: the first of these it has."""
_ENTRY = "entry."
_TELLING = ("State", "CommState", "NoFailSafe", "LastCommunication", "Reason", "NextRetry", *machine.TELLING)
_IDENTITY = (
    ("Manufacturer", "Manufacturer"), ("Model", "Model"), ("SerialNumber", "Serial number"), ("Firmware", "Firmware"),
    ("SoftwareRevision", "Software"), ("HardwareRevision", "Hardware"), ("DeviceRevision", "Revision"), ("TimeZone", "Time zone"),
    ("Version", "Version"), ("Id", "Site id"),
)  # fmt: skip
_ENTRY_WORDS = {
    EntryState.NotLoaded: ("calm", "switched off"), EntryState.SetupInProgress: ("calm", "is being set up"),
    EntryState.SetupError: ("bad", "cannot be set up"), EntryState.SetupRetry: ("warn", "could not be reached"),
    EntryState.MigrationError: ("bad", "its settings are of another version"),
    EntryState.UnloadInProgress: ("calm", "is being stopped"), EntryState.FailedUnload: ("bad", "could not be stopped"),
}  # fmt: skip
_LEVEL_WORDS = {Level.Info: ("calm", "notice"), Level.Warning: ("warn", "warning"), Level.Fault: ("bad", "fault")}
FINE = ("good", "fine")


def things(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Site, devices and the control cycle; then what is configured and has no device (yet)."""
    known = sorted((t for t in catalogue if t.kind in KINDS), key=lambda t: (t.kind != "site", t.kind == "cycle"))
    return [_thing(t) for t in known if t.channels] + [_absent(t) for t in _orphans(catalogue)]


def _orphans(catalogue: Catalogue) -> Iterator[ObjectInfo]:
    """Entries whose device the site does not have."""
    return (t for t in catalogue if t.kind == "entry" and t.alias.removeprefix(_ENTRY) not in catalogue.model.objects)


def _thing(thing: ObjectInfo) -> dict[str, Any]:
    return {
        "alias": thing.alias,
        "label": "Control cycle" if thing.kind == "cycle" else label(thing),
        "type": kind(thing),
        "kind": thing.kind,
        "carrier": natures.carrier(thing.natures, thing.properties.get("MeterRole")),
        "identity": identity(thing),
        "groups": groups(thing),
    }


def _absent(entry: ObjectInfo) -> dict[str, Any]:
    alias = entry.alias.removeprefix(_ENTRY)
    found = {"Driver": entry.properties.get("Driver", ""), "File": entry.properties.get("File", "")}
    rows = [[name, str(text)] for name, text in found.items() if text]
    return {"alias": alias, "label": alias, "type": "not loaded", "kind": "entry", "carrier": "", "identity": rows, "groups": []}


def identity(thing: ObjectInfo) -> list[list[str]]:
    """What the device is, as far as it tells: rows of name and text."""
    rows = [[name, str(thing.properties.get(key) or "")] for key, name in _IDENTITY]
    role = thing.properties.get("MeterRole")
    if isinstance(role, int) and role in set(MeterRole):
        rows.append(["Meter role", words(MeterRole(role).name).lower()])
    return [row for row in rows if row[1]]


def groups(thing: ObjectInfo) -> list[dict[str, Any]]:
    """The channels of a device: what may be set first, then by nature, those of every device last."""
    wanted = [c for c in thing.channels.values() if c.name not in thing.properties]
    setpoints = [c for c in wanted if natures.is_setpoint(c.name, thing.natures) and not machine.drives(thing, c.name)]
    titles = {"Set-points": setpoints}
    for nature in sorted(thing.natures, key=lambda name: name == "Device"):
        places = natures.names(nature)
        named = sorted((c for c in wanted if c.name in places), key=lambda c: places[c.name])
        titles[natures.title(nature)] = titles.get(natures.title(nature), []) + named
    return [{"title": title, "channels": rows} for title, rows in _once(thing, titles | {"Other": wanted}) if rows]


def _once(thing: ObjectInfo, titles: Mapping[str, Sequence[ChannelInfo]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each channel in the first place that has it."""
    left = {c.node: c for channels in titles.values() for c in channels}
    for title, channels in titles.items():
        rows = [left.pop(c.node) for c in channels if c.node in left]
        yield title, [channel(c, pressed=machine.drives(thing, c.name)) for c in rows]


def channel(info: ChannelInfo, *, pressed: bool = False) -> dict[str, Any]:
    """What the browser needs to know of a channel. pressed: buttons write it, not people."""
    low, high = ends(info)
    return {
        "node": info.node, "name": words(info.name), "doc": info.description, "unit": info.unit,
        "writable": info.writable and not pressed,
        "low": low, "high": high, "span": span(info), "states": list(info.states), "switch": info.data_type == "Boolean",
        "number": info.data_type not in ("String", "LocalizedText", "UtcTime", "DateTime") and not info.length,
        "history": info.historized,
    }  # fmt: skip


def followed(catalogue: Catalogue) -> list[str]:
    """The nodes that tell how the things of the tree are."""
    told = [t for t in catalogue if t.kind in (*KINDS, "entry")]
    found = [f"{t.alias}/{name}" for t in told for name in _TELLING]
    return catalogue.known(*found, *filter(None, map(headline, told)))


def headline(thing: ObjectInfo) -> str:
    """The node of the value a device is shown with; empty without one."""
    return next((thing.channels[n].node for n in HEADLINES if n in thing.channels), "")


def conditions(catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    """How each thing of the tree is, by `d.<alias>`."""
    found = {f"d.{t.alias}": condition(t, catalogue, readings) for t in catalogue if t.kind in KINDS and t.channels}
    return found | {f"d.{t.alias.removeprefix(_ENTRY)}": _entry(t, readings) for t in _orphans(catalogue)}


def condition(thing: ObjectInfo, catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    """State in words, the headline value, and what its entry says."""
    entry = catalogue.model.objects.get(_ENTRY + thing.alias)
    about = _entry(entry, readings) if entry else {"tone": FINE[0], "word": FINE[1], "reason": "", "retry": 0}
    if about["tone"] == "good":
        about["tone"], about["word"] = _state(thing, readings)
    node = headline(thing)
    value = readings.number(node) if node else None
    text, unit = numbers.quantity(math.nan if value is None else value, catalogue.channels[node].unit) if node else ("", "")
    return about | {
        "machine": machine.shown(thing, readings),
        "text": text,
        "unit": unit,
        "exposed": bool(readings.number(f"{thing.alias}/NoFailSafe")),
        "heard": round(unix_time(int(readings.number(f"{thing.alias}/LastCommunication") or 0))),
    }


def _entry(entry: ObjectInfo, readings: Readings) -> dict[str, Any]:
    value = readings.number(f"{entry.alias}/State")
    state = EntryState(int(value)) if value is not None and value in set(EntryState) else EntryState.Loaded
    tone, word = _ENTRY_WORDS.get(state, FINE)
    retry = readings.number(f"{entry.alias}/NextRetry")
    return {
        "tone": tone,
        "word": word,
        "reason": readings[f"{entry.alias}/Reason"].text,
        "retry": round(unix_time(int(retry or 0))),
    }


def _state(thing: ObjectInfo, readings: Readings) -> tuple[str, str]:
    comm = readings.number(f"{thing.alias}/CommState")
    if comm == CommState.Down:
        return "bad", "does not answer"
    if comm == CommState.Degraded:
        return "warn", "answers now and then"
    if (idle := machine.trouble(thing, readings)) is not None:
        return idle
    level = readings.number(f"{thing.alias}/State")
    return _LEVEL_WORDS.get(Level(int(level)), FINE) if level in set(Level) else FINE
