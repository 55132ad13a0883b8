"""Frequency services end to end: the grid's frequency steps, and the battery gives what each service asks for in time.

All over Modbus: meter, driver, image, control, set-point register, inverter.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo_site import DemoSite, PlantBench
from frequency_site import FCR, FFR, FULL, NORMAL_HZ, SUPPORT_S, Trace, make_frequency_site, settle, step, still
from ports import free_port

pytestmark = pytest.mark.slow

ATTEMPTS = 3
"""Others use this machine too: what a service can do is what it does in one of these."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantBench]:
    directory = tmp_path_factory.mktemp("frequency") / "site"
    make_frequency_site(directory)
    with DemoSite(directory, free_port(), free_port(), healthy=False) as site:
        bench = PlantBench(site.plant_port)
        still(bench)
        yield bench
        bench.close()


def staircase(plant: PlantBench) -> dict[str, Trace]:
    """A trace of each service, one after the other, from rest."""
    plant.set_frequency(NORMAL_HZ)
    settle(plant, within_s=30)
    return {service.name: step(plant, service) for service in (FCR, *FFR)}


def missed(traces: dict[str, Trace]) -> list[str]:
    """What was not there in time."""
    return [
        f"{service.name}: {share:.0%} of it after {traces[service.name].since(share):.3f} s, required {at_s} s"
        for service in (FCR, *FFR)
        for at_s, share in service.required
        if traces[service.name].since(share) > at_s
    ]


def test_every_service_is_active_when_its_code_requires(plant: PlantBench) -> None:
    problems = []
    for _ in range(ATTEMPTS):
        traces = staircase(plant)
        problems = missed(traces)
        if not problems:
            break
        plant.set_frequency(NORMAL_HZ)
        settle(plant, within_s=SUPPORT_S + 30)
    assert not problems
    for service in FFR:
        given = [share for _, share in traces[service.name].shares]
        assert max(given) < 1.35, f"{service.name} overshoots by more than 35 %"


def test_fcr_follows_the_frequency_in_proportion_and_both_ways(plant: PlantBench) -> None:
    plant.set_frequency(NORMAL_HZ)
    settle(plant, within_s=SUPPORT_S + 30)
    base_w = plant.ess_w
    for hertz, share in ((49.9, 0.5), (50.1, -0.5), (50.2, -1.0), (49.85, 0.75), (50.0, 0.0)):
        plant.set_frequency(hertz)
        settle(plant, within_s=20, exported_w=share * FCR.power_w)
        assert plant.ess_w - base_w == pytest.approx(share * FCR.power_w, abs=(1 - FULL) * FCR.power_w)
