"""Devices that are started and stopped, driven by the engine in virtual time."""

from __future__ import annotations

import core_rig as rigs
import pytest

from server.core.controller import ActuatorRef, Controller, ControllerParams, param
from server.core.image import Image
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, Generator, ManagedEss, OperatingState, Pv, SiteMode, StartStop, StartStoppable

S, C = OperatingState, StartStop


def startable(alias: str, nature: type, specs, **properties: str) -> ObjectSpec:
    told = (StartStoppable.Running, StartStoppable.StartStop, StartStoppable.ResetFault)
    uses = tuple(ChannelUse(s, period_s=0.05) for s in (Device.State, *specs, *told))
    natures = (Device, StartStoppable, nature) if not issubclass(nature, StartStoppable) else (Device, nature)
    return ObjectSpec(alias, DEVICE, "plant", natures, uses, properties=properties)


class Machinery:
    """A storage with a machine, which starts and stops as slowly as it is told to."""

    def __init__(
        self, start_s: float = 2.0, stop_s: float = 1.0, *, running: bool = False, resets: bool = True, **properties: str
    ) -> None:
        given = {"StartTimeout": "5", "StopTimeout": "5", "StartAttempts": "2"} | properties
        self.rig = rigs.Rig([rigs.meter(), startable("ess0", ManagedEss, rigs.ESS, **given)])
        self.start_s, self.stop_s = start_s, stop_s
        self.running, self.fault, self.resets = running, False, resets
        self.told_s = 0.0
        self.command = None
        self.starts = 0
        self.rig["meter0/ActivePower"] = 3000.0

    def run(self, seconds: float, *writes: tuple[str, float]) -> Machinery:
        """Some seconds later; the writes come first."""
        for _ in range(round(seconds / 0.05)):
            self._move()
            self.rig["ess0/Running"] = float(self.running)
            self.rig["ess0/State"] = 3.0 if self.fault else 0.0
            self.rig.step(*writes)
            writes = ()
        return self

    def _move(self) -> None:
        command = self.rig["ess0/StartStop"]
        if command != self.command:
            self.command, self.told_s = command, 0.0
            self.starts += command == C.Start
        self.told_s += 0.05
        if command == C.Start and self.told_s >= self.start_s:
            self.running = True
        if command == C.Stop and self.told_s >= self.stop_s:
            self.running = False
        if self.rig["ess0/ResetFault"] and self.resets:
            self.fault = False

    @property
    def state(self) -> OperatingState:
        return S(int(self.rig["ess0/OperatingState"]))

    @property
    def told(self) -> str:
        """Transitions so far, as the journal has them."""
        return "\n".join(text for kind, text, _ in self.rig.out.events if kind == "start_stop")

    @property
    def power(self) -> float | None:
        return self.rig["ess0/SetActivePower"]


def discharging(machinery: Machinery, watts: float = 1000.0) -> Machinery:
    return machinery.run(0.1, ("site/OverrideRemaining", 600), ("ess0/SetActivePower", watts))


def test_a_storage_of_the_engine_is_started_and_has_no_ability_before_it_runs():
    """REQ-SAFE-003"""
    m = Machinery().run(1.0)
    assert m.state is S.Starting
    assert m.rig["ess0/StartStop"] == C.Start
    assert m.power == 0.0
    assert m.rig.engine.solution.tree.high[0] == 0.0
    assert "ess0 is starting" in m.rig.text("site/Explanation")
    m.run(2.0)
    assert m.state is S.Running
    assert m.rig.engine.solution.tree.high[0] == 5000.0
    assert m.told == "ess0: Stopped to Starting: it shall run\ness0: Starting to Running: it runs"
    assert m.rig["ess0/LastTransition"] == 12


def test_a_device_that_runs_already_is_taken_as_it_is():
    m = Machinery(running=True).run(0.2)
    assert m.state is S.Running
    assert m.starts == 1
    assert m.told == "ess0: Stopped to Running: it runs"


def test_a_stop_is_wished_and_held_until_a_start_is():
    m = Machinery(running=True).run(0.5, ("ess0/StartStop", C.Stop))
    assert m.state is S.Stopping
    assert m.power == 0.0
    m.run(2.0)
    assert m.state is S.Stopped
    assert m.rig["ess0/StartStop"] == C.Stop
    assert "ess0 is stopped" in m.rig.text("site/Explanation")
    assert m.run(3.0, ("ess0/StartStop", C.Start)).state is S.Running


def test_a_start_that_takes_too_long_is_tried_again_and_then_waits_for_an_operator():
    m = Machinery(start_s=9.0).run(5.5)
    assert m.state in (S.Stopping, S.Stopped)
    m.run(12.0)
    assert m.state is S.Failed
    assert m.starts == 2
    assert m.rig["ess0/StartStopFailed"] == 1.0
    assert m.rig["ess0/StartStop"] == C.Stop
    assert m.rig.text("ess0/StartStopReason") == "it did not start in time, 2 times"
    assert "ess0 failed: it did not start in time, 2 times" in m.rig.text("site/Explanation")
    assert m.rig["site/WorstState"] == 3.0
    m.run(30.0)
    assert m.state is S.Failed
    m.start_s = 1.0
    m.run(0.1, ("ess0/StartStopFailed", 0))
    assert m.state in (S.Stopped, S.Starting)
    assert m.rig["ess0/StartStopFailed"] == 0.0
    assert m.run(2.0).state is S.Running


def test_a_fault_stops_the_device_and_is_reset_only_when_it_was_acknowledged():
    m = Machinery(running=True).run(1.0)
    m.fault = True
    m.run(2.0)
    assert m.state is S.Failed
    assert m.rig["ess0/ResetFault"] == 0.0
    assert not m.running
    m.fault = False
    assert m.run(2.0).state is S.Failed
    m.fault = True
    m.run(0.2, ("ess0/StartStopFailed", 0))
    assert not m.fault
    assert m.run(3.0).state is S.Running


def test_a_fault_that_lasts_must_be_acknowledged_anew():
    m = Machinery(running=True, resets=False).run(1.0)
    m.fault = True
    m.run(0.5)
    m.run(0.5, ("ess0/StartStopFailed", 0))
    assert m.rig["ess0/ResetFault"] == 1.0
    m.run(10.0)
    assert m.rig["ess0/ResetFault"] == 0.0
    m.fault = False
    assert m.run(5.0).state is S.Failed


def test_a_device_that_stops_by_itself_is_started_again_and_then_fails():
    m = Machinery(running=True).run(1.0)
    m.running = False
    m.start_s = 99.0
    m.run(0.5)
    assert m.state is S.Stopping
    m.run(20.0)
    assert m.state is S.Failed


def test_a_device_that_does_not_stop_fails():
    m = Machinery(stop_s=99.0, running=True).run(1.0, ("ess0/StartStop", C.Stop))
    assert m.state is S.Stopping
    assert m.run(5.0).state is S.Failed


def test_while_a_device_is_not_heard_its_machine_stands_still():
    m = Machinery().run(1.0)
    for _ in range(400):
        m.rig["ess0/Running"] = None
        m.rig.step()
    assert m.state is S.Starting
    assert m.rig["ess0/StartStop"] == C.Start


def test_nothing_is_told_to_a_device_before_it_is_heard():
    rig = rigs.Rig([rigs.meter(), startable("ess0", ManagedEss, rigs.ESS)])
    rig.step()
    assert rig["ess0/StartStop"] is None
    assert rig["ess0/OperatingState"] is None
    assert rig["ess0/SetActivePower"] == 0.0


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (("site/EmergencyStopActive", 1), ("site/EmergencyStopActive", 0), "Running to Stopping"),
        (("site/Mode", SiteMode.Shutdown), ("site/Mode", SiteMode.Run), "Running to Stopping"),
    ],
)
def test_an_emergency_stop_and_a_shutdown_stop_devices_and_their_end_starts_them_again(begin, end, words):
    """REQ-SAFE-031"""
    m = Machinery(running=True).run(1.0).run(0.1, begin)
    assert m.state is S.Stopping
    assert words in m.told
    assert m.run(2.0).state is S.Stopped
    assert m.run(4.0, end).state is S.Running


def test_a_stopped_producer_is_held_at_nothing():
    """REQ-SAFE-003"""
    rig = rigs.Rig([rigs.meter(), startable("pv0", Pv, rigs.PV)])
    rig["pv0/MaxActivePower"] = 10_000.0
    rig["pv0/ActivePower"] = 4000.0
    rig["pv0/Running"] = 1.0
    rig.step()
    rig.step(("pv0/StartStop", C.Stop))
    assert rig["pv0/ActivePowerLimit"] == 0.0


class Genset(Controller):
    """Asks for a generator."""

    class Params(ControllerParams):
        output: ActuatorRef = param("Its StartStop.")
        value: int = param("What is asked for.", low=0, high=2, default=1)

    params: Params

    def run(self, image: Image, now):
        yield self.params.output.set(self.params.value, why="because")


def genset(value: int) -> rigs.Rig:
    generator = startable("gen0", Generator, (Generator.ActivePower,))
    settings = {"output": "gen0/StartStop", "value": value}
    rig = rigs.Rig([rigs.meter(), rigs.ess(), generator], [(Genset, "genset0", settings)])
    rig["gen0/Running"] = 1.0
    return rig


def test_a_generator_is_started_by_a_controller_and_a_person_outranks_it():
    rig = genset(C.Start)
    rig.step().step()
    assert rig["gen0/StartStop"] == C.Start
    rig.step(("gen0/StartStop", C.Stop)).step()
    assert rig["gen0/StartStop"] == C.Stop
    assert rig["gen0/OperatingState"] == S.Stopping
    assert "gets 2: hand holds it there" in rig.step(dt_s=2.0).text("genset0/Explanation")


def test_a_generator_that_nobody_asks_for_is_left_alone():
    rig = genset(C.Undefined)
    for running in (0.0, 1.0, 0.0):
        rig["gen0/Running"] = running
        rig.step().step()
        assert rig["gen0/StartStop"] is None
    assert rig["gen0/OperatingState"] == S.Stopped


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (("ess0/StartStop", 3), "ess0/StartStop: 3 is none of 0 Undefined, 1 Start, 2 Stop"),
        (("ess0/StartStopFailed", 0), "ess0/StartStopFailed: ess0 did not fail"),
        (("ess0/StartStopFailed", 1), "ess0/StartStopFailed: 1 is not 0 (acknowledged)"),
        (("ess0/ResetFault", 1), "ess0/ResetFault: is not written by clients"),
        (("ess0/OperatingState", 2), "ess0/OperatingState: is not written by clients"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(write, text):
    m = Machinery(running=True).run(0.2, write)
    assert ("write_refused", text) in [(kind, said) for kind, said, _ in m.rig.out.events]


def test_a_restarted_engine_goes_on_where_it_was():
    m = Machinery(running=True).run(1.0, ("ess0/StartStop", C.Stop)).run(3.0)
    assert m.state is S.Stopped
    successor = Machinery()
    successor.rig.engine.restore(m.rig.engine.state())
    successor.run(5.0)
    assert successor.state is S.Stopped
    assert successor.starts == 0
    assert successor.rig["ess0/LastTransition"] == 30


def test_a_setting_that_is_no_number_is_told_and_the_default_holds():
    m = Machinery(StartTimeout="soon", StartAttempts="0").run(0.1)
    left_out = [text for kind, text, _ in m.rig.out.events if kind == "left_out"]
    assert left_out == [
        "entries/ess0.toml: properties.StartTimeout: 'soon' is no number from 1 on; 60 is used",
        "entries/ess0.toml: properties.StartAttempts: '0' is no number from 1 on; 3 is used",
    ]


def test_a_device_without_a_command_or_without_an_answer_has_no_machine():
    names = {use.spec.name for use in (rigs.Rig([rigs.meter(), rigs.ess()]).layout.by_alias["ess0"].channels)}
    assert "OperatingState" not in names
    half = ObjectSpec("ess1", DEVICE, "plant", (Device, StartStoppable), (ChannelUse(StartStoppable.StartStop),))
    rig = rigs.Rig([rigs.meter(), half])
    assert "ess1/OperatingState" not in rig.layout.by_node
    assert not rig.engine._machines


def test_the_site_tells_its_last_transition():
    rig = rigs.Rig([rigs.meter(), rigs.ess()])
    rig.step()
    assert rig["site/LastTransition"] == 10 * SiteMode.Init + SiteMode.Run
    rig.step(("site/EmergencyStopActive", 1))
    assert rig["site/LastTransition"] == 10 * SiteMode.Run + SiteMode.Fault
