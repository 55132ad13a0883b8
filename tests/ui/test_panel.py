"""The panel in Chromium, over HTTPS, beside a site that the tests steer: log in, look, take control, be refused."""

from __future__ import annotations

import re
import shutil
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from ports import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@dataclass
class Panel:
    """A running panel. `order` steers its site."""

    url: str
    directory: Path
    process: subprocess.Popen[str]

    def order(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def _answers(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url + "/login", timeout=2, context=context) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    directory, port = tmp_path_factory.mktemp("site"), free_port()
    command = [sys.executable, str(Path(__file__).parent / "fake_site.py"), str(port), str(directory)]
    log = (directory / "log").open("w")
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True, env={"PYTHONPATH": str(ROOT)}
    ) as process:
        found = Panel(f"https://127.0.0.1:{port}", directory, process)
        until = time.monotonic() + 60
        while not _answers(found.url):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < until, "the panel does not answer"
            time.sleep(0.2)
        yield found
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    log.close()
    assert "Traceback" not in (directory / "log").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, panel: Panel) -> Iterator[Page]:
    """A fresh browser session; fails the test on any error in the console and on any request to another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, ignore_https_errors=True)
    context.set_default_timeout(15_000)
    found = context.new_page()
    complaints: list[str] = []
    found.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("request", lambda r: None if r.url.startswith((panel.url, "data:")) else complaints.append(f"asked {r.url}"))
    yield found
    context.close()
    assert [c for c in complaints if "401" not in c and "503" not in c] == []


def _log_in(page: Page, panel: Panel, user: str = "operator", password: str = "secret") -> None:
    page.goto(panel.url)
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_nothing_is_shown_to_who_is_not_logged_in(page: Page, panel: Panel) -> None:
    for path in ("/", "/devices"):
        page.goto(panel.url + path)
        assert page.url == panel.url + "/login"


def test_a_wrong_password_is_told_in_words(page: Page, panel: Panel) -> None:
    _log_in(page, panel, password="wrong")
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    expect(page.get_by_label("User")).to_have_value("operator")


def test_numbers_are_live_and_balance(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    solar = page.locator(".balance .pv b")
    before = solar.inner_text()
    expect(solar).not_to_have_text(before)
    terms = [page.locator(f".balance .{name} b").inner_text() for name in ("pv", "ess", "grid", "home", "ev")]
    pv, ess, grid, home, ev = (float(t.replace("−", "-")) for t in terms)
    assert abs(pv + ess + grid - home - ev) < 0.5
    expect(page.get_by_text("All quiet")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Running")).to_be_visible()
    expect(page.locator(".plot canvas")).to_be_visible()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.locator(".flow svg").first.wait_for()
    (cookie,) = page.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    assert stat.S_IMODE((panel.directory / "run" / "panel.secret").stat().st_mode) == 0o600


def test_an_operator_takes_control_sees_the_plant_follow_and_gives_back(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
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


def test_the_emergency_stop_asks_first(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.get_by_role("button", name="Emergency stop").click()
    page.get_by_role("button", name="Keep running").click()
    expect(page.get_by_role("status").filter(has_text="Running")).to_be_visible()
    page.get_by_role("button", name="Emergency stop").click()
    page.get_by_role("button", name="Stop now").click()
    expect(page.locator(".pill")).to_have_text("Emergency stop")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    page.get_by_role("button", name="reset").click()
    expect(page.locator(".pill")).to_have_text("Running")


def test_a_visitor_finds_the_endpoint_copies_it_and_learns_how_to_connect(page: Page, panel: Panel) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    _log_in(page, panel)
    page.get_by_role("button", name="Copy the OPC UA endpoint").click()
    assert page.evaluate("navigator.clipboard.readText()") == "opc.tcp://127.0.0.1:4840"
    page.get_by_role("button", name="How to connect", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("Sign & Encrypt")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_browser_whose_session_is_over_is_told_so(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.locator(".flow svg").first.wait_for()
    (cookie,) = page.context.cookies()
    page.get_by_role("button", name="Log out operator").click()
    page.wait_for_url("**/login?why=out")
    page.context.add_cookies([cookie])
    page.goto(panel.url)
    expect(page.get_by_text("Please log in again")).to_be_visible()


def test_an_observer_looks_but_cannot_steer(page: Page, panel: Panel) -> None:
    _log_in(page, panel, "observer")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    expect(page.get_by_role("button", name="Emergency stop")).to_be_disabled()
    expect(page.get_by_text("may look but not steer")).to_be_visible()


def test_alarms_and_bad_values_appear_and_go(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    panel.order("alarm on")
    panel.order("stale on")
    expect(page.locator(".alarms li")).to_have_count(3)
    expect(page.locator(".alarms li").first).to_contain_text("Charger does not answer")
    expect(page.locator(".node.pv")).to_contain_text("no communication")
    expect(page.locator(".balance .ev")).to_have_class(re.compile("uncertain"))
    panel.order("alarm off")
    panel.order("stale off")
    expect(page.get_by_text("All quiet")).to_be_visible()


def test_a_server_that_goes_away_is_told_and_comes_back_by_itself(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.locator(".flow svg").first.wait_for()
    panel.order("away")
    expect(page.get_by_role("alert")).to_contain_text("The OPC UA server is away")
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    panel.order("back")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("button", name="Take control")).to_be_enabled()


def test_tabs_of_one_person_share_the_session_and_log_out_together(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.locator(".flow svg").first.wait_for()
    other = page.context.new_page()
    other.goto(panel.url + "/devices")
    expect(other.locator("details.thing")).to_have_count(9)
    page.get_by_role("button", name="Log out operator").click()
    page.wait_for_url("**/login?why=out")
    other.wait_for_url("**/login?why=*")


def test_devices_show_value_unit_quality_and_can_be_searched(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
    page.get_by_role("link", name="Devices").click()
    page.get_by_label("Find a channel").fill("ess0/Soc")
    row = page.locator("tr", has_text="Soc").last
    expect(row.locator(".value")).to_have_text(re.compile(r"^\d\d\.\d\d$"))
    expect(row.locator(".unit")).to_have_text("%")
    expect(row.locator(".quality")).to_have_text("good")
    page.get_by_label("Find a channel").fill("nothing like this")
    expect(page.get_by_text("Nothing is called")).to_be_visible()


def test_a_phone_scrolls_in_one_direction_only(page: Page, panel: Panel) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    _log_in(page, panel)
    page.locator(".plot canvas").wait_for()
    for path in ("/", "/devices"):
        page.goto(panel.url + path)
        page.locator(".card").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_theme_follows_the_system_until_a_person_chooses(page: Page, panel: Panel) -> None:
    page.emulate_media(color_scheme="dark")
    _log_in(page, panel)
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_everything_is_reachable_by_keyboard(page: Page, panel: Panel) -> None:
    _log_in(page, panel)
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
    _log_in(page, panel)
    page.locator(".flow svg").first.wait_for()
    assert page.evaluate("document.getAnimations().length") == 0
    expect(page.locator(".cable.pv .arrow")).to_be_visible()
