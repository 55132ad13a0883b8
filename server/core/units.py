"""Units of measure, and the annotations that give a channel or a parameter its unit.

SI inside, always: W, Wh, V, A, Hz, °C, % (0-100), s. Other units exist only at the edge (register scale factors,
display). `Watt` and its fellows are plain floats to a type checker; the unit travels as annotation metadata and is
read once, when a nature or a parameter class is defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure. `unece` is the UNECE Rec. 20 common code, packed big-endian as OPC UA EUInformation wants it."""

    symbol: str
    name: str
    unece_code: str

    @property
    def unece_id(self) -> int:
        """The numeric UnitId of EUInformation (Part 8, 5.6.3); -1 where the code list has none."""
        return int.from_bytes(self.unece_code.encode(), "big") if self.unece_code else -1


WATT: Final = Unit("W", "watt", "WTT")
VAR: Final = Unit("var", "var", "D44")
VOLT_AMPERE: Final = Unit("V·A", "volt-ampere", "D46")
WATT_HOUR: Final = Unit("Wh", "watt hour", "WHR")
VOLT: Final = Unit("V", "volt", "VLT")
AMPERE: Final = Unit("A", "ampere", "AMP")
AMPERE_HOUR: Final = Unit("Ah", "ampere hour", "AMH")
HERTZ: Final = Unit("Hz", "hertz", "HTZ")
CELSIUS: Final = Unit("°C", "degree Celsius", "CEL")
PERCENT: Final = Unit("%", "percent", "P1")
SECOND: Final = Unit("s", "second", "SEC")
HOUR: Final = Unit("h", "hour", "HUR")
OHM: Final = Unit("Ω", "ohm", "OHM")
WATT_PER_M2: Final = Unit("W/m²", "watt per square metre", "D54")
METRE_PER_SECOND: Final = Unit("m/s", "metre per second", "MTS")
GRAM_PER_KWH: Final = Unit("g/kWh", "gram per kilowatt hour", "")

Watt = Annotated[float, WATT]
Var = Annotated[float, VAR]
VoltAmpere = Annotated[float, VOLT_AMPERE]
WattHour = Annotated[float, WATT_HOUR]
Volt = Annotated[float, VOLT]
Ampere = Annotated[float, AMPERE]
AmpereHour = Annotated[float, AMPERE_HOUR]
Hertz = Annotated[float, HERTZ]
Celsius = Annotated[float, CELSIUS]
Percent = Annotated[float, PERCENT]
Second = Annotated[float, SECOND]
Hour = Annotated[float, HOUR]
Ohm = Annotated[float, OHM]
WattPerM2 = Annotated[float, WATT_PER_M2]
MetrePerSecond = Annotated[float, METRE_PER_SECOND]
GramPerKwh = Annotated[float, GRAM_PER_KWH]
