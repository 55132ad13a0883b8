"""A stranger's first minute on the running demo, in Chromium: what is shown is real, what is steered moves the plant, and what is
written there is read back elsewhere."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chromium import CHROMIUM, fresh_page, log_in
from demo_site import DemoSite, PlantBench
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@pytest.fixture(scope="module")
def admin(browser: Browser, demo: DemoSite, url: str) -> Any:
    """The cookies of the administrator, who logged in with the password the demo printed."""
    with fresh_page(browser, url) as page:
        log_in(page, url, "admin", demo.printed(r"password\s+(\S+)"))
        page.locator(".flow svg").first.wait_for()
        return page.context.storage_state()


@pytest.fixture
def page(browser: Browser, admin: Any, url: str) -> Iterator[Page]:
    with fresh_page(browser, url, storage_state=admin) as found:
        yield found


def until(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def _setpoint_is(plant: PlantBench, watts: float) -> Callable[[], bool]:
    return lambda: abs(plant.setpoint_w - watts) < 1


def test_the_plant_follows_a_hand_and_then_the_controllers_again(page: Page, url: str, plant: PlantBench) -> None:
    page.goto(url)
    page.locator(".number input").fill("1.5")
    page.get_by_role("button", name="Take control").click()
    until(_setpoint_is(plant, 1500), "the inverter has the set-point")
    expect(page.locator(".react b").last).to_have_text(re.compile(r"^1\.(49|50)$"))
    expect(page.locator(".reason")).to_contain_text("by hand")
    page.get_by_role("button", name="Give back").click()
    until(lambda: abs(plant.grid_w) < 200, "the controllers balance the grid again")


def test_the_emergency_stop_reaches_the_plant_and_is_reset(page: Page, url: str, plant: PlantBench) -> None:
    """REQ-SAFE-031"""
    page.goto(url)
    page.get_by_role("button", name="Emergency stop").click()
    page.get_by_role("button", name="Stop now").click()
    until(_setpoint_is(plant, 0), "the inverter is told to do nothing")
    expect(page.locator(".pill").first).to_have_text("Emergency stop")
    page.get_by_role("button", name="Stopped – reset").click()
    page.get_by_role("button", name="Reset the stop").click()
    expect(page.locator(".pill").first).to_have_text("Running")


def test_a_set_point_written_on_the_devices_page_reaches_the_plant(page: Page, url: str, plant: PlantBench) -> None:
    page.goto(url + "/devices?thing=ess0")
    page.get_by_role("button", name="Set Battery Set active power").click()
    page.get_by_label("New value").fill("-700")
    page.get_by_role("button", name="Take control and set").click()
    until(_setpoint_is(plant, -700), "the inverter has the set-point")
    value = page.locator(".thing tr").filter(has=page.get_by_role("rowheader", name="Active power", exact=True)).locator(".value")
    expect(value).to_have_text(re.compile(r"^−(69\d|70\d)W$"))
    page.goto(url)
    page.get_by_role("button", name="Give back").click()


def test_trends_show_what_was_measured(page: Page, url: str, plant: PlantBench) -> None:
    plant.set_load(2600)
    page.goto(url + "/trends?c=load0/ActivePower&span=15m")
    expect(page.locator(".legend b")).to_have_text(re.compile(r"^2(\.6\d\d|5\d\d|6\d\d)$"))
    page.get_by_role("radio", name="Averaged").click()
    expect(page.locator(".trends .foot")).to_contain_text("Averages of 5 s")
    expect(page.locator(".trends .problem")).to_have_count(0)


@pytest.fixture
def outage_page(browser: Browser, admin: Any, url: str) -> Iterator[Page]:
    """History that is asked for while the server is away is refused with 503, which the browser's console tells."""
    with fresh_page(browser, url, expected=("503",), storage_state=admin) as found:
        yield found


def test_while_the_opc_ua_server_is_away_the_supervisor_tells_how_the_site_is(
    outage_page: Page, url: str, demo: DemoSite
) -> None:
    pid = demo.kill_often("opcua")
    page = outage_page
    page.goto(url)
    outage = page.get_by_role("alert").filter(has_text="The OPC UA server is away")
    expect(outage).to_be_hidden(timeout=60_000)
    page.locator(".flow svg").first.wait_for()
    os.kill(pid, signal.SIGKILL)
    expect(outage).to_contain_text("Control goes on without it")
    expect(outage.locator("li", has_text=re.compile("^Control"))).to_contain_text("running")
    expect(outage.locator("li", has_text="Grid meter")).to_contain_text("loaded")
    expect(outage).to_be_hidden(timeout=60_000)
    expect(page.get_by_role("button", name="Take control")).to_be_enabled()
