"""The panel's frame and its Live page in Chromium, beside a site that the tests steer: log in, look, take control, be refused."""

from __future__ import annotations

import re
import stat

import pytest
from chromium import CHROMIUM, PHONE, fits
from playwright.sync_api import Locator, Page, expect
from steered_panel import Panel

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

PAGES = ("/", "/devices", "/trends")


def _sign_out(page: Page) -> None:
    page.get_by_label("Account and settings").click()
    page.get_by_role("button", name="Sign out").click()


def test_nothing_is_shown_to_who_is_not_logged_in(page: Page, panel: Panel) -> None:
    for path in PAGES:
        page.goto(panel.url + path)
        assert page.url == panel.url + "/login"


def test_a_wrong_password_is_told_in_words(page: Page, panel: Panel) -> None:
    panel.log_in(page, password="wrong")
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    expect(page.get_by_label("User")).to_have_value("operator")


def test_numbers_are_live_and_balance(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    solar = page.locator(".balance .pv b")
    before = solar.inner_text()
    expect(solar).not_to_have_text(before)
    terms = page.evaluate(
        "names => names.map(name => document.querySelector(`.balance .${name} b`).innerText)", ["pv", "ess", "grid", "home", "ev"]
    )
    pv, ess, grid, home, ev = (float(t.replace("−", "-")) for t in terms)
    assert abs(pv + ess + grid - home - ev) < 0.5
    expect(page.get_by_text("All quiet")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Running")).to_be_visible()
    expect(page.locator(".plot canvas")).to_be_visible()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    (cookie,) = page.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    assert stat.S_IMODE((panel.directory / "run" / "panel.secret").stat().st_mode) == 0o600


def test_an_operator_takes_control_sees_the_plant_follow_and_gives_back(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".number input").fill("3.2")
    page.get_by_role("radio", name="1 min", exact=True).click()
    page.get_by_role("button", name="Take control").click()
    timer = page.get_by_role("timer")
    expect(timer).to_contain_text(re.compile(r"^0:5\d"))
    expect(page.locator(".react b").first).to_have_text("3.20")
    expect(page.locator(".react b").last).to_have_text(re.compile(r"^3\.[0-4]"))
    expect(page.locator(".reason")).to_contain_text("operator")
    page.get_by_role("button", name="Give back").click()
    expect(page.get_by_role("button", name="Take control")).to_be_visible()
    expect(page.locator(".reason")).to_contain_text("Self-consumption")


def test_the_emergency_stop_and_its_reset_ask_first(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.get_by_role("button", name="Emergency stop").click()
    page.get_by_role("button", name="Keep running").click()
    expect(page.get_by_role("status").filter(has_text="Running")).to_be_visible()
    page.get_by_role("button", name="Emergency stop").click()
    page.get_by_role("button", name="Stop now").click()
    expect(page.locator(".pill")).to_have_text("Emergency stop")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    page.get_by_role("button", name="Stopped – reset").click()
    page.get_by_role("button", name="Stay stopped").click()
    expect(page.locator(".pill")).to_have_text("Emergency stop")
    page.get_by_role("button", name="Stopped – reset").click()
    page.get_by_role("button", name="Reset the stop").click()
    expect(page.locator(".pill")).to_have_text("Running")


def test_a_visitor_finds_the_endpoint_copies_it_and_learns_how_to_connect(page: Page, panel: Panel) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.log_in(page)
    page.get_by_role("button", name="Copy the OPC UA endpoint").click()
    assert page.evaluate("navigator.clipboard.readText()") == "opc.tcp://127.0.0.1:4840"
    page.get_by_role("button", name="How to connect", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("Sign & Encrypt")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_browser_whose_session_is_over_is_told_so(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    (cookie,) = page.context.cookies()
    _sign_out(page)
    page.wait_for_url("**/login?why=out")
    page.context.add_cookies([cookie])
    page.goto(panel.url)
    expect(page.get_by_text("Please log in again")).to_be_visible()


def test_an_observer_looks_but_cannot_steer(page: Page, panel: Panel) -> None:
    panel.log_in(page, "observer")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    expect(page.get_by_role("button", name="Emergency stop")).to_be_disabled()
    expect(page.get_by_text("may look but not steer")).to_be_visible()


def test_alarms_and_bad_values_appear_and_go(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    panel.order("alarm on")
    panel.order("stale on")
    expect(page.locator(".alarms li")).to_have_count(3)
    expect(page.locator(".alarms li").first).to_contain_text("Charger The device does not answer")
    expect(page.locator(".node.pv")).to_contain_text("no communication")
    expect(page.locator(".balance .ev")).to_have_class(re.compile("uncertain"))
    panel.order("alarm off")
    panel.order("stale off")
    expect(page.get_by_text("All quiet")).to_be_visible()


def test_a_server_that_goes_away_is_told_and_comes_back_by_itself(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    panel.order("away")
    expect(page.get_by_role("alert")).to_contain_text("The OPC UA server is away")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    panel.order("back")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("button", name="Take control")).to_be_enabled()


def test_tabs_of_one_person_share_the_session_and_log_out_together(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    other = page.context.new_page()
    other.goto(panel.url + "/devices")
    expect(other.locator("button.node")).to_have_count(6)
    _sign_out(page)
    page.wait_for_url("**/login?why=out")
    other.wait_for_url("**/login?why=*")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(page: Page, panel: Panel, scheme: str) -> None:
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme=scheme)
    panel.log_in(page)
    for path in PAGES:
        page.goto(panel.url + path)
        page.locator("#main .card:visible").first.wait_for()
        assert fits(page)


def test_the_theme_follows_the_system_until_a_person_chooses(page: Page, panel: Panel) -> None:
    page.emulate_media(color_scheme="dark")
    panel.log_in(page)
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_label("Account and settings").click()
    page.get_by_role("radio", name="Light").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    page.get_by_label("Account and settings").click()
    page.get_by_role("radio", name="System").click()
    expect(root).to_have_attribute("data-theme", "dark")


def test_letters_open_pages_and_a_question_mark_lists_them(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Search this page")
    page.keyboard.press("Escape")
    page.keyboard.type("gd")
    page.wait_for_url("**/devices*")
    page.locator(".tree").wait_for()
    page.keyboard.press("/")
    expect(page.get_by_label("Find a channel")).to_be_focused()
    page.keyboard.type("gt")
    expect(page.get_by_label("Find a channel")).to_have_value("gt")


def test_what_a_person_does_is_answered_where_everybody_sees_it(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".number input").fill("1")
    page.get_by_role("button", name="Take control").click()
    expect(page.locator(".toast")).to_contain_text("You are in control")
    page.get_by_role("button", name="Give back").click()
    expect(page.locator(".toast")).to_contain_text("Given back")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".toast")).to_have_count(0)


def test_the_days_energies_and_the_missing_tariff_are_told(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    expect(page.locator(".today li")).to_have_count(4)
    expect(page.locator(".today .pv b")).to_have_text(re.compile(r"^\d+\.\dkWh$"))
    expect(page.get_by_text("No tariff is configured")).to_be_visible()


def test_a_tab_nobody_looks_at_is_sent_nothing(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    solar = page.locator(".balance .pv b")
    solar.wait_for()
    _turn(page, hidden=True)
    before = _calm(page, solar)
    _turn(page, hidden=False)
    expect(solar).not_to_have_text(before)


def _calm(page: Page, place: Locator) -> str:
    """The text of a place once it changes no more; fails when it goes on changing."""
    for _ in range(10):
        before = place.inner_text()
        page.wait_for_timeout(1500)
        if place.inner_text() == before:
            return before
    raise AssertionError("it is sent changes for ever")


def _turn(page: Page, *, hidden: bool) -> None:
    """Tell the page that its tab is hidden, or seen."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_everything_is_reachable_by_keyboard(page: Page, panel: Panel) -> None:
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    seen: set[str] = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.add(
            str(page.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText).trim()"))
        )
    assert {"Skip to content", "Live", "Devices", "Take control", "Emergency stop"} <= seen


def test_the_flow_stands_still_for_who_wants_less_motion(page: Page, panel: Panel) -> None:
    page.emulate_media(reduced_motion="reduce")
    panel.log_in(page)
    page.locator(".flow svg").first.wait_for()
    assert page.evaluate("document.getAnimations().length") == 0
    expect(page.locator(".cable.pv .arrow")).to_be_visible()
