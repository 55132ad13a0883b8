"""Alarms: what raises one, how a frame becomes changes, and the life of a condition. Tables of inputs and what comes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.core.alarm_step import AlarmStep
from server.core.alarms import AlarmSpec, Limits, LimitZone, Zone, level_of, standing_alarms
from server.core.alarms import told as texts_of
from server.core.channel import Level
from server.core.condition import Condition, ConditionError, Remark, Shelving
from server.core.image import Image, blank_records
from server.core.layout import CONTROL, CONTROLLER, DEVICE, ENTRY, SUPERVISOR, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import ConfigEntry, ControllerStatus, Device, Ess
from server.core.status import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN_LAST_USABLE_VALUE

SECOND = 1_000_000_000


def uses(*specs: Any) -> tuple[ChannelUse, ...]:
    return tuple(ChannelUse(spec) for spec in specs)


def make_layout() -> Layout:
    device = uses(Device.State, Device.CommState, Device.NoFailSafe, Ess.Soc)
    return build_layout(
        [
            ObjectSpec("ess0", DEVICE, "modbus", (Device, Ess), device),
            ObjectSpec("peak0", CONTROLLER, CONTROL, (ControllerStatus,), uses(*ControllerStatus.channels().values())),
            ObjectSpec("entry.ess0", ENTRY, SUPERVISOR, (ConfigEntry,), uses(*ConfigEntry.channels().values())),
        ]
    )


LAYOUT = make_layout()


class Frames:
    """Frames in which a test changes values; 50 ms from one to the next."""

    def __init__(self) -> None:
        self.records = blank_records(LAYOUT.slots)
        self.cycle = 0
        self.now_ns = 0

    def next(self, status: int = GOOD, after_s: float = 0.05, **values: float) -> Image:
        """The next frame; `ess0__Soc=10` changes a channel in it."""
        self.cycle += 1
        self.now_ns += round(after_s * SECOND)
        for name, value in values.items():
            slot = LAYOUT.by_node[name.replace("__", "/")].slot
            self.records[slot] = (value, 0, 0, status, self.cycle)
        return Image(self.records.copy(), cycle=self.cycle, frozen_at=self.now_ns)


def told(step: AlarmStep, specs: list[AlarmSpec], frame: Image) -> dict[str, int]:
    """Zones that changed, by the alarm's node."""
    return {specs[change.alarm].node: change.zone for change in step.step(frame)}


def test_the_alarms_of_a_site_need_no_configuration() -> None:
    found = {alarm.node: alarm for alarm in standing_alarms(LAYOUT)}
    assert set(found) == {
        "ess0/CommLostAlarm",
        "ess0/DeviceFaultAlarm",
        "ess0/NoFailSafeAlarm",
        "peak0/ControllerFailedAlarm",
        "entry.ess0/SetupFailedAlarm",
    }
    assert found["ess0/CommLostAlarm"].words == ("entry.ess0/Reason",)
    assert found["peak0/ControllerFailedAlarm"].words == ("peak0/Explanation",)
    assert {node for node, alarm in found.items() if alarm.silencer} == {"ess0/DeviceFaultAlarm", "ess0/NoFailSafeAlarm"}


def test_an_alarm_says_all_that_its_text_channels_say() -> None:
    nodes = ("entry.ess0/Reason", "peak0/Explanation")
    alarm = AlarmSpec("ess0/Alarm", "ess0", "Alarm", "", {1: Zone(800, "failed")}, words=nodes)
    words = {"entry.ess0/Reason": "it is in fault", "peak0/Explanation": ""}
    assert alarm.message(1, 0.0, texts_of(alarm, LAYOUT, lambda c: words[c.node])) == "It is in fault"
    words["peak0/Explanation"] = "values that cannot be"
    assert texts_of(alarm, LAYOUT, lambda c: words[c.node]) == "it is in fault; values that cannot be"


@pytest.mark.parametrize(
    ("severity", "level"),
    [(1, Level.Info), (200, Level.Info), (499, Level.Info), (500, Level.Warning), (799, Level.Warning), (1000, Level.Fault)],
)
def test_a_severity_has_a_level(severity: int, level: Level) -> None:
    assert level_of(severity) is level


# The step.


@pytest.mark.parametrize(
    ("values", "zones"),
    [
        ({"ess0__State": 1.0, "ess0__CommState": 0.0, "ess0__NoFailSafe": 0.0, "peak0__RunState": 2.0}, {}),
        ({"ess0__State": 2.0}, {"ess0/DeviceFaultAlarm": 2}),
        ({"ess0__State": 3.0}, {"ess0/DeviceFaultAlarm": 3}),
        ({"ess0__NoFailSafe": 1.0}, {"ess0/NoFailSafeAlarm": 1}),
        ({"ess0__NoFailSafe": 1.0, "ess0__State": 2.0}, {"ess0/NoFailSafeAlarm": 1}),
        ({"ess0__NoFailSafe": 1.0, "ess0__State": 3.0}, {"ess0/NoFailSafeAlarm": 1, "ess0/DeviceFaultAlarm": 3}),
        ({"peak0__RunState": 3.0}, {"peak0/ControllerFailedAlarm": 3}),
        ({"entry.ess0__State": 3.0}, {"entry.ess0/SetupFailedAlarm": 3}),
        ({"entry.ess0__State": 4.0}, {}),
        ({"ess0__State": float("nan")}, {}),
        ({"ess0__State": 1e300}, {}),
        ({"ess0__State": -1.0}, {}),
    ],
)
def test_states_raise_alarms(values: dict[str, float], zones: dict[str, int]) -> None:
    specs = list(standing_alarms(LAYOUT))
    assert told(AlarmStep(specs, LAYOUT), specs, Frames().next(**values)) == zones


def test_a_device_is_silent_for_a_moment_before_that_is_an_alarm_and_its_fault_says_no_more() -> None:
    specs, frames = list(standing_alarms(LAYOUT)), Frames()
    step = AlarmStep(specs, LAYOUT)
    assert told(step, specs, frames.next(ess0__CommState=2.0, ess0__State=3.0)) == {}
    assert told(step, specs, frames.next(after_s=0.9)) == {}
    assert told(step, specs, frames.next(after_s=0.2)) == {"ess0/CommLostAlarm": 2}
    assert told(step, specs, frames.next(ess0__CommState=0.0, ess0__State=0.0)) == {"ess0/CommLostAlarm": 0}


def test_a_fault_that_was_told_stays_when_the_device_falls_silent() -> None:
    specs, frames = list(standing_alarms(LAYOUT)), Frames()
    step = AlarmStep(specs, LAYOUT)
    assert told(step, specs, frames.next(ess0__State=3.0)) == {"ess0/DeviceFaultAlarm": 3}
    assert told(step, specs, frames.next(ess0__CommState=2.0)) == {}
    assert told(step, specs, frames.next(after_s=2.0)) == {"ess0/CommLostAlarm": 2}


@pytest.mark.parametrize("status", [BAD_NO_COMMUNICATION, UNCERTAIN_LAST_USABLE_VALUE])
def test_a_bad_value_tells_nothing_and_an_uncertain_one_counts(status: int) -> None:
    specs, frames = list(standing_alarms(LAYOUT)), Frames()
    step = AlarmStep(specs, LAYOUT)
    step.step(frames.next(ess0__State=3.0))
    expected = {} if status == BAD_NO_COMMUNICATION else {"ess0/DeviceFaultAlarm": 0}
    assert told(step, specs, frames.next(status=status, ess0__State=0.0)) == expected


def limit(on_delay_s: float = 0.0, off_delay_s: float = 0.0, **limits: float) -> list[AlarmSpec]:
    zones = {int(zone): Zone(500, "{value}") for zone in LimitZone if zone}
    return [AlarmSpec("ess0/SocLimitAlarm", "ess0", "SocLimit", "ess0/Soc", zones, Limits(**limits), on_delay_s, off_delay_s)]


NORMAL, HIGH, HIGH_HIGH, LOW, LOW_LOW = map(int, LimitZone)


@pytest.mark.parametrize(
    ("limits", "values", "zones"),
    [
        ({"high": 80.0}, [80.0, 80.1, 80.0, 79.9], [None, HIGH, NORMAL, None]),
        ({"low": 20.0}, [20.0, 19.9, 20.0], [None, LOW, NORMAL]),
        ({"high": 80.0, "hysteresis": 5.0}, [81.0, 79.0, 75.1, 75.0, 79.0], [HIGH, None, None, NORMAL, None]),
        ({"low": 20.0, "hysteresis": 5.0}, [19.0, 24.9, 25.0], [LOW, None, NORMAL]),
        (
            {"low_low": 5.0, "low": 20.0, "high": 80.0, "high_high": 95.0},
            [50.0, 96.0, 90.0, 3.0, 10.0, 50.0],
            [None, HIGH_HIGH, HIGH, LOW_LOW, LOW, NORMAL],
        ),
        (
            {"high": 80.0, "high_high": 95.0, "hysteresis": 5.0},
            [96.0, 91.0, 89.0, 76.0, 74.0],
            [HIGH_HIGH, None, HIGH, None, NORMAL],
        ),
        ({"high": 80.0, "low": 20.0, "hysteresis": 5.0}, [81.0, 10.0, 81.0], [HIGH, LOW, HIGH]),
        ({"high": 80.0}, [81.0, float("nan"), float("inf"), 10.0], [HIGH, None, None, NORMAL]),
    ],
)
def test_numbers_lie_in_zones(limits: dict[str, float], values: list[float], zones: list[int | None]) -> None:
    specs, frames = limit(**limits), Frames()
    step = AlarmStep(specs, LAYOUT)
    assert [told(step, specs, frames.next(ess0__Soc=value)).get("ess0/SocLimitAlarm") for value in values] == zones


def test_delays_hold_an_alarm_back_and_let_it_linger() -> None:
    specs, frames = limit(on_delay_s=2.0, off_delay_s=1.0, high=80.0), Frames()
    step = AlarmStep(specs, LAYOUT)

    def zone(after_s: float, **values: float) -> int | None:
        return told(step, specs, frames.next(after_s=after_s, **values)).get("ess0/SocLimitAlarm")

    assert zone(0.0, ess0__Soc=90.0) is None
    assert zone(1.0, ess0__Soc=70.0) is None, "it was high for too short a time"
    assert zone(1.0, ess0__Soc=90.0) is None
    assert zone(1.9) is None
    assert zone(0.1) == HIGH
    assert zone(1.0, ess0__Soc=70.0) is None
    assert zone(0.9) is None
    assert zone(0.1) == NORMAL


def test_an_evaluation_goes_on_where_another_one_was() -> None:
    specs, frames = limit(high=80.0, hysteresis=5.0), Frames()
    step = AlarmStep(specs, LAYOUT)
    step.resume([HIGH])
    assert told(step, specs, frames.next(ess0__Soc=78.0)) == {}, "still inside the hysteresis"
    assert told(step, specs, frames.next(ess0__Soc=74.0)) == {"ess0/SocLimitAlarm": NORMAL}


def test_a_frame_without_news_is_not_evaluated() -> None:
    specs, frames = limit(high=80.0), Frames()
    step = AlarmStep(specs, LAYOUT)
    step.step(frames.next(ess0__Soc=90.0))
    quiet = frames.next()
    quiet.value[LAYOUT.by_node["ess0/Soc"].slot] = 10.0
    assert step.step(quiet) == [], "the column `changed` says that nothing did"


def test_a_thousand_alarms_change_in_one_step() -> None:
    count = 1_000
    layout = build_layout([ObjectSpec(f"ess{n}", DEVICE, "d", (Device, Ess), uses(Ess.Soc)) for n in range(count)])
    zones = {int(LimitZone.High): Zone(500, "high")}
    specs = [AlarmSpec(f"ess{n}/A", f"ess{n}", "A", f"ess{n}/Soc", zones, Limits(high=80.0)) for n in range(count)]
    records = blank_records(layout.slots)
    records["value"], records["status"] = np.arange(layout.slots) % 100, GOOD
    changes = AlarmStep(specs, layout).step(Image(records, cycle=1))
    assert {change.zone for change in changes} == {int(LimitZone.High)}
    assert len(changes) == sum(n % 100 > 80 for n in range(count))


# Words.


@pytest.mark.parametrize(
    ("unit", "value", "says"),
    [("%", 9.876, "Soc 9.88 %"), ("W", 23_140.0, "Soc 23.1 kW"), ("", 3.0, "Soc 3"), ("°C", -4.5, "Soc -4.5 °C")],
)
def test_a_message_names_the_value_with_its_unit(unit: str, value: float, says: str) -> None:
    alarm = AlarmSpec("a/b", "a", "b", "a/c", {1: Zone(500, "soc {value}")}, unit=unit)
    assert alarm.message(1, value) == says


def test_what_is_over_names_what_it_was() -> None:
    alarm = AlarmSpec("a/b", "a", "b", "a/c", {1: Zone(500, "cable cut")})
    assert alarm.message(1, 1.0, told="no route to host") == "No route to host"
    assert alarm.message(0, 0.0, before="No route to host") == "Over: No route to host"


# The life of a condition.

ANNA = Remark("seen", "anna", 50)


def condition(**options: Any) -> Condition:
    """A condition that has come, with one notification."""
    spec = AlarmSpec("ess0/A", "ess0", "A", "ess0/B", {1: Zone(500, "on"), 2: Zone(800, "worse")}, **options)
    made = Condition(spec)
    made.turn(1, "on", 10)
    made.announced(b"e1")
    return made


def test_an_alarm_is_retained_until_it_is_over_and_acknowledged() -> None:
    alarm = condition()
    assert (alarm.active, alarm.acked, alarm.retain, alarm.severity, alarm.active_since) == (True, False, True, 500, 10)
    alarm.acknowledge(b"e1", ANNA)
    assert (alarm.acked, alarm.retain, alarm.remark.user, alarm.remark.text) == (True, True, "anna", "seen")
    alarm.turn(0, "over", 60)
    assert (alarm.active, alarm.retain, alarm.active_since) == (False, False, 0)


def test_an_alarm_that_is_over_still_wants_to_be_acknowledged() -> None:
    alarm = condition()
    alarm.turn(0, "over", 20)
    assert alarm.retain
    alarm.acknowledge(b"e1", ANNA)
    assert not alarm.retain


def test_an_alarm_that_comes_again_is_unacknowledged_and_forgets_the_ids_it_had() -> None:
    alarm = condition()
    alarm.acknowledge(b"e1", ANNA)
    alarm.turn(0, "over", 60)
    alarm.turn(1, "again", 70)
    assert not alarm.acked
    with pytest.raises(ConditionError, match="BadEventIdUnknown"):
        alarm.acknowledge(b"e1", ANNA)


def test_a_worse_zone_changes_the_severity_but_not_the_acknowledgement() -> None:
    alarm = condition()
    alarm.acknowledge(b"e1", ANNA)
    alarm.turn(2, "worse", 60)
    assert (alarm.acked, alarm.severity, alarm.last_severity, alarm.active_since) == (True, 800, 500, 10)


def test_an_alarm_that_wants_it_is_retained_until_it_is_confirmed() -> None:
    alarm = condition(confirm=True)
    with pytest.raises(ConditionError, match="BadInvalidState"):
        alarm.confirm(b"e1", ANNA)
    alarm.acknowledge(b"e1", ANNA)
    alarm.turn(0, "over", 60)
    assert alarm.retain
    alarm.confirm(b"e1", Remark("", "otto", 70))
    assert (alarm.retain, alarm.remark) == (False, Remark("seen", "otto", 70)), "an empty comment leaves the last one"


def test_a_latched_alarm_stays_until_it_is_reset() -> None:
    alarm = condition(latch=True)
    alarm.acknowledge(b"e1", ANNA)
    with pytest.raises(ConditionError, match="BadInvalidState"):
        alarm.reset(60)
    alarm.turn(0, "over", 70)
    assert alarm.retain
    alarm.reset(80)
    assert not alarm.retain


def test_shelving_ends_by_itself() -> None:
    alarm = condition()
    alarm.shelve(100, 2.0)
    assert (alarm.shelving, alarm.aside, alarm.expire(100 + 19_999_999)) == (Shelving.TimedShelved, True, False)
    assert alarm.expire(100 + 20_000_000)
    assert not alarm.aside
    alarm.shelve(200)
    assert alarm.shelving is Shelving.OneShotShelved
    alarm.turn(0, "over", 300)
    assert alarm.shelving is Shelving.Unshelved, "one shot: until it has gone"


@pytest.mark.parametrize(
    ("prepare", "act", "status"),
    [
        ([], lambda c: c.acknowledge(b"unknown", ANNA), "BadEventIdUnknown"),
        ([lambda c: c.acknowledge(b"e1", ANNA)], lambda c: c.acknowledge(b"e1", ANNA), "BadConditionBranchAlreadyAcked"),
        ([], lambda c: c.confirm(b"e1", ANNA), "BadConditionBranchAlreadyConfirmed"),
        ([], lambda c: c.enable(1), "BadConditionAlreadyEnabled"),
        ([lambda c: c.disable(1)], lambda c: c.disable(2), "BadConditionAlreadyDisabled"),
        ([lambda c: c.disable(1)], lambda c: c.acknowledge(b"e1", ANNA), "BadConditionDisabled"),
        ([lambda c: c.disable(1)], lambda c: c.shelve(2), "BadConditionDisabled"),
        ([], lambda c: c.unshelve(1), "BadConditionNotShelved"),
        ([lambda c: c.shelve(1)], lambda c: c.shelve(2), "BadConditionAlreadyShelved"),
        ([], lambda c: c.shelve(1, 0.0), "BadShelvingTimeOutOfRange"),
        ([], lambda c: c.shelve(1, 1e9), "BadShelvingTimeOutOfRange"),
        ([], lambda c: c.shelve(1, float("nan")), "BadShelvingTimeOutOfRange"),
        ([], lambda c: c.withhold(False, 1), "BadInvalidState"),
        ([], lambda c: c.reset(1), "BadInvalidState"),
    ],
)
def test_what_a_condition_cannot_do_it_says(prepare: list[Any], act: Any, status: str) -> None:
    alarm = condition()
    for step in prepare:
        step(alarm)
    with pytest.raises(ConditionError, match=status):
        act(alarm)


def test_a_condition_survives_as_it_is() -> None:
    alarm = condition(confirm=True, latch=True)
    alarm.acknowledge(b"e1", ANNA)
    alarm.shelve(100, 60.0)
    alarm.suppress(True, 110)
    again = Condition(alarm.spec)
    again.load(alarm.dump())
    assert again == alarm


@pytest.mark.parametrize(
    "kept", [{"zone": 7}, {"zone": "x"}, {"shelving": 9}, {"remark": {"voice": 1}}, {"event_ids": ["zz"]}, {"nonsense": 1}]
)
def test_what_is_no_state_of_a_condition_changes_nothing(kept: dict[str, Any]) -> None:
    alarm, same = condition(), condition()
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        alarm.load({**alarm.dump(), **kept})
    assert alarm == same
