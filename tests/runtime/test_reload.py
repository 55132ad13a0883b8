"""A supervisor with nothing but control: what is asked of it, what it loads by itself, what it does with files that misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_rig import RunningSite, running_site

from server.runtime.bus import BusError, request

SITE = '[site]\nid = "reload00"\nname = "Reload"\ncycle_ms = 20\n{more}'
TABLE = '\n[[controller]]\nid = "{alias}"\ntype = "Counter"\n{more}'
FILE = '''"""Count."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Constraint
from server.core.controller import Controller, ControllerOutputs, ControllerParams, Now, param, shown
from server.core.image import Image


class Counter(Controller):
    """Count cycles."""

    class Params(ControllerParams):
        step: float = param("What is added.", low=0, high=10, default=1.0)

    class Outputs(ControllerOutputs):
        count: float = shown("Sum of the steps.")

    @dataclass
    class State:
        count: float = 0.0

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        self.state.count += self.params.step
        self.out.count = self.state.count
        return ()
'''
ONLY_CONTROL = """
from dataclasses import replace
from server.runtime import plan, reload
from server.runtime.plan import make_plan
def only_control(*arguments):
    plan = make_plan(*arguments)
    return replace(plan, processes=tuple(p for p in plan.processes if p.name == "control"))
site_rig.plan_with = lambda specs: only_control
reload.TRIAL_WITHIN_S = 5.0
plan.CONTROLLER_SLOTS = 80
"""


class Site:
    """A site of one process, and its files."""

    def __init__(self, running: RunningSite) -> None:
        self.running = running
        self.directory = running.directory

    def write(self, text: str = FILE, *tables: str, more: str = "") -> None:
        folder = self.directory / "custom" / "controllers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "counter.py").write_text(text)
        content = SITE.format(more=more) + "".join(tables or (TABLE.format(alias="count0", more=""),))
        (self.directory / "site.toml").write_text(content)

    def reload(self) -> dict[str, Any]:
        return request(self.directory, "reload", timeout_s=60)

    def row(self) -> dict[str, Any]:
        return next((row for row in self.running.status()["controllers"] if row["type"] == "Counter"), {})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("reload")
    directory.chmod(0o700)
    (directory / "site.toml").write_text(SITE.format(more=""))
    with running_site(directory, {}, ONLY_CONTROL) as running:
        yield Site(running)


def test_the_first_controller_of_a_site_comes_while_it_runs(site: Site) -> None:
    site.write()
    told = site.reload()
    assert (told["how"], told["refused"], told["notes"]) == ("place", {}, [])
    assert site.row()["used_by"] == ["count0"]
    assert site.reload()["how"] == "nothing"


def test_two_that_ask_at_once_are_served_one_after_the_other(site: Site) -> None:
    site.write(FILE + "\n# other\n")
    told: list[str] = []
    askers = [threading.Thread(target=lambda: told.append(site.reload()["how"])) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(told) == ["nothing", "nothing", "place"]


def test_a_wrong_site_file_is_told_and_changes_nothing(site: Site) -> None:
    before = site.row()
    (site.directory / "site.toml").write_text("[site\n")
    with pytest.raises(BusError, match=r"site\.toml: line 1"):
        site.reload()
    assert site.row() == before


def test_what_else_changed_in_the_site_file_is_said_to_wait(site: Site) -> None:
    site.write(FILE, TABLE.format(alias="count0", more="step = 2.0\n"), more="timezone = 'Europe/Vienna'\n")
    told = site.reload()
    assert [text.partition(" ")[0] for text in told["loaded"]] == ["count0"]
    assert told["notes"] == ["[site] of site.toml has changed, too; that counts from the next start of the site on"]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("\nsum(range(10**13))\n", "controllers.counter: the trial did not come back within 5 s"),
        (
            "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
            "controllers.counter: the trial broke off (killed by SIGKILL)",
        ),
    ],
)
def test_a_file_that_takes_the_trial_with_it_is_named_and_nothing_is_loaded(site: Site, end: str, reason: str) -> None:
    before = site.row()
    site.write(FILE + end)
    with pytest.raises(BusError) as raised:
        site.reload()
    assert reason in str(raised.value)
    assert site.row() == before
    alarms = [alarm["text"] for alarm in site.running.status()["alarms"]]
    site.running.wait(lambda: any(reason in a["text"] for a in site.running.status()["alarms"]), f"an alarm, {alarms}")
    site.write()
    site.reload()
    site.running.wait(lambda: not site.running.status()["alarms"], "the alarm is over")


def test_controllers_come_and_go_until_the_room_is_used_up(site: Site) -> None:
    for alias in ("count1", "count2"):
        site.write(FILE, TABLE.format(alias=alias, more=""))
        assert any(text.endswith("is removed") for text in site.reload()["loaded"])
    assert site.row()["used_by"] == ["count2"]
    site.write(FILE, *(TABLE.format(alias=f"many{i}", more="") for i in range(12)))
    refused = site.reload()["refused"]
    assert refused
    assert all("slots left for controllers" in why for why in refused.values())
    assert len(site.row()["used_by"]) == 12 - len(refused)


def test_a_site_that_wants_it_loads_what_is_saved(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    more = "reload_on_save = true\n"
    (tmp_path / "site.toml").write_text(SITE.format(more=more))
    with running_site(tmp_path, {}, ONLY_CONTROL) as running:
        site = Site(running)
        site.write(more=more)
        running.wait(lambda: site.row().get("used_by") == ["count0"], "the file is loaded")
        site.write(FILE.replace("return ()", "return 7"), more=more)
        running.wait(lambda: "is not iterable" in site.row()["refused"], "the mistake is told")
    kinds = [json.loads(line)["kind"] for path in (tmp_path / "data" / "journal").glob("*.jsonl") for line in path.open()]
    assert {"controllers", "controllers_refused"} <= set(kinds)
