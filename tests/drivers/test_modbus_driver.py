"""The Modbus driver against the plant over real sockets: reading, writing, faults, and what becomes of set-points."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest
from driver_rig import Rig, Site, served_plant, until

from drivers.modbus.device import Device
from drivers.modbus.driver import run
from drivers.modbus.profile import FOLDER
from server.core.channel import Level
from server.core.natures import CommState
from server.core.status import BAD_DEVICE_FAILURE, BAD_NO_COMMUNICATION, GOOD

SILENT, NONSENSE, FROZEN, SLOW = 1, 2, 3, 4


@pytest.fixture
async def site():
    async with served_plant() as served:
        yield served


def good(rig: Rig, alias: str) -> bool:
    return rig.status(f"{alias}/ActivePower") == GOOD and rig.value(f"{alias}/CommState") == CommState.Up


async def started(rig: Rig, *aliases: str) -> None:
    for alias in aliases:
        await until(lambda alias=alias: good(rig, alias), f"{alias} is up")


async def test_every_device_of_the_plant_is_read_whole_and_right(site: Site):
    rig = Rig({kind: site.config(kind) for kind in Site.UNITS})
    site.plant.battery.command(4000.0)
    site.plant.load_override_w = 3000.0
    site.plant.cloud_override = 0.0
    async with rig.running():
        await started(rig, *Site.UNITS)
        rig.assert_setpoint("ess/SetActivePower", 4000.0)
        await until(lambda: rig.value("ess/ActivePower") == pytest.approx(4000.0, abs=20), "the battery follows")
        nodes = [n for e in Site.UNITS for n in rig.measured(e) if n != "evcs/Soc"]
        await until(lambda: all(rig.status(n) == GOOD for n in nodes), "every channel is good")
    balance = rig.value("load/ActivePower") - rig.value("pv/ActivePower") - rig.value("ess/ActivePower")
    assert rig.value("meter/ActivePower") == pytest.approx(balance, abs=40)
    assert rig.value("load/ActivePower") == pytest.approx(3000.0)
    assert sum(rig.value(f"meter/ActivePower.L{n}") for n in (1, 2, 3)) == pytest.approx(rig.value("meter/ActivePower"), abs=1)
    assert rig.value("ess/Capacity") == 20000.0
    assert rig.value("ess/PowerPrecision") == 1.0
    assert rig.value("ess/NoFailSafe") == 0.0
    assert rig.value("pv/MaxActivePower") == 12000.0
    assert rig.value("evcs/MaxHardwarePower") == pytest.approx(11040.0)
    assert rig.kinds("down") == rig.kinds("warning") == []
    assert len(rig.kinds("up")) == 5
    rig.close()


async def test_five_units_share_one_connection_of_a_gateway(site: Site):
    gateway = site.server.ports[0]
    rig = Rig({kind: site.config(kind).model_copy(update={"port": gateway}) for kind in Site.UNITS})
    async with rig.running():
        await started(rig, *Site.UNITS)
        assert len(site.server._servers[0].connections) == 1
    rig.close()


@pytest.mark.parametrize("cycle_ms", [50.0, 0.0])
async def test_values_keep_coming_with_and_without_an_announced_cycle(site: Site, cycle_ms: float):
    rig = Rig({"meter": site.config("meter")}, cycle_ms)
    async with rig.running():
        await started(rig, "meter")
        seen, begun = set(), time.monotonic()
        for _ in range(60):
            seen.add(int(rig.record("meter/ActivePower")["arrival"]))
            await asyncio.sleep(0.01)
        assert 6 <= len(seen) <= (time.monotonic() - begun) / 0.05 + 8
    rig.close()


async def test_a_set_point_is_armed_written_read_back_and_ends_with_its_lease(site: Site):
    """REQ-SAFE-022, REQ-SAFE-023"""
    battery = site.plant.battery
    rig = Rig({"ess": site.config("ess")})
    battery.command(1234.0)
    async with rig.running():
        await until(lambda: battery.set_power == 0.0, "the first act is fail-safe")
        assert battery.watchdog_s == 10.0
        rig.assert_setpoint("ess/SetActivePower", 5000.0, lease_s=0.4)
        await until(lambda: battery.set_power == 5000.0, "the set-point arrives")
        await until(lambda: battery.set_power == 0.0, "the lease ends in fail-safe")
        await asyncio.sleep(0.2)
        assert battery.set_power == 0.0
    rig.close()


async def test_a_restarted_driver_with_a_fresh_lease_goes_on_without_a_fail_safe_write(site: Site):
    battery = site.plant.battery
    rig = Rig({"ess": site.config("ess")})
    battery.command(3000.0)
    written = []
    site.server.devices[0].registers.write = spy(site.server.devices[0].registers.write, written)
    rig.assert_setpoint("ess/SetActivePower", 3000.0)
    async with rig.running():
        await until(lambda: (40, [0, 3000]) in written, "the leased value is written")
        assert (40, [0, 0]) not in written
        assert written[0] == (44, [10]), "the watchdog is armed before the first write"
    assert (40, [0, 0]) in written, "a cancelled driver leaves its device in fail-safe"
    rig.close()


def spy(method, seen):
    def call(address, words):
        seen.append((address, list(words)))
        return method(address, words)

    return call


async def test_a_refresh_keeps_the_watchdog_of_the_device_fed(site: Site, tmp_path):
    text = (FOLDER / "plant_ess.toml").read_text()
    fast = tmp_path / "fast.toml"
    fast.write_text(text.replace("value = 10\ntimeout_s = 10", "value = 3\ntimeout_s = 3"))
    rig = Rig({"ess": site.config("ess").model_copy(update={"profile": str(fast)})})
    battery = site.plant.battery
    async with rig.running():
        rig.assert_setpoint("ess/SetActivePower", 2000.0)
        await until(lambda: battery.set_power == 2000.0, "written")
        for _ in range(70):
            await asyncio.sleep(0.05)
            assert not battery.watchdog_expired
    await until(lambda: battery.watchdog_expired, "without a driver the device's own watchdog acts")
    rig.close()


async def test_a_device_that_refuses_its_watchdog_shows_no_fail_safe(site: Site, tmp_path):
    profile = tmp_path / "p.toml"
    text = (FOLDER / "plant_ess.toml").read_text()
    profile.write_text(text.replace("address = 44", "address = 190"))
    rig = Rig({"ess": site.config("ess").model_copy(update={"profile": str(profile)})})
    async with rig.running():
        await until(lambda: rig.value("ess/NoFailSafe") == 1.0, "it is shown")
        await started(rig, "ess")
        assert rig.value("ess/State") == Level.Warning
        assert any("watchdog cannot be armed" in w for w in rig.kinds("warning"))
    rig.close()


async def test_a_silent_device_goes_down_once_and_comes_back_once(site: Site):
    rig = Rig({"ess": site.config("ess", timeout_s=0.1), "meter": site.config("meter")})
    async with rig.running():
        await started(rig, "ess", "meter")
        rig.assert_setpoint("ess/SetActivePower", 1500.0, lease_s=60)
        await until(lambda: site.plant.battery.set_power == 1500.0, "written")
        site.fault("ess", SILENT)
        await until(lambda: rig.value("ess/CommState") == CommState.Down, "down")
        await until(lambda: all(rig.status(n) == BAD_NO_COMMUNICATION for n in rig.measured("ess")), "all channels are bad")
        assert rig.value("ess/State") == Level.Fault
        assert good(rig, "meter")
        await asyncio.sleep(0.9)
        assert len(rig.kinds("down")) == 1
        site.plant.battery.command(0.0)
        site.fault("ess", 0)
        await started(rig, "ess")
        await until(lambda: site.plant.battery.set_power == 1500.0, "the lease still holds, so the value is written again")
        assert len(rig.kinds("up")) == 3
        assert len(rig.kinds("down")) == 1
        assert rig.value("ess/State") == Level.Ok
    rig.close()


async def test_a_device_that_is_not_there_is_down_from_the_start_and_found_later():
    async with served_plant() as site:
        config = site.config("meter")
    rig = Rig({"meter": config})
    async with rig.running():
        await until(lambda: rig.value("meter/CommState") == CommState.Down, "down")
        assert math.isnan(rig.value("meter/ActivePower"))
        await until(lambda: len(rig.kinds("down")) == 1, "reported once")
        assert "no connection to 127.0.0.1" in rig.kinds("down")[0]
    rig.close()


@pytest.mark.parametrize("host", ["192.168.1..5", "x" * 64, "meter\0"])
async def test_a_host_that_cannot_be_is_a_device_that_does_not_answer(site: Site, host: str):
    rig = Rig({"ess": site.config("ess"), "meter": site.config("meter").model_copy(update={"host": host})})
    async with rig.running():
        await started(rig, "ess")
        await until(lambda: rig.value("meter/CommState") == CommState.Down, "down")
        assert rig.kinds("down") == [f"meter: no communication: no connection to {host}:{site.config('meter').port}"]
    rig.close()


@pytest.mark.parametrize("work", ["set_up", "read_fast", "read_slow", "write_due", "write"])
async def test_what_the_driver_fails_at_costs_one_device_only(site: Site, work: str, monkeypatch: pytest.MonkeyPatch):
    def fail(self: Device, *_: object) -> None:
        if self.alias == "ess" and self.ready is (work != "set_up"):
            raise ZeroDivisionError("a mistake of ours")
        return whole(self, *_)

    rig = Rig({kind: site.config(kind).model_copy(update={"port": site.server.ports[0]}) for kind in Site.UNITS})
    rig.assert_setpoint("ess/SetActivePower", 500.0)
    async with rig.running() as task:
        await started(rig, *Site.UNITS)
        whole = getattr(Device, work)
        monkeypatch.setattr(Device, work, fail)
        if work == "set_up":
            site.fault("ess", SILENT)
        rig.assert_setpoint("ess/SetActivePower", 800.0)
        await until(lambda: any("a mistake of ours" in text for text in rig.kinds("down")) or task.done(), "it is told")
        assert rig.kinds("down")[-1].endswith("the driver failed: ZeroDivisionError: a mistake of ours")
        await asyncio.sleep(0.2)
        assert not task.done()
        await started(rig, *(kind for kind in Site.UNITS if kind != "ess"))
        assert all(text.startswith("ess: ") for text in rig.kinds("down"))
        monkeypatch.undo()
        site.fault("ess", 0)
        await started(rig, "ess")
    rig.close()


async def test_a_failure_at_the_stop_leaves_no_other_device_without_its_fail_safe(site: Site, monkeypatch: pytest.MonkeyPatch):
    """REQ-SAFE-022"""
    whole = Device.write_fail_safe

    async def fail(self: Device) -> None:
        if self.alias == "pv":
            raise ZeroDivisionError("a mistake of ours")
        await whole(self)

    rig = Rig({kind: site.config(kind).model_copy(update={"port": site.server.ports[0]}) for kind in ("pv", "ess")})
    monkeypatch.setattr(Device, "write_fail_safe", fail)
    async with rig.running():
        await started(rig, "pv", "ess")
        rig.assert_setpoint("ess/SetActivePower", -900.0)
        await until(lambda: site.plant.battery.set_power == -900.0, "written")
    assert site.plant.battery.set_power == 0.0
    rig.close()


async def test_a_profile_that_broke_after_the_start_costs_its_own_entry(site: Site, tmp_path: Path):
    profile = tmp_path / "p.toml"
    profile.write_text((FOLDER / "plant_ess.toml").read_text())
    rig = Rig({"ess": site.config("ess").model_copy(update={"profile": str(profile)}), "meter": site.config("meter")})
    profile.write_text("title = ")
    async with rig.running():
        await started(rig, "meter")
        assert rig.value("ess/CommState") == CommState.Down
        assert rig.value("ess/State") == Level.Fault
        assert rig.kinds("down")[0].startswith("ess: cannot be begun with: ProfileError: p.toml: Invalid value")
    rig.close()


async def test_a_number_that_its_registers_cannot_hold_is_a_problem_of_the_set_point(site: Site, monkeypatch: pytest.MonkeyPatch):
    def too_large(*_: object) -> list[int]:
        raise OverflowError("800 does not fit")

    rig = Rig({"ess": site.config("ess")})
    async with rig.running():
        await started(rig, "ess")
        monkeypatch.setattr("drivers.modbus.device.encode", too_large)
        rig.assert_setpoint("ess/SetActivePower", 800.0)
        await until(lambda: rig.kinds("warning") == ["ess: SetActivePower = 800: 800 does not fit"], "it is told")
        assert good(rig, "ess")
    rig.close()


async def test_nonsense_never_becomes_a_good_value(site: Site):
    rig = Rig({kind: site.config(kind) for kind in Site.UNITS})
    async with rig.running():
        await started(rig, *Site.UNITS)
        for kind in Site.UNITS:
            site.fault(kind, NONSENSE)
        numbers = [f"{k}/ActivePower" for k in Site.UNITS] + ["ess/Soc", "meter/Frequency", "evcs/Status", "pv/Irradiance"]
        await until(lambda: all(rig.status(n) >= 0x80000000 for n in numbers), "all are bad")
        for _ in range(20):
            await asyncio.sleep(0.02)
            assert all(rig.status(n) >= 0x80000000 and math.isnan(rig.value(n)) for n in numbers)
        for kind in Site.UNITS:
            await until(lambda kind=kind: rig.value(f"{kind}/State") >= Level.Warning, f"{kind} is seen to be unwell")
            assert any(w.startswith(f"{kind}: values that cannot be: ") for w in rig.kinds("warning"))
        for kind in Site.UNITS:
            site.fault(kind, 0)
        await started(rig, *Site.UNITS)
        for kind in Site.UNITS:
            await until(lambda kind=kind: rig.value(f"{kind}/State") == Level.Ok, f"{kind} is well again")
    rig.close()


async def test_a_frozen_device_is_noticed_and_not_believed(site: Site):
    rig = Rig({"ess": site.config("ess")})
    async with rig.running():
        await started(rig, "ess")
        site.fault("ess", FROZEN)
        await until(lambda: rig.status("ess/ActivePower") == BAD_DEVICE_FAILURE, "frozen values are bad")
        assert rig.value("ess/CommState") == CommState.Degraded
        assert any("stand still" in w for w in rig.kinds("warning"))
        rig.assert_setpoint("ess/SetActivePower", 700.0)
        await until(lambda: any("reads back" in w for w in rig.kinds("warning")), "a write that has no effect is noticed")
        site.fault("ess", 0)
        await started(rig, "ess")
        await until(lambda: site.plant.battery.set_power == 700.0, "the write is tried again")
        await until(lambda: rig.value("ess/State") == Level.Ok, "all is well")
    rig.close()


@pytest.mark.parametrize(("timeout_s", "state"), [(0.2, CommState.Down), (3.0, CommState.Up)])
async def test_a_slow_device_is_down_or_slow_as_its_timeout_says(site: Site, timeout_s: float, state: CommState):
    rig = Rig({"ess": site.config("ess", timeout_s=timeout_s), "meter": site.config("meter")})
    async with rig.running():
        await started(rig, "ess", "meter")
        site.fault("ess", SLOW)
        await asyncio.sleep(0.1)
        before = int(rig.record("ess/ActivePower")["arrival"])
        if state is CommState.Down:
            await until(lambda: rig.value("ess/CommState") == CommState.Down, "down")
        else:
            await until(lambda: int(rig.record("ess/ActivePower")["arrival"]) > before + 2_500_000_000, "late values come")
        assert rig.value("ess/CommState") == state
        assert good(rig, "meter")
        site.fault("ess", 0)
        await started(rig, "ess")
    rig.close()


async def test_a_refused_block_is_bad_while_the_others_go_on(site: Site, tmp_path):
    profile = tmp_path / "p.toml"
    profile.write_text(
        'title = "T"\nnatures = ["Meter"]\nsource = "S"\nverified = true\n'
        '[[block]]\nname = "good"\naddress = 2\ncount = 2\n'
        'channels = [{ channel = "ActivePower", address = 2, type = "float32" }]\n'
        '[[block]]\nname = "gone"\naddress = 900\ncount = 1\n'
        'channels = [{ channel = "Frequency", address = 900, type = "uint16" }]\n'
    )
    rig = Rig({"meter": site.config("meter").model_copy(update={"profile": str(profile)})})
    async with rig.running():
        await until(lambda: rig.status("meter/ActivePower") == GOOD, "the good block is read")
        await until(lambda: rig.status("meter/Frequency") == BAD_DEVICE_FAILURE, "the refused block is bad")
        await asyncio.sleep(0.7)
        assert rig.value("meter/CommState") == CommState.Degraded
        assert rig.value("meter/State") == Level.Warning
        assert len(rig.kinds("warning")) == 1
        assert "block gone at 900: Modbus exception 2 (illegal address)" in rig.kinds("warning")[0]
    rig.close()


async def test_another_device_at_the_address_is_not_touched(site: Site):
    wrong = site.config("ess").model_copy(update={"port": site.server.ports[3], "unit_id": 3})
    rig = Rig({"ess": wrong})
    limit = site.plant.pv.limit_w
    async with rig.running():
        await until(lambda: bool(rig.kinds("down")), "refused")
        assert "wrong device: it says 'EMS-PV-12', 'EMS-ESS' is expected" in rig.kinds("down")[0]
        rig.assert_setpoint("ess/SetActivePower", 500.0)
        await asyncio.sleep(0.3)
    assert site.plant.pv.limit_w == limit
    assert site.plant.pv.watchdog_s == 0.0
    rig.close()


async def test_a_dropped_connection_is_opened_again(site: Site):
    rig = Rig({"meter": site.config("meter")})
    async with rig.running():
        await started(rig, "meter")
        for connection in list(site.server._servers[2].connections):
            connection.close()
        later = int(rig.record("meter/ActivePower")["arrival"]) + 300_000_000
        await until(lambda: int(rig.record("meter/ActivePower")["arrival"]) > later and good(rig, "meter"), "values come")
    rig.close()


async def test_cancelling_ends_in_fail_safe_although_another_device_is_silent(site: Site):
    rig = Rig({kind: site.config(kind) for kind in ("ess", "pv", "evcs")})
    async with rig.running():
        await started(rig, "ess", "pv", "evcs")
        rig.assert_setpoint("ess/SetActivePower", -900.0)
        rig.assert_setpoint("pv/ActivePowerLimit", 4000.0)
        await until(lambda: site.plant.battery.set_power == -900.0 and site.plant.pv.limit_w == 4000.0, "written")
        site.fault("evcs", SILENT)
    assert site.plant.battery.set_power == 0.0
    assert site.plant.pv.limit_w == 12000.0
    rig.close()


async def test_a_cancelled_driver_ends_at_whatever_moment_it_is_cancelled(site: Site):
    for attempt in range(12):
        rig = Rig({kind: site.config(kind, poll_ms=5) for kind in Site.UNITS}, cycle_ms=5)
        task = asyncio.create_task(run(rig, rig.entries))
        await asyncio.sleep(0.05 + 0.0013 * attempt)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=3.0)
        assert done, f"attempt {attempt} never ended"
        assert task.cancelled()
        rig.close()
