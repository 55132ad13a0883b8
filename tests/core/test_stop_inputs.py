"""Emergency stops at digital inputs."""

from __future__ import annotations

import core_rig as rigs
import pytest

from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, DigitalIo, SiteMode
from server.core.site import StopInput

STOP = "io0/Input[1]"


def site(**settings: object) -> rigs.Rig:
    """A storage, and an emergency stop at the second of two inputs."""
    uses = (ChannelUse(Device.State), ChannelUse(DigitalIo.Input, 2, 0.05))
    inputs = ObjectSpec("io0", DEVICE, "plant", (Device, DigitalIo), uses)
    stop = StopInput(**({"channel": STOP} | settings))
    rig = rigs.Rig([rigs.meter(), rigs.ess(), inputs], emergency_stops=(stop,))
    rig["meter0/ActivePower"] = 0.0
    return rig


def contact(rig: rigs.Rig, closed: float | None) -> None:
    slot = rig.layout.by_node["io0/Input"].slot + 1
    rig.records["value"][slot] = 0.0 if closed is None else closed
    rig.records["status"][slot] = 0x80000000 if closed is None else 0


def running(**settings: object) -> rigs.Rig:
    rig = site(**settings)
    contact(rig, 0.0 if settings.get("normally_closed") is False else 1.0)
    rig.step()
    return rig


@pytest.mark.parametrize(("normally_closed", "pressed"), [(True, 0.0), (False, 1.0)])
def test_a_pressed_input_stops_the_site_in_the_cycle_that_sees_it(normally_closed: bool, pressed: float) -> None:
    """REQ-SAFE-033"""
    rig = running(normally_closed=normally_closed)
    assert rig["site/Mode"] == SiteMode.Run
    contact(rig, pressed)
    rig.step()
    assert rig["site/Mode"] == SiteMode.Fault
    assert rig["ess0/SetActivePower"] == 0.0
    assert rig["site/EmergencyStopActive"] == 1.0
    assert rig.step(dt_s=1.0).text("site/Explanation") == f"All outputs are at safe values: emergency stop: {STOP} is pressed"


def test_a_stop_is_not_reset_while_the_input_is_pressed_and_not_by_its_release() -> None:
    """REQ-SAFE-033"""
    rig = running()
    contact(rig, 0.0)
    rig.step().step(("site/EmergencyStopActive", 0))
    refused = [text for kind, text, _ in rig.out.events if kind == "write_refused"]
    assert refused == [f"site/EmergencyStopActive: the emergency stop is not reset: {STOP} is pressed"]
    contact(rig, 1.0)
    rig.step()
    assert rig["site/EmergencyStopActive"] == 1.0
    rig.step(("site/EmergencyStopActive", 0))
    assert rig["site/EmergencyStopActive"] == 0.0
    assert rig["site/Mode"] == SiteMode.Run


@pytest.mark.parametrize(("bad_s", "stopped"), [(0.9, False), (1.1, True)])
def test_an_input_that_is_bad_for_too_long_counts_as_pressed(bad_s: float, stopped: bool) -> None:
    """REQ-SAFE-034"""
    rig = running(bad_after_s=1.0)
    contact(rig, None)
    for _ in range(round(bad_s / 0.05)):
        rig.step()
    assert bool(rig["site/EmergencyStopActive"]) is stopped
    contact(rig, 1.0)
    rig.step()
    assert bool(rig["site/EmergencyStopActive"]) is stopped, "a lost input that comes back resets nothing"


def test_a_short_gap_does_not_add_up() -> None:
    rig = running(bad_after_s=1.0)
    for _ in range(50):
        contact(rig, None)
        rig.step()
        contact(rig, 1.0)
        rig.step()
    assert rig["site/EmergencyStopActive"] == 0.0


def test_an_input_that_was_never_heard_keeps_the_site_in_init() -> None:
    """REQ-SAFE-034"""
    rig = site()
    contact(rig, None)
    for _ in range(100):
        rig.step()
    assert rig["site/Mode"] == SiteMode.Init
    assert rig["ess0/SetActivePower"] is None
    assert rig["site/EmergencyStopActive"] == 0.0
    assert rig.text("site/Explanation") == f"Init: waiting for {STOP} to be heard, where the emergency stop is"
    contact(rig, 1.0)
    assert rig.step()["site/Mode"] == SiteMode.Run


@pytest.mark.parametrize("channel", ["io9/Input", "io0/Input[7]", "io0/Nothing"])
def test_an_input_that_is_not_there_is_told_and_never_taken_for_released(channel: str) -> None:
    """REQ-SAFE-034"""
    rig = site(channel=channel)
    contact(rig, 1.0)
    for _ in range(50):
        rig.step()
    assert rig["site/Mode"] == SiteMode.Init
    told = [text for kind, text, _ in rig.out.events if kind == "left_out"]
    assert len(told) == 1
    assert told[0].startswith(f"site.toml: emergency_stop[0].channel: '{channel}'")


def test_a_restarted_engine_hears_its_inputs_before_it_runs() -> None:
    """REQ-SAFE-034"""
    before = running()
    contact(before, 0.0)
    before.step()
    after = site()
    after.engine.restore(before.engine.state())
    contact(after, 1.0)
    after.step()
    assert after["site/EmergencyStopActive"] == 1.0, "the button was released meanwhile, nobody reset it"
