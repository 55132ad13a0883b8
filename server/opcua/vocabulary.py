"""What OPC UA makes of a declaration: the DataType, variable type, unit and range of a `Spec`, the names of types.

The generator of the type nodeset and the instances of the running server both ask here, so that an instance is always
what its type says.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, get_args

from asyncua import ua

from server.core import natures
from server.core.channel import Access, DataType, Spec
from server.core.nature import Nature
from server.core.units import Unit

TYPES_CSV: Final = Path(__file__).resolve().parents[2] / "nodesets" / "types.csv"
PRODUCT_URI: Final = "urn:unified-ems"
UNITS_URI: Final = "http://www.opcfoundation.org/UA/units/un/cefact"

BUILT_IN: Final[Mapping[DataType, ua.VariantType]] = {
    DataType.DOUBLE: ua.VariantType.Double,
    DataType.INT32: ua.VariantType.Int32,
    DataType.INT64: ua.VariantType.Int64,
    DataType.BOOLEAN: ua.VariantType.Boolean,
    DataType.STRING: ua.VariantType.String,
    DataType.DATETIME: ua.VariantType.DateTime,
}
"""Wire type of a channel's value."""

NUMBERS: Final[Mapping[DataType, str]] = {
    DataType.DOUBLE: "d",
    DataType.INT32: "i",
    DataType.INT64: "q",
    DataType.BOOLEAN: "?",
    DataType.DATETIME: "q",
}
"""Letter by which `struct` and NumPy know the values that are one number; on the wire little-endian."""

DATA_TYPE_IDS: Final[Mapping[DataType, int]] = {
    DataType.DOUBLE: ua.ObjectIds.Double,
    DataType.INT32: ua.ObjectIds.Int32,
    DataType.INT64: ua.ObjectIds.Int64,
    DataType.BOOLEAN: ua.ObjectIds.Boolean,
    DataType.STRING: ua.ObjectIds.String,
    DataType.DATETIME: ua.ObjectIds.UtcTime,
}
"""DataType attribute of a channel without states; those with states have an enumeration of their own."""

OBJECT_TYPES: Final[Mapping[type[Nature], str]] = {
    natures.Site: "EnergyManagerType",
    natures.Cycle: "CycleType",
    natures.ControllerStatus: "ControllerType",
    natures.ForeignControl: "ForeignControllerType",
    natures.ConfigEntry: "ConfigEntryType",
    natures.ProcessStatus: "ProcessType",
}
"""Natures that are an object type of their own; every other nature is an interface that devices carry."""

DEVICE_TYPE: Final = "EmsDeviceType"


_STATES: Final = (ua.ObjectIds.OffNormalAlarmType,)
_STATES_AND_LIMITS: Final = (*_STATES, ua.ObjectIds.ExclusiveLimitAlarmType)
GENERATED_EVENTS: Final[Mapping[str, tuple[int, ...]]] = {
    DEVICE_TYPE: _STATES_AND_LIMITS,
    "EnergyManagerType": (*_STATES_AND_LIMITS, ua.ObjectIds.CertificateExpirationAlarmType),
    "CycleType": _STATES_AND_LIMITS,
    "ControllerType": _STATES_AND_LIMITS,
    "ForeignControllerType": _STATES_AND_LIMITS,
    "ConfigEntryType": _STATES,
    "ProcessType": _STATES,
}
"""Types of the alarms that objects of a type raise."""

FOLDERS: Final[Mapping[str, str]] = {
    "Overview": "The site's key figures as plain variables, for clients that want one flat folder.",
    "Devices": "Every device of the site.",
    "Controllers": "Every controller; Priority tells their order.",
    "Integrations": "The configuration entries that bring devices in.",
    "Processes": "The processes of the site.",
    "Alarms": "All alarms, and how many of them matter.",
}
"""Folders of the site, and what they hold."""


def argument_states(name: str) -> type[IntEnum] | None:
    """The states a method's argument takes: those of the site's channel of its name. None: the argument is a Double."""
    spec = natures.Site.channels().get(name)
    return spec.states if spec is not None else None


_PLAIN: Final[Mapping[type, int]] = {
    str: ua.ObjectIds.String,
    int: ua.ObjectIds.Int32,
    float: ua.ObjectIds.Double,
    bool: ua.ObjectIds.Boolean,
}


def argument_form(kind: Unit | type | None) -> tuple[int, bool]:
    """NodeId in namespace 0 of the DataType of a method's argument, and whether it is an array."""
    if kind is None or isinstance(kind, Unit):
        return int(ua.ObjectIds.Double), False
    members = get_args(kind)
    return (int(_PLAIN[members[0]]), True) if members else (int(_PLAIN[kind]), False)


def interface_name(nature: type[Nature]) -> str:
    """Name of the interface type of a device's nature."""
    return f"I{nature.__name__}Type"


def role_symbol(role: str) -> str:
    """Symbol of a role that the standard does not know, below its RoleSet."""
    return f"Role/{role}"


def enumeration_name(states: type[IntEnum]) -> str:
    """Name of the enumeration DataType of a set of states."""
    return f"{states.__name__}Enumeration"


def variable_type(spec: Spec) -> int:
    """NodeId in namespace 0 of the variable type that says all that is known of the channel (Part 8, 5.3)."""
    if spec.states is None and spec.data_type in (DataType.DOUBLE, DataType.INT32, DataType.INT64):
        if eu_range(spec) is not None:
            return int(ua.ObjectIds.AnalogUnitRangeType if spec.unit else ua.ObjectIds.AnalogItemType)
        if spec.unit is not None:
            return int(ua.ObjectIds.AnalogUnitType)
    return int(ua.ObjectIds.BaseDataVariableType)


def eu_range(spec: Spec) -> tuple[float, float] | None:
    """The range in the channel's unit; None unless both ends are known."""
    return (float(spec.low), float(spec.high)) if spec.low is not None and spec.high is not None else None


def eu_information(unit: Unit) -> ua.EUInformation:
    """The unit as OPC UA writes it: UNECE code, symbol, name."""
    return ua.EUInformation(UNITS_URI, unit.unece_id, ua.LocalizedText(unit.symbol, "en"), ua.LocalizedText(unit.name, "en"))


def access_level(spec: Spec) -> int:
    """AccessLevel bits: every channel is read, some are written by clients."""
    written = ua.AccessLevel.CurrentWrite.mask if spec.access is Access.PROPOSE else 0
    return int(ua.AccessLevel.CurrentRead.mask | written)


def summary(documented: type) -> str:
    """First line of a class's docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


@lru_cache(maxsize=1)
def type_ids() -> Mapping[str, int]:
    """Identifier in the types namespace of each symbol: `IEssType`, `IEssType/Soc`, `GridModeEnumeration`."""
    with TYPES_CSV.open(newline="", encoding="utf-8") as stream:
        return {row["symbol"]: int(row["id"]) for row in csv.DictReader(stream)}
