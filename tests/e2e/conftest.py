"""One running demo for the end-to-end tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo_site import DemoSite, PlantBench
from ports import free_port
from witness import Witness


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("demo") / "site", free_port(), free_port()) as site:
        yield site


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Tells a late product from a machine that stood still."""
    with Witness() as found:
        yield found


@pytest.fixture
def plant(demo: DemoSite) -> Iterator[PlantBench]:
    bench = PlantBench(demo.plant_port)
    yield bench
    bench.close()
