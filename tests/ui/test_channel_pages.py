"""Devices and Trends in Chromium, beside a site that the tests steer: find a channel, write it, plot it, share the plot."""

from __future__ import annotations

import csv
import io
import re

import pytest
from chromium import CHROMIUM, DESK, PHONE
from playwright.sync_api import Locator, Page, expect
from steered_panel import Panel

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


def _row(page: Page, name: str) -> Locator:
    return page.locator(".thing tr").filter(has=page.get_by_role("rowheader", name=name, exact=True)).first


def _legend(page: Page) -> list[str]:
    return page.locator(".legend .what").all_inner_texts()


def _drawn(page: Page) -> None:
    """The history was read and drawn."""
    page.locator(".trends canvas").wait_for()
    expect(page.locator(".trends .foot")).to_contain_text(re.compile("Averages of|Raw values"))
    expect(page.locator(".trends .busy")).to_have_count(0)
    expect(page.locator(".trends .problem")).to_have_count(0)


# Devices.


def test_a_device_shows_what_it_is_and_its_channels_by_nature(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices?thing=ess0")
    expect(page.locator(".thing caption")).to_have_text(["Set-points", "Storage", "Start and stop", "Health"])
    row = _row(page, "SoC")
    expect(row.locator(".value")).to_have_text(re.compile(r"^\d\d\.\d%$"))
    expect(row.locator(".quality")).to_have_text("good")
    expect(row.locator(".spark polyline")).to_be_visible()
    expect(page.locator(".node", has_text="Battery")).to_have_attribute("aria-current", "true")


def test_a_search_finds_channels_of_all_devices_and_says_when_there_are_none(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices")
    page.get_by_label("Find a channel").fill("active power")
    expect(page.locator(".thing h2")).to_have_text(["Grid meter", "Battery", "Roof PV"])
    assert page.url.endswith("/devices?q=active+power")
    page.get_by_label("Find a channel").fill("nothing like this")
    expect(page.get_by_text("Nothing is called")).to_be_visible()


def test_quality_is_told_in_words_and_shape(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices?thing=pv0")
    panel.order("stale on")
    quality = _row(page, "Active power").locator(".quality")
    expect(quality).to_have_text("no communication")
    expect(quality.locator("use")).to_have_attribute("href", "#q-bad")
    panel.order("stale off")
    expect(quality).to_have_text("good")


def test_a_device_in_trouble_says_why_and_when_it_is_tried_again(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices?thing=meter0")
    panel.order("alarm on")
    expect(page.locator(".reason-why")).to_contain_text("connection refused")
    expect(page.locator(".node", has_text="Charger")).to_contain_text("does not answer")
    panel.order("alarm off")
    expect(page.locator(".reason-why")).to_have_count(0)


def test_a_set_point_is_written_under_an_override_taken_for_it(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices?thing=ess0")
    page.get_by_role("button", name="Set Battery Set active power").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Allowed now: −5000 to 5000 W")
    dialog.get_by_label("New value").fill("6000")
    expect(dialog).to_contain_text("Only −5000 to 5000 W is allowed now")
    expect(dialog.get_by_role("button", name="Take control and set")).to_be_disabled()
    dialog.get_by_label("New value").fill("1500")
    dialog.get_by_role("radio", name="1 min", exact=True).click()
    dialog.get_by_role("button", name="Take control and set").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".toast")).to_contain_text("Battery: set active power is asked to be 1,500 W")
    expect(_row(page, "Set active power").locator(".value")).to_have_text("1500W")
    page.goto(panel.url)
    page.get_by_role("button", name="Give back").click()


def test_who_may_only_look_is_offered_nothing_to_set(page: Page, panel: Panel) -> None:
    panel.log_in(page, "observer")
    page.locator("#main").wait_for()
    page.goto(panel.url + "/devices?thing=ess0")
    expect(_row(page, "Set active power")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Set "))).to_have_count(0)


def test_a_device_is_stopped_started_and_its_failure_acknowledged(page: Page, panel: Panel) -> None:
    panel.visit(page, "/devices?thing=ess0")
    strip = page.get_by_role("group", name="Start and stop Battery")
    expect(strip).to_contain_text("Running")
    strip.get_by_role("button", name="Stop").click()
    expect(page.locator(".toast")).to_contain_text("Battery is asked to stop.")
    expect(strip).to_contain_text("Stopped")
    expect(page.locator(".node", has_text="Battery")).to_contain_text("stopped")
    strip.get_by_role("button", name="Start").click()
    expect(strip).to_contain_text("Starting")
    expect(strip).to_contain_text("Running", timeout=20_000)
    panel.order("failed on")
    expect(strip).to_contain_text("It did not start in time, 3 times")
    expect(strip.get_by_role("button")).to_have_text(["Acknowledge", "Stop"])
    strip.get_by_role("button", name="Acknowledge").click()
    expect(strip).to_contain_text("Running", timeout=20_000)
    expect(page.get_by_role("button", name="Set Battery Start stop")).to_have_count(0)


def test_who_may_only_look_starts_and_stops_nothing(page: Page, panel: Panel) -> None:
    panel.log_in(page, "observer")
    page.locator("#main").wait_for()
    page.goto(panel.url + "/devices?thing=ess0")
    button = page.get_by_role("group", name="Start and stop Battery").get_by_role("button", name="Stop")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", "Your role may look but not start and stop devices.")


def test_the_buttons_of_a_machine_fit_a_phone(page: Page, panel: Panel) -> None:
    page.set_viewport_size(PHONE)
    panel.visit(page, "/devices?thing=ess0")
    panel.order("failed on")
    strip = page.get_by_role("group", name="Start and stop Battery")
    expect(strip.get_by_role("button")).to_have_count(2)
    boxes = [button.bounding_box() for button in strip.get_by_role("button").all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] and box["height"] >= 44 for box in boxes)
    panel.order("failed off")


def test_a_phone_shows_the_list_then_the_device_then_the_list(page: Page, panel: Panel) -> None:
    page.set_viewport_size(PHONE)
    panel.visit(page, "/devices")
    page.locator(".node", has_text="Battery").click()
    expect(_row(page, "SoC").locator(".value")).to_be_visible()
    expect(page.locator(".tree")).to_be_hidden()
    page.get_by_role("button", name="All devices").click()
    expect(page.locator(".tree")).to_be_visible()


# Trends.


def test_trends_begin_with_the_power_flow_and_the_address_says_so(page: Page, panel: Panel) -> None:
    panel.visit(page, "/trends")
    _drawn(page)
    assert _legend(page) == ["Production power", "Consumption power", "ESS power", "Grid power", "ESS SoC"]
    expect(page.locator(".trends canvas")).to_be_visible()
    assert "span=24h" in page.url
    assert page.url.count("c=site/") == 5


def test_an_address_shows_another_person_the_same(page: Page, panel: Panel) -> None:
    panel.visit(page, "/trends?c=meter0/Frequency&c=evcs0/Status&from=2026-01-05T10:00:00Z&to=2026-01-05T11:00:00Z&how=raw")
    _drawn(page)
    assert _legend(page) == ["Grid meter · Frequency", "Charger · Status"]
    expect(page.locator(".trends .foot")).to_contain_text("Raw values")
    expect(page.get_by_role("radio", name="Raw")).to_have_attribute("aria-checked", "true")
    assert "from=2026-01-05T10:00:00.000Z" in page.url


def test_channels_are_searched_chosen_dragged_and_removed(page: Page, panel: Panel) -> None:
    panel.visit(page, "/trends?c=site/GridPower")
    page.get_by_label("Find a channel").fill("battery soc")
    page.get_by_role("checkbox", name="SoC").first.click()
    page.get_by_label("Find a channel").fill("frequency")
    page.get_by_role("checkbox", name="Frequency").last.drag_to(page.locator(".trends .plot"))
    _drawn(page)
    assert _legend(page) == ["Grid power", "Battery · SoC", "Grid meter · Frequency"]
    page.get_by_role("button", name="Remove Grid power").click()
    assert _legend(page) == ["Battery · SoC", "Grid meter · Frequency"]
    for name in ("Battery · SoC", "Grid meter · Frequency"):
        page.get_by_role("button", name=f"Remove {name}").click()
    expect(page.get_by_text("Choose what to look at")).to_be_visible()
    page.get_by_role("button", name="Show the power flow").click()
    expect(page.locator(".legend li")).to_have_count(5)


def _span_s(page: Page) -> float:
    """Width of the window of time that the address tells, in s."""
    return float(
        page.evaluate(
            "(() => { const q = new URLSearchParams(location.search);"
            " return (Date.parse(q.get('to')) - Date.parse(q.get('from'))) / 1000; })()"
        )
    )


def test_the_window_is_zoomed_and_moved_with_wheel_mouse_and_keys(page: Page, panel: Panel) -> None:
    page.set_viewport_size(DESK)
    panel.visit(page, "/trends?c=site/GridPower&span=1h")
    _drawn(page)
    plot = page.locator(".trends .plot")
    plot.hover()
    page.mouse.wheel(0, -120)
    page.wait_for_url("**from=**")
    zoomed = _span_s(page)
    assert 1800 < zoomed < 3500
    before = page.url
    box = plot.bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 150, steps=4)
    page.mouse.up()
    page.wait_for_function("old => location.href !== old", arg=before)
    assert _span_s(page) == pytest.approx(zoomed, abs=2)
    plot.focus()
    page.keyboard.press("+")
    page.wait_for_function("wide => { const q = new URLSearchParams(location.search);"
                           " return Date.parse(q.get('to')) - Date.parse(q.get('from')) < 800 * wide; }", arg=zoomed)  # fmt: skip
    page.keyboard.press("0")
    page.wait_for_url("**span=1h**")
    _drawn(page)


def test_the_cursor_tells_values_of_its_time_and_their_quality(page: Page, panel: Panel) -> None:
    panel.visit(page, "/trends?c=site/GridPower&span=6h")
    _drawn(page)
    box = page.locator(".trends .plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.46, box["y"] + 100)
    expect(page.locator(".legend li")).to_have_class(re.compile("missing"))
    expect(page.locator(".legend b")).to_have_text("–")
    page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + 100)
    expect(page.locator(".legend li")).to_have_class(re.compile("uncertain"))
    expect(page.locator(".cursor time")).to_be_visible()


def test_what_is_shown_is_exported(page: Page, panel: Panel) -> None:
    panel.visit(page, "/trends?c=site/GridPower&c=ess0/Soc&span=6h")
    _drawn(page)
    with page.expect_download() as found:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.reader(io.StringIO(found.value.path().read_text("utf-8-sig"))))
    assert rows[0] == ["time", "Demo site GridPower [W]", "quality", "Battery Soc [%]", "quality"]
    assert {row[2] for row in rows[1:]} == {"good", "uncertain", "missing"}
    with page.expect_download() as picture:
        page.get_by_role("button", name="PNG").click()
    assert picture.value.path().read_bytes().startswith(b"\x89PNG")


def test_history_is_for_who_is_logged_in(page: Page, panel: Panel) -> None:
    assert page.request.get(panel.url + "/history?node=site/GridPower&from=0&to=1").status == 401
    panel.visit(page, "/trends?c=site/GridPower")
    answer = page.request.get(panel.url + "/history?node=site/Explanation&from=0&to=1")
    assert (answer.status, answer.json()) == (400, {"error": "site/Explanation has no history."})
