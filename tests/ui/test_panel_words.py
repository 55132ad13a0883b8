"""The panel's pure parts: numbers, names, quality, set-points, the Live page and the outage as data."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fake_site import FakeClient, Plant, catalogue

from server.client import Series, Table
from server.core import status
from ui import link, numbers, quality, setpoints, shell, today, view
from ui.catalogue import Catalogue, words
from ui.readings import Reading, Readings

NOW = 1_790_000_000.0
TICKS = round((NOW + 11644473600) * 1e7)


@pytest.fixture
def site() -> Catalogue:
    return catalogue()


@pytest.fixture
def readings() -> Readings:
    found = Readings()
    for node, value in Plant().values(NOW).items():
        text = isinstance(value, str)
        found[node] = Reading(math.nan if text else float(value), status.GOOD, TICKS, value if text else "")
    return found


@pytest.mark.parametrize(
    ("watts", "text"),
    [
        (0.0, "0.00"), (-3.0, "0.00"), (-12.0, "−0.01"), (999.0, "1.00"), (-2500.0, "−2.50"), (9994.0, "9.99"), (9996.0, "10.0"),
        (99_960.0, "100"), (-123_456.0, "−123"), (None, "–"), (math.nan, "–"), (math.inf, "–"),
    ],
)  # fmt: skip
def test_power_keeps_one_unit_and_three_figures(watts: float | None, text: str) -> None:
    assert numbers.kilowatts(watts) == text


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (341.26, "W", ("341", "W")), (9999.4, "W", ("9999", "W")), (-12_340.0, "W", ("−12.34", "kW")), (-0.2, "W", ("0", "W")),
        (1284310.0, "Wh", ("1284.3", "kWh")), (0.0012, "s", ("1.20", "ms")), (50.0, "s", ("50", "s")), (0.0, "s", ("0", "s")),
        (27.3, "°C", ("27.3", "°C")), (-4.25, "A", ("−4.25", "A")), (math.nan, "V", ("–", "V")), (3.2931, "V", ("3.293", "V")),
        (230.04, "V", ("230.0", "V")), (0.97, "", ("0.970", "")), (math.inf, "W", ("–", "W")),
    ],
)  # fmt: skip
def test_quantities_are_shown_in_the_unit_a_person_would_use(value: float, unit: str, shown: tuple[str, str]) -> None:
    assert numbers.quantity(value, unit) == shown


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.2, "1:00"), (245, "4:05"), (3845, "1:04:05"), (-3, "0:00")])
def test_the_time_left_counts_down_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (8.9, "8 s"), (185, "3 min"), (7300, "2 h"), (200_000, "2 d")])
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert numbers.age(seconds) == text


@pytest.mark.parametrize(
    ("code", "grade", "words"),
    [
        (status.GOOD, "", ""), (status.GOOD_LOCAL_OVERRIDE, "", "set by hand"),
        (status.UNCERTAIN_LAST_USABLE_VALUE | 0x480, "uncertain", "last known value"),
        (status.BAD_NO_COMMUNICATION, "bad", "no communication"), (0x80AB0000, "bad", "bad quality 0x80AB0000"),
    ],
)  # fmt: skip
def test_a_status_code_has_words(code: int, grade: str, words: str) -> None:
    assert (quality.grade(code), quality.words(code)) == (grade, words)


def test_a_table_enters_values_and_texts_by_row() -> None:
    readings = Readings()
    table = Table(np.array([2, 0]), np.array([1.5, math.nan]), np.zeros(2, np.uint32), np.full(2, TICKS), {1: "because"})
    readings.take(["a/Why", "b/P", "c/P"], table)
    assert readings["a/Why"].text == "because"
    assert readings.number("c/P") == 1.5
    assert readings.number("b/P") is None


def test_an_uncertain_value_says_how_old_it_is() -> None:
    readings = Readings({"a/P": Reading(5.0, status.UNCERTAIN_LAST_USABLE_VALUE, TICKS)})
    assert readings.note("a/P", NOW + 12) == ("uncertain", "last known value, 12 s old")


def test_set_points_take_their_range_from_the_device(site: Catalogue, readings: Readings) -> None:
    found = {p.channel.node: p.limits(readings) for p in setpoints.setpoints(site)}
    assert found == {
        "ess0/SetActivePower": (-5000.0, 5000.0),
        "evcs0/SetChargePowerLimit": (0.0, 11_000.0),
        "pv0/ActivePowerLimit": (0.0, 10_000.0),
    }


def test_a_set_point_without_allowed_power_falls_back_to_the_rating(site: Catalogue, readings: Readings) -> None:
    for name in ("AllowedChargePower", "AllowedDischargePower"):
        readings[f"ess0/{name}"] = Reading(math.nan, status.BAD_NO_COMMUNICATION, TICKS)
    readings["ess0/MaxApparentPower"] = Reading(3000.0, 0, TICKS)
    assert next(setpoints.setpoints(site)).limits(readings) == (-3000.0, 3000.0)


def test_the_flow_balances_and_names_directions(site: Catalogue, readings: Readings) -> None:
    page = view.live(site, readings, NOW)
    assert abs(page["pv"]["w"] + page["ess"]["w"] + page["grid"]["w"] - page["home"]["w"] - page["ev"]["w"]) <= 3
    readings["site/GridPower"] = Reading(-700.0, 0, TICKS)
    readings["site/EssPower"] = Reading(12.0, 0, TICKS)
    page = view.live(site, readings, NOW)
    assert (page["grid"]["word"], page["ess"]["word"], page["grid"]["text"]) == ("exporting", "idle", "−0.70")


def test_a_bad_value_is_a_dash_with_its_reason(site: Catalogue, readings: Readings) -> None:
    readings["site/ProductionPower"] = Reading(math.nan, status.BAD_NO_COMMUNICATION, TICKS)
    page = view.live(site, readings, NOW)
    assert page["pv"] == {"w": 0, "text": "–", "word": "no communication", "q": "bad"}


def test_a_site_that_says_nothing_yet_is_shown_without_errors(site: Catalogue) -> None:
    page = view.live(site, Readings(), NOW)
    assert shell.mode(Readings())["text"] == "Unknown"
    assert page["price"] is None
    assert page["point.ess0/SetActivePower"]["low"] == -10.0


def test_the_engines_words_are_spoken_with_the_labels_people_gave(site: Catalogue) -> None:
    text = "ess0 charges at -1.6 kW: peak0 wants ess0/Soc kept, not ess01 or a-1"
    assert site.speak(text) == "Battery charges at −1.6 kW: Peak shaving wants ess0/Soc kept, not ess01 or a-1"
    assert site.speak("") == ""
    assert site.speak("peak0 wants ≤ 2 kW: asks ≥ -1 kW") == "Peak shaving wants at most 2 kW: asks at least −1 kW"
    assert site.speak("self0 holds what user 12 set by hand") == "Self-consumption holds what an operator set by hand"


def test_the_page_follows_only_nodes_the_site_has(site: Catalogue) -> None:
    nodes = view.slow_nodes(site)
    assert len(nodes) == len(set(nodes))
    assert set(nodes) <= set(site.channels)
    assert not set(nodes) & set(view.FLOW_NODES)


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("PeakShaving", "Peak shaving"), ("EssSoc", "ESS SoC"), ("ActivePower.L1", "Active power L1"), ("DcPower", "DC power"),
        ("OnGrid", "On grid"), ("SuspendedEVSE", "Suspended EVSE"), ("Plant ESS 10", "Plant ESS 10"), ("", ""),
    ],
)  # fmt: skip
def test_names_of_the_model_are_spoken_as_words(name: str, spoken: str) -> None:
    assert words(name) == spoken


def test_the_emergency_stop_outranks_the_mode(site: Catalogue, readings: Readings) -> None:
    assert shell.mode(readings) == {"text": "Running", "tone": "good"}
    readings["site/EmergencyStopActive"] = Reading(1, 0, TICKS)
    assert shell.mode(readings) == {"text": "Emergency stop", "tone": "bad"}


def test_the_days_energy_is_counted_from_midnight_and_from_zero_when_a_counter_was_exchanged(readings: Readings) -> None:
    readings["site/ProductionEnergy"] = Reading(1_250_000.0, 0, TICKS)
    readings["site/ConsumptionEnergy"] = Reading(4_000.0, 0, TICKS)
    readings["site/GridImportEnergy"] = Reading(math.nan, status.BAD_NO_DATA, TICKS)
    then = {"site/ProductionEnergy": 1_226_500.0, "site/ConsumptionEnergy": 900_000.0, "site/GridImportEnergy": 7.0}
    assert [(r["word"], r["text"]) for r in today.rows(then, readings)] == [("produced", "23.5"), ("used", "4.0")]


async def test_what_a_young_counter_missed_is_taken_from_the_powers_it_adds_up() -> None:
    midnight = datetime(2026, 1, 5, tzinfo=UTC)
    nobody, began = _series(), _series((3600.0, 40.0))

    class Site(FakeClient):
        async def history_read(self, node: str, start: datetime, end: datetime, limit: int = 0) -> Series:
            return nobody if end < start else began

        async def history_aggregate(
            self, node: str, start: datetime, end: datetime, interval_s: float, aggregate: str = ""
        ) -> Series:
            assert (start, end, aggregate) == (midnight, midnight + timedelta(hours=1), "Total2")
            return _series((0.0, 7.2e6 if node == "site/GridToEss" else math.nan))

    assert await today.at(Site(Plant(), "operator"), "site/GridImportEnergy", midnight) == 40.0 - 2000.0


def _series(*rows: tuple[float, float]) -> Series:
    """Values at seconds after the midnight of 2026-01-05."""
    start = (1_767_571_200 + 11_644_473_600) * 10_000_000
    times = np.array([start + round(t * 1e7) for t, _ in rows], np.int64)
    return Series(times, np.array([v for _, v in rows]), np.zeros(len(rows), np.uint32))


def test_an_outage_shows_what_the_supervisor_says(site: Catalogue) -> None:
    processes = [
        {"name": "control", "state": "running", "restarts": 0},
        {"name": "opcua", "state": "restarting", "restarts": 2, "reason": "exit status 1"},
    ]
    entries = [{"alias": "wall0", "state": "SetupRetry", "reason": "no answer.", "next_retry": "2026-01-05T10:00:07Z"}]
    alarms = [{"source": "ess0", "level": "Fault", "text": "does not answer"}]
    shown = link.away({"processes": processes, "entries": entries, "alarms": alarms, "cycle": {"slips": 0}}, "", site)
    assert "Control goes on without it, 0 slips so far" in shown["text"]
    restarting = {"name": "OPC UA server", "text": "restarting · 2 restarts", "tone": "warn", "why": "exit status 1"}
    assert shown["processes"][1] == restarting
    why = "no answer. Next try at 10:00:07 UTC."
    assert shown["entries"] == [{"name": "wall0", "text": "setup retry", "tone": "warn", "why": why}]
    assert shown["alarms"] == [{"name": "Battery", "text": "Does not answer", "tone": "bad", "why": ""}]


def test_an_outage_with_a_silent_supervisor_says_so() -> None:
    assert "supervisor does not answer" in link.away(None)["text"]
    assert link.away({})["text"] == "Values on this page are old."


def test_the_banner_says_what_keeps_the_panel_from_a_server_that_runs() -> None:
    status = {"processes": [{"name": n, "state": "running"} for n in ("control", "opcua", "zygote-lean")]}
    assert "gets no further than: BadTimeout: reading" in link.away(status, "BadTimeout: reading")["text"]
    assert "gets no further" not in link.away(status, "BadNotConnected: refused")["text"]
    assert [p["name"] for p in link.away(status)["processes"]] == ["Control", "OPC UA server"]


def test_self_consumption_without_production_is_no_fault(site: Catalogue, readings: Readings) -> None:
    readings["site/ProductionPower"] = Reading(0.0, 0, TICKS)
    readings["site/SelfConsumption"] = Reading(math.nan, status.BAD_NO_DATA, TICKS)
    assert view.live(site, readings, NOW)["shares"][2]["note"] == "no solar power now"


async def test_an_observer_is_refused_by_the_server_not_by_the_panel() -> None:
    model = await FakeClient(Plant(), "observer").model()
    assert not any(p.channel.writable for p in setpoints.setpoints(Catalogue(model)))
