"""Who decides on a set-point, as data: told when it changes, not when numbers do, and never too often."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_rig import Rig, device, ess, meter, pv

from controllers.channel_threshold import ChannelThreshold
from controllers.limit_total_discharge import LimitTotalDischarge
from controllers.peak_shaving import PeakShaving
from controllers.self_consumption import SelfConsumption
from server.core import decision
from server.core.ask import Ask, as_json, controller_text, from_json
from server.core.natures import DigitalIo

PEAK = (PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000})
SELF = (SelfConsumption, "self0", {"grid": "grid", "deadband_w": 0, "rise_w_per_s": 1e9, "fall_w_per_s": 1e9})
FLOOR = (LimitTotalDischarge, "floor0", {"ess": "ess0", "min_soc": 15})
POWER = "ess0/SetActivePower"


def site(*controllers: Any, devices: Any = None) -> Rig:
    rig = Rig(devices or [meter(), ess()], controllers)
    rig["meter0/ActivePower"] = 3000
    return rig.step()


def told(rig: Rig, node: str = POWER) -> list[tuple[str, dict[str, Any]]]:
    return [(text, data) for kind, text, data in rig.out.events if kind == decision.DECISION and data["node"] == node]


def seconds(rig: Rig, count: int, dt_s: float = 1.0) -> Rig:
    for _ in range(count):
        rig.step(dt_s=dt_s)
    return rig


def test_a_decision_says_who_asked_what_who_limited_it_and_what_binds():
    rig = site(FLOOR, PEAK, SELF)
    rig["ess0/Soc"] = 10
    rig["meter0/ActivePower"] = 12_000
    text, data = told(seconds(rig, 3))[-1]
    assert text == "ess0 rests: floor0 blocks discharge at 15 % charge (asks ≤ 0 W); peak0 wanted ≥ 4 kW; self0 wanted 12 kW"
    assert (data["value"], data["by"], data["why"]) == (0, "floor0", "blocks discharge at 15 % charge")
    asks = {ask["who"]: ask for ask in data["asks"]}
    assert asks["floor0"]["asked"] == [None, 0]
    assert "granted" not in asks["floor0"]
    assert (asks["peak0"]["asked"], asks["peak0"]["granted"], asks["peak0"]["by"]) == ([4000, None], [0, None], "floor0")
    assert (asks["self0"]["kind"], asks["self0"]["asked"], asks["self0"]["granted"]) == ("target", [12_000, 12_000], [0, 0])
    assert json.loads(json.dumps(data)) == data
    assert (data["cycle"], data["time"][-1]) == (2, "Z")


def test_numbers_change_unsaid_and_another_who_decides_is_told():
    rig = site(PEAK, SELF)
    seconds(rig, 3)
    for power in range(3000, 4000, 100):
        rig["meter0/ActivePower"] = power
        rig.step(dt_s=1.0)
    assert [data["by"] for _, data in told(rig)] == ["self0"]
    rig.step(("self0/Enabled", 0), dt_s=1.0)
    rig["meter0/ActivePower"] = 9000
    seconds(rig, 2)
    assert [data["by"] for _, data in told(rig)] == ["self0", "", "peak0"]


def test_it_is_told_at_most_once_a_second_and_what_was_not_told_is_counted():
    rig = site(PEAK, SELF)
    for i in range(40):
        rig["ess0/AllowedDischargePower"] = None if i % 2 else 5000
        rig.step(dt_s=0.05)
    found = told(rig)
    assert 2 <= len(found) <= 4
    assert found[-1][1]["untold"] > 5


def test_somebody_who_is_limited_for_a_moment_is_not_told():
    rig = seconds(site(PEAK, SELF), 3)
    rig["ess0/AllowedDischargePower"] = 1000
    seconds(rig, 10, dt_s=0.05)
    rig["ess0/AllowedDischargePower"] = 5000
    seconds(rig, 40, dt_s=0.05)
    assert len(told(rig)) == 1
    rig["ess0/AllowedDischargePower"] = 1000
    seconds(rig, 40, dt_s=0.05)
    text, data = told(rig)[-1]
    assert text == "ess0 discharges 1 kW: self0 balances import to 0 W (asks 3 kW, gets 1 kW: the units can do no more)"
    assert (data["by"], data["untold"]) == ("self0", 2)


def test_what_flickers_for_ever_costs_a_bounded_number_of_records(monkeypatch):
    monkeypatch.setattr(decision, "BURST", 3)
    rig = site(PEAK, SELF, devices=[meter(), ess()])
    for i in range(300):
        rig["ess0/AllowedDischargePower"] = None if i % 2 else 5000
        rig.step(dt_s=2.0)
    assert len(told(rig)) == pytest.approx(4 + 600 * decision.SUSTAINED_PER_S, abs=3)


def test_an_old_decision_is_told_again_so_that_nobody_has_to_look_far_back():
    rig = seconds(site(PEAK, SELF), 130, dt_s=60.0)
    assert [data["by"] for _, data in told(rig)] == ["self0"] * 3
    assert len({data["since"] for _, data in told(rig)}) == 1
    assert len({data["time"] for _, data in told(rig)}) == 3


def test_an_emergency_stop_decides_on_everything():
    rig = seconds(site(PEAK, SELF), 2)
    rig.step(("site/EmergencyStopActive", 1), dt_s=1.0)
    text, data = told(seconds(rig, 1))[-1]
    assert text == "ess0 rests: trip emergency stop by user 7"
    assert (data["by"], data["why"], data["asks"]) == ("trip", "emergency stop by user 7", [])


def test_a_limit_of_the_unit_itself_is_told_with_its_reason():
    rig = seconds(site(SELF), 2)
    rig["ess0/AllowedDischargePower"] = None
    text, data = told(seconds(rig, 2))[-1]
    assert data["reason"] == "AllowedDischargePower of ess0 not known"
    assert "but AllowedDischargePower of ess0 not known" in text or text.startswith("ess0 rests: AllowedDischargePower")


def test_every_set_point_has_a_decision_at_any_time():
    relay = device("io0", DigitalIo, (DigitalIo.Output,))
    wired = {"value": "ess0/Soc", "output": "io0/Output", "on": 40, "off": 10}
    rig = site(SELF, (ChannelThreshold, "th0", wired), devices=[meter(), ess(), pv(), relay])
    seconds(rig, 2)
    assert rig.engine.decision(POWER).by == "self0"
    free = rig.engine.decision("pv0/ActivePowerLimit")
    assert (free.by, free.asks, free.text) == ("", (), "pv0 may produce up to 10 kW"), (
        "a want of the connection moves storage only"
    )
    assert rig.engine.decision("ess0/SetReactivePower").value == 0
    switched = rig.engine.decision("io0/Output")
    assert (switched.value, switched.by, switched.asks[0].kind) == (1, "th0", "set")
    assert [data["by"] for _, data in told(rig, "io0/Output")] == ["th0"]
    assert told(rig, "ess0/SetReactivePower") == []
    with pytest.raises(KeyError):
        rig.engine.decision("ess0/Soc")


def test_a_hand_on_an_actuator_is_who_decides():
    relay = device("io0", DigitalIo, (DigitalIo.Output,))
    wired = {"value": "ess0/Soc", "output": "io0/Output", "on": 40, "off": 10}
    rig = seconds(site((ChannelThreshold, "th0", wired), devices=[meter(), ess(), relay]), 2)
    rig.step(("site/OverrideRemaining", 60), ("io0/Output", 0), dt_s=1.0)
    found = rig.engine.decision("io0/Output")
    assert (found.value, found.by, found.asks[0].limit_words) == (0, "hand", "hand holds it there")


ASKS = [
    Ask("peak0", "bound", "import", "keeps import under 8 kW", (3200.0, None), (2000.0, None), "floor0"),
    Ask("self0", "target", "import", "balances import to 0 W", (2900.0, 2900.0), (2500.0, 2500.0)),
    Ask("fcr0", "reserve", "ess0", "", (1000.0, 2000.0)),
    Ask("fcr0", "add", "ess0", "follows 49.9 Hz", (-500.0, -500.0)),
    Ask("self1", "target", "import", "balances import to 0 W", None),
    Ask("q0", "bound", "ess0 reactive", "holds the voltage", (None, 800.0), unit="var"),
    Ask("th0", "set", "io0/Output", "ess0/Soc is 50", (1.0, 1.0), (0.0, 0.0), "th1", ""),
    Ask("th0", "set", "io0/Output", "ess0/Soc is 50", (1.0, 1.0), (None, None), "trip", ""),
]  # fmt: skip

WORDS = [
    "keeps import under 8 kW: asks ≥ 3.2 kW, gets ≥ 2 kW: floor0 allows no more",
    "balances import to 0 W: wants 2.9 kW, gets 2.5 kW: the units can do no more",
    "ess0: keeps 2 kW up and 1 kW down",
    "follows 49.9 Hz: adds -500 W",
    "balances import to 0 W: waits, import is not measured",
    "holds the voltage: asks ≤ 800 var",
    "ess0/Soc is 50: sets io0/Output to 1, gets 0: th1 holds it there",
    "ess0/Soc is 50: sets io0/Output to 1, gets nothing: a trip forbids it",
]


@pytest.mark.parametrize(("ask", "words"), [*zip(ASKS, WORDS, strict=True)])
def test_words_and_data_say_the_same(ask: Ask, words: str):
    assert ask.words == words
    assert from_json(as_json([ask])) == [ask]


def test_claims_fit_a_string_channel_and_are_whole():
    many = ASKS * 5
    text = as_json(many)
    kept = from_json(text)
    assert len(text.encode()) <= 1000
    assert kept == many[: len(kept)]
    assert len(kept) >= 5


@pytest.mark.parametrize("text", ["{", "[1]", '[{"who": 1}]', '[{"who":"a","kind":"bound","node":"n","why":"","asked":[1]}]'])
def test_what_is_no_list_of_claims_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        from_json(text)


def test_nothing_asked_has_words_too():
    assert controller_text([]) == "asks for nothing"
