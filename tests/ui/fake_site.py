"""A site for the panel's tests: it animates believable values behind the interface of `server.client.Client`.

Run as a program it serves the panel over HTTPS: `python -m tests.ui.fake_site PORT DIRECTORY`. Users: `operator`, `observer`
with the password `secret`. Lines on standard input steer it: `away`, `back`, `alarm on`, `alarm off`, `stale on`, `stale off`.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import ua

from server.client import (
    CLOSED,
    CONNECTED,
    RECONNECTING,
    Alarm,
    ChannelInfo,
    ClientError,
    LoginRefused,
    Model,
    ObjectInfo,
    Series,
    Table,
)
from server.core.ask import Ask, as_json
from server.core.channel import Access, DataType, Spec
from server.core.natures import (
    ConfigEntry,
    ControllerStatus,
    Cycle,
    Device,
    Ess,
    Evcs,
    ManagedEss,
    Meter,
    OperatingState,
    Pv,
    RunState,
    Site,
    SiteMode,
    StartStop,
    StartStoppable,
)
from server.core.roles import Role
from server.core.status import BAD_NO_COMMUNICATION, BAD_NO_DATA, BAD_WAITING_FOR_INITIAL_DATA, UNCERTAIN_LAST_USABLE_VALUE
from ui.catalogue import Catalogue

TICKS_1601 = 11644473600
CYCLE_S = 0.1
START_S = 6.0
LIMIT = Ask("peak0", "bound", "import", "keeps import under 8 kW", (-6100.0, None))
BALANCE = Ask("self0", "target", "import", "balances import to 0 W", (6400.0, 6400.0), (5000.0, 5000.0))

_OBJECTS = (
    ("site", "site", "EnergyManagerType", "Demo site", (Site,), ()),
    ("cycle", "cycle", "CycleType", "Control cycle", (Cycle,), ()),
    ("meter0", "device", "plant_meter", "Grid meter", (Device, Meter),
     ("ActivePower", "ActivePower.L1", "ActivePower.L2", "ActivePower.L3", "Frequency", "ImportEnergy", "ExportEnergy")),
    ("ess0", "device", "plant_ess", "Battery", (Device, Ess, ManagedEss, StartStoppable),
     ("Soc", "Soh", "Capacity", "ActivePower", "MaxApparentPower", "AllowedChargePower", "AllowedDischargePower",
      "SetActivePower", "ChargeEnergy", "DischargeEnergy", "MaxCellTemperature", "GridMode", "Running", "StartStop",
      "OperatingState", "LastTransition", "StartStopFailed", "StartStopReason")),
    ("pv0", "device", "plant_pv", "Roof PV", (Device, Meter, Pv),
     ("ActivePower", "ActivePowerLimit", "MaxActivePower", "ExportEnergy", "Irradiance")),
    ("evcs0", "device", "plant_evcs", "Charger", (Device, Meter, Evcs),
     ("Status", "ChargePower", "SessionEnergy", "Phases", "MaxHardwarePower", "SetChargePowerLimit", "IdTag")),
    ("peak0", "controller", "PeakShaving", "Peak shaving", (ControllerStatus,), ()),
    ("self0", "controller", "SelfConsumption", "Self-consumption", (ControllerStatus,), ()),
    ("entry.meter0", "entry", "ConfigEntryType", "Grid meter entry", (ConfigEntry,), ()),
)  # fmt: skip

_DEVICE_CHANNELS = ("State", "CommState", "LastCommunication", "NoFailSafe")


def _info(alias: str, spec: Spec, may_write: bool) -> ChannelInfo:
    return ChannelInfo(
        f"{alias}/{spec.name}", spec.name, spec.doc, spec.data_type.value, spec.unit.symbol if spec.unit else "", spec.low,
        spec.high, tuple(s.name for s in spec.states) if spec.states else (), may_write and spec.access is Access.PROPOSE,
        historized=spec.data_type not in (DataType.STRING, DataType.DATETIME),
    )  # fmt: skip


def _object(row: tuple[Any, ...], may_write: bool) -> ObjectInfo:
    alias, kind, type_name, label, natures, names = row
    specs = {n: s for nature in natures for n, s in nature.channels().items()}
    wanted = [*_DEVICE_CHANNELS, *names] if kind == "device" else [n for n in specs if "." not in n]
    channels = {n: _info(alias, specs[n], may_write) for n in wanted}
    return ObjectInfo(
        alias, label, kind, type_name, "", "", tuple(n.__name__ for n in natures), {"Label": label}, channels,
        {m.name: f"{alias}/{m.name}" for n in natures for m in n.methods},
    )  # fmt: skip


def catalogue(*, may_write: bool = True) -> Catalogue:
    """What the panel looks for in the site."""
    return Catalogue(Model({row[0]: _object(row, may_write) for row in _OBJECTS}))


class Plant:
    """The values of the site as functions of time, with the operator's wishes applied."""

    def __init__(self) -> None:
        self.away = self.alarm = self.stale = self.stopped = False
        self.override_until = 0.0
        self.asked: dict[str, float] = {}
        self.ess_w = -2000.0
        self.calls: list[str] = []
        self.command, self.commanded, self.failed = StartStop.Start, 0.0, False

    def values(self, now: float) -> dict[str, Any]:
        """Value by node: a number, a text, or a (value, status) pair."""
        pv = 6800 + 1500 * math.sin(now / 41) + 350 * math.sin(now / 5.3)
        load = 2300 + 500 * math.sin(now / 17) + 160 * math.sin(now / 2.1)
        ev = 3700 + 250 * math.sin(now / 23)
        by_hand = now < self.override_until
        wish = self.asked.get("ess0/SetActivePower", 0.0) if by_hand else load + ev - pv
        wish = 0.0 if self.stopped else max(-5000.0, min(5000.0, wish + 120 * math.sin(now / 3)))
        self.ess_w += 0.25 * (wish - self.ess_w)
        soc = 58 + 6 * math.sin(now / 300)
        grid = load + ev - pv - self.ess_w
        values = self._site(now, pv, load + ev, ev, grid, soc) | self._devices(now, pv, ev, grid, soc)
        return values | self._control(now, by_hand) | self._disturbed(values)

    @property
    def machine(self) -> tuple[OperatingState, int, str]:
        """State, last transition and reason of the battery's machine: a start takes START_S, a stop none."""
        if self.failed:
            return OperatingState.Failed, 14, "it did not start in time, 3 times"
        if self.command is StartStop.Stop:
            return OperatingState.Stopped, 30, "it stands"
        if time.time() - self.commanded < START_S:
            return OperatingState.Starting, 1, "it shall run"
        return OperatingState.Running, 12, "it runs"

    def _site(self, now: float, pv: float, used: float, ev: float, grid: float, soc: float) -> dict[str, Any]:
        from_pv = min(pv, used)
        from_ess = min(max(0.0, self.ess_w), used - from_pv)
        return {
            "site/GridPower": grid, "site/ProductionPower": pv, "site/EssPower": self.ess_w, "site/ConsumptionPower": used,
            "site/EvPower": ev, "site/EssSoc": soc, "site/EssCapacity": 10_000.0, "site/Autarky": 100 * (1 - max(0, grid) / used),
            "site/ProductionEnergy": 1.31 * now, "site/ConsumptionEnergy": 0.98 * now, "site/GridImportEnergy": 0.12 * now,
            "site/GridExportEnergy": 0.45 * now,
            "site/SelfConsumption": 100 * min(1, (used - min(0, self.ess_w)) / pv), "site/Frequency": 50 + 0.01 * math.sin(now),
            "site/ProductionToConsumption": from_pv, "site/EssToConsumption": from_ess,
            "site/GridToConsumption": max(0.0, used - from_pv - from_ess), "site/Mode": SiteMode.Run, "site/WorstState": 0,
            "site/EmergencyStopActive": self.stopped, "site/OverrideRemaining": max(0.0, self.override_until - now),
        }  # fmt: skip

    def _devices(self, now: float, pv: float, ev: float, grid: float, soc: float) -> dict[str, Any]:
        ticks = float(round((now + TICKS_1601) * 1e7))
        values: dict[str, Any] = {
            "meter0/ActivePower": grid, "meter0/ActivePower.L1": grid / 3, "meter0/ActivePower.L2": grid / 3,
            "meter0/ActivePower.L3": grid / 3, "meter0/Frequency": 50 + 0.01 * math.sin(now), "meter0/Voltage": 230.4,
            "meter0/ImportEnergy": 1_284_310.0, "meter0/ExportEnergy": 903_220.0,
            "ess0/Soc": soc, "ess0/Soh": 97.5, "ess0/Capacity": 10_000.0, "ess0/ActivePower": self.ess_w, "ess0/GridMode": 0,
            "ess0/MaxApparentPower": 5000.0, "ess0/AllowedChargePower": -5000.0, "ess0/AllowedDischargePower": 5000.0,
            "ess0/SetActivePower": self.ess_w, "ess0/ChargeEnergy": 4_120_500.0, "ess0/DischargeEnergy": 3_790_250.0,
            "ess0/MaxCellTemperature": 27.3, "pv0/ActivePower": pv, "pv0/ActivePowerLimit": 10_000.0,
            "pv0/MaxActivePower": 10_000.0, "pv0/ExportEnergy": 18_220_400.0, "pv0/Irradiance": pv / 11,
            "evcs0/Status": 2, "evcs0/ChargePower": ev, "evcs0/SessionEnergy": 8250.0, "evcs0/Phases": 3,
            "evcs0/MaxHardwarePower": 11_000.0, "evcs0/SetChargePowerLimit": 11_000.0, "evcs0/IdTag": "04A2B9",
        }  # fmt: skip
        state, last, why = self.machine
        values |= {
            "ess0/Running": state is OperatingState.Running, "ess0/StartStop": self.command, "ess0/OperatingState": state,
            "ess0/LastTransition": last, "ess0/StartStopFailed": self.failed, "ess0/StartStopReason": why,
        }  # fmt: skip
        if now < self.override_until:
            values |= self.asked
        for alias in ("meter0", "ess0", "pv0", "evcs0"):
            values |= dict.fromkeys((f"{alias}/State", f"{alias}/CommState", f"{alias}/NoFailSafe"), 0)
            values[f"{alias}/LastCommunication"] = ticks
        return values

    def _control(self, now: float, by_hand: bool) -> dict[str, Any]:
        why = "Self-consumption asks the battery for the balance of the house; nothing limits it."
        if by_hand:
            why = "The operator asks the battery for a fixed power; peak shaving keeps the import below 8 kW."
        if self.stopped:
            why = "Emergency stop: all outputs are at their safe values."
        return {
            "site/Explanation": why,
            "peak0/RunState": RunState.Active, "peak0/Priority": 10, "peak0/Enabled": 1, "peak0/ErrorCount": 0,
            "peak0/Explanation": LIMIT.words, "peak0/Claims": as_json([LIMIT]), "peak0/LastRunDuration": 0.00006,
            "self0/RunState": RunState.Idle if by_hand else RunState.Active, "self0/Priority": 20, "self0/Enabled": 1,
            "self0/Explanation": BALANCE.words, "self0/Claims": as_json([BALANCE]), "self0/LastRunDuration": 0.00008,
            "self0/ErrorCount": 0, "cycle/CycleTime": 0.05, "cycle/Counter": now * 20, "cycle/Slips": 0,
            "cycle/LastDuration": 0.0011 + 0.0002 * math.sin(now * 7), "cycle/WorstDuration": 0.0042, "cycle/Jitter": 0.00007,
            "cycle/ImageTime": float(round((now + TICKS_1601) * 1e7)), "cycle/Restarts": 0,
            "entry.meter0/State": 2, "entry.meter0/Reason": "",
        }  # fmt: skip

    def _disturbed(self, values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.alarm:
            found |= {
                "evcs0/State": 3, "evcs0/CommState": 2, "ess0/NoFailSafe": 1, "ess0/State": 2,
                "entry.meter0/State": 4, "entry.meter0/Reason": "127.0.0.1:5020: connection refused, next try in 8 s",
            }  # fmt: skip
        if self.stale:
            found |= {n: (values[n], UNCERTAIN_LAST_USABLE_VALUE) for n in ("site/EvPower", "evcs0/ChargePower")}
            found |= dict.fromkeys(("site/ProductionPower", "pv0/ActivePower"), (math.nan, BAD_NO_COMMUNICATION))
        return found


def _data_value(found: Any, now: float) -> ua.DataValue:
    value, status = found if isinstance(found, tuple) else (found, 0)
    variant = ua.Variant(value if isinstance(value, str) else float(value))
    return ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=datetime.fromtimestamp(now, UTC))


def _history(node: str, times: np.ndarray) -> Series:
    plant = Plant()
    values = np.array([float(plant.values(t).get(node, math.nan)) for t in times])
    return Series(((times + TICKS_1601) * 1e7).astype(np.int64), values, np.zeros(len(times), np.uint32))


def _with_gaps(series: Series) -> Series:
    """The fourth hour ago is missing, the third is uncertain."""
    hours = ((time.time() + TICKS_1601) * 1e7 - series.times) // 36e9
    status = np.where(hours == 3, BAD_NO_DATA, np.where(hours == 2, UNCERTAIN_LAST_USABLE_VALUE, 0)).astype(np.uint32)
    return Series(series.times, np.where(hours == 3, math.nan, series.values), status)


class FakeSubscription:
    """Yields Tables of what changed, as the real one does."""

    def __init__(self, client: FakeClient, nodes: Sequence[str], interval_ms: float) -> None:
        self._client, self.nodes, self._interval_s = client, list(nodes), interval_ms / 1000
        self._last: dict[str, Any] = {}
        self._closed = False
        self.refused: dict[int, str] = {}

    def __aiter__(self) -> AsyncIterator[Table]:
        return self

    async def __anext__(self) -> Table:
        while not self._closed and self._client.state != CLOSED:
            if self._last or self._client.state != CONNECTED:
                await asyncio.sleep(self._interval_s)
            if self._client.state == CONNECTED and (rows := self._changed()):
                return rows
        raise StopAsyncIteration

    def _changed(self) -> Table | None:
        now = time.time()
        values = self._client.plant.values(now)
        found = [(i, values.get(n, (math.nan, BAD_WAITING_FOR_INITIAL_DATA))) for i, n in enumerate(self.nodes)]
        found = [(i, v) for i, v in found if self._last.get(self.nodes[i]) != v]
        self._last |= {self.nodes[i]: v for i, v in found}
        pairs = [v if isinstance(v, tuple) else (v, 0) for _, v in found]
        texts = {row: v for row, (v, _) in enumerate(pairs) if isinstance(v, str)}
        ticks = round((now + TICKS_1601) * 1e7)
        return Table(
            np.array([i for i, _ in found], np.int64),
            np.array([math.nan if isinstance(v, str) else float(v) for v, _ in pairs]),
            np.array([s for _, s in pairs], np.uint32),
            np.full(len(found), ticks, np.int64),
            texts,
        ) if found else None  # fmt: skip

    async def close(self) -> None:
        """End the iteration."""
        self._closed = True


_TROUBLE = (
    ("evcs0/CommLost", "evcs0", 800, "evcs0: the device does not answer"),
    ("ess0/NoFailSafe", "ess0", 500, "the device has no fail-safe on loss"),
    ("entry.meter0/Setup", "entry.meter0", 500, "127.0.0.1:5020: connection refused, next try in 8 s"),
)  # fmt: skip


class FakeAlarms:
    """Stands in for server.client.Alarms: three conditions while the plant has its alarm."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._task: asyncio.Task[None] | None = None
        self.rows: dict[str, Alarm] = {}

    async def __aenter__(self) -> FakeAlarms:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Tell `callback` when the alarms come or go."""
        self._task = asyncio.get_running_loop().create_task(self._watch(callback))
        return lambda: None

    async def _watch(self, callback: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(CYCLE_S)
            if bool(self.rows) != self._plant.alarm:
                now = datetime.now(UTC)
                found = [
                    Alarm(node, source, source, "CommLostAlarm", severity, text, now, now, True, False, None, False, False, True,
                          True, "", "", b"1")
                    for node, source, severity, text in _TROUBLE
                ]  # fmt: skip
                self.rows = {alarm.condition: alarm for alarm in found} if self._plant.alarm else {}
                callback()


class FakeClient:
    """Stands in for server.client.Client."""

    def __init__(self, plant: Plant, user: str) -> None:
        self.plant, self.user, self.state, self.reason, self.refused = plant, user, CONNECTED, "", False
        self._listeners: list[Callable[[str, str], None]] = []

    def on_state(self, callback: Callable[[str, str], None]) -> None:
        """Tell `callback` of new states."""
        self._listeners.append(callback)

    def set_state(self, state: str) -> None:
        """Change the state and tell everybody."""
        if state != self.state:
            self.state = state
            for callback in list(self._listeners):
                callback(state, "")

    async def model(self) -> Model:
        """The model; only the operator may write."""
        return Model({row[0]: _object(row, self.user == "operator") for row in _OBJECTS})

    def alarms(self) -> FakeAlarms:
        """The conditions of the site."""
        return FakeAlarms(self.plant)

    async def roles(self) -> frozenset[Role]:
        """What the server would give the user."""
        return frozenset([Role.OBSERVER, Role.OPERATOR]) if self.user == "operator" else frozenset([Role.OBSERVER])

    async def read(self, nodes: Sequence[str]) -> list[ua.DataValue]:
        """Present values."""
        self._connected("read")
        now, values = time.time(), self.plant.values(time.time())
        return [_data_value(values.get(n, (math.nan, BAD_WAITING_FOR_INITIAL_DATA)), now) for n in nodes]

    async def subscribe(self, nodes: Sequence[str], interval_ms: float, queue: int = 1) -> FakeSubscription:
        """Follow values."""
        return FakeSubscription(self, nodes, interval_ms)

    async def write(self, node: str, value: Any) -> None:
        """Ask for a set-point."""
        self._check(f"write {node}")
        if time.time() >= self.plant.override_until:
            raise ClientError("BadInvalidState", node)
        self.plant.asked[node] = float(value)

    async def call(self, obj: str, method: str, *arguments: Any) -> list[Any]:
        """Call a method of the site."""
        self._check(f"call {method}")
        if method == "AcquireManualOverride":
            await asyncio.sleep(CYCLE_S)  # the answer comes when the effect shows
            self.plant.override_until = time.time() + arguments[0]
        elif method == "ReleaseManualOverride":
            self.plant.override_until = 0.0
        elif method in ("EmergencyStop", "ResetEmergencyStop"):
            self.plant.stopped = method == "EmergencyStop"
        elif method in ("Start", "Stop"):
            self.plant.command, self.plant.commanded = StartStop[method], time.time()
        elif method == "Acknowledge":
            self.plant.failed, self.plant.commanded = False, time.time()
        else:
            raise ClientError("BadMethodInvalid", method)
        return []

    def _connected(self, deed: str) -> None:
        if self.state != CONNECTED:
            raise ClientError("BadNotConnected", deed)

    def _check(self, deed: str) -> None:
        self._connected(deed)
        if self.user != "operator":
            raise ClientError("BadUserAccessDenied", deed)
        self.plant.calls.append(deed)

    async def history_read(self, node: str, start: datetime, end: datetime, limit: int = 0) -> Series:
        """Values of every two seconds; one before the range when asked backwards."""
        times = np.array([start.timestamp() - 2]) if end < start else np.arange(start.timestamp(), end.timestamp(), 2.0)
        return _history(node, times[: limit or None])

    async def history_aggregate(
        self, node: str, start: datetime, end: datetime, interval_s: float, aggregate: str = "Average"
    ) -> Series:
        """Averages."""
        return _with_gaps(_history(node, np.arange(start.timestamp(), end.timestamp(), interval_s)))

    async def close(self) -> None:
        """End the session."""
        self.set_state(CLOSED)


class FakeSite:
    """Opens sessions as the server would, and goes away on command."""

    def __init__(self) -> None:
        self.plant = Plant()
        self.clients: list[FakeClient] = []

    async def connect(self, user: str, password: str) -> FakeClient:
        """A session of a user; LoginRefused on a wrong password."""
        if self.plant.away:
            raise ClientError("BadNotConnected", "opc.tcp://127.0.0.1:4840")
        if user not in ("operator", "observer") or password != "secret":
            raise LoginRefused("BadIdentityTokenRejected", user)
        self.clients.append(client := FakeClient(self.plant, user))
        return client

    def order(self, line: str) -> None:
        """Obey one line."""
        if line in ("away", "back"):
            self.plant.away = line == "away"
            for client in self.clients:
                if client.state != CLOSED:
                    client.set_state(RECONNECTING if self.plant.away else CONNECTED)
            return
        name, _, switch = line.partition(" ")
        setattr(self.plant, name, switch == "on")


def main() -> None:
    """Serve the panel of a fake site until standard input ends."""
    from certs import create_authority, issue
    from ui import app as panel
    from ui.settings import Settings

    port, directory = int(sys.argv[1]), Path(sys.argv[2])
    if not (directory / "certs" / "own" / "panel.pem").exists():
        create_authority(directory, "Demo")
        issue(directory, "panel", application_uri="urn:test:panel", hosts=["localhost", "127.0.0.1"])
    site = FakeSite()
    settings = Settings(directory, "opc.tcp://127.0.0.1:4840", "127.0.0.1", port, "Sonnenhof")
    panel.build(settings, site.connect)
    panel.app.on_startup(lambda: threading.Thread(target=_obey, args=(site, asyncio.get_running_loop()), daemon=True).start())
    panel.listen(settings)


def _obey(site: FakeSite, loop: asyncio.AbstractEventLoop) -> None:
    from ui import app as panel

    for line in sys.stdin:
        loop.call_soon_threadsafe(site.order, line.strip())
    loop.call_soon_threadsafe(panel.app.shutdown)


if __name__ == "__main__":
    main()
