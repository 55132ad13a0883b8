"""[[alarm]] of site.toml: what it makes of a site's alarms, and what it says when it is wrong."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from server.core.alarms import AlarmSpec, Limits, standing_alarms
from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout
from server.core.natures import Device, ManagedEss
from server.runtime.alarm_plan import plan_alarms

SPECS = {**Device.channels(), **ManagedEss.channels()}
LAYOUT = build_layout([ObjectSpec("ess0", DEVICE, "modbus", (Device, ManagedEss), tuple(map(ChannelUse, SPECS.values())))])


def planned(toml: str) -> tuple[dict[str, AlarmSpec], list[str]]:
    """Alarms by node, and errors, of the tables of a site.toml."""
    alarms, errors = plan_alarms(tomllib.loads(toml)["alarm"], LAYOUT)
    return {alarm.node: alarm for alarm in alarms}, [str(error) for error in errors]


def test_limits_make_an_alarm_with_words_and_severities() -> None:
    alarms, errors = planned('[[alarm]]\nchannel = "ess0/Soc"\nlow_low = 5\nlow = 10\nhysteresis = 2\non_delay_s = 30')
    assert errors == []
    alarm = alarms["ess0/SocLimitAlarm"]
    assert alarm.limits == Limits(low_low=5.0, low=10.0, hysteresis=2.0)
    assert (alarm.name, alarm.source, alarm.on_delay_s, alarm.silencer) == ("SocLimit", "ess0", 30.0, "ess0/CommLostAlarm")
    assert {zone: (z.severity, alarm.message(zone, 7.5)) for zone, z in alarm.zones.items()} == {
        3: (500, "State of charge is 7.5 %, below 10 %"),
        4: (800, "State of charge is 7.5 %, below 5 %"),
    }
    assert alarm.message(0, 12.0, before="State of charge is 7.5 %, below 10 %") == "State of charge is 12 % again"


def test_words_name_and_severity_may_be_given() -> None:
    toml = (
        '[[alarm]]\nchannel = "ess0/ActivePower"\nname = "Overload"\nhigh = 9000\nseverity = 650\ntext = "Battery gives {value}"'
    )
    alarms, _ = planned(toml)
    alarm = alarms["ess0/OverloadAlarm"]
    assert (alarm.zones[1].severity, alarm.message(1, 9500.0)) == (650, "Battery gives 9.5 kW")


def test_two_alarms_may_watch_one_channel_under_two_names() -> None:
    table = '[[alarm]]\nchannel = "ess0/Soc"\nlow = {}\nname = "{}"\n'
    alarms, errors = planned(table.format(10, "Low") + table.format(20, "Early"))
    assert errors == []
    assert {"ess0/LowAlarm", "ess0/EarlyAlarm"} < set(alarms)


def test_an_alarm_that_is_there_anyway_takes_other_manners() -> None:
    manners = 'severity = 900\non_delay_s = 10\nconfirm = true\nlatch = true\ntext = "Inverter away"'
    alarms, errors = planned(f'[[alarm]]\nchannel = "ess0/CommState"\n{manners}')
    alarm = alarms["ess0/CommLostAlarm"]
    assert errors == []
    assert (alarm.on_delay_s, alarm.confirm, alarm.latch, alarm.words) == (10.0, True, True, ())
    assert alarm.zones[2] == (900, "Inverter away")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('channel = "ess9/Soc"\nlow = 1', "site.toml: alarm[0].channel: there is no channel ess9/Soc"),
        ("low = 1", "site.toml: alarm[0].channel: is missing"),
        ('channel = "ess0/Soc"', "site.toml: alarm[0]: one of low_low, low, high, high_high is missing"),
        ('channel = "ess0/Soc"\nlow = "ten"', "site.toml: alarm[0].low: 'ten' is not a number"),
        ('channel = "ess0/Soc"\nlow = nan', "site.toml: alarm[0].low: nan is not a finite number"),
        ('channel = "ess0/Soc"\nlow = 20\nhigh = 10', "site.toml: alarm[0].high: 10 is not above low, which is 20"),
        ('channel = "ess0/Soc"\nlow = 20\nlow_low = 20', "site.toml: alarm[0].low: 20 is not above low_low, which is 20"),
        (
            'channel = "ess0/Soc"\nlow = 20\nhigh = 30\nhysteresis = 6',
            "site.toml: alarm[0].hysteresis: 6 leaves nothing normal between low and high",
        ),
        ('channel = "ess0/Soc"\nlow = 1\nseverity = 1001', "site.toml: alarm[0].severity: 1001 is not in 1..1000"),
        ('channel = "ess0/Soc"\nlow = 1\non_delay_s = -1', "site.toml: alarm[0].on_delay_s: -1 is not in 0..86400"),
        ('channel = "ess0/Soc"\nlow = 1\nname = "a/b"', "site.toml: alarm[0].name: 'a/b' does not match"),
        ('channel = "ess0/Soc"\nlow = 1\nhi = 2', "site.toml: alarm[0].hi: unknown setting, did you mean high?"),
        (
            'channel = "ess0/GridMode"\nhigh = 1',
            "site.toml: alarm[0].channel: ess0/GridMode is no number and raises no alarm by itself",
        ),
        (
            'channel = "ess0/CommState"\nhigh = 1',
            "site.toml: alarm[0].high: ess0/CommState is a state and raises CommLost by itself",
        ),
        ('channel = "ess0/Soc"\nlow = 1\nname = "CommLost"', "site.toml: alarm[0].name: ess0 has an alarm CommLost already"),
    ],
)
def test_a_wrong_table_says_what_is_wrong_and_the_rest_counts(table: str, says: str) -> None:
    alarms, errors = planned(f'[[alarm]]\n{table}\n[[alarm]]\nchannel = "ess0/Soh"\nlow = 70')
    assert [error[: len(says)] for error in errors] == [says]
    assert set(alarms) == {alarm.node for alarm in standing_alarms(LAYOUT)} | {"ess0/SohLimitAlarm"}


def test_two_of_one_name_are_refused() -> None:
    table: dict[str, Any] = {"channel": "ess0/Soc", "low": 10.0}
    alarms, errors = plan_alarms([table, {**table, "low": 20.0}], LAYOUT)
    assert [str(e) for e in errors] == [
        "site.toml: alarm[1].name: ess0 has an alarm SocLimit already; give this one another name"
    ]
    assert next(a for a in alarms if a.node == "ess0/SocLimitAlarm").limits == Limits(low=10.0)
