"""Clusters: what they show, how what is asked of them is shared, and which cannot be. One row per case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_rig import ESS, Rig, device, ess, meter

from controllers.fix_active_power import FixActivePower
from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.self_consumption import SelfConsumption
from server.core.cluster import ClusterSettings, cluster_objects, common_mode
from server.core.layout import ChannelUse
from server.core.natures import GridMode, HybridEss, StartStoppable

PARK = ClusterSettings("park", ("ess0", "ess1"))
DC = (*ESS, HybridEss.DcDischargePower)


def rig(*clusters: ClusterSettings, storages: int = 2, controllers=(), **site) -> Rig:
    devices = [meter(), *(ess(f"ess{i}") for i in range(storages))]
    made, problems = cluster_objects(clusters, devices, 0.05)
    assert problems == []
    return Rig([*devices, *made], controllers, **site)


def fixed(who: str, power_w: float, **settings):
    return FixActivePower, f"fix_{who}", {"ess": who, "power_w": power_w} | settings


def setpoints(site: Rig, count: int) -> list[float]:
    site["meter0/ActivePower"] = 0
    site.step()
    return [round(site[f"ess{i}/SetActivePower"]) for i in range(count)]


def test_a_cluster_shows_what_its_members_are_together():
    site = rig(PARK)
    values = {"Soc": (20, 90), "Capacity": (50_000, 3000), "ActivePower": (1200, -200), "AllowedChargePower": (-11, -22)}
    for name, pair in values.items():
        site["ess0/" + name], site["ess1/" + name] = pair
    site["meter0/ActivePower"] = 0
    site.step()
    shown = {name: site[f"park/{name}"] for name in ("Soc", "Capacity", "ActivePower", "AllowedChargePower", "MemberCount")}
    expected = {"Soc": 23.962, "Capacity": 53_000, "ActivePower": 1000, "AllowedChargePower": -33, "MemberCount": 2}
    assert shown == pytest.approx(expected, abs=0.001)
    site["ess1/ActivePower"] = None
    site.step()
    assert (site["park/MemberCount"], site["park/ActivePower"]) == (1, 1200)
    assert site["site/EssCapacity"] == 53_000, "members count once"


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ((), None),
        ((0, 0), GridMode.OnGrid),
        ((1,), GridMode.OffGrid),
        ((2, 1, None), GridMode.Genset),
        ((0, 1), None),
        ((0, None), None),
    ],
)
def test_the_grid_mode_of_several(modes, expected):
    assert common_mode(modes) == expected


@pytest.mark.parametrize(
    ("distribution", "inner", "asked", "expected"),
    [
        ("proportional", "", 6000, [2000, 2000, 2000]),
        ("equal", "", 6000, [2000, 2000, 2000]),
        ("soc", "", 6000, [2308, 3077, 615]),
        ("fewest", "", 6000, [1000, 5000, 0]),
        ("proportional", "fewest", 6000, [0, 4000, 2000]),
        ("fewest", "equal", 9000, [4500, 4500, 0]),
        ("equal", "", -6000, [-2000, -2000, -2000]),
        ("fewest", "", -6000, [-1000, 0, -5000]),
    ],
)
def test_clusters_inside_clusters_share_by_the_rule_of_each(distribution, inner, asked, expected):
    hall = ClusterSettings("hall", ("ess0", "ess1"), distribution=inner)
    site = rig(
        ClusterSettings("park", ("hall", "ess2")), hall, storages=3, controllers=[fixed("park", asked)], distribution=distribution
    )
    for i, soc in enumerate((59, 79, 15)):
        site[f"ess{i}/Soc"] = soc
    assert setpoints(site, 3) == expected


def test_a_limit_of_a_cluster_binds_its_members_and_no_other():
    site = rig(
        PARK,
        storages=3,
        controllers=[(LimitTotalDischarge, "floor0", {"ess": "park"}), (SelfConsumption, "self0", {"grid": "grid"})],
    )
    for i, soc in enumerate((5, 10, 90)):
        site[f"ess{i}/Soc"] = soc
    site["meter0/ActivePower"] = 3000
    for _ in range(100):
        site.step()
    assert [round(site[f"ess{i}/SetActivePower"]) for i in range(3)] == [0, 0, 3000]


def test_a_member_in_fault_takes_no_part():
    site = rig(PARK, controllers=[fixed("park", 4000)])
    site["ess0/State"] = 3
    assert setpoints(site, 2) == [0, 4000]
    assert "ess0 is in fault" in site.text("site/Explanation")
    assert site["park/MemberCount"] == 1


def test_a_member_that_does_not_run_takes_no_part():
    plain = ess("ess0")
    driven = tuple(ChannelUse(spec) for spec in (StartStoppable.Running, StartStoppable.StartStop))
    startable = replace(plain, natures=(StartStoppable, *plain.natures), channels=(*plain.channels, *driven))
    devices = [meter(), startable, ess("ess1")]
    made, _ = cluster_objects((PARK,), devices, 0.05)
    site = Rig([*devices, *made], [fixed("park", 4000)])
    site["ess0/Running"] = 0.0
    assert setpoints(site, 2) == [0, 4000]
    site["ess0/OperatingState"] = site["ess0/OperatingState"]
    assert site.step()["park/MemberCount"] == 1
    site["ess0/Running"] = 1.0
    assert setpoints(site, 2) == [2000, 2000]
    site["ess0/OperatingState"] = site["ess0/OperatingState"]
    assert site.step()["park/MemberCount"] == 2


@pytest.mark.parametrize(
    ("clusters", "says"),
    [
        ([ClusterSettings("park", ("ess0", "ess9"))], "park.members: 'ess9' is no storage or cluster"),
        ([ClusterSettings("park", ("meter0",))], "park.members: 'meter0' is no storage or cluster"),
        ([PARK, ClusterSettings("hall", ("ess1",))], "hall.members: 'ess1' is a member of park"),
        ([ClusterSettings("park", ("ess0", "ess0"))], "park.members: names a member twice"),
        ([ClusterSettings("park", ("hall",)), ClusterSettings("hall", ("park",))], "park.members: the cluster contains itself"),
        ([ClusterSettings("park", ("ess0", "far0"))], "are connected to different meters (meter1, the grid)"),
    ],
)
def test_clusters_that_cannot_be_are_left_out_with_a_reason(clusters, says):
    devices = [meter(), ess("ess0"), ess("ess1"), ess("far0", ConnectedTo="meter1"), meter("meter1")]
    made, problems = cluster_objects(clusters, devices, 0.05)
    assert len(made) < len(clusters)
    assert says in "\n".join(map(str, problems))


@pytest.mark.parametrize(("pv", "asked", "expected"), [(3000, 0, 3000), (3000, -1000, 2000), (0, 0, 0), (4000, 2500, 5000)])
def test_a_hybrid_is_limited_on_the_side_of_its_battery(pv, asked, expected):
    class HoldBattery(FixActivePower):
        def standing(self):
            for want in super().standing():
                want.node = self.params.ess.dc_power
                yield want

    site = Rig([meter(), device("ess0", HybridEss, DC)], [(HoldBattery, "hold0", {"ess": "ess0", "power_w": asked})])
    for name, value in {"AllowedChargePower": -5000, "AllowedDischargePower": 5000, "MaxApparentPower": 5000}.items():
        site[f"ess0/{name}"] = value
    site["ess0/ActivePower"], site["ess0/DcDischargePower"] = 500, 500 - pv
    assert setpoints(site, 1) == [expected]


@pytest.mark.parametrize(
    ("draws", "other", "expected"),
    [
        (3000, 0, [3000, 0]),
        (3000, 2000, [1000, 2000]),
        (-4000, 1000, [-5000, 1000]),
        (8000, 0, [5000, 3000]),
        (-8000, 0, [-5000, -3000]),
    ],
)
def test_in_an_island_the_storage_that_forms_it_takes_the_difference(draws, other, expected):
    site = rig(storages=2, controllers=[fixed("ess1", other)])
    site["ess0/GridMode"], site["ess0/ActivePower"] = GridMode.OffGrid, draws
    for _ in range(3):
        assert setpoints(site, 2) == expected
