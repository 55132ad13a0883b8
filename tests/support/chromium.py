"""Chromium for tests of the panel: one browser, fresh sessions that fail on any complaint of a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
)  # fmt: skip
"""The browser does not know the site's own authority. A context that ignores that has each socket fail first, and gives up at the
32nd (ERR_TOO_MANY_RETRIES) where many files load at once; the flag makes it no error. `page.request` heeds the context."""
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

expect.set_options(timeout=20_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        yield found
        found.close()


@contextmanager
def fresh_page(browser: Browser, url: str, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
    """A page in a session of its own. Any error or warning in the console that has none of `expected` in it fails the test, and
    so does a request to another host than `url`."""
    context = browser.new_context(**{"viewport": DESK, "ignore_https_errors": True, **options})
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else complaints.append(f"asked {r.url}"))
    yield page
    context.close()
    unexpected = [c for c in complaints if not any(word in c for word in expected)]
    assert not unexpected, unexpected


def log_in(page: Page, url: str, user: str, password: str) -> None:
    """Through the form, as a person does."""
    page.goto(url + "/login")
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def fits(page: Page) -> bool:
    """The page scrolls in one direction only."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
