"""Drills: what may go wrong at a site is done to a running one. `--rounds N` repeats every drill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo_site import DemoSite, PlantBench
from drill import Drill
from ports import free_port
from witness import Witness


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often every drill is repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = metafunc.config.getoption("--rounds", 1)
    if rounds > 1:
        metafunc.fixturenames.append("drill_round")
        metafunc.parametrize("drill_round", range(rounds), ids=[f"round{n + 1}" for n in range(rounds)])


@pytest.fixture(scope="session")
def witness() -> Iterator[Witness]:
    """Tells a slip of control from a machine that stood still."""
    with Witness() as found:
        yield found


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory, witness: Witness) -> Iterator[Drill]:
    """One site for all drills that leave it as it was."""
    with DemoSite(tmp_path_factory.mktemp("drill") / "site", free_port(), free_port()) as site:
        yield Drill(site, witness)


@pytest.fixture
def drill(demo: Drill) -> Iterator[Drill]:
    """The site, running well before a drill and again after it."""
    demo.wait(demo.running, "the site runs before the drill")
    yield demo
    demo.wait(demo.running, "the site runs after the drill", 60)


@pytest.fixture
def plant(drill: Drill) -> Iterator[PlantBench]:
    """The plant's bench, without a cloud and with all faults mended at the end."""
    bench = drill.plant()
    yield bench
    for unit in range(1, 6):
        bench.set_fault(unit, 0)
    bench.close()
