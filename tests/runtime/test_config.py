"""Configuration: every mistake is answered with where, what and what was expected; one mistake never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from server.core.channel import Access
from server.core.layout import ENTRY
from server.runtime import discovery
from server.runtime.config import OpcUaTable, read_entries, read_site
from server.runtime.explain import InvalidFile, validate
from server.runtime.plan import SitePlan, make_plan
from server.runtime.registry import Registry

SITE = '[site]\nid = "test01"\nname = "Test"\n'


class Inner(BaseModel):
    model_config = {"extra": "forbid"}
    gain: float = Field(1.0, gt=0)


class Settings(BaseModel):
    """A driver's settings, one of each kind."""

    host: str
    unit_id: Annotated[int, Field(ge=1, le=247)] = 1
    word_order: Literal["big", "little"] = "big"
    timeout_s: float = Field(1.0, gt=0)
    retries: Annotated[int, Field(ge=0)] = 3
    fast: bool = False
    inner: Inner = Inner()
    optional: Annotated[int, Field(ge=1, le=9)] | None = None
    points: list[Annotated[int, Field(ge=0, le=65535)]] = []
    start: datetime | None = None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "a", "unit_id": 300}, "unit_id: 300 is not in 1..247"),
        ({"host": "a", "unit_id": 0}, "unit_id: 0 is not in 1..247"),
        ({"host": "a", "unit_id": "seven"}, "unit_id: 'seven' is not a whole number"),
        ({"host": "a", "unit_id": 1.5}, "unit_id: 1.5 is not a whole number"),
        ({}, "host: is missing"),
        ({"host": 3}, "host: 3 is not a text"),
        ({"host": "a", "word_order": "middle"}, "word_order: 'middle' is not one of big or little"),
        ({"host": "a", "timeout_s": 0}, "timeout_s: 0 is not above 0"),
        ({"host": "a", "retries": -1}, "retries: -1 is below 0"),
        ({"host": "a", "fast": "maybe"}, "fast: 'maybe' is not true or false"),
        ({"host": "a", "optional": 22}, "optional: 22 is not in 1..9"),
        ({"host": "a", "points": [1, 70000]}, "points[1]: 70000 is not in 0..65535"),
        ({"host": "a", "points": 7}, "points: 7 is not a list"),
        ({"host": "a", "inner": 7}, "inner: 7 is not a table"),
        ({"host": "a", "inner": {"gain": -1}}, "inner.gain: -1 is not above 0"),
        ({"host": "a", "inner": {"gian": 1}}, "inner.gian: unknown setting, did you mean gain? known: gain"),
        ({"host": "a", "start": "soon"}, "start: 'soon' is not a date and time"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidFile) as error:
        validate(Settings, settings, "entries/meter0.toml")
    assert str(error.value) == f"entries/meter0.toml: {says}"


def test_an_unknown_setting_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        InvalidFile, match=r"^entries/m\.toml: unit: unknown setting, did you mean unit_id\? known: host, unit_id, "
    ):
        validate(Settings, {"host": "a", "unit": 3}, "entries/m.toml")


def test_all_problems_of_a_file_are_told_at_once() -> None:
    with pytest.raises(InvalidFile) as error:
        validate(Settings, {"unit_id": 300, "hots": "a"}, "entries/m.toml")
    assert [e.field for e in error.value.errors] == ["hots", "host", "unit_id"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[site]\nid=abc", "site.toml: line 2: invalid value"),
        ("[site\n", "site.toml: line 1: expected ']' at the end of a table declaration"),
        ('[site]\nid="ab"\n', "site.toml: site.id: 'ab' does not match ^[A-Za-z0-9_-]{4,64}$"),
        ("", "site.toml: site: is missing"),
        (SITE + "cycle_ms = 1\n", "site.toml: site.cycle_ms: 1 is not in 5..10000"),
        (SITE + "cycle_ms = inf\n", "site.toml: site.cycle_ms: inf is not a finite number"),
        (SITE + 'timezone = "Mars/Olympus"\n', "'Mars/Olympus' is not an IANA time zone such as Europe/Vienna"),
        (
            SITE + 'distribution = "fair"\n',
            "site.toml: site.distribution: 'fair' is not one of proportional, soc, equal, fewest",
        ),
        (SITE + "[history]\nminutes_days = 7\n", "history: minutes_days is 7, but values_days are kept 30 days"),
        (SITE + "[history]\nvalues_days = 0\n", "history: minutes_days is 180, but values_days are kept for ever"),
        (SITE + "[opcua]\nport = 70000\n", "site.toml: opcua.port: 70000 is not in 1..65535"),
        (SITE + "[services.control]\nmodule = 'a'\n", "'control' is the name of a part of the system"),
        (SITE + "[services.x]\nmodule = 'a b'\n", "services.x.module: 'a b' does not match"),
        (
            SITE + "[sevices.x]\n",
            "site.toml: sevices: unknown setting, did you mean services? known: site, ",
        ),
        (SITE + "[grid]\nimport_max_w = -1\n", "site.toml: grid.import_max_w: -1 is below 0"),
    ],
)
def test_a_wrong_site_file_is_refused_in_clear_words(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(InvalidFile) as error:
        read_site(tmp_path)
    assert says in str(error.value)


def test_a_folder_without_site_file_is_told_how_to_become_a_site(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="`ems init"):
        read_site(tmp_path)


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_bytes(b"[site]\nname = '\xff'\n")
    with pytest.raises(InvalidFile, match=r"^site\.toml: line 2: is not UTF-8 text$"):
        read_site(tmp_path)


@pytest.mark.parametrize("name", ["site", "entry", "1st", "a b", "x" * 64, "a.b"])
def test_a_file_name_that_cannot_be_an_alias_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / f"{name}.toml").write_text('driver = "x"\n')
    (source,) = read_entries(tmp_path)
    assert source.content is None
    assert source.problem.startswith(f"entries/{name}.toml: file name: ")


def test_hidden_files_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "entries").mkdir()
    for name in (".ess0.toml.swp", ".#ess0.toml", "ess0.toml~", "README.md", "ess0.toml"):
        (tmp_path / "entries" / name).write_text('driver = "x"\n')
    assert [source.alias for source in read_entries(tmp_path)] == ["ess0"]


DRIVER = """
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, ManagedEss
from server.core.errors import EmsError

def describe(alias, config):
    if config.fault == "typed":
        raise EmsError("profile: there is none")
    if config.fault == "bug":
        raise KeyError("oops")
    uses = (ChannelUse(Device.CommState), ChannelUse(ManagedEss.SetActivePower))
    twin = (ObjectSpec("twin", DEVICE, "", (Device,), uses),) if config.fault == "twin" else ()
    return (ObjectSpec(alias, DEVICE, "", (Device, ManagedEss), uses, properties={"SerialNumber": config.serial}), *twin)

async def run(io, entries):
    raise NotImplementedError
"""
CONFIG = """
from pydantic import BaseModel, Field

class Config(BaseModel):
    unit_id: int = Field(1, ge=1, le=247)
    fault: str = ""
    serial: str = ""
"""
CONTROLLER = """
from server.core.controller import Controller, ControllerParams, param
from server.core.units import Watt

class Floor(Controller):
    "Holds a floor."
    priority = 7
    class Params(ControllerParams):
        floor_w: Watt = param("The floor.", low=0, high=100)
    def run(self, image, now):
        return ()
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A site with a driver and a controller of its own in custom/."""
    driver = tmp_path / "custom" / "drivers" / "lab"
    driver.mkdir(parents=True)
    (driver / "manifest.toml").write_text('domain = "lab"\n')
    (driver / "config.py").write_text(CONFIG)
    (driver / "driver.py").write_text(DRIVER)
    controllers = tmp_path / "custom" / "controllers"
    controllers.mkdir()
    (controllers / "lab_floor.py").write_text(CONTROLLER)
    (tmp_path / "entries").mkdir()
    (tmp_path / "site.toml").write_text(SITE)
    yield tmp_path
    for name in (discovery.DRIVERS, discovery.CONTROLLERS):
        sys.modules[name].__path__.remove(str(tmp_path / "custom" / name))
    for name in [n for n in sys.modules if n.startswith(("drivers.lab", "controllers.lab_"))]:
        del sys.modules[name]


def plan(site: Path) -> SitePlan:
    return make_plan(site, Registry(site / "registry.json"))


def entry(site: Path, alias: str, text: str) -> None:
    (site / "entries" / f"{alias}.toml").write_text(text)


def test_a_driver_in_the_custom_folder_is_used_like_a_shipped_one(site: Path) -> None:
    entry(site, "ess0", 'driver = "lab"\nunit_id = 7\n[properties]\nLabel = "Battery"\n')
    planned = plan(site)
    (found,) = planned.entries
    assert (found.problem, found.group, found.module, found.config.unit_id) == ("", "lab", "drivers.lab", 7)
    assert planned.layout.by_alias["ess0"].properties == {"SerialNumber": "", "Label": "Battery"}
    setpoint = planned.layout.by_node["ess0/SetActivePower"]
    assert (setpoint.owner, setpoint.driver, setpoint.spec.access) == ("control", "lab", Access.PROPOSE)
    assert planned.layout.by_alias["entry.ess0"].kind == ENTRY
    assert [p.name for p in planned.processes] == ["control", "lab", "opcua"]


METER = """
title = "T"
natures = ["Meter"]
[[block]]
name = "power"
address = 0
count = 2
channels = [{ channel = "ActivePower", address = 0, type = "int32" }]
"""


def test_a_relative_path_in_an_entry_lies_in_the_folder_of_the_site(site: Path) -> None:
    (site / "profiles").mkdir()
    (site / "profiles" / "mine.toml").write_text(METER)
    entry(site, "meter0", 'driver = "modbus"\nhost = "localhost"\nprofile = "profiles/mine.toml"\n')
    entry(site, "meter1", 'driver = "modbus"\nhost = "localhost"\nprofile = "profiles/other.toml"\n')
    found, missing = plan(site).entries
    assert (found.problem, found.config.profile) == ("", str(site / "profiles" / "mine.toml"))
    assert plan(site).layout.by_alias["meter0"].type_name == "mine"
    assert missing.problem.startswith(f"entries/meter1.toml: profile: {site}/profiles/other.toml: cannot be read: No such file")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('driver = "lab"\nunit_id = 300\n', "entries/bad.toml: unit_id: 300 is not in 1..247"),
        ('driver = "lob"\n', "entries/bad.toml: driver: 'lob': there is no such driver, did you mean lab? known: "),
        ("unit_id = 1\n", "entries/bad.toml: driver: is missing"),
        ('driver = "lab"\nunit = 1\n', "entries/bad.toml: unit: unknown setting, did you mean unit_id?"),
        ('driver = "lab"\ngroup = "Über"\n', "entries/bad.toml: group: 'Über' is not a name"),
        ('driver = "lab"\ngroup = "opcua"\n', "entries/bad.toml: group: 'opcua' is the name of a part of the system"),
        ('driver = "lab"\nfault = "typed"\n', "entries/bad.toml: profile: there is none"),
        ('driver = "lab"\nfault = "bug"\n', "entries/bad.toml: driver lab cannot describe it: KeyError: 'oops'"),
        ("driver = \n", "entries/bad.toml: line 1: invalid value"),
    ],
)
def test_a_wrong_entry_is_left_out_with_its_reason_and_the_rest_is_planned(site: Path, text: str, says: str) -> None:
    entry(site, "bad", text)
    entry(site, "good", 'driver = "lab"\n')
    planned = plan(site)
    bad, good = planned.entries
    assert bad.problem.startswith(says)
    assert good.problem == ""
    assert {"good", "entry.good", "entry.bad"} <= set(planned.layout.by_alias)
    assert "bad" not in planned.layout.by_alias


def test_a_driver_that_cannot_be_imported_keeps_only_its_own_entries_out(site: Path) -> None:
    (site / "custom" / "drivers" / "lab" / "config.py").write_text("import no_such_library\n")
    entry(site, "ess0", 'driver = "lab"\n')
    (found,) = plan(site).entries
    assert "drivers.lab.config cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'" in found.problem


def test_a_disabled_entry_is_not_run(site: Path) -> None:
    entry(site, "ess0", 'driver = "lab"\nenabled = false\nunit_id = 300\n')
    planned = plan(site)
    assert not planned.entries[0].usable
    assert planned.entries[0].problem == ""
    assert [p.name for p in planned.processes] == ["control", "opcua"]


def test_an_alias_two_entries_bring_stays_with_the_first(site: Path) -> None:
    entry(site, "a", 'driver = "lab"\nfault = "twin"\n')
    entry(site, "b", 'driver = "lab"\nfault = "twin"\n')
    first, second = plan(site).entries
    assert (first.problem, second.problem) == ("", "entries/b.toml: alias twin is taken by entries/a.toml")


def test_groups_get_processes_of_their_own(site: Path) -> None:
    entry(site, "a", 'driver = "lab"\n')
    entry(site, "b", 'driver = "lab"\ngroup = "cellar"\n')
    planned = plan(site)
    assert [p.name for p in planned.processes] == ["control", "lab", "cellar", "opcua"]
    assert planned.layout.by_node["b/CommState"].owner == "cellar"


def test_a_group_runs_one_driver(site: Path) -> None:
    entry(site, "a", 'driver = "lab"\ngroup = "hall"\n')
    entry(site, "b", 'driver = "plant"\ngroup = "hall"\n')
    assert plan(site).entries[1].problem == "entries/b.toml: group: 'hall' runs lab already; plant needs another group"


def test_no_entry_takes_the_process_of_another_driver(site: Path) -> None:
    entry(site, "a", 'driver = "lab"\ngroup = "plant"\n')
    entry(site, "b", 'driver = "plant"\n')
    wrong = "entries/a.toml: group: 'plant' runs plant already; lab needs another group"
    assert [e.problem for e in plan(site).entries] == [wrong, ""]


def test_an_alias_is_refused_to_another_device(site: Path) -> None:
    registry = Registry(site / "registry.json")
    entry(site, "ess0", 'driver = "lab"\nserial = "A1"\n')
    assert make_plan(site, registry).entries[0].problem == ""
    entry(site, "ess0", 'driver = "lab"\nserial = "B2"\n')
    problem = make_plan(site, registry).entries[0].problem
    assert "lab with serial number A1" in problem
    assert "lab with serial number B2 needs another alias" in problem


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('id = "x0"\ntype = "Flor"', "site.toml: x0.type: 'Flor': there is no such controller, did you mean Floor? known: "),
        ('id = "x0"\ntype = "Floor"', "site.toml: x0.floor_w: is missing"),
        ('id = "x0"\ntype = "Floor"\nfloor_w = 101', "site.toml: x0.floor_w: 101 is not in 0..100"),
        ('id = "x0"\ntype = "Floor"\nfloor = 1', "site.toml: x0.floor: "),
        ('type = "Floor"', "site.toml: controller[1].id: is missing"),
        ('id = "site"\ntype = "Floor"\nfloor_w = 1', "site.toml: site.id: 'site' is the name of a part of the system"),
        ('id = "good"\ntype = "Floor"\nfloor_w = 1', "site.toml: good.id: two controllers have this id"),
    ],
)
def test_a_wrong_controller_is_left_out_with_its_reason(site: Path, table: str, says: str) -> None:
    (site / "site.toml").write_text(SITE + f'[[controller]]\nid = "good"\ntype = "Floor"\nfloor_w = 5\n[[controller]]\n{table}\n')
    planned = plan(site)
    assert any(p.text.startswith(says) for p in planned.problems), planned.problems
    assert planned.layout.by_alias["good"].type_name == "Floor"
    assert planned.classes == {"Floor": "controllers.lab_floor:Floor"}


def test_a_controller_file_that_cannot_be_loaded_does_not_hide_the_others(site: Path) -> None:
    (site / "custom" / "controllers" / "lab_broken.py").write_text("1 / 0\n")
    (site / "custom" / "controllers" / "lab_empty.py").write_text("\n")
    planned = plan(site)
    texts = [p.text for p in planned.problems]
    assert "controllers.lab_broken cannot be loaded: ZeroDivisionError: division by zero" in texts
    assert "controllers.lab_empty: one controller class per file is expected, found none" in texts
    assert "Floor" in discovery.find_controllers().classes


def test_a_grid_meter_that_nobody_brings_is_told(site: Path) -> None:
    (site / "site.toml").write_text(SITE + '[grid]\nmeter = "meter9"\n')
    assert [p.text for p in plan(site).problems] == ["site.toml: grid.meter: no entry brings a meter called meter9"]


def test_the_server_listens_on_this_machine_unless_told() -> None:
    assert OpcUaTable().host == "127.0.0.1"
    assert OpcUaTable(host="0.0.0.0").host == "0.0.0.0"
