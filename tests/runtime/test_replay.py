"""A recorded day played again: the same controllers decide the same, others differ where they should, and gaps are gaps."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.cli import main
from server.core.status import BAD, BAD_NO_COMMUNICATION, BAD_NO_DATA, GOOD
from server.core.ticks import TICKS, stamp
from server.history import HistoryReader, HistoryWriter, database_url
from server.runtime import past
from server.runtime.demo import make_demo
from server.runtime.journaled import ticks
from server.runtime.plan import plan_of
from server.runtime.recording import Recording

BATTERY, CAR = "ess0/SetActivePower", "evcs0/SetChargePowerLimit"
START = ticks("2026-11-22T00:00:00.000Z")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo site with a day of history, one step a minute."""
    directory = tmp_path_factory.mktemp("replay") / "site"
    make_demo(directory)
    plant = directory / "entries" / "plant.toml"
    plant.write_text("start = 2025-06-15T09:00:00Z\n" + plant.read_text())
    past.make_past(directory, days=1)
    writer = HistoryWriter(database_url(directory))
    writer.seal()
    writer.close()
    return directory


@pytest.fixture(scope="module")
def period(site: Path) -> list[str]:
    """Four hours of that day, as options."""
    until = json.loads((site / "data" / "simulated-past.json").read_text())["until"]
    return ["--from", stamp(until - 20 * 3600 * TICKS), "--to", stamp(until - 16 * 3600 * TICKS), "--step", "60"]


def replay(capsys: pytest.CaptureFixture[str], site: Path, *options: str) -> dict[str, Any]:
    assert main(["replay", str(site), *options, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in [*found["setpoints"], *found["sums"]]}


def test_an_unchanged_site_decides_what_it_decided(site, period, capsys) -> None:
    found = replay(capsys, site, *period)
    assert found["differences"] == []
    told = rows(found)
    assert {BATTERY, CAR, "pv0/ActivePowerLimit", "site/ConsumptionPower"} <= told.keys()
    compared = [row for row in told.values() if row["cycles"]]
    assert [row["node"] for row in compared if row["same"] < row["cycles"]] == []
    assert told[BATTERY]["cycles"] > 230
    assert told[BATTERY]["energy_kwh"] == 0
    assert main(["replay", str(site), *period]) == 0
    assert "No difference beyond 50" in capsys.readouterr().out


def test_another_parameter_shows_the_expected_difference_with_the_reason(site, period, capsys) -> None:
    found = replay(capsys, site, *period, "--set", "peak0/import_max_w=3000", "--set", "balance0/Enabled=0")
    battery = rows(found)[BATTERY]
    assert battery["same"] < battery["cycles"]
    assert battery["energy_kwh"] < -1, "less is discharged when nobody balances the import to 0"
    first = found["differences"][0]
    assert first["time"].endswith("Z")
    assert any("peak0 keeps import under 3 kW" in d["replayed"]["text"] for d in found["differences"] if d["node"] == BATTERY)
    assert any(ask["who"] == "peak0" for d in found["differences"] for ask in d["replayed"]["asks"])
    assert main(["replay", str(site), *period, "--set", "balance0/Enabled=0"]) == 0
    shown = capsys.readouterr().out
    assert "The loop is open" in shown
    assert "no reason was journaled" in shown


def test_another_configuration_plays_the_same_history(site, period, capsys, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(site, other, ignore=shutil.ignore_patterns("history*"))
    file = other / "site.toml"
    assert "min_soc = 10\n" in file.read_text()
    file.write_text(file.read_text().replace("min_soc = 10\n", "min_soc = 99\n"))
    found = replay(capsys, site, *period, "--config", str(other))
    assert any("floor0 blocks discharge" in d["replayed"]["text"] for d in found["differences"])
    assert rows(found)[BATTERY]["energy_kwh"] < -1


def test_parameters_are_set_together(site, period, capsys, tmp_path) -> None:
    """In any order: each by itself would be refused, because the band would be upside down."""
    other = tmp_path / "other"
    shutil.copytree(site, other, ignore=shutil.ignore_patterns("history*"))
    droop = '[[controller]]\nid = "droop0"\ntype = "FrequencyDroop"\ness = "ess0"\nmeter = "meter0"\npower_w = 1000\n'
    (other / "site.toml").write_text((other / "site.toml").read_text() + droop)
    options = [*period, "--config", str(other), "--set", "droop0/high_soc=15"]
    refused = "nothing is changed: droop0.high_soc: 15 is not above low_soc, which is 20"
    assert refused in replay(capsys, site, *options)["notes"]
    assert replay(capsys, site, *options, "--set", "droop0/low_soc=5")["notes"] == []


def test_a_schedule_of_today_is_followed(site, period, capsys, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(site, other, ignore=shutil.ignore_patterns("history*"))
    rule = '[[schedule]]\ntitle = "Rest"\nfrom = "00:00"\nto = "24:00"\ncontrollers.balance0 = { Enabled = false }\n'
    (other / "site.toml").write_text((other / "site.toml").read_text() + rule.replace("24:00", "23:59"))
    assert rows(replay(capsys, site, *period, "--config", str(other)))[BATTERY]["energy_kwh"] < -1


def test_the_same_replay_gives_the_same_bytes(site, period) -> None:
    command = [
        sys.executable,
        "-m",
        "server.cli",
        "replay",
        str(site),
        *period[:2],
        "--to",
        stamp(ticks(period[1]) + 7200 * TICKS),
    ]
    command += ["--step", "60", "--set", "peak0/import_max_w=3000", "--json"]
    both = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert both[0] == both[1]
    assert len(both[0]) > 2000


def test_a_long_period_is_played_in_parts_with_the_same_result(site, period, capsys, monkeypatch) -> None:
    options = [*period, "--set", "peak0/import_max_w=3000"]
    whole = replay(capsys, site, *options)
    monkeypatch.setattr("server.runtime.replay.STEPS_AT_ONCE", 37)
    assert replay(capsys, site, *options) == whole
    assert whole["differences"] != []


def test_every_step_goes_into_a_table(site, period, capsys, tmp_path) -> None:
    file = tmp_path / "steps.csv"
    found = replay(capsys, site, *period, "--csv", str(file))
    table = list(csv.DictReader(file.open()))
    assert len(table) == rows(found)[BATTERY]["cycles"] + rows(found)[BATTERY]["unknown"]
    assert table[0]["time"] == found["from"]
    assert table[5][f"{BATTERY} recorded"] == table[5][f"{BATTERY} replayed"]
    assert [f.name for f in tmp_path.iterdir()] == ["steps.csv"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--from", "2020-01-01", "--to", "2020-01-02"], "there is no history of that period: it goes from 20"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "is not before --to"),
        (["--from", "yesterday", "--to", "now"], "'yesterday' is no time"),
        (["--from", "2026-01-02", "--to", "now", "--config", "/nowhere"], "/nowhere is no site"),
    ],
)
def test_what_cannot_be_played_is_told(site, options, problem, capsys) -> None:
    assert main(["replay", str(site), *options]) == 1
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("nobody0/import_max_w=1", "the site has no controller nobody0"),
        ("ess0/SetActivePower=1", "the site has no controller ess0"),
        ("peak0/colour=1", "there is no such parameter; known: Enabled, "),
        ("peak0/import_max_w=-1", "import_max_w"),
    ],
)
def test_a_parameter_that_is_none_is_told(site, period, setting, problem, capsys) -> None:
    assert main(["replay", str(site), *period, "--set", setting]) == 1
    assert problem in capsys.readouterr().err


def test_a_site_without_history_says_so(tmp_path, capsys) -> None:
    make_demo(tmp_path / "site")
    assert main(["replay", str(tmp_path / "site"), "--from", "2026-01-01", "--to", "now"]) == 1
    assert "the site has no history yet" in capsys.readouterr().err


def test_what_the_journal_has_of_that_time_is_heard_and_shown(site, period, capsys, tmp_path) -> None:
    start = ticks(period[1])
    written, decided = stamp(start + 3600 * TICKS), stamp(start - 60 * TICKS)
    records = [
        {
            "kind": "decision",
            "time": decided,
            "since": decided,
            "node": BATTERY,
            "value": 0.0,
            "by": "moon0",
            "asks": [],
            "text": "ess0 rests: moon0",
        },
        {"time": written, "kind": "write", "node": "balance0/Enabled", "value": 0.0, "user": 7, "text": "balance0 is disabled"},
    ]
    folder = site / "data" / "journal"
    folder.mkdir(exist_ok=True)
    file = folder / f"{written[:10]}.jsonl"
    file.write_text("".join(f"{json.dumps(r, separators=(',', ':'))}\n" for r in records))
    found = replay(capsys, site, *period)
    fresh = replay(capsys, site, *period, "--fresh")
    file.unlink()
    first = next(d for d in found["differences"] if d["node"] == BATTERY)
    assert first["time"] >= written
    assert (first["recorded"]["by"], first["recorded"]["text"]) == ("moon0", f"moon0, since {decided}")
    assert first["replayed"]["by"] != "moon0"
    assert fresh["differences"] == []


# Reading.


@pytest.fixture
def recorded(site: Path, tmp_path: Path) -> Iterator[Recording]:
    """A history of the meter: 10 s good, a break of 10 s, good again, known for 5 s after the last sample."""
    url = database_url(tmp_path)
    writer = HistoryWriter(url)
    ids = writer.ensure(["meter0/ActivePower"])
    samples = [(0, 100.0, GOOD), (4, 200.0, GOOD), (4.5, 250.0, GOOD), (10, np.nan, BAD_NO_COMMUNICATION), (20, 300.0, GOOD)]
    times = START + np.array([round(t * TICKS) for t, _, _ in samples], np.int64)
    values, status = np.array([v for _, v, _ in samples]), np.array([s for _, _, s in samples], np.uint32)
    writer.append(np.repeat(ids, len(samples)), times, values, status, alive=START + 25 * TICKS)
    writer.close()
    reader = HistoryReader(url)
    yield Recording(reader, plan_of(site).layout)
    reader.close()


def test_a_value_holds_until_the_next_and_a_gap_is_bad(recorded: Recording) -> None:
    steps = START + np.arange(-2, 30, 1, dtype=np.int64) * TICKS
    (column,) = recorded.held(["meter0/ActivePower"], steps).T
    expected = [np.nan] * 2 + [100] * 4 + [200] + [250] * 5 + [np.nan] * 10 + [300] * 5 + [np.nan] * 5
    np.testing.assert_array_equal(column, expected)


def test_changes_come_at_the_first_step_after_them_and_the_last_of_a_step_counts(recorded: Recording) -> None:
    steps = START + np.arange(0, 30, 2, dtype=np.int64) * TICKS
    whole = recorded.changes(steps, None)
    at = np.searchsorted(whole.starts, np.arange(len(whole.slot)), "right") - 1
    slots = {c.slot: c.node for c in recorded.inputs}
    found = [(int(i), float(v), int(s)) for i, slot, v, s in zip(at, whole.slot, whole.value, whole.status, strict=True)
             if slots[int(slot)] == "meter0/ActivePower"]  # fmt: skip
    assert [(i, v) for i, v, s in found if s < BAD] == [(0, 100), (2, 200), (3, 250), (10, 300)]
    assert [(i, s) for i, _, s in found if s >= BAD] == [(5, BAD_NO_COMMUNICATION), (13, BAD_NO_DATA)]
    first, second = recorded.changes(steps[:4], None), recorded.changes(steps[4:], int(steps[3]))
    assert len(first.slot) + len(second.slot) == len(whole.slot)


def test_inputs_of_which_nothing_is_known_are_named(site, period, capsys) -> None:
    found = replay(capsys, site, *period[:2], "--to", stamp(ticks(period[1]) + 600 * TICKS), "--step", "60")["inputs"]
    assert "meter0/ActivePower" not in found["silent"]
    assert "ess0/PowerPrecision" in found["silent"]
    assert "pv0/StringVoltages" in found["unrecorded"]
