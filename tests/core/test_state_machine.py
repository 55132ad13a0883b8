"""Transition tables, row by row."""

from __future__ import annotations

import pytest

from server.core.natures import SiteMode
from server.core.state_machine import DEVICE, SITE, DeviceMode, DeviceSeen, SiteSeen, follow

M, D = SiteMode, DeviceMode
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


IDLE = {"wanted": False, "running": False, "here_s": 0.0, "start_s": 60.0, "stop_s": 30.0}


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (D.Stopped, {}, D.Stopped),
        (D.Stopped, {"wanted": True}, D.Starting),
        (D.Stopped, {"wanted": True, "running": True}, D.Running),
        (D.Stopped, {"running": True}, D.Stopping),
        (D.Starting, {"wanted": True, "here_s": 59.0}, D.Starting),
        (D.Starting, {"wanted": True, "here_s": 61.0}, D.Failed),
        (D.Starting, {"wanted": True, "running": True, "here_s": 61.0}, D.Running),
        (D.Starting, {}, D.Stopping),
        (D.Running, {"wanted": True, "running": True}, D.Running),
        (D.Running, {"wanted": True}, D.Failed),
        (D.Running, {"running": True}, D.Stopping),
        (D.Stopping, {"running": True, "here_s": 29.0}, D.Stopping),
        (D.Stopping, {"running": True, "here_s": 31.0}, D.Failed),
        (D.Stopping, {}, D.Stopped),
        (D.Failed, {"wanted": True}, D.Failed),
        (D.Failed, {"reset": True}, D.Stopped),
    ],
)
def test_device(state, seen, expected):
    assert follow(DEVICE, state, DeviceSeen(**(IDLE | seen)))[0] is expected


def test_a_transition_says_why():
    assert follow(SITE, M.Run, SiteSeen(**(CALM | {"tripped": True})))[1] == "a trip is active"
    assert follow(SITE, M.Run, SiteSeen(**CALM)) == (M.Run, "")


def test_every_state_can_be_left_and_reached():
    for table, states in ((SITE, M), (DEVICE, D)):
        assert {row.target for row in table} == set(states)
        assert {row.source for row in table if row.source is not None} == set(states)
