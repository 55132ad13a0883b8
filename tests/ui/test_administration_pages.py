"""Controllers, System, Users and certificates in Chromium, on the running demo: what a person does there, the plant and the
server really do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, PHONE, fits, fresh_page, log_in
from demo_site import DemoSite, PlantBench
from playwright.sync_api import Browser, Page, expect

from certs import Paths, create_authority, issue
from server.client import Client, ClientError, Identity
from server.core.roles import Role
from server.runtime.bus import request
from server.runtime.users import Users

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

PAGES = ("/controllers", "/alarms", "/system", "/users")
LOOKS: tuple[dict[str, Any], ...] = ({}, {"viewport": PHONE, "color_scheme": "dark"})
PASSWORD = "an observer's long password"


@pytest.fixture(scope="module", autouse=True)
def otto(demo: DemoSite) -> None:
    """A user who only looks."""
    Users(demo.directory).add("otto", [Role.OBSERVER], password=PASSWORD)


@pytest.fixture(scope="module")
def admin(browser: Browser, demo: DemoSite, url: str) -> Any:
    """The cookies of the administrator."""
    with fresh_page(browser, url) as page:
        log_in(page, url, "admin", demo.printed(r"password\s+(\S+)"))
        page.locator("nav").wait_for()
        return page.context.storage_state()


@pytest.fixture
def page(browser: Browser, admin: Any, url: str) -> Iterator[Page]:
    """The administrator's browser."""
    with fresh_page(browser, url, storage_state=admin) as found:
        yield found


@pytest.fixture
def observer(browser: Browser, url: str) -> Iterator[Page]:
    with fresh_page(browser, url) as found:
        log_in(found, url, "otto", PASSWORD)
        found.locator("nav").wait_for()
        yield found


def until(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.parametrize("route", PAGES)
@pytest.mark.parametrize("look", LOOKS, ids=["desk", "dark phone"])
def test_every_page_opens_without_complaint_and_fits(
    browser: Browser, admin: Any, url: str, route: str, look: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    with fresh_page(browser, url, storage_state=admin, **look) as page:
        began = time.monotonic()
        page.goto(url + route)
        page.locator("#main .card").first.wait_for()
        record_property(f"interactive_s{route}", round(time.monotonic() - began, 2))
        page.wait_for_timeout(1200)
        assert fits(page)
        expect(page.locator("html")).to_have_attribute("data-theme", "dark" if "color_scheme" in look else "light")


def row(page: Page, name: str) -> Any:
    return page.locator(".ranks li").filter(has=page.get_by_text(name, exact=True))


def test_controllers_stand_in_the_order_in_which_they_are_asked(page: Page, url: str) -> None:
    page.goto(url + "/controllers")
    places = [int(text) for text in page.locator(".rank .place").all_inner_texts()]
    assert places == sorted(places)
    expect(page.locator(".decision")).to_contain_text("Battery")
    row(page, "Self consumption").locator("button").click()
    expect(page.locator(".detail h3")).to_have_text("Self consumption")
    expect(page.locator(".wants")).to_contain_text("Balances import to 0 W")


def test_a_controller_is_switched_off_and_on_and_the_plant_reacts(page: Page, url: str, plant: PlantBench) -> None:
    until(lambda: abs(plant.grid_w) < 300, "self-consumption balances the grid")
    page.goto(url + "/controllers")
    switch = row(page, "Self consumption").locator(".toggle")
    switch.click()
    page.get_by_role("button", name="Leave it on").click()
    expect(row(page, "Self consumption").locator(".pill")).to_have_text("Active")
    switch.click()
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("status").filter(has_text="Self consumption is off")).to_be_visible()
    expect(row(page, "Self consumption").locator(".pill")).to_have_text("Off")
    until(lambda: plant.grid_w > 3000, "peak shaving recharges, for nobody balances any more")
    switch.click()
    expect(row(page, "Self consumption").locator(".pill")).to_have_text("Active")
    until(lambda: abs(plant.grid_w) < 300, "self-consumption balances again")


def test_a_parameter_is_changed_after_a_question_and_the_set_point_follows(page: Page, url: str, plant: PlantBench) -> None:
    page.goto(url + "/controllers#balance0")
    target = page.get_by_label(re.compile(r"^Target"))
    expect(target).to_have_value("0")
    target.fill("1200")
    page.get_by_role("button", name="Apply 1 change").click()
    expect(page.get_by_role("dialog")).to_contain_text("1,200 W")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Target is 1,200 W (was 0 W)")).to_be_visible()
    until(lambda: abs(plant.grid_w - 1200) < 250, "the grid follows the new target")
    expect(page.locator(".field").filter(has_text="target_w")).to_contain_text("site.toml says 0 W")
    expect(page.locator(".wants")).to_contain_text("1.2 kW")
    page.get_by_role("button", name="Use that").click()
    page.get_by_role("button", name="Apply 1 change").click()
    page.get_by_role("button", name="Apply", exact=True).click()
    until(lambda: abs(plant.grid_w) < 300, "the grid follows the configured target")


def test_a_parameter_out_of_its_range_is_refused_before_it_is_sent(page: Page, url: str) -> None:
    page.goto(url + "/controllers#floor0")
    page.get_by_label(re.compile("^Min SoC")).fill("140")
    expect(page.locator(".field .problem")).to_have_text("Not in the range, 0 to 100 %.")
    expect(page.get_by_role("button", name="Apply 1 change")).to_be_disabled()
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label(re.compile("^Min SoC"))).to_have_value("10")


def test_an_event_of_a_calendar_shows_on_the_controllers_that_it_sets(page: Page, url: str, demo: DemoSite) -> None:
    event = {"title": "Holiday rate", "from": "00:00", "to": "00:00", "controllers": {"floor0": {"min_soc": 35}}}
    handed_in = {"name": "calendar/holiday", "content": json.dumps({"entries": [event]})}
    assert request(demo.directory, "set_document", **handed_in)["revision"]
    page.goto(url + "/controllers#floor0")
    expect(row(page, "Limit total discharge").locator(".tag")).to_have_text("schedule")
    expect(page.locator(".detail .schedule")).to_contain_text(re.compile(r"Holiday rate until \d{4}-\d\d-\d\d 00:00: min_soc 35"))
    expect(page.get_by_label(re.compile("^Min SoC"))).to_have_value("35")
    request(demo.directory, "remove_document", name="calendar/holiday")
    expect(page.locator(".detail .schedule")).to_have_count(0)
    expect(page.get_by_label(re.compile("^Min SoC"))).to_have_value("10")


def test_controllers_come_while_the_page_is_open_and_a_bad_file_is_told(page: Page, url: str, demo: DemoSite) -> None:
    page.goto(url + "/controllers")
    page.locator(".ranks li").first.wait_for()
    file, site_file = demo.directory / "custom" / "controllers" / "idle.py", demo.directory / "site.toml"
    before = site_file.read_text()
    good = "from server.core.controller import Controller\n\nclass Idle(Controller):\n    'Wait for better times.'\n"
    file.write_text(good)
    site_file.write_text(before + '\n[[controller]]\nid = "idle0"\ntype = "Idle"\n')
    try:
        assert request(demo.directory, "reload", timeout_s=60)["refused"] == {}
        expect(page.locator(".ranks li", has_text="idle0")).to_be_visible(timeout=20_000)
        file.write_text(good + "    priority = 5000\n")
        assert request(demo.directory, "reload", timeout_s=60)["refused"]
        expect(page.locator(".refusals")).to_contain_text("Idle.priority: 5000 is not in 0..1000", timeout=20_000)
        assert fits(page)
    finally:
        file.write_text(good)
        site_file.write_text(before)
        request(demo.directory, "reload", timeout_s=60)
    expect(page.locator(".ranks li", has_text="idle0")).to_have_count(0, timeout=20_000)
    expect(page.locator(".refusals")).to_have_count(0, timeout=20_000)
    file.unlink()


def test_an_observer_looks_at_controllers_and_cannot_set_them(observer: Page, url: str) -> None:
    observer.goto(url + "/controllers")
    expect(observer.locator(".ranks .foot")).to_contain_text("may look but not change")
    assert observer.locator(".toggle input:enabled").count() == 0
    expect(observer.locator(".field input").first).to_be_disabled()
    expect(observer.get_by_role("button", name="Apply")).to_have_count(0)


@pytest.fixture
def silent_charger(demo: DemoSite, plant: PlantBench) -> Iterator[PlantBench]:
    """The car charger answers no more, until the end of the test at the latest."""

    def silent() -> bool:
        return any(alarm["source"] == "evcs0" for alarm in demo.status()["alarms"])

    plant.set_fault(4, 1)
    until(silent, "the charger is missed")
    yield plant
    plant.set_fault(4, 0)
    until(lambda: not silent(), "the charger is back")


def alarm(page: Page, name: str) -> Any:
    return page.locator(".alarm-desk .rows > li").filter(has=page.get_by_text(name, exact=True))


def open_alarms(page: Page) -> int:
    """The number before the page's title."""
    found = re.match(r"\((\d+)\) ", page.title())
    return int(found[1]) if found else 0


def test_an_alarm_comes_is_acknowledged_with_a_comment_and_goes(page: Page, url: str, silent_charger: PlantBench) -> None:
    page.goto(url + "/alarms")
    row = alarm(page, "Car charger")
    expect(row).to_contain_text("new")
    waiting = open_alarms(page)
    row.locator(".head").click()
    expect(row).to_contain_text("Severity")
    row.get_by_label("Comment").fill("the cable is being replaced")
    row.get_by_role("button", name="Acknowledge").click()
    expect(row.locator(".pill")).to_have_text("acknowledged")
    expect(row.locator(".said")).to_contain_text("the cable is being replaced")
    expect(row.locator(".said b")).to_have_text("admin")
    until(lambda: open_alarms(page) == waiting - 1, "one alarm less wants attention")
    page.get_by_role("radio", name="Unacknowledged").click()
    expect(row).to_have_count(0)
    silent_charger.set_fault(4, 0)
    page.get_by_role("radio", name="All").click()
    expect(row).to_have_count(0)
    page.get_by_role("radio", name="History").click()
    expect(page.locator(".past li").first).to_contain_text("over after", timeout=15_000)
    expect(page.locator(".past li").nth(1)).to_contain_text("came")


def test_an_alarm_is_shelved_and_taken_back_and_all_of_it_by_keys(page: Page, url: str, silent_charger: PlantBench) -> None:
    page.goto(url + "/alarms")
    row = alarm(page, "Car charger")
    expect(row).to_be_visible()
    waiting = open_alarms(page)
    page.keyboard.press("ArrowDown")
    expect(row).to_have_class(re.compile("chosen"))
    row.get_by_label("Shelve for").select_option(label="15 min")
    expect(row.locator(".pill")).to_have_text("shelved")
    until(lambda: open_alarms(page) == waiting - 1, "a shelved alarm wants no attention")
    row.get_by_role("button", name="Take back from the shelf").click()
    expect(row.locator(".pill")).to_have_text("new")
    page.locator("#main").click(position={"x": 4, "y": 4})
    with page.expect_navigation():
        page.keyboard.type("ga")  # goes to the page of the alarms, and acknowledges nothing
    expect(row.locator(".pill")).to_have_text("new")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("a")
    expect(row.locator(".pill")).to_have_text("acknowledged")


def test_the_number_of_alarms_stands_in_the_navigation_of_every_page(page: Page, url: str, silent_charger: PlantBench) -> None:
    page.goto(url + "/system")
    expect(page).to_have_title(re.compile(r"^\(\d+\) System"))
    badge = "getComputedStyle(document.querySelector('.side a[href=\"/alarms\"]'), '::after').content"
    assert page.evaluate(badge) == f'"{open_alarms(page)}"'
    page.goto(url + "/")
    expect(page.locator(".alarms li").filter(has_text="Car charger")).to_be_visible()


def test_an_observer_sees_alarms_and_cannot_acknowledge(observer: Page, url: str, silent_charger: PlantBench) -> None:
    observer.goto(url + "/alarms")
    row = alarm(observer, "Car charger")
    row.locator(".head").click()
    expect(row).to_contain_text("Severity")
    expect(observer.get_by_text("may look but not acknowledge")).to_be_visible()
    expect(observer.get_by_role("button", name=re.compile("^Acknowledge( |$)"))).to_have_count(0)


def test_the_system_page_tells_processes_cycle_certificates_and_what_was_recorded(page: Page, url: str) -> None:
    page.goto(url + "/system")
    processes = page.get_by_role("region", name="Processes")
    for name in ("supervisor", "control", "opcua", "modbus", "ui", "historian"):
        expect(processes.get_by_text(name, exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Integrations").get_by_text("loaded")).to_have_count(6)
    expect(page.locator(".bars rect").first).to_be_attached()
    expect(page.locator(".bars").first).to_contain_text(re.compile(r"half under [\d.]+ (ms|µs)"))
    expect(page.locator(".expiries li")).to_have_count(4)
    expect(page.get_by_role("region", name="Journal")).to_contain_text("all parts of the site were started")
    audit = page.get_by_role("region", name="Audit trail")
    expect(audit).to_contain_text("session activated")
    audit.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status").filter(has_text="The audit trail is whole")).to_be_visible()


def test_the_journal_is_searched_and_follows_what_happens(page: Page, demo: DemoSite, url: str, plant: PlantBench) -> None:
    page.goto(url + "/system")
    journal = page.get_by_role("region", name="Journal")
    journal.get_by_role("searchbox").fill("meter0: communication works")
    details = journal.locator("details")
    expect(details.filter(has_not_text="communication works")).to_have_count(0)
    expect(details.first).to_be_visible()
    before = details.count()
    plant.set_fault(2, 1)
    until(lambda: any(a["source"] == "meter0" for a in demo.status()["alarms"]), "the meter is missed")
    plant.set_fault(2, 0)
    expect(details).to_have_count(before + 1)
    journal.get_by_role("searchbox").fill("nothing like this")
    expect(journal).to_contain_text("Nothing has")


def test_an_observer_sees_neither_journal_nor_audit_trail(observer: Page, url: str) -> None:
    observer.goto(url + "/system")
    expect(observer.get_by_text("Your role allows neither")).to_be_visible()
    assert observer.evaluate("document.body.innerText.includes('session activated')") is False


def test_the_system_page_works_while_the_opc_ua_server_is_down(page: Page, demo: DemoSite, url: str) -> None:
    pid = demo.kill_often("opcua")
    page.goto(url + "/system")
    opcua = page.get_by_role("region", name="Processes").locator("tr").filter(has=page.get_by_text("opcua", exact=True))
    expect(opcua).to_contain_text(str(pid))
    expect(page.get_by_role("alert")).to_be_hidden(timeout=60_000)
    os.kill(pid, signal.SIGKILL)
    expect(page.get_by_role("alert")).to_contain_text("The OPC UA server is away")
    expect(opcua).not_to_contain_text(str(pid))
    expect(page.get_by_role("alert")).to_be_hidden(timeout=60_000)
    expect(opcua).to_contain_text("running")
    expect(page.get_by_role("region", name="Journal")).to_contain_text("opcua")


def test_a_user_is_added_chooses_a_password_and_is_removed(browser: Browser, page: Page, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(url + "/users")
    page.get_by_role("button", name="Add user").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("anna")
    dialog.get_by_label("Operator").check()
    dialog.get_by_role("button", name="Add user").click()
    expect(page.get_by_role("heading", name="One-time password of anna")).to_be_visible()
    page.get_by_role("button", name="Copy the one-time password").click()
    password = page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("button", name="Done").click()
    anna = page.locator(".accounts li").filter(has_text="anna")
    expect(anna).to_contain_text("one-time password")
    until(lambda: password not in page.content(), "the one-time password is gone from the page")

    with fresh_page(browser, url, expected=("400",)) as hers:
        log_in(hers, url, "anna", password)
        expect(hers.get_by_text("Choose a password of your own")).to_be_visible()
        hers.goto(url + "/users")
        expect(hers).to_have_url(url + "/password")
        choose(hers, password, "my own long password", "another long password")
        expect(hers.get_by_role("alert")).to_contain_text("not the same")
        choose(hers, password, "my own long password", "my own long password")
        expect(hers.get_by_role("button", name="Take control")).to_be_enabled()
        hers.goto(url + "/users")
        expect(hers.get_by_text("Your role does not allow this")).to_be_visible()
        expect(anna).to_contain_text("logged in")
        anna.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(anna).to_have_count(0)
        hers.wait_for_url("**/login?why=*", timeout=30_000)


def choose(page: Page, old: str, new: str, again: str) -> None:
    page.get_by_label("One-time password").fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("New password again").fill(again)
    page.get_by_role("button", name="Set password").click()


def test_roles_are_changed_and_the_last_administrator_stays_one(page: Page, url: str) -> None:
    page.goto(url + "/users")
    page.get_by_role("button", name="Roles of otto").click()
    page.get_by_role("dialog").get_by_label("Engineer").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".accounts li").filter(has_text="otto")).to_contain_text("Engineer, Observer")
    page.get_by_role("button", name="Roles of otto").click()
    page.get_by_role("dialog").get_by_label("Engineer").uncheck()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Roles of admin").click()
    page.get_by_role("dialog").get_by_label("Security Admin").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="last SecurityAdmin")).to_be_visible()


def test_everybody_changes_the_own_password_with_the_old_one(observer: Page, url: str) -> None:
    observer.goto(url + "/users")
    observer.get_by_text("Change password").click()
    for old, words in (("wrong password", "The old password is not right"), (PASSWORD, "Your password is changed")):
        observer.get_by_label("Old password").fill(old)
        observer.get_by_label("New password", exact=True).fill("quite another password")
        observer.get_by_label("New password again").fill("quite another password")
        observer.get_by_role("button", name="Set new password").click()
        expect(observer.get_by_role("status").filter(has_text=words)).to_be_visible()


def knock(demo: DemoSite, paths: Paths) -> None:
    """Connect as an application the site has not seen before."""
    identity = Identity(
        demo.printed(r"(opc\.tcp://\S+)"),
        certificate=paths.chain,
        key=paths.key,
        server_certificate=demo.directory / "certs" / "own" / "server.der",
        user="admin",
        password=demo.printed(r"password\s+(\S+)"),
    )

    async def read() -> None:
        async with Client(identity) as client:
            assert await client.read(["site/Mode"])

    with ThreadPoolExecutor(1) as pool:  # the browser's loop runs in this thread
        pool.submit(asyncio.run, read()).result(30)


def test_a_rejected_certificate_is_trusted_after_a_look_at_its_thumbprint(
    page: Page, demo: DemoSite, url: str, tmp_path: Path
) -> None:
    create_authority(tmp_path, "Strangers")
    scada = issue(tmp_path, "scada", application_uri="urn:test:scada", hosts=["127.0.0.1"])
    with pytest.raises(ClientError):
        knock(demo, scada)
    page.goto(url + "/users")
    certificate = page.locator(".papers li").filter(has_text="urn:test:scada")
    expect(certificate).to_contain_text("waits for a decision")
    certificate.get_by_role("button", name="Trust").click()
    expect(page.get_by_role("dialog").locator(".compare")).to_have_text(certificate.locator("code").inner_text())
    page.get_by_role("dialog").get_by_role("button", name="Trust").click()
    expect(certificate).to_contain_text("trusted")
    knock(demo, scada)
    certificate.get_by_role("button", name="Reject").click()
    page.get_by_role("dialog").get_by_role("button", name="Reject").click()
    expect(certificate).to_contain_text("waits for a decision")
    with pytest.raises(ClientError):
        knock(demo, scada)
