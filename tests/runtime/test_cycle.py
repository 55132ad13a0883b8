"""Deadlines, leases and the alarm: the parts of the control cycle, each without a process."""

from __future__ import annotations

import math
import os
import select
import sys
import time
from types import FrameType

import pytest
from image_site import ImageSite

from server.core.status import BAD_OUT_OF_RANGE, GOOD, UNCERTAIN_SUBSTITUTE_VALUE
from server.core.step import OverBudget
from server.runtime.guard import AlarmGuard
from server.runtime.outputs import Outputs
from server.runtime.pacer import Pacer

S = 1_000_000_000

# deadlines: period 100, the cycle is due at 1000


@pytest.mark.parametrize(
    ("start", "end", "slips", "deadline"),
    [
        (1000, 1020, 0, 1100),
        (1000, 1100, 0, 1100),  # ends exactly at the next deadline
        (1000, 1101, 1, 1200),  # ended after it: that one is missed, the phase is kept
        (1000, 1350, 3, 1400),
        (1010, 1030, 0, 1100),  # a tenth late
        (1011, 1030, 1, 1100),  # later
        (1150, 1160, 1, 1200),  # so late that the next deadline passed, too
        (1011, 1101, 1, 1200),  # late and long is one slip, not two
    ],
)
def test_a_slip_is_a_deadline_that_was_not_served_in_time(start: int, end: int, slips: int, deadline: int) -> None:
    pacer = Pacer(100, 1000)
    pacer.started(start)
    pacer.finished(end)
    assert (pacer.slips, pacer.deadline_ns) == (slips, deadline)
    assert (pacer.lateness_ns, pacer.duration_ns) == (start - 1000, end - start)


def test_the_worst_duration_is_remembered() -> None:
    pacer = Pacer(100, 1000)
    for duration in (10, 40, 20):
        pacer.started(pacer.deadline_ns)
        pacer.finished(pacer.deadline_ns + duration)
    assert (pacer.cycles, pacer.duration_ns, pacer.worst_ns) == (3, 20, 40)


# set-points


class Rig:
    """Control's outputs and the battery driver's view of them."""

    def __init__(self, site: ImageSite) -> None:
        control = site.attach("control")
        self.site = site
        self.block = control.block()
        self.outputs = Outputs(control, lease_s=3.0)
        self.setpoints = site.attach("battery").setpoints()
        self.index = site.slot("ess0/SetActivePower") - self.block.owner.first

    def write(self, value: float, status: int, cycle: int, now_ns: int) -> tuple[float, int, int, int]:
        """One cycle; the driver's record of SetActivePower."""
        self.block.records["value"][self.index] = value
        self.block.records["status"][self.index] = status
        self.outputs.write(self.block.records, cycle, now_ns)
        return self.setpoints.read()[0].item()

    def rung(self) -> bool:
        """Was the bell rung since the last look?"""
        if not select.select([self.setpoints.wake_fd], [], [], 0)[0]:
            return False
        os.eventfd_read(self.setpoints.wake_fd)
        return True


@pytest.fixture
def rig(shared: ImageSite) -> Rig:
    return Rig(shared)


def test_an_asserted_set_point_has_value_lease_and_cycle(rig: Rig) -> None:
    assert rig.write(1500.0, GOOD, cycle=5, now_ns=10 * S) == (1500.0, 13 * S, 5, 5)
    assert rig.write(1500.0, GOOD, cycle=6, now_ns=11 * S) == (1500.0, 14 * S, 6, 5)


@pytest.mark.parametrize(("value", "status"), [(0.0, BAD_OUT_OF_RANGE), (math.nan, GOOD), (math.inf, GOOD)])
def test_what_is_bad_or_no_number_is_not_asserted_and_its_lease_runs_out(rig: Rig, value: float, status: int) -> None:
    """REQ-SAFE-022"""
    rig.write(1500.0, GOOD, cycle=5, now_ns=10 * S)
    assert rig.write(value, status, cycle=6, now_ns=11 * S) == (1500.0, 13 * S, 5, 5)


def test_nothing_is_asserted_before_the_engine_said_so(rig: Rig) -> None:
    rig.outputs.write(rig.block.records, 1, 10 * S)
    assert rig.setpoints.read()["lease"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("value", "status", "now_s", "rung"),
    [
        (1500.0, GOOD, 10.05, False),  # a renewal needs no bell
        (1500.0, UNCERTAIN_SUBSTITUTE_VALUE, 10.05, False),
        (1501.0, GOOD, 10.05, True),
        (1501.0, BAD_OUT_OF_RANGE, 10.05, False),
        (1500.0, GOOD, 13.5, True),  # asserted again after the lease had run out
    ],
)
def test_the_bell_is_rung_only_for_what_a_driver_should_not_wait_for(
    rig: Rig, value: float, status: int, now_s: float, rung: bool
) -> None:
    rig.write(1500.0, GOOD, cycle=1, now_ns=10 * S)
    assert rig.rung()
    rig.write(value, status, cycle=2, now_ns=int(now_s * S))
    assert rig.rung() is rung


def test_the_bell_of_a_driver_without_a_change_stays_silent(rig: Rig) -> None:
    rig.write(1.0, GOOD, cycle=1, now_ns=S)
    meters = rig.site.attach("meters").setpoints()
    assert select.select([meters.wake_fd], [], [], 0)[0] == []


def test_withdrawing_ends_every_lease_and_rings(rig: Rig) -> None:
    rig.write(1500.0, GOOD, cycle=1, now_ns=10 * S)
    rig.rung()
    rig.outputs.withdraw()
    assert rig.setpoints.read()["lease"].tolist() == [0, 0]
    assert rig.rung()


def test_a_successor_of_control_neither_ends_nor_renews_leases_by_starting(rig: Rig) -> None:
    rig.write(1500.0, GOOD, cycle=1, now_ns=10 * S)
    rig.block.publish()
    control = rig.site.attach("control")
    block, outputs = control.block(), Outputs(control, lease_s=3.0)
    outputs.forget(block.records)
    outputs.write(block.records, 2, 11 * S)
    assert rig.setpoints.read()[0].item() == (1500.0, 13 * S, 1, 1)


# the alarm


def test_a_loop_that_does_not_end_is_ended() -> None:
    guard = AlarmGuard()
    with guard:
        guard.arm(0.005)
        with pytest.raises(OverBudget):
            _pass(10.0)


def test_the_alarm_is_raised_once_and_the_next_controller_has_its_own_time() -> None:
    guard = AlarmGuard()
    with guard:
        for _ in range(2):
            with pytest.raises(OverBudget):
                _spin(guard, 0.005, 10.0)
        _spin(guard, 10.0, 0.005)


@pytest.mark.parametrize("disarm", [True, False])
def test_nothing_is_raised_for_a_disarmed_controller_or_after_the_step(disarm: bool) -> None:
    guard = AlarmGuard()
    with guard:
        guard.arm(0.002)
        if disarm:
            guard.disarm()
            _pass(0.01)
    _pass(0.01)


def test_the_alarm_never_strikes_inside_the_call_that_disarms_it() -> None:
    guard = AlarmGuard()
    interrupted: list[bool] = []

    def tracer(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code is AlarmGuard.disarm.__code__:
            _pass(0.002)
            guard._tick(0, frame)
            interrupted.append(True)

    guard.arm(0.001)
    sys.setprofile(tracer)
    try:
        guard.disarm()
    finally:
        sys.setprofile(None)
    assert interrupted


def _spin(guard: AlarmGuard, budget_s: float, work_s: float) -> None:
    guard.arm(budget_s)
    _pass(work_s)
    guard.disarm()


def _pass(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
