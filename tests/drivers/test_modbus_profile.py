"""Profiles: what is shipped loads, what is wrong is refused with file, field and reason."""

from __future__ import annotations

import pytest

from drivers.modbus.config import Config
from drivers.modbus.driver import describe
from drivers.modbus.profile import ProfileError, load_profile, parse_profile, shipped
from server.runtime.explain import InvalidFile, validate

GOOD = """
title = "T"
natures = ["ManagedEss"]
source = "S"
verified = true
[watchdog]
address = 9
type = "uint16"
value = 10
timeout_s = 10
[alive]
address = 0
within_s = 2
[[block]]
name = "b"
address = 0
count = 10
channels = [
  { channel = "ActivePower", address = 2, type = "int32" },
  { channel = "GridMode", address = 4, type = "uint16", states = { 1 = "OnGrid" } },
]
[[setpoint]]
channel = "SetActivePower"
address = 40
type = "int16"
fail_safe = 0
"""


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_profile_loads_and_describes_a_device_with_a_source(name):
    profile = load_profile(name)
    (device,) = describe("x0", Config(profile=name, host="h"))
    assert profile.source
    assert {"State", "CommState", "LastCommunication"} <= {c.spec.name for c in device.channels}
    assert ("NoFailSafe" in {c.spec.name for c in device.channels}) is bool(profile.setpoint)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "T"', "", "p.toml: title: Field required"),
        ('title = "T"', 'title = "T"\ncolour = 1', "p.toml: colour: Extra inputs"),
        ('title = "T"', "title = ", "p.toml: Invalid value"),
        ('["ManagedEss"]', '["Essen"]', "natures: 'Essen' is no nature"),
        ('["ManagedEss"]', "[]", "p.toml: natures:"),
        ('type = "int32"', 'type = "int33"', "block[0].channels[0].type: Input should be 'int16'"),
        ('channel = "ActivePower"', 'channel = "ActiveP"', "block[0].channels[0].channel: 'ActiveP' is no channel"),
        ('channel = "ActivePower"', 'channel = "SetActivePower.L1"', "a set-point belongs in [[setpoint]]"),
        ('channel = "SetActivePower"', 'channel = "ActivePower"', "setpoint[0].channel: 'ActivePower' is RO"),
        ('channel = "ActivePower"', 'channel = "GridMode"', "'GridMode' is there twice"),
        ("address = 2", "address = 9", "block[0].channels[0].address: 9 with 2 registers is outside 0..9"),
        ('1 = "OnGrid"', '1 = "On"', "'On' is no state of GridMode; it has OnGrid, OffGrid, Genset"),
        ("count = 10", "count = 126", "block[0].count: Input should be less than or equal to 125"),
        ("count = 10", "count = 10\npoll = 0", 'block[0].poll: 0.0 s is not "fast"'),
        ("count = 10", "count = 10\npoll = 5", "alive.address: 0 is in no fast block"),
        ("address = 40", "address = 70000", "setpoint[0].address: Input should be less than or equal to 65535"),
        ("fail_safe = 0", "fail_safe = 40000", "setpoint[0].fail_safe: 40000.0 is not in -32768..32767"),
        ("fail_safe = 0", "", "setpoint[0].fail_safe: Field required"),
        ("fail_safe = 0", "fail_safe = 0\nscale = 0", "scale: 0 would lose the value"),
        ("fail_safe = 0", "fail_safe = 0\nscale = nan", "setpoint[0].scale: Input should be a finite number"),
        ('type = "int16"', 'type = "int32"\nfunction = 6', "6 writes one register, int32 takes 2"),
        ('type = "int16"\nfail_safe = 0', 'type = "float32"\nfail_safe = 1e39', "setpoint[0].fail_safe: 1e+39 is not in -3.4"),
        ("value = 10", "value = 99999999", "watchdog.value: 99999999.0 is not in 0..65535"),
        ("value = 10", "value = 10\nscale = 0.0001", "watchdog.value: 10.0 is not in 0..6.5535"),
        (
            'type = "uint16"\nvalue',
            'type = "uint32"\nfunction = 6\nvalue',
            "watchdog.function: 6 writes one register, uint32 takes 2",
        ),
        ('type = "int32" }', 'type = "int32", length = 2 }', "'ActivePower' is no array"),
        ('type = "int32" }', 'type = "float32", bit = 2 }', "float32 has no bits"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_field_and_reason(old, new, expected):
    assert parse_profile("p.toml", GOOD).title == "T"
    with pytest.raises(ProfileError) as error:
        parse_profile("p.toml", GOOD.replace(old, new, 1))
    assert expected in str(error.value)
    assert str(error.value).startswith("p.toml: ")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"profile": "nope"}, "'nope' is no profile; shipped are abb_b23"),
        ({"profile": "/nowhere/x.toml"}, "/nowhere/x.toml: cannot be read"),
        ({"unit_id": 300}, "unit_id"),
        ({"port": 0}, "port"),
        ({"host": ""}, "host"),
        ({"host": "192.168.1..5"}, "'192.168.1..5' is neither an address nor a name of a host"),
        ({"host": "192.168.1.300"}, "'192.168.1.300' is neither"),
        ({"host": "192.168.1.5:502"}, "'192.168.1.5:502' is neither"),
        ({"host": "x" * 64}, "is neither an address nor a name of a host"),
        ({"host": "meter\0"}, r"'meter\x00' is neither"),
        ({"host": "the meter"}, "'the meter' is neither"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_entry_names_the_setting(settings, expected):
    with pytest.raises(ValueError) as error:
        Config(**{"profile": "plant_ess", "host": "h", **settings})
    assert expected in str(error.value)


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "fd00::5", "fe80::1%eth0", "meter", "meter_1.lan", "5.meter.lan.", "zähler.example"]
)
def test_a_host_is_an_address_or_a_name(host):
    assert Config(profile="plant_ess", host=host).host == host


def test_a_wrong_host_is_told_with_its_file():
    with pytest.raises(InvalidFile) as error:
        validate(Config, {"profile": "plant_ess", "host": "192.168.1..5"}, "entries/ess0.toml")
    assert str(error.value) == "entries/ess0.toml: host: '192.168.1..5' is neither an address nor a name of a host"


def test_a_profile_may_lie_anywhere_and_entry_properties_win(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + '\n[properties]\nModel = "Mine"\nLabel = "A"\n')
    (device,) = describe("ess0", Config(profile=str(path), host="h", properties={"Label": "B"}))
    assert (device.properties["Label"], device.type_name) == ("B", "Mine")
