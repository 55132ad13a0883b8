"""The doctor beside a running site: it looks, and disturbs nothing."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from demo_site import EMS, DemoSite, PlantBench
from witness import Witness

pytestmark = pytest.mark.slow


def examined(demo: DemoSite) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run([EMS, "doctor", demo.directory, "--json"], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)["findings"]


def test_a_running_site_is_found_sound(demo: DemoSite, witness: Witness) -> None:
    demo.wait(lambda: demo.status()["state"] == "running", 30, "the site runs")
    begun, before = time.monotonic_ns(), demo.status()["cycle"]
    status, findings = examined(demo)
    assert (status, [f for f in findings if f["level"] == "fault"]) == (0, [])
    texts = " ".join(f["text"] for f in findings)
    assert "OPC UA listens on 127.0.0.1:" in texts
    assert "panel listens on 127.0.0.1:" in texts
    assert "take" in texts and "MB (proportional set size): " in texts  # noqa: PT018
    slips = demo.status()["cycle"]["slips"] - before["slips"]
    assert slips <= witness.excused(begun, round(before["period_ms"] * 1e6))


def test_a_device_that_is_silent_is_told(demo: DemoSite, plant: PlantBench) -> None:
    plant.set_fault(2, 1)
    try:
        demo.wait(lambda: "meter0" in str(demo.status()["alarms"]), 20, "an alarm names the meter")
        status, findings = examined(demo)
        assert status == 1
        assert any("meter0" in f["text"] and f["todo"] for f in findings if f["topic"] in ("entries", "alarms"))
    finally:
        plant.set_fault(2, 0)
