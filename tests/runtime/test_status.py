"""What a running site says about itself: entries, alarms, hanging processes, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from server.core.alarms import standing_alarms
from server.core.channel import Level
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, CONTROLLER, DEVICE, ENTRY, SUPERVISOR, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import CommState, ConfigEntry, ControllerStatus, Device, EntryState, RunState, Site
from server.core.site import cycle_object
from server.core.status import BAD_WAITING_FOR_INITIAL_DATA, GOOD
from server.runtime.alarms import Alarm, AlarmList, DeclaredAlarms, problem_alarms
from server.runtime.entries import EntryBoard
from server.runtime.entry_plan import EntryPlan
from server.runtime.memory import SharedImage
from server.runtime.plan import Problem
from server.runtime.process import Part, Process, ProcessState
from server.runtime.process_board import ProcessBoard, process_objects, trouble_of
from server.runtime.status import cycle_status, iso, memory_mb
from server.runtime.watch import HangWatch


def uses(*specs: Any) -> tuple[ChannelUse, ...]:
    return tuple(ChannelUse(spec) for spec in specs)


METER = ObjectSpec("meter0", DEVICE, "modbus", (Device,), uses(Device.State, Device.CommState, Device.NoFailSafe))


def make_layout() -> Layout:
    controller = ObjectSpec(
        "peak0", CONTROLLER, CONTROL, (ControllerStatus,), uses(ControllerStatus.RunState, ControllerStatus.Explanation)
    )
    site = ObjectSpec("site", "site", CONTROL, (Site,), uses(Site.EmergencyStopActive))
    entry = ObjectSpec(
        "entry.meter0", ENTRY, SUPERVISOR, (ConfigEntry,), tuple(ChannelUse(s) for s in ConfigEntry.channels().values())
    )
    return build_layout([METER, controller, site, cycle_object(), entry, *process_objects(["ui"])])


LAYOUT = make_layout()


def image(frozen_at: int = 0, **values: float) -> Image:
    """A picture in which everything is Bad but what is given; `meter0__State=2` sets `meter0/State`."""
    records = blank_records(LAYOUT.slots)
    for name, value in values.items():
        record = records[LAYOUT.by_node[name.replace("__", "/")].slot]
        record["value"], record["status"] = value, GOOD
    return Image(records, cycle=-1, frozen_at=frozen_at)


def process(
    state: ProcessState, reason: str = "", part: Part = Part.DRIVER, name: str = "modbus", complaint: str = ""
) -> Process:
    stub = SimpleNamespace(
        name=name,
        state=state,
        reason=reason,
        trouble=reason,
        complaint=complaint,
        ready=state is ProcessState.RUNNING,
        restarts=1 if reason else 0,
        next_retry=1_700_000_000.0,
        spec=SimpleNamespace(part=part, role=name),
    )
    return cast(Process, stub)


@pytest.fixture
def shared() -> Iterator[SharedImage]:
    shared = SharedImage.create(LAYOUT)
    yield shared
    shared.close()


ENTRY_PLAN = EntryPlan("meter0", "entries/meter0.toml", "modbus", "drivers.modbus", "modbus", objects=(METER,))
UP, DOWN = {"meter0__CommState": float(CommState.Up)}, {"meter0__CommState": float(CommState.Down)}


@pytest.mark.parametrize(
    ("plan", "state", "values", "expected", "reason"),
    [
        (EntryPlan("meter0", "f", problem="f: bad"), None, UP, EntryState.SetupError, "f: bad"),
        (EntryPlan("meter0", "f", enabled=False), None, {}, EntryState.NotLoaded, "disabled in its file"),
        (ENTRY_PLAN, ProcessState.WAITING, {}, EntryState.SetupInProgress, ""),
        (ENTRY_PLAN, ProcessState.STARTING, UP, EntryState.SetupRetry, "killed by SIGKILL"),
        (ENTRY_PLAN, ProcessState.RUNNING, {}, EntryState.SetupRetry, "killed by SIGKILL"),
        (ENTRY_PLAN, ProcessState.RUNNING, UP, EntryState.Loaded, ""),
        (ENTRY_PLAN, ProcessState.RUNNING, {"meter0__CommState": 1.0}, EntryState.Loaded, ""),
        (ENTRY_PLAN, ProcessState.RUNNING, DOWN, EntryState.SetupRetry, "the device does not answer"),
        (ENTRY_PLAN, ProcessState.RESTARTING, UP, EntryState.SetupRetry, "killed by SIGKILL"),
        (ENTRY_PLAN, ProcessState.STOPPED, UP, EntryState.NotLoaded, "the site is being stopped"),
    ],
)
def test_the_state_of_an_entry(
    shared: SharedImage, plan: EntryPlan, state: ProcessState | None, values: dict[str, float], expected: EntryState, reason: str
) -> None:
    board = EntryBoard([plan], LAYOUT, shared.block())
    processes = {} if state is None else {"modbus": process(state, "killed by SIGKILL")}
    board.update(processes, image(**values))
    report = board.reports["meter0"]
    assert (report.state, report.reason) == (expected, reason)
    assert bool(report.next_retry) == (state is ProcessState.RESTARTING)


def test_an_entry_of_a_driver_that_never_failed_is_in_progress_until_its_device_is_heard(shared: SharedImage) -> None:
    board = EntryBoard([ENTRY_PLAN], LAYOUT, shared.block())
    for values, expected in (({}, EntryState.SetupInProgress), (UP, EntryState.Loaded)):
        board.update({"modbus": process(ProcessState.RUNNING)}, image(**values))
        assert board.reports["meter0"].state is expected


def test_an_entry_is_published_as_channels(shared: SharedImage) -> None:
    block = shared.block()
    board = EntryBoard([ENTRY_PLAN], LAYOUT, block)
    board.update({"modbus": process(ProcessState.RESTARTING, "no route to host")}, None)
    first = LAYOUT.owner(SUPERVISOR).first
    values = {c.spec.name: block.records[c.slot - first] for c in LAYOUT.channels_of("entry.meter0")}
    assert values["State"]["value"] == EntryState.SetupRetry
    assert values["NextRetry"]["value"] == (1_700_000_000 + 11_644_473_600) * 1e7
    assert {int(v["status"]) for v in values.values()} == {GOOD}
    assert shared.text(LAYOUT.by_node["entry.meter0/Reason"]) == "no route to host"


def test_what_a_driver_said_about_a_device_is_its_reason_until_it_is_back(shared: SharedImage) -> None:
    board = EntryBoard([ENTRY_PLAN], LAYOUT, shared.block())
    board.heard("meter0", "down", "connection refused")
    board.update({"modbus": process(ProcessState.RUNNING)}, image(**DOWN))
    assert board.reports["meter0"].reason == "connection refused"
    board.heard("meter0", "up", "communication works")
    board.update({"modbus": process(ProcessState.RUNNING)}, image(**UP))
    assert board.reports["meter0"].reason == ""


STAYS = "The device would stay on its last set-point if we were gone"
WARNS = ("meter0", Level.Warning, STAYS)
CUT = ("meter0", Level.Fault, "Cable cut")
TEXTS = {"entry.meter0/Reason": "cable cut", "peak0/Explanation": "division by zero", "process.ui/Reason": "it was killed"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"meter0__State": 1.0, "meter0__NoFailSafe": 0.0, "site__EmergencyStopActive": 0.0, "peak0__RunState": 2.0}, []),
        ({"meter0__State": 2.0}, [("meter0", Level.Warning, "Cable cut")]),
        ({"meter0__State": 3.0}, [CUT]),
        ({"meter0__NoFailSafe": 1.0}, [WARNS]),
        ({"meter0__NoFailSafe": 1.0, "meter0__State": 2.0}, [WARNS]),
        ({"meter0__NoFailSafe": 1.0, "meter0__State": 3.0}, [CUT, WARNS]),
        ({"meter0__CommState": 2.0}, [CUT]),
        ({"meter0__CommState": 2.0, "meter0__State": 3.0, "meter0__NoFailSafe": 1.0}, [CUT]),
        ({"site__EmergencyStopActive": 1.0}, [("site", Level.Fault, "Emergency stop is active: all outputs are at safe values")]),
        ({"peak0__RunState": float(RunState.Fault)}, [("peak0", Level.Fault, "Division by zero")]),
        ({"entry.meter0__State": float(EntryState.SetupError)}, [CUT]),
        ({"process.ui__State": float(Level.Warning)}, [("ui", Level.Warning, "It was killed")]),
    ],
)
def test_alarms_out_of_the_image_in_the_words_of_who_knows_most(
    values: dict[str, float], expected: list[tuple[str, Level, str]]
) -> None:
    alarms = DeclaredAlarms(tuple(standing_alarms(LAYOUT)), LAYOUT, lambda channel: TEXTS[channel.node])
    found = AlarmList(lambda: 5.0)
    for frozen_at in (0, 2_000_000_000):
        found.update(alarms.find(image(frozen_at, **values)))
    assert [(a.source, a.level, a.text) for a in found.active] == expected
    assert {a.since for a in found.active} <= {5.0}


def test_a_device_that_reports_a_fault_of_its_own_needs_no_words() -> None:
    alarms = DeclaredAlarms(tuple(standing_alarms(LAYOUT)), LAYOUT, lambda channel: "")
    assert [a.text for a in alarms.find(image(0, meter0__State=3.0))] == ["The device reports a fault"]


def test_alarms_that_stay_declared_stay_active_when_the_declarations_change() -> None:
    specs = tuple(standing_alarms(LAYOUT))
    before = DeclaredAlarms(specs, LAYOUT, lambda channel: "")
    for frozen_at in (0, 20_000_000_000):
        active = [a.text for a in before.find(image(frozen_at, meter0__State=3.0, meter0__CommState=2.0))]
    after = DeclaredAlarms(specs[::-1], LAYOUT, lambda channel: "")
    after.follow(before)
    assert active
    assert sorted(a.text for a in after.find(image(20_050_000_000, meter0__State=3.0, meter0__CommState=2.0))) == sorted(active)


def test_the_trouble_of_processes_is_published_as_channels(shared: SharedImage) -> None:
    block = shared.block()
    board = ProcessBoard(LAYOUT, block)
    ui = process(ProcessState.RESTARTING, "no", Part.SERVICE, "ui")
    assert board.update([ui], [])
    assert not board.update([ui], []), "nothing changed"
    slot = LAYOUT.by_node["process.ui/State"].slot - LAYOUT.owner(SUPERVISOR).first
    assert (block.records["value"][slot], block.records["status"][slot]) == (Level.Warning, GOOD)
    assert shared.text(LAYOUT.by_node["process.ui/Reason"]) == "process is started again: no"
    assert board.update([process(ProcessState.RUNNING, "", Part.SERVICE, "ui")], [])
    assert block.records["value"][slot] == Level.Ok


@pytest.mark.parametrize(
    ("part", "state", "reason", "complaint", "expected"),
    [
        (Part.SERVICE, ProcessState.RESTARTING, "no", "", (Level.Warning, "process is started again: no")),
        (Part.CONTROL, ProcessState.RESTARTING, "no", "", (Level.Fault, "process is started again: no")),
        (Part.SERVICE, ProcessState.RUNNING, "", "the disk is full", (Level.Warning, "the disk is full")),
        (Part.SERVICE, ProcessState.STARTING, "", "the disk is full", (Level.Ok, "")),
        (Part.OPCUA, ProcessState.RUNNING, "", "", (Level.Ok, "")),
    ],
)
def test_the_trouble_of_a_process(
    part: Part, state: ProcessState, reason: str, complaint: str, expected: tuple[Level, str]
) -> None:
    assert trouble_of(process(state, reason, part, complaint=complaint))[:2] == expected


def test_what_was_left_out_is_an_alarm_of_its_own() -> None:
    (found,) = problem_alarms([Problem("peak0", "left out")])
    assert (found.source, found.level, found.text) == ("peak0", Level.Warning, "left out")


def test_an_alarm_keeps_the_time_it_began_and_the_worst_comes_first() -> None:
    now = 1.0
    alarms = AlarmList(lambda: now)
    alarms.update([Alarm("a", Level.Warning, "one")])
    now = 2.0
    began, over = alarms.update([Alarm("a", Level.Warning, "other words"), Alarm("b", Level.Fault, "two")])
    assert ([a.source for a in began], over) == (["b"], [])
    assert [(a.source, a.text, a.since) for a in alarms.active] == [("b", "two", 2.0), ("a", "other words", 1.0)]
    began, over = alarms.update([])
    assert (began, [(a.source, a.since) for a in over]) == ([], [("b", 2.0), ("a", 1.0)])
    now = 3.0
    alarms.update([Alarm("a", Level.Warning, "again")])
    assert [a.since for a in alarms.active] == [3.0]


class Watched(SimpleNamespace):
    """A process that remembers why it was killed."""

    def kill(self, reason: str) -> None:
        self.killed = reason


@pytest.mark.parametrize(
    ("part", "age_s", "beat_s_ago", "killed"),
    [
        (Part.CONTROL, 100.0, 0.1, False),
        (Part.CONTROL, 100.0, 2.9, False),
        (Part.CONTROL, 100.0, 3.5, True),
        (Part.CONTROL, 10.0, None, False),
        (Part.CONTROL, 16.0, None, True),
        (Part.CONTROL, 10.0, 50.0, False),
        (Part.DRIVER, 100.0, 9.0, False),
        (Part.DRIVER, 100.0, 11.0, True),
        (Part.OPCUA, 100.0, None, False),
    ],
)
def test_a_process_without_heartbeat_is_killed(
    shared: SharedImage, part: Part, age_s: float, beat_s_ago: float | None, killed: bool
) -> None:
    now = 1_000_000_000_000
    watch = HangWatch(shared, 0.05, lambda: now)
    if beat_s_ago is not None:
        beat = now - round(beat_s_ago * 1e9)
        shared.clock.announce(50_000_000, beat, beat)
        attached = SharedImage.attach(LAYOUT, shared.handles("modbus"), "modbus")
        attached.block()._header[1] = beat
    role = {Part.CONTROL: "control", Part.DRIVER: "modbus", Part.OPCUA: "opcua"}[part]
    spec = SimpleNamespace(part=part, role=role)
    watched = Watched(alive=True, started_at=now * 1e-9 - age_s, spec=spec, killed="")
    watch.look([cast(Process, watched)])
    assert bool(watched.killed) == killed


def test_a_watcher_that_was_held_up_itself_accuses_nobody(shared: SharedImage) -> None:
    now = 1_000_000_000_000
    watch = HangWatch(shared, 0.05, lambda: now)
    watched = Watched(alive=True, started_at=1.0, spec=SimpleNamespace(part=Part.CONTROL, role="control"), killed="")
    now += 60_000_000_000
    watch.look([cast(Process, watched)])
    assert watched.killed == ""
    now += 200_000_000
    watch.look([cast(Process, watched)])
    assert watched.killed.startswith("hangs: no sign of life for")


def test_the_figures_of_the_cycle() -> None:
    values = {"cycle__Counter": 7.0, "cycle__Slips": 1.0, "cycle__LastDuration": 0.0012, "cycle__WorstDuration": 0.0034}
    assert cycle_status(LAYOUT, image(**values), 0.05) == {
        "period_ms": 50.0,
        "counter": 7,
        "slips": 1,
        "last_ms": 1.2,
        "worst_ms": 3.4,
        "jitter_ms": None,
        "restarts": 0,
    }
    assert cycle_status(LAYOUT, None, 0.05)["counter"] == 0


def test_memory_of_a_process_is_its_share() -> None:
    own = memory_mb(os.getpid())
    assert own is not None
    assert own > 5
    assert memory_mb(0) is None
    assert memory_mb(2**22 + 1) is None


def test_times_are_utc_and_never_is_null() -> None:
    assert iso(1_700_000_000.9) == "2023-11-14T22:13:20Z"
    assert iso(0.0) is None
    assert iso(time.time()) is not None
    assert BAD_WAITING_FOR_INITIAL_DATA >= 0x80000000
