"""Foreign controllers in the engine: what a client proposes is arbitrated like any controller's wish, and ends with its lease."""

from __future__ import annotations

from math import inf, nan

import pytest
from core_rig import Rig, ess, meter, pv

from controllers.foreign_controller import ForeignController
from controllers.grid_limits import GridLimits
from server.core.constraint import ConstraintError
from server.core.image import Image
from server.core.proposal import CONSTRAINTS_MAX, Proposal, Proposed, constraint, refusals
from server.core.rehearsal import Rehearsal
from server.core.step import Engine, Now

S = 1_000_000_000


def rig(**settings: object) -> Rig:
    limits = (GridLimits, "grid0", {"grid": "grid", "import_max_w": 3000.0})
    site = Rig([ess(), pv(), meter()], [limits, (ForeignController, "mpc0", {"priority": 30, **settings})])
    site["meter0/ActivePower"] = 1000.0
    return site.step().step()


def propose(site: Rig, *constraints: Proposed, who: str = "anna", lease_s: float = 1.0) -> Rig:
    site.engine.propose(Proposal("mpc0", who, site.ns, round(lease_s * S), constraints), site.out)
    return site.step()


def want(node: str = "ess0", power: float = 700.0, kind: str = "target", priority: int | None = None, why: str = "") -> Proposed:
    return Proposed(kind, node, power, power, priority, why)


@pytest.mark.parametrize(
    ("proposed", "setpoint"),
    [
        (want(), 700.0),
        (want("ess0/ActivePower", -1500.0, "bound"), -1500.0),
        (Proposed("bound", "grid", -inf, 400.0, None, ""), 600.0),  # 1000 W are imported without the battery
        (Proposed("bound", "meter0/ActivePower", 1200.0, inf, None, ""), -200.0),
        (want("ess0", 300.0, "add"), 300.0),
        (want("grid", -9000.0), 5000.0),  # more than the battery can: as much as it can
        (want("ess0", -4000.0), -2000.0),  # the grid's limit comes first: 1000 W + 2000 W
    ],
)
def test_what_is_proposed_is_arbitrated(proposed: Proposed, setpoint: float) -> None:
    assert propose(rig(), proposed)["ess0/SetActivePower"] == pytest.approx(setpoint)


def test_a_foreign_controller_says_who_asks_for_what_and_what_limits_it() -> None:
    site = propose(rig(), want("ess0", -4000.0, why="energy is cheap"))
    assert site.text("mpc0/Explanation") == ("energy is cheap (proposed by anna): wants -4 kW, gets -2 kW: grid0 allows no more")
    assert site["mpc0/left_s"] == pytest.approx(0.95)
    assert ("proposal", "mpc0: anna begins to propose") in [(kind, text) for kind, text, _ in site.out.events]


def test_a_reserve_that_is_proposed_keeps_room() -> None:
    room = Proposed("reserve", "ess0", 0.0, 4500.0, None, "for the frequency")
    assert propose(rig(), room, want("ess0", 3000.0))["ess0/SetActivePower"] == pytest.approx(500.0)


def test_a_proposal_ends_with_its_lease_by_the_monotonic_clock() -> None:
    site = propose(rig(), want(), lease_s=0.2)
    site.epoch += 3600 * 10_000_000  # the wall clock jumps by an hour
    assert [site.step()["ess0/SetActivePower"] for _ in range(4)] == [700.0, 700.0, 0.0, 0.0]
    assert site["mpc0/left_s"] is None
    assert "mpc0: the lease of anna is over" in [text for _, text, _ in site.out.events]


def test_the_next_proposal_replaces_the_one_before_and_an_empty_one_ends_it() -> None:
    site = propose(rig(), want("ess0", 500.0), Proposed("bound", "pv0", -inf, 2000.0, None, ""))
    assert site["pv0/ActivePowerLimit"] == 2000.0
    assert propose(site, want("ess0", 800.0), lease_s=60.0)["ess0/SetActivePower"] == 800.0
    for _ in range(600):  # a ceiling eases slowly
        site.step()
    assert site["pv0/ActivePowerLimit"] == 10_000.0
    assert propose(site)["ess0/SetActivePower"] == 0.0


def test_a_disabled_foreign_controller_is_not_heard() -> None:
    site = propose(rig(), want(), lease_s=10.0)
    assert site.step(("mpc0/Enabled", 0.0))["ess0/SetActivePower"] == 0.0


@pytest.mark.parametrize(
    ("proposed", "reason"),
    [
        (want("ess9"), "'ess9' is not in this site"),
        (want("meter0/Voltage"), "'meter0/Voltage' is no power that is controlled"),
        (want("pv0/ReactivePower"), "'pv0/ReactivePower' is no power that is controlled"),
        (want(power=nan), "NaN is no power"),
        (want(kind="trip"), "'trip' is none of bound, target, reserve, add"),
        (want(priority=29), "priority 29 is not in 30..1000"),
        (want(priority=1001), "priority 1001 is not in 30..1000"),
        (want(power=inf), "nothing is in inf..inf"),
        (want(power=inf, kind="add"), "inf is not a finite number"),
        (want(power=-1.0, kind="reserve"), "a reserve is not negative"),
        (want(why="x" * 201), "longer than 200 characters"),
        (Proposed("bound", "ess0", 5.0, 4.0, None, ""), "at_least 5 is above at_most 4"),
        (Proposed("bound", "ess0", -inf, inf, None, ""), "one of at_least, at_most, equals is needed"),
        (Proposed("add", "ess0", 1.0, 2.0, None, ""), "what is added is one value"),
    ],
)
def test_nonsense_is_refused_with_the_reason_and_the_proposal_before_stays(proposed: Proposed, reason: str) -> None:
    site = propose(rig(), want())
    topology = site.engine.topology
    with pytest.raises(ConstraintError) as error:
        constraint(topology, proposed, "anna", 30)
    assert reason in str(error.value)
    assert refusals(topology, [want(), proposed], 30) == [f"1: {error.value}"]
    assert propose(site, want("ess0", 900.0), proposed)["ess0/SetActivePower"] == 700.0
    assert site.out.events[-1][0] in ("proposal_refused", "decision")
    assert "proposal_refused" in site.kinds()


def test_too_many_constraints_are_refused() -> None:
    site = propose(rig(), *[want()] * (CONSTRAINTS_MAX + 1))
    assert site["ess0/SetActivePower"] == 0.0
    assert f"at most {CONSTRAINTS_MAX} are expected" in next(t for k, t, _ in site.out.events if k == "proposal_refused")


@pytest.mark.parametrize("lease_s", [0.0, -1.0, 3601.0])
def test_a_lease_that_is_none_or_endless_is_refused(lease_s: float) -> None:
    site = propose(rig(), want(), lease_s=lease_s)
    assert site["ess0/SetActivePower"] == 0.0
    assert "is not in 0.1..3600 s" in next(t for k, t, _ in site.out.events if k == "proposal_refused")


def test_only_a_foreign_controller_is_proposed_for() -> None:
    site = rig()
    site.engine.propose(Proposal("grid0", "anna", site.ns, S, (want(),)), site.out)
    assert site.step()["ess0/SetActivePower"] == 0.0
    assert "'grid0' is no foreign controller" in next(t for k, t, _ in site.out.events if k == "proposal_refused")


def test_a_rehearsal_knows_what_is_proposed_and_has_no_effect_on_it() -> None:
    site = propose(rig(), want(), lease_s=10.0)
    twin = Engine(site.layout, site.site, site.classes, site.guard)
    rehearsal = Rehearsal(site.layout, site.engine, twin)
    image = Image(site.records.copy(), cycle=site.cycle + 1, frozen_at=site.ns + S, time=site.time)
    rehearsal.play(image, Now(site.cycle + 1, site.ns + 60 * S, site.time, 0.05))
    assert site.step()["ess0/SetActivePower"] == 700.0
