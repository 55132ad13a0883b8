"""The week before the plant was started, as its devices would have told it.

The same model runs ahead of time, with the same sun, weather, building, cars and battery, one simulated minute per step; what
steers it is whoever steers the plant when it is real. What the devices show is read through their registers and the profiles
of those who poll them. Counters are shifted so that they end where those of the started plant begin.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, Final

from server.core.driver import Entry
from server.core.units import WATT_HOUR

from .config import Config
from .driver import first_moment, weather
from .model import LONG_STEP_S, Plant
from .registers import Register, RegisterMap, ess_map, evcs_map, load_map, meter_map, pv_map

STEP_S: Final = 60.0
"""Simulated seconds per step; devices settle in the real second that it takes them."""
PROFILES: Final = Path(__file__).parents[1] / "modbus" / "profiles"
_MAPS: Final = {
    "plant_ess": ess_map, "plant_meter": meter_map, "plant_pv": pv_map, "plant_evcs": evcs_map, "plant_load": load_map,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """A channel, and what it says now. node: `ess0/Soc`."""

    node: str
    value: Callable[[], float]


class Past:
    """The plant of an entry some time before its first moment. entries: of the site, those that poll it among them.

    readings: what its devices tell; counters: where each counter ends, by node, which is where that of the real plant begins.
    """

    def __init__(self, alias: str, config: Config, entries: Sequence[Entry], duration_s: float) -> None:
        start_s = first_moment(config, time.time())
        speed = STEP_S / LONG_STEP_S
        self._plant = Plant(seed=config.seed, start_s=start_s - duration_s, place=config.place, speed=speed)
        self._begun = Plant(seed=config.seed, start_s=start_s, place=config.place)
        self.readings = [Reading(f"{alias}/{name}", partial(self._weather, name)) for name in weather(self._plant)]
        self.readings += [Reading(f"{alias}/{name}", _ok) for name in ("State", "CommState")]
        self.counters: dict[str, float] = {}
        self._outputs: dict[str, Register] = {}
        for entry in entries:
            self._add(entry)

    def _weather(self, name: str) -> float:
        return weather(self._plant)[name]

    def _add(self, entry: Entry) -> None:
        profile = getattr(entry.config, "profile", "")
        if profile not in _MAPS:
            return
        described = tomllib.loads((PROFILES / f"{profile}.toml").read_text())
        ours, begun = (_by_address(_MAPS[profile](plant)) for plant in (self._plant, self._begun))
        specs = {use.spec.name: use.spec for obj in entry.objects for use in obj.channels}
        for row in _channels(described):
            spec, address = specs.get(row["channel"]), row["address"]
            if spec is None or address not in ours or "length" in row:
                continue
            node = f"{entry.alias}/{spec.name}"
            self.readings.append(Reading(node, partial(_read, ours[address], _states(row, spec.states), row.get("bit"))))
            if spec.unit is WATT_HOUR and spec.persistent:
                self.counters[node] = begun[address].read()
        self.readings.append(Reading(f"{entry.alias}/CommState", _ok))
        for row in described.get("setpoint", ()):
            self._outputs[f"{entry.alias}/{row['channel']}"] = ours[row["address"]]

    def advance(self, setpoints: Mapping[str, float]) -> None:
        """Go on by one step under these set-points, by node."""
        for node, value in setpoints.items():
            register = self._outputs.get(node)
            if register is not None and register.write is not None:
                register.write(value)
        self._plant.leap()


def _read(register: Register, states: Mapping[int, float], bit: int | None) -> float:
    """What a reader of the register makes of it."""
    raw = register.read()
    if bit is not None:
        return float(int(raw) >> bit & 1)
    if states:
        return states.get(int(raw), nan)
    return float(raw) if register.kind == "f32" else round(raw / register.scale) * register.scale


def _ok() -> float:
    """The number of every state that is well."""
    return 0.0


def _by_address(found: RegisterMap) -> dict[int, Register]:
    return {row.address: row for row in found.rows}


def _channels(profile: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for block in profile.get("block", ()):
        yield from block["channels"]


def _states(row: Mapping[str, Any], states: Any) -> dict[int, float]:
    """What each number in the register means; of bits only that none is set."""
    if "bits" in row:
        return {0: 0.0}
    return {int(number): float(states[name]) for number, name in row.get("states", {}).items()}
