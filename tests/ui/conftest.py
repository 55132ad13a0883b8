"""The panel beside a site that tests steer, and Chromium to look at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import chromium, fresh_page
from playwright.sync_api import Browser, Page
from steered_panel import Panel, running

REFUSED = ("401", "503")
"""What a browser says of an answer that is meant."""


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with running(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, panel: Panel) -> Iterator[Page]:
    """A fresh browser session; fails the test on any error in the console and on any request to another host."""
    with fresh_page(browser, panel.url, REFUSED) as found:
        yield found
