"""The description of a site as a host of its control needs it: settings and objects, as JSON that executes nothing.

Whatever a channel declares travels with it, so the two hosts need not know the same drivers. Natures travel by name: one that
the host does not know cannot be controlled there and is left out. Controllers travel by the name of their class, which the host
must have.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import date
from enum import IntEnum
from typing import Any, Final, NamedTuple

from server.core import natures
from server.core.blocks import Polyline
from server.core.channel import Access, DataType, Level, Spec
from server.core.errors import EmsError
from server.core.layout import CONTROL, CONTROLLER, CYCLE, DEVICE, SITE, ChannelUse, Layout, ObjectSpec
from server.core.nature import Nature
from server.core.site import SiteSettings, StopInput
from server.core.units import Unit
from server.runtime.transfer import enumeration

FORMAT: Final = 1
KINDS: Final = (SITE, CYCLE, CONTROLLER, DEVICE)
DESCRIPTION_BYTES_MAX: Final = 64 << 20

_NATURES: Final = {n.__name__: n for n in vars(natures).values() if isinstance(n, type) and issubclass(n, Nature)}
_STATES: Final = {e.__name__: e for e in vars(natures).values() if isinstance(e, type) and issubclass(e, IntEnum)}


class DescriptionError(EmsError):
    """What came is no description of a site, or of one that this version does not understand."""


class Described(NamedTuple):
    """A site as it describes itself. schedule: the `[[schedule]]` tables of its site.toml."""

    settings: SiteSettings
    objects: tuple[ObjectSpec, ...]
    schedule: tuple[dict[str, Any], ...]


def describe(layout: Layout, settings: SiteSettings, schedule: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The description of a site, packed. schedule: the `[[schedule]]` tables of site.toml."""
    objects = [o for o in layout.objects if o.kind in KINDS]
    specs = list(dict.fromkeys(use.spec for o in objects for use in o.channels))
    numbers = {spec: i for i, spec in enumerate(specs)}
    told = {
        "format": FORMAT,
        "site": asdict(settings),
        "specs": [_spec_row(spec) for spec in specs],
        "objects": [_object_row(o, numbers) for o in objects],
        "schedule": list(schedule),
    }
    return zlib.compress(json.dumps(told, default=_plain, sort_keys=True).encode())


def digest(description: bytes) -> str:
    """Which description it is."""
    return hashlib.sha256(description).hexdigest()[:32]


def understand(description: bytes, owner: str) -> Described:
    """What a description says; the devices are those of `owner`. DescriptionError."""
    try:
        opened = zlib.decompressobj()
        told = json.loads(opened.decompress(description, DESCRIPTION_BYTES_MAX))
        if told["format"] != FORMAT:
            raise DescriptionError(f"the site describes itself in format {told['format']}, this version reads {FORMAT}")
        specs = [_spec(row) for row in told["specs"]]
        objects = tuple(_object(row, specs, owner) for row in told["objects"])
        stops = tuple(StopInput(**row) for row in told["site"].pop("emergency_stops"))
        return Described(SiteSettings(**told["site"], emergency_stops=stops), objects, tuple(map(dict, told["schedule"])))
    except (zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DescriptionError(f"this is no description of a site: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """What JSON does not know, as a configuration file would say it."""
    if isinstance(value, Polyline):
        return value.points
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spec_row(spec: Spec) -> dict[str, Any]:
    row = {f.name: getattr(spec, f.name) for f in fields(spec) if getattr(spec, f.name) != f.default}
    if spec.unit is not None:
        row["unit"] = [spec.unit.symbol, spec.unit.name, spec.unit.unece_code]
    if spec.states is not None:
        row["states"] = [spec.states.__name__, spec.states.__doc__, {m.name: int(m) for m in spec.states}]
    return row | {"data_type": spec.data_type.value}


def _spec(row: dict[str, Any]) -> Spec:
    given = dict(row, data_type=DataType(row["data_type"]))
    if "access" in row:
        given["access"] = Access(row["access"])
    if "unit" in row:
        given["unit"] = Unit(*row["unit"])
    if "level" in row:
        given["level"] = Level(row["level"])
    if "states" in row:
        given["states"] = _states(*row["states"])
    return Spec(**given | {"needs": tuple(row.get("needs", ()))})


def _states(name: str, doc: str | None, members: Mapping[str, int]) -> type[IntEnum]:
    known = _STATES.get(name)
    same = known is not None and {m.name: int(m) for m in known} == members
    return known if known is not None and same else enumeration(name, doc, members)


def _object_row(obj: ObjectSpec, numbers: Mapping[Spec, int]) -> dict[str, Any]:
    return {
        "alias": obj.alias,
        "kind": obj.kind,
        "decided": obj.owner == CONTROL,
        "natures": [n.__name__ for n in obj.natures],
        "channels": [[numbers[use.spec], use.length, use.period_s] for use in obj.channels],
        "type_name": obj.type_name,
        "doc": obj.doc,
        "properties": dict(obj.properties),
        "settings": dict(obj.settings),
    }


def _object(row: dict[str, Any], specs: Sequence[Spec], owner: str) -> ObjectSpec:
    return ObjectSpec(
        row["alias"],
        row["kind"],
        CONTROL if row["decided"] else owner,
        tuple(_NATURES[name] for name in row["natures"] if name in _NATURES),
        tuple(ChannelUse(specs[spec], length, period_s) for spec, length, period_s in row["channels"]),
        row["type_name"],
        row["doc"],
        row["properties"],
        row["settings"],
    )
