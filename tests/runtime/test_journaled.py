"""What the journal knows of a moment: decisions, state and writes, found from its end backwards; and `ems explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.cli import main
from server.core.decision import REPEAT_S
from server.core.ticks import stamp
from server.runtime.create import create_site
from server.runtime.journal import Journal
from server.runtime.journaled import Decided, decisions_at, state_at, ticks, written

NOON = ticks("2026-11-22T12:00:00.000Z")
UNIX_NOON = 1_795_348_800.0
POWER, CAR = "ess0/SetActivePower", "evcs0/SetChargePowerLimit"
ASKS = [
    {"who": "peak0", "kind": "bound", "node": "import", "why": "keeps import under 8 kW", "asked": [3200, None], "unit": "W"},
    {"who": "self0", "kind": "target", "node": "import", "why": "balances import to 0 W", "asked": [11200, 11200],
     "granted": [5000, 5000], "by": "floor0", "unit": "W"},
]  # fmt: skip


class Site:
    """A journal that is written at any time: seconds from noon."""

    def __init__(self, folder: Path) -> None:
        self._now = UNIX_NOON
        self.folder = folder
        self._journal = Journal(folder, clock=lambda: self._now, elapsed=lambda: self._now)

    def put(self, seconds: float, record: dict[str, Any]) -> None:
        self._now = UNIX_NOON + seconds
        self._journal.take(json.dumps(record).encode())
        self._journal.write()

    def decision(self, seconds: float, node: str, by: str, **data: Any) -> None:
        time = stamp(NOON + round(seconds * 1e7))
        self.put(
            seconds + 0.01,
            {**data, "node": node, "by": by, "time": time, "since": time, "kind": "decision", "text": f"{node}: {by}"},
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "journal")


def at(site: Site, seconds: float) -> dict[str, str]:
    found = decisions_at(site.folder, NOON + round(seconds * 1e7))
    return {node: record["by"] for node, record in found.items()}


def test_the_newest_decision_of_each_set_point_is_found(site: Site) -> None:
    site.decision(0, POWER, "peak0")
    site.decision(5, CAR, "limits0")
    site.decision(10, POWER, "self0")
    assert at(site, -1) == {}
    assert at(site, 0) == {POWER: "peak0"}
    assert at(site, 9.9) == {POWER: "peak0", CAR: "limits0"}
    assert at(site, 86_400 * 30) == {POWER: "self0", CAR: "limits0"}


def test_it_is_found_over_midnight_and_what_is_long_gone_is_not(site: Site) -> None:
    site.decision(-50 * 3600, "old0/SetPower", "nobody")
    site.decision(11.99 * 3600, POWER, "peak0")
    site.decision(12.01 * 3600, CAR, "limits0")
    assert at(site, 12.02 * 3600) == {POWER: "peak0", CAR: "limits0"}
    assert at(site, 11.99 * 3600) == {POWER: "peak0"}


def test_many_other_records_are_skipped(site: Site) -> None:
    site.decision(0, POWER, "peak0")
    for i in range(1200):
        site.put(i * 0.1, {"kind": "mode", "text": f"mode {i}"})
    for i in range(1200):
        site.decision(REPEAT_S / 2 + i, CAR, "limits0")
    assert at(site, REPEAT_S) == {POWER: "peak0", CAR: "limits0"}


def test_a_period_is_looked_up_with_what_held_before_it(site: Site) -> None:
    for seconds, by in ((-600, "a"), (10, "b"), (20, "c"), (60, "d")):
        site.decision(seconds, POWER, by)
    decided = Decided(site.folder, NOON, NOON + 30 * 10**7)
    held = [decided.at(POWER, NOON + s * 10**7) for s in (-700, 0, 10, 19, 30)]
    assert [record and record["by"] for record in held] == [None, "a", "b", "b", "c"]
    assert decided.at(CAR, NOON) is None


def test_state_and_writes_of_a_time(site: Site) -> None:
    for seconds in (0, 20, 40):
        site.put(seconds, {"kind": "state", "state": {"at": seconds}})
    for seconds, value in ((5, 1.0), (25, 2.0), (45, 3.0)):
        site.put(seconds, {"kind": "write", "node": "peak0/import_max_w", "value": value, "user": 7, "text": "x"})
    site.put(46, {"kind": "write_refused", "node": "peak0/import_max_w", "value": 9.0, "user": 7, "text": "x"})
    assert state_at(site.folder, NOON - 1) is None
    state, age_s = state_at(site.folder, NOON + 30 * 10**7) or ({}, 0.0)
    assert (state, round(age_s)) == ({"at": 20}, 10)
    found = written(site.folder, NOON + 5 * 10**7, NOON + 60 * 10**7)
    assert [(w.value, w.user, (w.time - NOON) // 10**7) for w in found] == [(1, 7, 5), (2, 7, 25), (3, 7, 45)]
    assert [w.value for w in written(site.folder, NOON + 6 * 10**7, NOON + 45 * 10**7)] == [2]


@pytest.fixture
def explained(tmp_path: Path) -> Path:
    create_site(tmp_path / "site", name="S", port=4840, ui_port=8443)
    site = Site(tmp_path / "site" / "data" / "journal")
    site.decision(0, POWER, "floor0", value=5000.0, asks=ASKS)
    site.decision(5, CAR, "limits0", value=0.0, asks=[])
    site.decision(100, POWER, "self0", value=1000.0, asks=[])
    return tmp_path / "site"


def test_people_are_told_who_decided_at_a_time(explained: Path, capsys) -> None:
    assert main(["explain", str(explained), "ess0", "--at", "2026-11-22T12:01:00Z"]) == 0
    shown = capsys.readouterr().out
    assert "ess0/SetActivePower: floor0, since 2026-11-22T12:00:00.000Z" in shown
    assert "evcs0" not in shown
    assert "peak0  asks ≥ 3.2 kW" in shown
    assert "5 kW: floor0 allows no more" in shown
    assert "balances import to 0 W" in shown


def test_programs_are_told_as_json(explained: Path, capsys) -> None:
    assert main(["explain", str(explained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {node: record["by"] for node, record in found.items()} == {POWER: "self0", CAR: "limits0"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["moon0"], "there is no decision on moon0; there are decisions on ess0, evcs0"),
        (["--at", "2020-01-01"], "the journal has no decision of that time"),
        (["--at", "noon"], "'noon' is no time"),
    ],
)
def test_what_cannot_be_explained_is_told(explained: Path, options: list[str], problem: str, capsys) -> None:
    assert main(["explain", str(explained), *options]) == 1
    assert problem in capsys.readouterr().err
