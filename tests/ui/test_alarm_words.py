"""Alarms and controllers' explanations in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import nan
from typing import Any

import pytest

from server.client import Alarm, ChannelInfo, Model, ObjectInfo
from server.core.ask import Ask, as_json
from ui import cycle, parameters
from ui.alarm_watch import wants_attention
from ui.alarms import rows
from ui.catalogue import Catalogue
from ui.explanation import wants
from ui.readings import Reading, Readings
from ui.records import audit_line, journal_line
from ui.refusal import Refused

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
CALM = Alarm(
    "ess0/CommLostAlarm", "ess0", "Battery", "CommLostAlarm", 800, "ess0: does not answer", NOW, NOW, True, False, None, False,
    False, True, True, "", "", b"\x01",
)  # fmt: skip


def said(**texts: str) -> Readings:
    """What peak0 says."""
    return Readings({f"peak0/{name}": Reading(nan, 0, 1, text) for name, text in texts.items()})


def thing(alias: str, label: str, kind: str = "device") -> ObjectInfo:
    return ObjectInfo(alias, alias, kind, "", "", "", properties={"Label": label})


@pytest.fixture
def site() -> Catalogue:
    things = [thing("ess0", "Battery"), thing("peak0", "Peak shaving", "controller"), thing("floor0", "Floor", "controller")]
    return Catalogue(Model({t.alias: t for t in things}))


def test_an_alarm_is_told_with_its_sources_label_once(site: Catalogue) -> None:
    (row,) = rows([CALM], site)
    assert (row["source"], row["text"], row["name"], row["level"]) == ("Battery", "Does not answer", "Comm lost", "fault")
    (other,) = rows([replace(CALM, source="gone", source_name="Old device", message="ess0 is lost", severity=500)], site)
    assert (other["source"], other["text"], other["level"]) == ("Old device", "Battery is lost", "warning")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"active": False}, True),
        ({"acked": True}, False),
        ({"shelved": True}, False),
        ({"suppressed": True}, False),
    ],
)
def test_what_wants_attention_is_neither_acknowledged_nor_put_aside(change: dict[str, Any], expected: bool) -> None:
    assert wants_attention(replace(CALM, **change)) is expected


def test_who_waits_comes_first_then_the_worst_then_the_newest(site: Catalogue) -> None:
    found = [
        replace(CALM, condition="seen", acked=True, severity=1000),
        replace(CALM, condition="old", time=NOW - timedelta(hours=1)),
        replace(CALM, condition="mild", severity=200),
        replace(CALM, condition="gone", active=False),
        replace(CALM, condition="new"),
    ]
    assert [row["key"] for row in rows(found, site)] == ["new", "old", "mild", "gone", "seen"]


def test_an_explanation_is_taken_apart(site: Catalogue) -> None:
    asks = [
        Ask("peak0", "bound", "import", "keeps import under 8 kW", (3200.0, None), (2000.0, None), "floor0"),
        Ask("peak0", "target", "ess0", "recharges", (1000.0, 1000.0)),
    ]
    found = said(Explanation="not looked at", Claims=as_json(asks))
    first, second = wants("peak0", found, site)
    assert (first["why"], first["asked"]) == ("Keeps import under 8 kW", "Asks at least 3.2 kW")
    assert (first["got"], first["by"]) == ("At least 2 kW", "Floor allows no more")
    assert (second["why"], second["asked"], second["got"], second["by"]) == ("Recharges", "Wants 1 kW", "", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("asks for nothing", "It asks for nothing at the moment."),
        ("disabled", "It is switched off."),
        ("failed: ValueError: x", "Failed: ValueError: x"),
        ("ess0 is not measured", "Battery is not measured"),
    ],
)
def test_an_explanation_of_another_form_is_shown_as_it_is(site: Catalogue, text: str, shown: str) -> None:
    for claims in ("[]", "no JSON"):
        assert wants("peak0", said(Explanation=text, Claims=claims), site) == [{"why": shown, "asked": "", "got": "", "by": ""}]
    assert wants("peak0", said(), site) == []


def test_what_a_schedule_sets_is_told_elsewhere(site: Catalogue) -> None:
    found = wants("peak0", said(Explanation="disabled; schedule Night until 06:00", Schedule="Night until 06:00"), site)
    assert [want["why"] for want in found] == ["It is switched off."]


LIMIT = ChannelInfo("peak0/import_max_w", "import_max_w", "Highest import.", "Double", "W", 0.0, 1e9, writable=True)
SHARE = ChannelInfo("floor0/min_soc", "min_soc", "", "Double", "%", 0.0, 100.0)
COUNT = ChannelInfo("x/phases", "phases", "", "Int32", "", 1.0, 3.0)
SWITCH = ChannelInfo("x/on", "on", "", "Boolean")
CHOICE = ChannelInfo("x/kind", "kind", "", "Int32", states=("Off", "Fast"))


@pytest.mark.parametrize(
    ("channel", "title", "span"),
    [
        (LIMIT, "Import max", "0 W or more"),
        (SHARE, "Min SoC", "0 to 100 %"),
        (COUNT, "Phases", "1 to 3"),
        (SWITCH, "On", ""),
        (ChannelInfo("x/ramp_w_per_s", "ramp_w_per_s", "", "Double", "", 1.0, 1e6), "Ramp", "1 to 1,000,000 W/s"),
    ],
)
def test_a_parameter_has_a_title_and_a_range(channel: ChannelInfo, title: str, span: str) -> None:
    assert (parameters.title(channel), parameters.span(channel)) == (title, span)


@pytest.mark.parametrize(
    ("channel", "value", "words"),
    [
        (LIMIT, -1, "Import max: -1 W is not in the range, 0 W or more."),
        (SHARE, 101, "Min SoC: 101 % is not in the range, 0 to 100 %."),
        (COUNT, 1.5, "Phases: 1.5 is not a whole number."),
        (LIMIT, None, "Import max: a number is expected."),
        (LIMIT, "8000", "Import max: a number is expected."),
        (LIMIT, float("nan"), "Import max: a number is expected."),
    ],
)
def test_a_wrong_value_is_refused_in_words(channel: ChannelInfo, value: Any, words: str) -> None:
    with pytest.raises(Refused) as refused:
        parameters.checked(channel, value)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("channel", "before", "after", "words"),
    [
        (LIMIT, 8000.0, 6000.0, "Import max is 6,000 W (was 8,000 W)"),
        (SWITCH, 0.0, 1.0, "On is on (was off)"),
        (CHOICE, 0.0, 1.0, "Kind is Fast (was Off)"),
        (LIMIT, None, 6000.0, "Import max is 6,000 W (was –)"),
    ],
)
def test_a_change_is_told_with_what_was_before(channel: ChannelInfo, before: float, after: float, words: str) -> None:
    assert parameters.change(channel, before, after) == words


def test_the_histogram_counts_every_cycle_and_tells_its_figures() -> None:
    found = cycle.histogram([0.0004] * 98 + [0.002, 0.5])
    assert (found["count"], found["p50"], found["most"]) == (100, "0.40 ms", "500 ms")
    assert max(found["bars"]) == 1.0
    assert sum(1 for share in found["bars"] if share) == 3
    assert cycle.histogram([]) == {"bars": [], "count": 0}
    assert [cycle.place(s) for s in (0.0, 1e-5, 1e-3, 1.0)] == [0.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("record", "who", "text", "tone"),
    [
        ({"event": "write", "user": "anna", "node": "ns=4;s=ess0/SetActivePower", "value": 5.0, "status": "Good"},
         "anna", "ess0/SetActivePower = 5.0", ""),
        ({"event": "write", "user": "anna", "nodes": ["ns=4;s=a/X", "ns=4;s=b/X", "ns=4;s=c/X", "ns=4;s=d/X"],
          "values": [1.0, 2.0, 3.0, 4.0], "status": ["Good", "Good", "BadOutOfRange", "Good"]},
         "anna", "a/X = 1.0, b/X = 2.0, c/X = 3.0 and 1 more: 1 of 4 refused", "warn"),
        ({"event": "call", "user": "otto", "method": "ns=4;s=site/EmergencyStop", "status": "BadUserAccessDenied"},
         "otto", "site/EmergencyStop(): BadUserAccessDenied", "warn"),
        ({"event": "session-ended", "user": "", "reason": "the user was removed"}, "", "the user was removed", ""),
        ({"event": "login-refused", "user": "x", "reason": "wrong password"}, "x", "wrong password", "warn"),
    ],
)  # fmt: skip
def test_a_line_of_the_audit_trail_says_who_did_what_with_which_result(
    record: dict[str, Any], who: str, text: str, tone: str
) -> None:
    line = audit_line({"time": "2025-01-01T12:00:00+00:00", **record})
    assert (line["time"], line["who"], line["text"], line["tone"]) == (NOW.timestamp(), who, text, tone)


def test_a_line_of_the_journal_keeps_what_it_does_not_say_in_words() -> None:
    line = journal_line({"kind": "write_refused", "time": "2025-01-01T12:00:00.000Z", "text": "no", "node": "a/b", "user": 3})
    assert (line["kind"], line["text"], line["more"], line["tone"]) == ("write refused", "no", "node=a/b  user=3", "bad")
    assert journal_line({})["time"] == 0.0
    limit = Ask("peak0", "bound", "import", "keeps import under 8 kW", (3200.0, None), (2000.0, None), "floor0")
    want = Ask("peak0", "target", "ess0", "recharges", (1000.0, 1000.0))
    line = journal_line({"kind": "decision", "text": "ess0 rests", "node": "n", "asks": [limit.data(), want.data()]})
    assert (
        line["more"]
        == "node=n  peak0=keeps import under 8 kW: asks ≥ 3.2 kW, gets ≥ 2 kW: floor0 allows no more; recharges: wants 1 kW"
    )
    assert journal_line({"asks": [{"who": 1}], "x": 2})["more"] == "x=2"
