"""The description of a site: nothing is lost on the way, and nothing that is none is believed."""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from typing import Any

import pytest
from core_rig import ess, meter
from image_site import make_layout

from controllers.foreign_controller import ForeignController
from controllers.self_consumption import SelfConsumption
from controllers.volt_watt import VoltWatt
from server.bridge.portable import DescriptionError, describe, digest, understand
from server.bridge.protocol import decided, measured
from server.core.layout import DEVICE, Layout, build_layout
from server.core.runner import make_runners
from server.core.site import SiteSettings, StopInput, cycle_object, site_object
from server.core.topology import Topology
from server.runtime.controller_plan import object_of

STOP = StopInput("io0/Input[1]", normally_closed=False)
SITE = SiteSettings("test", "Test site", cycle_s=0.02, grid_meter="meter0", import_max_w=9_000.0, emergency_stops=(STOP,))


def site_layout() -> Layout:
    """A storage, a meter, and controllers with numbers, references and a characteristic."""
    tables = [
        ("self0", SelfConsumption, {"grid": "meter0"}),
        ("vw0", VoltWatt, {"unit": "ess0", "meter": "meter0"}),
        ("mpc0", ForeignController, {"priority": 30}),
    ]
    controllers = [object_of(alias, table, cls) for alias, cls, table in tables]
    return build_layout([site_object(SITE), cycle_object(), ess(), meter(), *controllers])


def test_the_host_has_the_sites_objects_and_settings_with_all_devices_its_own() -> None:
    layout = site_layout()
    schedule = ({"title": "Market", "start": datetime(2026, 3, 7, 6), "controllers": {"self0": {"Enabled": False}}},)
    settings, objects, told = understand(describe(layout, SITE, schedule), "bridge")
    assert settings == SITE
    assert told == ({**schedule[0], "start": "2026-03-07T06:00:00"},)
    assert {o.owner for o in objects if o.kind == DEVICE} == {"bridge"}
    host = build_layout(objects)
    assert [c.node for c in host.channels if c.owner == "control"] == [c.node for c in layout.channels if c.owner == "control"]
    for channel in layout.channels:
        assert host.by_node[channel.node].spec == channel.spec
        assert host.by_node[channel.node].period_s == channel.period_s


def test_both_number_what_control_decides_on_alike_and_know_it_by_the_digest() -> None:
    layout = site_layout()
    description = describe(layout, SITE)
    objects = understand(description, "bridge").objects
    host = build_layout(objects)
    assert [c.node for c, _ in decided(host)] == [c.node for c, _ in decided(layout)]
    assert sorted(c.node for c in measured(host)) == sorted(c.node for c in measured(layout))
    assert not any(c.node.startswith("cycle/") for c, _ in decided(layout))
    assert digest(describe(layout, SITE)) == digest(description)
    assert digest(describe(make_layout(), SITE)) != digest(description)


def test_the_hosts_engine_binds_every_controller_as_the_sites_would() -> None:
    classes = {c.__name__: c for c in (SelfConsumption, VoltWatt, ForeignController)}
    settings, objects, _ = understand(describe(site_layout(), SITE), "bridge")
    here, there = (make_runners(Topology(layout, settings), classes) for layout in (site_layout(), build_layout(objects)))
    assert [(r.alias, r.rank, r.failure) for r in there] == [(r.alias, r.rank, r.failure) for r in here]
    assert [r.failure for r in there] == [""] * 3
    curves = [r.controller.params.curve for runners in (here, there) for r in runners if r.alias == "vw0" and r.controller]
    assert curves[0] == curves[1]


def packed(**changed: Any) -> bytes:
    told = json.loads(zlib.decompress(describe(make_layout(), SITE)))
    return zlib.compress(json.dumps(told | changed).encode())


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        (b"", "no description"),
        (b"not zlib", "no description"),
        (zlib.compress(b"[]"), "no description"),
        (packed(format=2), "format 2"),
        (packed(specs=[]), "no description"),
        (packed(site={"id": "x"}), "no description"),
        (packed(objects=[{"alias": "x"}]), "no description"),
    ],
)
def test_what_is_no_description_is_refused(description: bytes, problem: str) -> None:
    with pytest.raises(DescriptionError, match=problem):
        understand(description, "bridge")


def test_a_description_that_unpacks_without_end_is_cut() -> None:
    bomb = zlib.compress(b" " * (80 << 20))
    with pytest.raises(DescriptionError):
        understand(bomb, "bridge")
