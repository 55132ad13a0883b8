"""Transition tables, row by row."""

from __future__ import annotations

import pytest

from server.core.natures import OperatingState, SiteMode, StartStop
from server.core.state_machine import DEVICE, SITE, DeviceSeen, SiteSeen, command_of, edges, follow, number_of, states_of

M, D = SiteMode, OperatingState
CALM = {"wish": M.Run, "tripped": False, "usable": True, "lost_s": 0.0, "off_grid": False}


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (M.Init, {"usable": False}, M.Init),
        (M.Init, {}, M.Run),
        (M.Init, {"wish": M.Standby}, M.Standby),
        (M.Standby, {"wish": M.Standby}, M.Standby),
        (M.Standby, {}, M.Init),
        (M.Run, {}, M.Run),
        (M.Run, {"usable": False, "lost_s": 29.0}, M.Run),
        (M.Run, {"usable": False, "lost_s": 31.0}, M.Init),
        (M.Run, {"wish": M.Standby}, M.Standby),
        (M.Run, {"off_grid": True}, M.Island),
        (M.Island, {"off_grid": True}, M.Island),
        (M.Island, {}, M.Run),
        (M.Island, {"wish": M.Standby, "off_grid": True}, M.Standby),
        (M.Run, {"wish": M.Shutdown}, M.Shutdown),
        (M.Init, {"wish": M.Shutdown, "usable": False}, M.Shutdown),
        (M.Shutdown, {"wish": M.Shutdown}, M.Shutdown),
        (M.Shutdown, {}, M.Init),
        (M.Fault, {"tripped": True}, M.Fault),
        (M.Fault, {"tripped": True, "wish": M.Shutdown}, M.Fault),
        (M.Fault, {}, M.Init),
        *[(mode, {"tripped": True}, M.Fault) for mode in M],
    ],
)
def test_site(state, seen, expected):
    assert follow(SITE, state, SiteSeen(**(CALM | seen)))[0] is expected


START, STOP, UNDEFINED = StartStop.Start, StartStop.Stop, StartStop.Undefined
IDLE = {
    "wish": UNDEFINED, "running": False, "fault": False, "here_s": 0.0, "start_s": 60.0, "stop_s": 30.0, "retry": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (D.Stopped, {}, D.Stopped),
        (D.Stopped, {"wish": STOP}, D.Stopped),
        (D.Stopped, {"wish": START}, D.Starting),
        (D.Stopped, {"wish": START, "running": True}, D.Running),
        (D.Stopped, {"running": True}, D.Running),
        (D.Stopped, {"wish": STOP, "running": True}, D.Stopping),
        (D.Stopped, {"wish": START, "fault": True}, D.Failed),
        (D.Starting, {"wish": START, "here_s": 59.0}, D.Starting),
        (D.Starting, {"wish": START, "here_s": 61.0}, D.Failed),
        (D.Starting, {"wish": START, "here_s": 61.0, "retry": True}, D.Stopping),
        (D.Starting, {"wish": START, "here_s": 61.0, "running": True}, D.Running),
        (D.Starting, {"wish": STOP}, D.Stopping),
        (D.Starting, {"wish": START, "running": True, "fault": True}, D.Failed),
        (D.Running, {"wish": START, "running": True}, D.Running),
        (D.Running, {"running": True}, D.Running),
        (D.Running, {"wish": START}, D.Failed),
        (D.Running, {"wish": START, "retry": True}, D.Stopping),
        (D.Running, {}, D.Stopped),
        (D.Running, {"wish": STOP, "running": True}, D.Stopping),
        (D.Running, {"wish": START, "running": True, "fault": True}, D.Failed),
        (D.Stopping, {"running": True, "here_s": 29.0}, D.Stopping),
        (D.Stopping, {"running": True, "here_s": 31.0}, D.Failed),
        (D.Stopping, {"here_s": 0.5}, D.Stopping),
        (D.Stopping, {"here_s": 1.0}, D.Stopped),
        (D.Failed, {"wish": START}, D.Failed),
        (D.Failed, {"wish": START, "acknowledged": True, "fault": True}, D.Failed),
        (D.Failed, {"wish": START, "acknowledged": True}, D.Stopped),
    ],
)
def test_device(state, seen, expected):
    assert follow(DEVICE, state, DeviceSeen(**(IDLE | seen)))[0] is expected


@pytest.mark.parametrize(
    ("state", "wish", "expected"),
    [
        (D.Stopped, UNDEFINED, None),
        (D.Running, UNDEFINED, None),
        (D.Stopped, STOP, STOP),
        (D.Starting, START, START),
        (D.Starting, UNDEFINED, START),
        (D.Running, START, START),
        (D.Stopping, START, STOP),
        (D.Failed, START, STOP),
        (D.Failed, UNDEFINED, STOP),
    ],
)
def test_what_a_device_is_told_follows_from_its_state(state, wish, expected):
    assert command_of(state, wish) is expected


def test_a_transition_has_one_number_however_many_reasons_lead_to_it():
    numbers = [number_of(*edge) for edge in edges(DEVICE)]
    assert numbers == [1, 2, 3, 4, 12, 13, 14, 20, 23, 24, 30, 34, 40]
    assert [states_of(number) for number in numbers] == [(int(a), int(b)) for a, b in edges(DEVICE)]
    assert (M.Island, M.Fault) in edges(SITE)
    assert (M.Fault, M.Fault) not in edges(SITE)


def test_a_transition_says_why():
    assert follow(SITE, M.Run, SiteSeen(**(CALM | {"tripped": True})))[1] == "a trip is active"
    assert follow(SITE, M.Run, SiteSeen(**CALM)) == (M.Run, "")


def test_every_state_can_be_left_and_reached():
    for table, states in ((SITE, M), (DEVICE, D)):
        assert {row.target for row in table} == set(states)
        assert {row.source for row in table if row.source is not None} == set(states)
