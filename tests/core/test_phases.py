"""Limits of single phases: who is on which phase, what the meter shows on each, what is left to do. One row per case."""

from __future__ import annotations

import importlib
import time

import pytest
from core_rig import ESS, EVCS, EVCS_DEFAULTS, METER, Rig, device, pv

from controllers.peak_shaving import PeakShaving
from controllers.phase_limits import PhaseLimits
from server.core.natures import Evcs, ManagedEss, Meter

PHASES = ("L1", "L2", "L3")
PHASED_METER = (*METER, *(Meter.channels()[f"ActivePower.{p}"] for p in PHASES))
ASYMMETRIC = (*ESS, *(ManagedEss.channels()[f"{name}.{p}"] for name in ("SetActivePower", "ActivePower") for p in PHASES))
LIMIT_W = 4600.0


def meter():
    return device("meter0", Meter, PHASED_METER)


def single(alias: str, phase: str):
    return device(alias, ManagedEss, ESS, Phase=phase)


def asymmetric(alias: str = "ess0"):
    return device(alias, ManagedEss, ASYMMETRIC)


def charger(phase: str):
    return device("evcs0", Evcs, EVCS, Phase=phase)


def rig(*devices, **limits) -> Rig:
    settings = {"grid": "grid", "import_max_w": LIMIT_W} | limits
    return Rig([meter(), *devices], [(PhaseLimits, "phases0", settings)])


def show(site: Rig, *powers: float) -> None:
    """What the meter says on L1, L2, L3."""
    site["meter0/ActivePower"] = sum(powers)
    for name, power in zip(PHASES, powers, strict=True):
        site[f"meter0/ActivePower.{name}"] = power


def setpoints(site: Rig, *aliases: str) -> list[float]:
    site.step()
    return [round(site[f"{a}/SetActivePower"]) for a in aliases]


@pytest.mark.parametrize(
    ("phase", "powers", "expected"),
    [
        ("L1", (6000, 1000, 1000), 1400),
        ("L2", (6000, 1000, 1000), 0),
        ("", (6000, 1000, 1000), 4200),
        ("L1", (4000, 4000, 4000), 0),
        ("L1", (99_000, 0, 0), 5000),
    ],
)
def test_a_storage_supplies_what_its_own_phase_lacks(phase: str, powers: tuple[float, ...], expected: float) -> None:
    site = rig(single("ess0", phase), single("ess9", "L3"))
    show(site, *powers)
    assert setpoints(site, "ess0") == [expected]


def test_storages_on_one_phase_share_by_their_range() -> None:
    site = rig(single("ess0", "L1"), single("ess1", "L1"), single("ess2", "L2"))
    site["ess1/AllowedDischargePower"] = 2500.0
    site["ess1/AllowedChargePower"] = -2500.0
    show(site, 7600, 0, 0)
    assert setpoints(site, "ess0", "ess1", "ess2") == [2000, 1000, 0]


def test_an_asymmetric_storage_is_told_each_phase() -> None:
    site = rig(asymmetric())
    show(site, 6000, 4000, 5000)
    site.step()
    assert [round(site[f"ess0/SetActivePower.{p}"]) for p in PHASES] == [1400, 0, 400]
    assert round(site["ess0/SetActivePower"]) == 1800


def test_a_phase_of_an_asymmetric_storage_gives_at_most_a_third_of_its_rating() -> None:
    site = rig(asymmetric())
    site["ess0/AllowedDischargePower"] = 9000.0
    site["ess0/MaxApparentPower"] = 9000.0
    show(site, 9000, 0, 0)
    site.step()
    assert round(site["ess0/SetActivePower.L1"]) == 3000
    assert round(site["ess0/SetActivePower"]) >= 3000


def test_a_charger_is_cut_on_its_phase_when_storage_cannot_help() -> None:
    site = rig(charger("L1"), single("ess0", "L2"))
    for name, value in EVCS_DEFAULTS.items():
        site[f"evcs0/{name}"] = value
    site["evcs0/MinHardwarePower"] = 1380.0
    site["evcs0/ChargePower"] = 3600.0
    show(site, 6600, 0, 0)
    site.step()
    assert round(site["evcs0/SetChargePowerLimit"]) == 1600
    assert round(site["ess0/SetActivePower"]) == 0


def test_export_of_a_phase_is_limited_too() -> None:
    site = rig(single("ess0", "L3"), pv(), export_max_w=1000.0)
    show(site, 0, 0, -2500)
    assert setpoints(site, "ess0") == [-1500]


def test_the_explanation_names_the_phase_limit() -> None:
    site = rig(single("ess0", "L1"))
    show(site, 6000, 0, 0)
    site.step()
    for _ in range(30):
        site.step()
    assert "keeps import of a phase under 4.6 kW" in site.text("phases0/Explanation")
    assert site.text("site/Explanation").startswith("ess0 discharges 1.4 kW: phases0 keeps import of a phase under 4.6 kW")


def test_a_storage_that_the_phases_leave_alone_is_still_held_by_whom_it_was() -> None:
    peak = (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 9000.0})
    phases = (PhaseLimits, "phases0", {"grid": "grid", "import_max_w": LIMIT_W})
    site = Rig([meter(), single("ess0", "L1"), single("ess1", "L2")], [peak, phases])
    show(site, 8000, 2000, 2000)
    assert setpoints(site, "ess0", "ess1") == [3400, 1500]
    assert "ess0 discharges 3.4 kW: phases0 keeps import of a phase" in site.text("site/Explanation")
    assert "ess1 discharges 1.5 kW: peak0 keeps import" in site.text("site/Explanation")


def test_a_meter_without_phases_is_refused_with_its_name() -> None:
    site = Rig([device("meter0", Meter, METER), single("ess0", "L1")], [(PhaseLimits, "phases0", {"grid": "grid"})])
    site.step()
    assert any("'meter0' does not measure the power of each phase" in text for _, text, _ in site.out.events)


def test_without_the_solver_phases_are_kept_as_if_all_units_were_three_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None):
        raise ImportError("No module named 'highspy'")

    monkeypatch.setattr("server.core.solver.import_module", missing)
    site = rig(single("ess0", "L1"))
    show(site, 5600, 0, 0)
    assert setpoints(site, "ess0") == [3000]
    assert any("pip install highspy" in text for _, text, _ in site.out.events)


def test_a_program_that_is_not_solved_leaves_the_trees_answer_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = importlib.import_module("server.core.phases")
    site = rig(single("ess0", "L1"))
    show(site, 5600, 0, 0)
    monkeypatch.setattr(phases.Program, "minimise", lambda self, costs: (_ for _ in ()).throw(phases.CoupledError("kTimeLimit")))
    assert setpoints(site, "ess0") == [3000]
    assert "as if all units were three-phase: kTimeLimit" in site.text("site/Explanation")


def test_a_program_that_gives_up_on_its_basis_is_solved_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    highs = importlib.import_module("highspy").Highs
    run, clear, lost = highs.run, highs.clearSolver, []

    def run_lost(self) -> object:
        return None if lost else run(self)

    def clear_found(self) -> object:
        lost.clear()
        return clear(self)

    site = rig(single("ess0", "L1"), single("ess1", "L2"))
    monkeypatch.setattr(highs, "run", run_lost)
    monkeypatch.setattr(highs, "clearSolver", clear_found)
    for power in (5600, 6600):
        lost.append(True)
        show(site, power, 0, 0)
        assert setpoints(site, "ess0", "ess1") == [power - LIMIT_W, 0]
    assert not lost


def test_symmetric_sites_need_no_program() -> None:
    site = rig(device("ess0", ManagedEss, ESS))
    assert site.engine._solver._phases is None
    show(site, 5600, 0, 0)
    assert setpoints(site, "ess0") == [3000]


if __name__ == "__main__":
    many = rig(*(single(f"ess{i}", PHASES[i % 3]) for i in range(9)), asymmetric("ess9"))
    took = []
    for i in range(500):
        show(many, 6000 + i, 5000, 4700)
        start = time.perf_counter()
        many.step()
        took.append(time.perf_counter() - start)
    print(f"step p50 {sorted(took)[250] * 1e6:.0f} µs, p99 {sorted(took)[495] * 1e6:.0f} µs")
