"""The watchdog that control strokes at the end of a cycle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from holding_engine import HoldingEngine
from image_site import SITE, ImageSite, image_site

from server.runtime.control import ControlLoop


@pytest.fixture
def site() -> Iterator[ImageSite]:
    with image_site() as site:
        yield site


def loop(site: ImageSite, engine: HoldingEngine) -> ControlLoop:
    return ControlLoop(site.attach("control"), engine, contextlib.nullcontext(), cycle_s=SITE.cycle_s)


def test_the_watchdog_is_stroked_after_the_outputs_reached_the_drivers(site: ImageSite) -> None:
    """REQ-SAFE-021"""
    engine = HoldingEngine(site.layout, SITE, {}, None)
    cycles = loop(site, engine)
    setpoints = site.attach("battery").setpoints()
    seen: list[tuple[float, int]] = []
    announce = cycles._clock.announce

    def noted(cycle_ns: int, next_ns: int, now_ns: int) -> None:
        record = setpoints.read()[0]
        seen.append((float(record["value"]), int(record["cycle"])))
        announce(cycle_ns, next_ns, now_ns)

    cycles._clock.announce = noted  # type: ignore[method-assign]
    cycles.cycle()
    assert seen == [(1500.0, 1)], "when the watchdog is stroked, the driver has this cycle's set-point"
    assert site.image.clock.heartbeat > 0


def test_a_step_that_did_not_pass_the_safety_layers_does_not_stroke_it(site: ImageSite) -> None:
    """REQ-SAFE-021"""
    engine = HoldingEngine(site.layout, SITE, {}, None)
    cycles = loop(site, engine)
    cycles.cycle()
    stroked = site.image.clock.heartbeat
    engine.healthy = False
    cycles.cycle()
    assert site.image.clock.heartbeat == stroked
    engine.healthy = True
    cycles.cycle()
    assert site.image.clock.heartbeat > stroked


def test_a_step_that_raises_does_not_stroke_it(site: ImageSite) -> None:
    """REQ-SAFE-021"""
    engine = HoldingEngine(site.layout, SITE, {}, None)
    cycles = loop(site, engine)
    engine.index = 10**9
    with pytest.raises(IndexError):
        cycles.cycle()
    assert site.image.clock.heartbeat == 0
