"""Start and stop of the simulated inverter, and what its registers and its profile make of it."""

from __future__ import annotations

import pytest

from drivers.modbus.profile import ProfileError, load_profile, parse_profile
from drivers.plant.battery import Battery
from drivers.plant.drive import START, STOP, Drive, Operation
from drivers.plant.model import Plant
from drivers.plant.registers import ess_map

O = Operation  # noqa: E741


def drive(state: Operation, **settings: float) -> Drive:
    return Drive(state, **settings)


@pytest.mark.parametrize(
    ("state", "command", "after_s", "expected"),
    [
        (O.Off, START, 0.1, O.Starting),
        (O.Off, START, 3.1, O.Running),
        (O.Off, STOP, 5.0, O.Off),
        (O.Off, 0, 5.0, O.Off),
        (O.Running, START, 5.0, O.Running),
        (O.Running, STOP, 0.5, O.Stopping),
        (O.Running, STOP, 1.1, O.Off),
        (O.Starting, STOP, 1.1, O.Off),
        (O.Error, START, 5.0, O.Error),
        (O.Error, STOP, 5.0, O.Error),
    ],
)
def test_a_command_is_taken_where_it_fits(state, command, after_s, expected):
    it = drive(state)
    it.command(command)
    it.step(after_s)
    assert it.state is expected


def test_a_failing_start_stays_in_starting_and_the_next_one_succeeds():
    it = drive(O.Off, failing=1)
    it.command(START)
    it.step(60.0)
    assert it.state is O.Starting
    it.command(STOP)
    it.step(1.1)
    it.command(START)
    it.step(3.1)
    assert it.state is O.Running


def test_an_error_lasts_until_it_is_cleared():
    it = drive(O.Running)
    it.trip()
    it.clear()
    assert it.state is O.Off


def test_an_inverter_that_does_not_run_gives_no_power():
    battery = Battery()
    battery.command(3000.0)
    for _ in range(100):
        battery.step(0.02, 0.02, 20.0)
    assert battery.power == pytest.approx(3000.0, abs=10)
    battery.drive.command(STOP)
    for _ in range(100):
        battery.step(0.02, 0.02, 20.0)
    assert battery.power == pytest.approx(0.0, abs=10)


def test_the_registers_take_commands_and_show_the_state():
    plant = Plant()
    registers = ess_map(plant)
    assert registers.read(19, 1) == [2]
    plant.battery.drive.trip()
    assert registers.read(12, 1) == [16]
    registers.write(47, [0])
    assert registers.read(19, 1) == [4]
    registers.write(47, [1])
    registers.write(46, [START])
    assert registers.read(19, 1) == [1]


@pytest.mark.parametrize(("state", "runs"), [(O.Off, 0), (O.Starting, 0), (O.Running, 1), (O.Stopping, 1), (O.Error, 0)])
def test_the_profile_sees_it_run_while_it_is_on_the_grid(state, runs):
    point = next(p for b in load_profile("plant_ess").block for p in b.channels if p.channel == "Running")
    assert int(state) >> point.bit & 1 == runs


def test_a_profile_cannot_measure_what_the_engine_decides():
    text = """
        title = "x"
        natures = ["StartStoppable"]
        [[block]]
        name = "a"
        address = 0
        count = 1
        channels = [{ channel = "OperatingState", address = 0, type = "uint16" }]
    """
    with pytest.raises(ProfileError, match="'OperatingState' is decided by the engine"):
        parse_profile("mine.toml", text)
