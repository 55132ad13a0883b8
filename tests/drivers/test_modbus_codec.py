"""Registers to numbers and back: types, word order, scale, sentinels, ranges, states and bits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import BlockDecoder, encode, quantise, text
from drivers.modbus.profile import Block, Kind, Point, Quantity
from server.core.natures import Battery, Device, Evcs
from server.core.status import BAD_OUT_OF_RANGE, BAD_SENSOR_FAILURE, GOOD

SPECS = Battery.channels() | Evcs.channels() | Device.channels()
WIDE = {"low": -1e300, "high": 1e300}


def decode(points, registers, word_order="big", address=0):
    block = Block(name="b", address=address, count=len(registers), channels=tuple(Point(**p) for p in points))
    decoder = BlockDecoder(block, SPECS, word_order)
    values, status = decoder.decode(registers)
    return {(n, e): (v, s) for n, e, v, s in zip(decoder.names, decoder.elements, values.tolist(), status.tolist(), strict=True)}


@pytest.mark.parametrize(
    ("kind", "registers", "value"),
    [
        ("int16", [0xFFFE], -2),
        ("uint16", [0xFFFE], 65534),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint32", [0x0001, 0x0002], 65538),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2),
        ("uint64", [0, 1, 0, 2], 2**32 + 2),
        ("float32", [0x42F6, 0xE979], 123.456),
        ("float64", [0x405E, 0xDD2F, 0x1A9F, 0xBE77], 123.456),
    ],
)
@pytest.mark.parametrize("word_order", ["big", "little"])
def test_each_type_is_read_in_both_word_orders(kind, registers, value, word_order):
    ordered = registers if word_order == "big" else registers[::-1]
    found = decode([{"channel": "Current", "address": 5, "type": kind}], ordered, word_order, address=5)
    assert found["Current", 0] == (pytest.approx(value, rel=1e-6), GOOD)


def test_types_may_be_mixed_in_any_order_and_overlap():
    points = [
        {"channel": "Voltage", "address": 3, "type": "uint16", "scale": 0.1},
        {"channel": "Current", "address": 0, "type": "int32", "scale": 0.001},
        {"channel": "Capacity", "address": 3, "type": "uint16"},
        {"channel": "ActivePower", "address": 1, "type": "int16", "offset": 100},
    ]
    found = decode(points, [0xFFFF, 0xFC18, 0, 4001])
    assert {n: v for (n, _), (v, _) in found.items()} == {
        "Voltage": pytest.approx(400.1), "Current": -1.0, "Capacity": 4001.0, "ActivePower": -900.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("point", "registers", "status"),
    [
        ({"type": "int16", "invalid": [-32768]}, [0x8000], BAD_SENSOR_FAILURE),
        ({"type": "uint16", "invalid": [65535, 65534]}, [0xFFFE], BAD_SENSOR_FAILURE),
        ({"type": "uint64", "invalid": [2**64 - 1]}, [0xFFFF] * 4, BAD_SENSOR_FAILURE),
        ({"type": "float32"}, [0x7FC0, 0], BAD_SENSOR_FAILURE),
        ({"type": "float32"}, [0x7F80, 0], BAD_OUT_OF_RANGE),
        ({"type": "float64"}, [0x7FF8, 0, 0, 0], BAD_SENSOR_FAILURE),
        ({"type": "int16", "low": -10, "high": 10}, [11], BAD_OUT_OF_RANGE),
        ({"type": "int16", "low": -10, "high": 10}, [0xFFF5], BAD_OUT_OF_RANGE),
        ({"channel": "Soc", "type": "uint16"}, [106], BAD_OUT_OF_RANGE),
        ({"channel": "Soc", "type": "uint16"}, [104], GOOD),
        ({"channel": "Status", "type": "uint16", "states": {1: "Charging"}}, [2], BAD_OUT_OF_RANGE),
        ({"channel": "Status", "type": "uint16", "states": {1: "Charging"}, "invalid": [9]}, [9], BAD_SENSOR_FAILURE),
    ],
)
def test_a_number_that_cannot_be_right_is_bad_and_has_no_value(point, registers, status):
    ((value, found),) = decode([{"channel": "Current", "address": 0, **point}], registers).values()
    assert found == status
    assert math.isnan(value) is (status != GOOD)


@pytest.mark.parametrize(
    ("point", "register", "value"),
    [
        ({"channel": "Status", "states": {3: "Charging", 4: "Faulted"}}, 3, 2.0),
        ({"channel": "Status", "states": {3: "Charging", 4: "Faulted"}}, 4, 8.0),
        ({"channel": "MainContactor", "bit": 3}, 0b1000, 1.0),
        ({"channel": "MainContactor", "bit": 3}, 0b0111, 0.0),
        ({"channel": "State", "bits": {0: "Warning", 4: "Fault"}}, 0b00000, 0.0),
        ({"channel": "State", "bits": {0: "Warning", 4: "Fault"}}, 0b00001, 2.0),
        ({"channel": "State", "bits": {0: "Warning", 4: "Fault"}}, 0b10001, 3.0),
    ],
)
def test_states_and_bits_become_the_channels_states(point, register, value):
    (found,) = decode([{"address": 0, "type": "uint16", **point}], [register]).values()
    assert found == (value, GOOD)


def test_an_array_channel_takes_consecutive_registers():
    point = {"channel": "CellVoltages", "address": 1, "type": "uint16", "scale": 0.001, "length": 3}
    found = decode([point], [0, 3301, 3302, 3303])
    assert [found["CellVoltages", n][0] for n in range(3)] == pytest.approx([3.301, 3.302, 3.303])


def test_one_bad_number_leaves_its_neighbours_alone():
    doubtful = {"channel": "Voltage", "address": 0, "type": "uint16", "invalid": [65535]}
    found = decode([doubtful, {"channel": "Capacity", "address": 1, "type": "uint16"}], [0xFFFF, 7])
    assert found["Voltage", 0][1] == BAD_SENSOR_FAILURE
    assert found["Capacity", 0] == (7.0, GOOD)


@given(
    st.sampled_from(list(Kind)),
    st.sampled_from(["big", "little"]),
    st.sampled_from([1.0, 0.1, -0.01, 10.0]),
    st.integers(-30000, 30000),
)
def test_what_is_written_reads_back(kind, word_order, scale, steps):
    low, _ = kind.limits
    raw = abs(steps) if low == 0 else steps
    number = Quantity(address=0, type=kind, scale=scale)
    words = encode(number, raw * scale, word_order)
    found = decode([{"channel": "Current", "address": 0, "type": kind, "scale": scale, **WIDE}], words, word_order)
    assert found["Current", 0] == (pytest.approx(raw * scale, rel=1e-6, abs=1e-9), GOOD)


@pytest.mark.parametrize(("kind", "value"), [("int16", 40000.0), ("uint16", -1.0), ("uint32", 5e9), ("int64", 1e19)])
def test_a_quantity_the_registers_cannot_hold_is_refused(kind, value):
    with pytest.raises(OverflowError, match="does not fit"):
        encode(Quantity(address=0, type=kind), value, "big")


def test_quantities_are_rounded_to_the_registers_step():
    assert quantise(Quantity(address=0, type="int16", scale=10.0), 1234.0) == 1230.0
    assert quantise(Quantity(address=0, type="float32"), 1234.5) == 1234.5


def test_text_ends_at_the_first_zero():
    assert text([0x454D, 0x5300, 0x4141]) == "EMS"
