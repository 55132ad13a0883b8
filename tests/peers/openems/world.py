"""A site for a case: devices and controllers on a real engine, fed with the format's inputs in virtual time.

Units are converted here, and nowhere else: millivolt, millihertz and milliampere, deci-degrees, names of phases and states.

Time. A step with a new t_s happens then. Steps with the same t_s are consecutive cycles; each lasts 1 s, their cycle time, so
that changes per cycle there are changes per second here. `late` names inputs that reach the controller one cycle later: those
that their state machines look at before they change state, since a transition acts one cycle after the measurement behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests" / "core"), str(ROOT / "tests" / "controllers")) if p not in sys.path]

from control_rig import battery, charger, grid_meter, relays, switch_input  # noqa: E402
from core_rig import ESS, Rig, device, pv  # noqa: E402

from server.core.cluster import ClusterSettings, cluster_objects  # noqa: E402
from server.core.constraint import Bound, Target  # noqa: E402
from server.core.controller import Controller  # noqa: E402
from server.core.layout import ChannelUse, ObjectSpec  # noqa: E402
from server.core.natures import Ess, HybridEss  # noqa: E402

from .case import Case, NotMapped, Step  # noqa: E402

CYCLE_S = 1.0
UNLIMITED_W = 1e6
"""Storages of which a case gives no limits take any power."""

Chosen = tuple[type[Controller], str, Mapping[str, Any]]

GRID_MODES = {"ON_GRID": 0.0, "OFF_GRID": 1.0, "OFF_GRID_GENSET": 2.0, "UNDEFINED": None}
STATUS = {
    "NOT_READY_FOR_CHARGING": 0.0,
    "READY_FOR_CHARGING": 1.0,
    "CHARGING": 2.0,
    "CHARGING_REJECTED": 3.0,
    "ENERGY_LIMIT_REACHED": 3.0,
    None: None,
}
SCALES = {"Voltage": 1e-3, "Frequency": 1e-3, "Current": 1e-3, "MinCellVoltage": 1e-3, "MaxCellVoltage": 1e-3}
"""Factors from their units to ours, by channel."""

SUMS = {
    "_sum/GridActivePower": "meter0/ActivePower",
    "_sum/EssDischargePower": "ess0/ActivePower",
    "_sum/EssActivePower": "ess0/ActivePower",
    "_sum/EssSoc": "ess0/Soc",
}
"""Sums that a site of one meter and one storage reads from these."""

NAMES = {"EnergySession": "SessionEnergy", "ActiveChargeEnergy": "ChargeEnergy", "ActiveDischargeEnergy": "DischargeEnergy"}


def channel_name(name: str) -> str:
    """Our name of a channel: `ActivePowerL1` is ActivePower.L1."""
    if name[-2:] in ("L1", "L2", "L3"):
        return f"{name[:-2]}.{name[-2:]}"
    return NAMES.get(name, name)


def hybrid(alias: str) -> ObjectSpec:
    """A storage with PV on its DC side."""
    return device(alias, HybridEss, (*ESS, HybridEss.DcDischargePower))


def storage(alias: str) -> ObjectSpec:
    """A storage with everything that the rig's has, and counters."""
    plain = battery(alias)
    return replace(plain, channels=(*plain.channels, ChannelUse(Ess.ChargeEnergy), ChannelUse(Ess.DischargeEnergy)))


KINDS = {
    "ManagedSymmetricEss": storage,
    "ManagedAsymmetricEss": storage,
    "HybridEss": hybrid,
    "ElectricityMeter": grid_meter,
    "ManagedEvcs": charger,
    "ManagedSymmetricPvInverter": pv,
    "InputOutput": relays,
}
"""Our devices by their type."""


class World:
    """A site that runs a case. first_s: what the first cycle lasts. split: a leap of the clock is a long cycle with the inputs of
    before, and then a usual one; else one long cycle."""

    def __init__(
        self,
        case: Case,
        *controllers: Chosen,
        devices: Sequence[Mapping[str, Any]] | None = None,
        late: Sequence[str] = (),
        first_s: float = CYCLE_S,
        split: bool = False,
        extra: Sequence[ObjectSpec] = (),
        **site: Any,
    ) -> None:
        self.case = case
        self.late, self.split = late, split
        self._pending: dict[str, Any] = {}
        listed = case.devices if devices is None else devices
        self.ids = {d["id"]: d["type"] for d in listed if d["type"] in KINDS}
        if not any(self.ids[i] == "ElectricityMeter" for i in self.ids):
            self.ids["meter0"] = "ElectricityMeter"
        self.meter = next(i for i, kind in self.ids.items() if kind == "ElectricityMeter")
        objects = [KINDS[kind](alias) for alias, kind in self.ids.items()] + list(extra)
        clusters = [ClusterSettings(d["id"], tuple(d["members"])) for d in listed if d["type"] == "MetaEss"]
        made, problems = cluster_objects(clusters, objects, 1.0)
        if problems:
            raise NotMapped(str(problems[0]))
        self.rig = Rig([*objects, *made], controllers, **({"grid_meter": self.meter} | site))
        self.settled_s = case.steps[0].t_s - first_s
        self.set_out(listed)

    def set_out(self, listed: Sequence[Mapping[str, Any]]) -> None:
        """Initial values."""
        rig = self.rig
        rig[f"{self.meter}/ActivePower"] = 0
        for alias in self.ids:
            if "Ess" in self.ids[alias]:
                for name in ("Soc", "Capacity"):
                    rig[f"{alias}/{name}"] = None
                self.put(f"{alias}/MaxApparentPower", UNLIMITED_W)
        for entry in listed:
            initial = entry.get("initial", {}) | {k: v for k, v in entry.items() if k[0].isupper()}
            for name, value in sorted(initial.items(), key=lambda item: item[0] != "MaxApparentPower"):
                if entry["id"] in self.ids and self._knows(entry["id"], name):
                    self.put(f"{entry['id']}/{name}", value)

    def _knows(self, alias: str, name: str) -> bool:
        return f"{alias}/{channel_name(name)}" in self.rig.layout.by_node

    def put(self, key: str, value: Any) -> None:
        """Measure a value that the format gives. NotMapped for what this product does not measure."""
        alias, _, name = SUMS.get(key, key).partition("/")
        if alias not in self.rig.layout.by_alias and SUMS.get(key) and value in (0, None):
            return
        if name.startswith("InputOutput"):
            switch_input(self.rig, alias, int(name.removeprefix("InputOutput")), bool(value))
            return
        node = f"{alias}/{channel_name(name)}"
        if node not in self.rig.layout.by_node:
            raise NotMapped(f"there is no counterpart of the input {key}")
        if name == "GridMode":
            value = GRID_MODES[value]
        elif name == "Status":
            value = STATUS[value]
        elif value is not None:
            value = float(value) * SCALES.get(name.rstrip("123").removesuffix("L"), 1.0)
        self.rig[node] = value
        if name == "MaxApparentPower" and value is not None:
            self.rig[f"{alias}/AllowedChargePower"], self.rig[f"{alias}/AllowedDischargePower"] = -value, value

    def cycle(self, t_s: float | None = None, *writes: tuple[str, float]) -> None:
        """One cycle, at a moment of the case's clock, or CYCLE_S after the last."""
        self.settled_s, dt_s = (
            (t_s, t_s - self.settled_s) if t_s is not None and t_s > self.settled_s else (self.settled_s + CYCLE_S, CYCLE_S)
        )
        moment = self.case.t0 + timedelta(seconds=self.settled_s - dt_s)
        self.rig.at(moment)
        self.rig.step(*writes, dt_s=dt_s)

    def step(self, step: Step, *writes: tuple[str, float]) -> None:
        """One step of the case: its inputs, then its cycles."""
        if self._pending and step.t_s > self.settled_s + CYCLE_S:
            self.cycle_with_pending()
        if self.split and step.t_s > self.settled_s + 2 * CYCLE_S:
            self.cycle(step.t_s - CYCLE_S)
        for key, value in self._pending.items():
            self.put(key, value)
        self._pending = {}
        for key, value in step.inputs.items():
            if key.rpartition("/")[2] in self.late and step is not self.case.steps[0]:
                self._pending[key] = value
            else:
                self.put(key, value)
        for _ in range(step.repeat):
            self.cycle(step.t_s, *writes)
            writes = ()

    def cycle_with_pending(self) -> None:
        """What is late arrives a cycle later, not with the next leap of the clock."""
        for key, value in self._pending.items():
            self.put(key, value)
        self._pending = {}
        self.cycle()

    def steps(self) -> Iterator[Step]:
        """Run the case step by step."""
        for step in self.case.steps:
            self.step(step)
            yield step

    def read(self, node: str) -> float | None:
        """What the engine left."""
        return self.rig[node]

    def asked(self, who: str) -> list[Bound | Target]:
        """What a controller asked for in the last cycle."""
        solution = self.rig.engine.solution
        grants = solution.grants_of(who) if solution is not None else []
        return [g.claim.constraint for g in grants if isinstance(g.claim.constraint, (Bound, Target))]

    def highest(self, who: str) -> float | None:
        """The lowest of the upper bounds a controller asked for; None when it asked for none."""
        return min((c.high for c in self.asked(who) if c.high is not None), default=None)

    def lowest(self, who: str) -> float | None:
        """The highest of the lower bounds a controller asked for."""
        return max((c.low for c in self.asked(who) if c.low is not None), default=None)

    def setpoint(self, who: str, ess: str = "ess0") -> float | None:
        """The set-point of a storage while a controller asks for one."""
        return self.read(f"{ess}/SetActivePower") if self.asked(who) else None
