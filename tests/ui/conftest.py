"""The panel beside a site that tests steer, and Chromium to look at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import chromium, fresh_page
from demo_site import DemoSite, PlantBench
from playwright.sync_api import Browser, Page
from ports import free_port
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


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("demo") / "site", free_port(), free_port()) as site:
        yield site


@pytest.fixture(scope="module")
def plant(demo: DemoSite) -> Iterator[PlantBench]:
    """The demo's plant in steady weather: 2 kW of load, no sun."""
    bench = PlantBench(demo.plant_port)
    bench.stop_time()
    bench.set_load(2000)
    bench.set_clouds(100)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def url(demo: DemoSite) -> str:
    """Where the demo's panel is."""
    return demo.printed(r"(https://\S+)")


@pytest.fixture
def page(browser: Browser, panel: Panel) -> Iterator[Page]:
    """A fresh browser session; fails the test on any error in the console and on any request to another host."""
    with fresh_page(browser, panel.url, REFUSED) as found:
        yield found
