"""A channel: one named, typed quantity of a device, declared once.

From the `Spec` of a channel come its slot in the process image, its OPC UA variable (DataType, EUInformation,
EURange, AccessLevel), its widget in the panel, its column in history and its row in the reference docs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, get_args, get_origin

from .errors import DeclarationError
from .units import Unit


class Access(StrEnum):
    """Who may change the value. The engine alone writes set-points; clients *propose* through arbitration."""

    READ = "RO"
    """Measured or computed; nobody writes it."""
    PROPOSE = "RW"
    """Written by the engine; a client with the role may write a wish, which enters arbitration or validation."""
    ENGINE = "WO"
    """Written by the engine only."""


class DataType(Enum):
    """Wire type of a channel. The image holds every number as an 8-byte float; strings hold a revision there."""

    DOUBLE = "Double"
    INT32 = "Int32"
    INT64 = "Int64"
    BOOLEAN = "Boolean"
    STRING = "String"
    DATETIME = "DateTime"


class Level(IntEnum):
    """Severity of a state channel while it is true, and of a device's State."""

    Ok = 0
    Info = 1
    Warning = 2
    Fault = 3


PHASES = ("L1", "L2", "L3")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a channel is. Immutable, made by a nature or a controller's parameters.

    name: BrowseName, CamelCase for channels, snake_case for controller parameters; variants carry `.L1` etc.
    low, high: EURange in `unit`; None where no physical range is known.
    states: the enumeration whose values the channel takes; its names become EnumStrings.
    array: the channel is an array whose length each device declares.
    per_phase: variants `.L1 .L2 .L3` exist too.
    level: a boolean state channel raises an alarm of this level while true.
    persistent: the value survives a restart (counters, parameters).
    needs: the engine decides the value, and does so for devices that have these channels.
    """

    name: str
    doc: str
    data_type: DataType = DataType.DOUBLE
    unit: Unit | None = None
    low: float | None = None
    high: float | None = None
    access: Access = Access.READ
    states: type[IntEnum] | None = None
    array: bool = False
    per_phase: bool = False
    level: Level | None = None
    persistent: bool = False
    needs: tuple[str, ...] = ()


class DateTime(float):
    """Kind of a point in time: 100 ns ticks since 1601-01-01 UTC (as a float exact to about 2 µs)."""


class Count(int):
    """Kind of a 64-bit counter."""


_DATA_TYPES: dict[type, DataType] = {
    float: DataType.DOUBLE,
    int: DataType.INT32,
    bool: DataType.BOOLEAN,
    str: DataType.STRING,
    Count: DataType.INT64,
    DateTime: DataType.DATETIME,
}


def channel(kind: Any, doc: str, **options: Any) -> Spec:
    """Declare a channel: `Soc = channel(Percent, "State of charge.", low=0, high=100)`; its class gives it its name.

    kind: a unit alias such as Watt, a plain float, int, bool, str, Count, DateTime or IntEnum, or `list` of one of them.
    options: the other fields of Spec. Raises DeclarationError on a kind the image cannot hold, and on an enumeration whose values
    are not 0, 1, 2, ...: its names are a list, the EnumStrings of OPC UA.
    """
    unit: Unit | None = None
    array = get_origin(kind) is list
    if array:
        (kind,) = get_args(kind)
    if get_origin(kind) is Annotated:
        kind, *metadata = get_args(kind)
        unit = next((m for m in metadata if isinstance(m, Unit)), None)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        if sorted(kind) != list(range(len(kind))):
            raise DeclarationError(
                f"{kind.__name__}: its values are {', '.join(str(int(s)) for s in kind)}, and not 0, 1, 2, ..."
            )
        return Spec("", doc, DataType.INT32, unit, states=kind, array=array, **options)
    if kind not in _DATA_TYPES:
        raise DeclarationError(
            f"{kind!r} is no kind of channel: a float with unit, int, bool, str, Count, DateTime or IntEnum is"
        )
    return Spec("", doc, _DATA_TYPES[kind], unit, array=array, **options)


def decided(kind: Any, doc: str, *needs: str, **options: Any) -> Spec:
    """Declare a channel of a device that the engine writes, where the device has the channels it `needs` for that."""
    return channel(kind, doc, needs=needs, **options)


def writable(kind: Any, doc: str, **options: Any) -> Spec:
    """Declare a channel that a client may propose a value for (RW)."""
    return channel(kind, doc, access=Access.PROPOSE, **options)
