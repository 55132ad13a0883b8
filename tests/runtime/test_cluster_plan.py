"""[[cluster]] of site.toml: the objects it makes, and what it says when it is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, ManagedEss
from server.runtime.cluster_plan import plan_clusters
from server.runtime.registry import Registry

USES = tuple(map(ChannelUse, {**Device.channels(), **ManagedEss.channels()}.values()))
STORAGES = [ObjectSpec(f"ess{i}", DEVICE, "modbus", (Device, ManagedEss), USES) for i in range(3)]


def planned(toml: str, directory: Path) -> tuple[list[ObjectSpec], list[str]]:
    made, problems = plan_clusters(tomllib.loads(toml)["cluster"], STORAGES, Registry(directory / "registry.json"), 0.05)
    return made, [str(problem) for problem in problems]


def test_a_cluster_is_an_object_with_the_channels_of_a_storage(tmp_path: Path) -> None:
    made, problems = planned('[[cluster]]\nid = "park"\nmembers = ["ess0", "ess1"]\nlabel = "Solar park"', tmp_path)
    assert problems == []
    assert (made[0].alias, made[0].properties["Label"]) == ("park", "Solar park")
    assert {"Soc", "Capacity", "ActivePower", "ActivePower.L1", "MemberCount"} <= {u.spec.name for u in made[0].channels}


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('members = ["ess0"]', "site.toml: cluster[0].id: is missing"),
        ('id = "park"', "site.toml: park.members: is missing"),
        ('id = "park"\nmembers = []', "site.toml: park.members"),
        ('id = "site"\nmembers = ["ess0"]', "site.toml: site.id: 'site' is the name of a part of the system"),
        ('id = "ess2"\nmembers = ["ess0"]', "site.toml: ess2.id: is the alias of something else"),
        ('id = "park"\nmembers = ["ess7"]', "site.toml: park.members: 'ess7' is no storage or cluster"),
        ('id = "park"\nmembers = ["ess0"]\ndistribution = "luck"', "'luck' is not one of proportional"),
        ('id = "park"\nmembers = ["ess0"]\nsize = 3', "park.size"),
    ],
)
def test_a_wrong_cluster_is_left_out_with_a_reason(toml: str, says: str, tmp_path: Path) -> None:
    made, problems = planned(f"[[cluster]]\n{toml}", tmp_path)
    assert made == []
    assert says in "\n".join(problems)
