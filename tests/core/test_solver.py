"""Inputs to set-points: one row per case. The first wins, later ones are clamped, nothing is ever infeasible."""

from __future__ import annotations

from math import inf, sqrt

import pytest
from core_rig import Rig, ess, evcs, meter, pv
from hypothesis import given
from hypothesis import strategies as st

from server.core.constraint import ACTIVE, REACTIVE, Add, Bound, Calm, Node, Reserve, Target
from server.core.solver import Ability, Claim, Solver, sort_calmly
from server.core.topology import Topology
from server.core.tree import share

INF = inf


def topology(devices, **site) -> Topology:
    return Rig([meter(), *devices], **site).engine.topology


def ability(n: int, demand: float | None = 0.0, groups: int = 1, **columns) -> Ability:
    base = {
        "low": [-10_000.0] * n,
        "high": [10_000.0] * n,
        "rest": [0.0] * n,
        "ceiling": [0.0] * n,
        "apparent": [INF] * n,
        "reactive": [0.0] * n,
        "step": [0.0] * n,
        "minimum": [0.0] * n,
        "soc": [50.0] * n,
        "supply": [0.0] * n,
    }
    columns = {"supply": columns.get("rest", base["supply"])} | columns
    return Ability(**(base | columns), demand=([demand] * groups, [0.0] * groups))


def solve(topo: Topology, able: Ability, *constraints, dt_s: float = 0.05, solver: Solver | None = None):
    claims = [Claim(f"c{i}", c) for i, c in enumerate(constraints)]
    return (solver or Solver(topo)).solve(able, claims, dt_s)


def grid(topo: Topology) -> Node:
    return topo.import_node("grid")


ONE = topology([ess()])
E0 = ONE.unit_node("ess0")
G1 = grid(ONE)


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ([], 0),
        ([Bound(E0, at_least=3000)], 3000),
        ([Bound(E0, at_most=5000)], 0),
        ([Bound(E0, equals=100_000)], 10_000),
        ([Bound(E0, at_most=10_000), Bound(E0, at_most=5000), Bound(E0, at_least=3000)], 3000),
        ([Bound(E0, at_least=-5000), Bound(E0, at_most=5000)], 0),
        ([Bound(E0, equals=5000), Bound(E0, equals=-5000)], 5000),
        ([Bound(E0, at_most=-2000), Bound(E0, at_least=1000)], -2000),
        ([Target(E0, equals=4000)], 4000),
        ([Target(E0, equals=4000), Bound(E0, at_most=1000)], 1000),
        ([Target(E0, equals=4000), Target(E0, equals=-4000)], 4000),
        ([Target(E0, at_least=2000), Target(E0, equals=1000)], 2000),
        ([Target(E0, at_most=2000)], 0),
        ([Bound(G1, at_most=0)], 6000),
        ([Bound(G1, at_most=-9000)], 10_000),
        ([Bound(G1, at_least=8000)], -2000),
        ([Target(G1, equals=0)], 6000),
        ([Bound(E0, at_most=0), Bound(G1, at_most=0)], 0),
        ([Bound(G1, at_most=4000), Target(G1, equals=5000)], 2000),
        ([Reserve(E0, up=3000), Target(E0, equals=9000)], 7000),
        ([Reserve(E0, up=3000), Target(E0, equals=9000), Add(E0, 2000)], 9000),
        ([Reserve(E0, up=3000), Target(E0, equals=9000), Add(E0, 5000)], 10_000),
        ([Reserve(E0, down=12_000)], 2000),
        ([Reserve(E0, up=2000), Bound(E0, at_most=5000), Target(E0, equals=9000)], 3000),
        ([Target(E0, equals=1000), Add(G1, -500)], 1500),
        ([Add(E0, 800), Target(E0, equals=1000)], 1800),
    ],
)
def test_one_storage_behind_a_demand_of_6_kw(constraints, expected):
    assert solve(ONE, ability(1, demand=6000.0), *constraints).active[0] == pytest.approx(expected)


CLUSTER = topology([ess(f"ess{i}", ConnectedTo="meter1") for i in range(1, 5)] + [meter("meter1")])
C = Node("cluster", ACTIVE, CLUSTER.connection("meter1").index, 1)


def unit(i: int) -> Node:
    return CLUSTER.unit_node(f"ess{i}")


@pytest.mark.parametrize(
    ("low", "high", "constraints", "expected"),
    [
        ({}, {}, [Bound(C, equals=-10_000)], [-2500] * 4),
        ({}, {}, [Bound(C, at_least=-20_000), Bound(C, equals=-10_000), Bound(C, at_most=35_000)], [-2500] * 4),
        ({}, {}, [Bound(C, at_least=-20_000), Bound(C, at_most=35_000)], [0] * 4),
        ({}, {0: 5000, 1: 15_000, 2: 0, 3: 0}, [Bound(C, equals=20_000)], [5000, 15_000, 0, 0]),
        ({}, {0: 5000, 1: 5000, 2: 0, 3: 0}, [Bound(C, equals=20_000)], [5000, 5000, 0, 0]),
        ({}, {}, [Bound(C, equals=-10_000), Bound(unit(1), equals=5000)], [5000, -5000, -5000, -5000]),
        ({2: 2000}, {}, [Bound(C, equals=-40_000)], [-10_000, -10_000, 2000, -10_000]),
        ({}, {2: -2000}, [Bound(C, equals=40_000)], [10_000, 10_000, -2000, 10_000]),
        ({}, {}, [Bound(C, equals=40_000), Bound(unit(1), at_most=0)], [10_000] * 4),
        ({}, {}, [Bound(C, equals=30_000), Bound(unit(1), at_most=0)], [0, 10_000, 10_000, 10_000]),
        ({}, {}, [Bound(C, equals=35_000), Bound(unit(1), at_most=0)], [5000, 10_000, 10_000, 10_000]),
    ],
)
def test_a_cluster_shares_in_proportion_to_capability(low, high, constraints, expected):
    able = ability(
        4,
        groups=2,
        low=[float(low.get(i, -10_000)) for i in range(4)],
        high=[float(high.get(i, 10_000)) for i in range(4)],
    )
    assert solve(CLUSTER, able, *constraints).active[:4] == pytest.approx(expected)


def test_two_peak_limits_on_one_meter_ask_once():
    topo = topology([ess("ess0"), ess("ess1")])
    same = Bound(grid(topo), at_most=5000)
    assert solve(topo, ability(2, demand=10_000.0), same, same).active == pytest.approx([2500, 2500, 5000])


def test_a_feeder_is_protected_by_the_units_below_it_only():
    topo = topology([ess("ess0"), ess("ess1", ConnectedTo="meter1"), meter("meter1")])
    able = ability(2, groups=2)
    able.demand[0][1] = 12_000.0
    solution = solve(topo, able, Bound(topo.import_node("meter1"), at_most=4000))
    assert solution.active[:2] == pytest.approx([0, 8000])


MIXED = topology([ess(), evcs(), pv()])
GM, EV, PV = grid(MIXED), MIXED.unit_node("evcs0"), MIXED.unit_node("pv0")


def mixed(demand: float, charging: float, producing: float, **columns) -> Ability:
    base = {
        "low": [-5000.0, -charging, 0.0],
        "high": [5000.0, 0.0, producing],
        "rest": [0.0, -charging, producing],
        "ceiling": [0.0, 11_000.0, 10_000.0],
    }
    return ability(3, demand, **(base | columns))


@pytest.mark.parametrize(
    ("demand", "charging", "producing", "constraints", "expected"),
    [
        (2000, 7000, 3000, [], [0, -7000, 3000]),
        (2000, 7000, 0, [Bound(GM, at_most=8000)], [1000, -7000, 0]),
        (6000, 7000, 0, [Bound(GM, at_most=8000)], [5000, -7000, 0]),
        (6000, 9000, 0, [Bound(GM, at_most=8000)], [5000, -7000, 0]),
        (14_000, 9000, 0, [Bound(GM, at_most=8000)], [5000, 0, 0]),
        (0, 0, 9000, [Bound(GM, at_least=-5000)], [-4000, 0, 9000]),
        (0, 0, 9000, [Bound(GM, at_least=-3000)], [-5000, 0, 8000]),
        (0, 0, 9000, [Target(GM, equals=0)], [-5000, 0, 9000]),
        (0, 7000, 0, [Target(GM, equals=0)], [5000, -7000, 0]),
        (0, 7000, 0, [Target(EV, equals=4500)], [0, -4500, 0]),
        (0, 7000, 0, [Target(GM, equals=0), Target(EV, equals=4500)], [4500, -4500, 0]),
        (0, 7000, 9000, [Bound(PV, at_most=2000), Target(GM, equals=0)], [5000, -7000, 2000]),
        (0, 7000, 9000, [Bound(EV, at_most=0), Bound(GM, at_least=0)], [-5000, 0, 5000]),
    ],
)
def test_need_is_taken_from_storage_then_chargers_then_pv_and_wants_move_storage_only(
    demand, charging, producing, constraints, expected
):
    solution = solve(MIXED, mixed(float(demand), float(charging), float(producing)), *constraints)
    assert solution.active[:3] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "potential", "ceiling"),
    [(4000, 7000, 4000), (9000, 7000, 9000), (20_000, 7000, 11_000), (0, 7000, 0), (6000, 0, 6000)],
)
def test_a_ceiling_is_heard_above_what_the_charger_does_now(asked, potential, ceiling):
    solution = solve(MIXED, mixed(0.0, float(potential), 0.0), Bound(EV, at_most=asked))
    assert solution.ceiling[1] == pytest.approx(ceiling)


def test_a_charger_below_its_minimum_stops_and_the_storage_gives_only_what_is_then_needed():
    able = mixed(12_000.0, 4140.0, 0.0, minimum=[0.0, 4140.0, 0.0])
    assert solve(MIXED, able, Bound(GM, at_most=10_000)).active[:3] == pytest.approx([2000, 0, 0])


def test_without_a_measured_meter_nothing_that_needs_it_is_heard():
    solution = solve(ONE, ability(1, demand=None), Bound(G1, at_most=0), Target(E0, equals=700))
    assert solution.active[0] == 700
    assert [g.heard for g in solution.grants] == [False, True]


@pytest.mark.parametrize(
    ("constraints", "p", "q"),
    [
        ([Bound(E0, equals=8000)], 8000, 0),
        ([Bound(E0, equals=8000), Bound(E0._replace(plane=REACTIVE), equals=8000)], 8000, 6000),
        ([Bound(E0._replace(plane=REACTIVE), equals=8000), Bound(E0, equals=8000)], 6000, 8000),
        ([Bound(E0._replace(plane=REACTIVE), at_least=-6000, at_most=6000), Bound(E0, equals=10_000)], 10_000, 0),
        ([Target(E0, equals=10_000), Target(E0._replace(plane=REACTIVE), equals=5000)], 10_000, 0),
        ([Target(E0._replace(plane=REACTIVE), equals=-6000), Target(E0, equals=10_000)], 8000, -6000),
        ([Bound(G1._replace(plane=REACTIVE), at_most=-3000)], 0, 3000),
        ([Bound(G1, at_most=-2000), Bound(E0._replace(plane=REACTIVE), equals=9000)], 8000, 6000),
    ],
)
def test_active_and_reactive_power_share_a_circle_and_the_first_wins(constraints, p, q):
    able = ability(1, demand=6000.0, apparent=[10_000.0], reactive=[10_000.0])
    solution = solve(ONE, able, *constraints)
    assert (solution.active[0], solution.reactive[0]) == (pytest.approx(p), pytest.approx(q))


@pytest.mark.parametrize(
    ("step", "constraints", "expected"),
    [
        (100, [Target(E0, equals=3249)], 3200),
        (100, [Target(E0, equals=3251)], 3300),
        (100, [Bound(E0, at_most=3290), Target(E0, equals=9000)], 3200),
        (100, [Bound(E0, at_least=3210)], 3300),
        (100, [Bound(G1, at_most=2790)], 3300),
        (100, [Bound(E0, at_least=3210, at_most=3290)], 3210),
        (0, [Target(E0, equals=3249)], 3249),
    ],
)
def test_precision_rounds_inside_what_is_bound(step, constraints, expected):
    able = ability(1, demand=6000.0, step=[float(step)])
    assert solve(ONE, able, *constraints).active[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("distribution", "soc", "total", "expected"),
    [
        ("proportional", [20, 80], 6000, [2000, 4000]),
        ("equal", [20, 80], 6000, [3000, 3000]),
        ("equal", [20, 80], 12_000, [5000, 7000]),
        ("fewest", [20, 80], 6000, [0, 6000]),
        ("fewest", [20, 80], -3000, [-3000, 0]),
        ("fewest", [20, 80], 12_000, [2000, 10_000]),
        ("no such", [20, 80], 6000, [2000, 4000]),
    ],
)
def test_storages_share_by_the_rule_of_the_site(distribution, soc, total, expected):
    topo = topology([ess("ess0"), ess("ess1")], distribution=distribution)
    able = ability(2, low=[-5000.0, -10_000.0], high=[5000.0, 10_000.0], soc=[float(s) for s in soc])
    target = Target(grid(topo), equals=-total)
    assert solve(topo, able, target).active[:2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "soc", "total", "expected"),
    [
        ([-24_999.0] * 8, [0.0] * 8, [7.0, 7.0, 5.0, 9.0, 6.0, 14.0, 5.0, 14.0], -20_000, -20_000),
        ([-10_000.0, -10_000.0, -500.0, -500.0], [10_000.0, 10_000.0, 10_000.0, 2000.0], [10, 20, 30, 40], 10_000, 10_000),
        ([-10_000.0] * 4, [10_000.0, 10_000.0, 10_000.0, 0.0], [10, 20, 30, 40], 39_995, 30_000),
        ([-28_920.0, -21_180.0], [68_685.0, 100_605.0], [98, 99], -50_000, -50_000),
    ],
)
def test_balancing_by_soc_hits_the_total_or_the_limit(low, high, soc, total, expected):
    n = len(low)
    topo = topology([ess(f"ess{i}") for i in range(n)], distribution="soc")
    able = ability(n, low=low, high=high, soc=soc)
    solution = solve(topo, able, Target(grid(topo), equals=-total))
    assert sum(solution.active[:n]) == pytest.approx(expected)
    assert all(lo - 1e-6 <= p <= hi + 1e-6 for p, lo, hi in zip(solution.active, low, high, strict=False))


def test_balancing_by_soc_makes_storages_meet():
    topo = topology([ess("ess0"), ess("ess1")], distribution="soc")
    able = ability(2, soc=[80.0, 20.0])
    emptier, fuller = solve(topo, able, Target(grid(topo), equals=-4000)).active[1::-1]
    assert fuller > 3 * emptier
    emptier, fuller = solve(topo, able, Target(grid(topo), equals=4000)).active[1::-1]
    assert emptier < 3 * fuller < 0


@pytest.mark.parametrize(
    ("order", "soc", "expected"),
    [
        ([0, 1, 2, 3], [50, 70, 40, 70], [1, 3, 0, 2]),
        ([1, 3, 0, 2], [50, 70, 40, 49], [1, 3, 0, 2]),
        ([1, 3, 0, 2], [50, 70, 40, 35], [1, 0, 3, 2]),
        ([1, 0, 3, 2], [50, 70, 40, 51], [1, 0, 3, 2]),
        ([1, 0, 3, 2], [50, 70, 40, 69], [1, 3, 0, 2]),
    ],
)
def test_small_changes_of_soc_do_not_change_the_order_of_use(order, soc, expected):
    assert sort_calmly(order, soc) == expected


@pytest.mark.parametrize(
    ("calm", "wanted", "expected"),
    [
        (Calm(), [3000, 3040], [3000, 3040]),
        (Calm(deadband=50), [3000, 3040, 3060], [3000, 3000, 3060]),
        (Calm(rise=1000, fall=4000), [3000, 0], [1000, 0]),
        (Calm(rise=2000, fall=1000), [3000, 0], [2000, 1000]),
    ],
)
def test_a_target_moves_calmly(calm, wanted, expected):
    solver = Solver(ONE)
    found = [solve(ONE, ability(1), Target(E0, equals=w, calm=calm), dt_s=1.0, solver=solver).active[0] for w in wanted]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("demands", "expected"),
    [([9000, 8960, 8890, 10_000], [1000, 1000, 890, 2000]), ([9000, 0], [1000, 0])],
)
def test_a_bound_tightens_at_once_and_eases_past_its_deadband(demands, expected):
    solver = Solver(ONE)
    bound = Bound(G1, at_most=8000, calm=Calm(deadband=100, rise=1, fall=1))
    found = [solve(ONE, ability(1, demand=float(d)), bound, solver=solver).active[0] for d in demands]
    assert found == pytest.approx(expected)


def test_a_ramp_does_not_wind_up_while_a_unit_is_at_its_limit():
    solver = Solver(ONE)
    calm = Calm(rise=1000, fall=1000)
    for _ in range(30):
        solve(ONE, ability(1, high=[2000.0]), Target(E0, equals=9000, calm=calm), dt_s=1.0, solver=solver)
    assert solve(ONE, ability(1, high=[2000.0]), Target(E0, equals=0, calm=calm), dt_s=1.0, solver=solver).active[0] == 1000


def test_the_trace_says_who_limited_what():
    solution = solve(ONE, ability(1, demand=12_000.0), Bound(E0, at_most=1000), Bound(G1, at_most=8000), Target(E0, equals=500))
    first, second, third = solution.grants
    assert not first.limited
    assert (second.asked, second.granted, second.limiter) == ((4000, None), (1000, None), first.claim)
    assert (third.granted, third.limiter) == ((1000, 1000), second.claim)
    assert solve(ONE, ability(1), Bound(E0, at_least=50_000)).grants[0].limiter is None


powers = st.floats(-20_000, 20_000)
nodes = st.sampled_from([*[CLUSTER.unit_node(f"ess{i}") for i in range(1, 5)], C, grid(CLUSTER)])


@st.composite
def constraints(draw):
    node = draw(nodes)
    kind = draw(st.sampled_from([Bound, Target]))
    shape = draw(st.sampled_from(["at_least", "at_most", "equals"]))
    return kind(node, **{shape: draw(powers)})


@given(
    st.lists(constraints(), max_size=8),
    st.lists(st.tuples(st.floats(-10_000, 3000), st.floats(0, 10_000)), min_size=4, max_size=4),
    powers,
)
def test_whatever_is_asked_devices_stay_inside_their_limits_and_the_first_bound_is_kept(asked, limits, demand):
    low, high = [lo for lo, _ in limits], [max(hi, lo) for lo, hi in limits]
    able = ability(4, demand, groups=2, low=low, high=high)
    solution = solve(CLUSTER, able, *asked)
    totals = solution.active
    assert all(lo - 1e-3 <= p <= hi + 1e-3 for lo, p, hi in zip(low, totals, high, strict=False))
    assert totals[4] == pytest.approx(sum(totals[:4]), abs=1e-3)
    for grant in solution.grants:
        if isinstance(grant.claim.constraint, Bound):
            least, most = grant.granted
            place = grant.claim.constraint.node.place
            assert least is None or totals[place] >= least - 1e-2
            assert most is None or totals[place] <= most + 1e-2


@given(st.floats(0, 1e5), st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 100)), min_size=1, max_size=8))
def test_shares_add_up_and_nobody_exceeds_its_room(amount, parts):
    rooms, weights = [r for r, _ in parts], [w for _, w in parts]
    shares = share(amount, rooms, weights)
    assert sum(shares) == pytest.approx(min(amount, sum(rooms)), abs=1e-3)
    assert all(-1e-9 <= s <= r + 1e-6 for s, r in zip(shares, rooms, strict=True))


def test_the_circle_holds_for_a_reactive_demand_of_the_connection_too():
    able = ability(1, apparent=[10_000.0], reactive=[10_000.0])
    solution = solve(ONE, able, Bound(E0, equals=8000), Bound(G1._replace(plane=REACTIVE), equals=-9000))
    assert solution.reactive[0] == pytest.approx(sqrt(10_000**2 - 8000**2))
