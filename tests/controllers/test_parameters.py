"""Parameters: declared once, checked with words that help."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import IntEnum

import pytest

from controllers.ac_island import AcIsland
from controllers.anomaly_response import AnomalyResponse
from controllers.chp_soc import ChpSoc
from controllers.fast_frequency_reserve import TRIGGER_HZ, Activation, FastFrequencyReserve
from controllers.frequency_droop import FrequencyDroop
from server.core.channel import Access, DataType
from server.core.controller import Controller, ControllerParams, EssRef, controller_object, param, parameters
from server.core.errors import ConfigError, DeclarationError
from server.core.units import WATT, Percent, Watt
from server.opcua.properties import of_channel


class Curve(IntEnum):
    Flat = 0
    Steep = 1


class Milliseconds(IntEnum):
    Short = 700
    Long = 1300


class Sample(Controller):
    """A sample.

    More about it.
    """

    priority = 42

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("A power.", low=0, high=9000)
        share: Percent = param("A share.", low=0, high=100, default=50.0)
        times: int = param("How often.", low=1, above="least", default=2)
        least: int = param("More often than this.", low=0, default=0)
        active: bool = param("A switch.", default=False)
        curve: Curve = param("A curve.", default=Curve.Flat)


GOOD = {"ess": "ess0", "power_w": 100}


def test_the_object_of_a_controller_has_its_status_and_its_parameters():
    obj = controller_object(Sample, "s0", GOOD)
    assert (obj.alias, obj.kind, obj.owner, obj.type_name, obj.doc) == ("s0", "controller", "control", "Sample", "A sample.")
    names = [use.spec.name for use in obj.channels]
    assert names[:3] == ["Enabled", "Priority", "RunState"]
    assert names[-6:] == ["power_w", "share", "times", "least", "active", "curve"]
    power = parameters(Sample)["power_w"]
    assert (power.unit, power.low, power.high, power.access, power.persistent) == (WATT, 0, 9000, Access.PROPOSE, True)
    assert [parameters(Sample)[n].data_type for n in ("times", "active", "curve")] == [
        DataType.INT32,
        DataType.BOOLEAN,
        DataType.INT32,
    ]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"power_w": -5}, "s0.power_w: -5 is not in 0..9000"),
        ({"power_w": 9001}, "s0.power_w: 9001 is not in 0..9000"),
        ({"power_w": float("nan")}, "s0.power_w: nan is not a number"),
        ({"power_w": "much"}, "s0.power_w: 'much' is not a number"),
        ({"power_w": True}, "s0.power_w: True is not a number"),
        ({"times": 0}, "s0.times: 0 is not in 1.."),
        ({"least": 2}, "s0.times: 2 is not above least, which is 2"),
        ({"least": 5, "times": 4}, "s0.times: 4 is not above least, which is 5"),
        ({"times": 1.5}, "s0.times: 1.5 is not a whole number"),
        ({"active": "yes"}, "s0.active: 'yes' is neither true nor false"),
        ({"curve": 3}, "s0.curve: 3 is none of 0 Flat, 1 Steep"),
        ({"ess": 3}, "s0.ess: 3 is no alias"),
        ({"powr_w": 3}, "s0.powr_w: is no parameter of Sample (ess, power_w, share, times, least, active, curve)"),
        ({"priority": 1001}, "s0.priority: 1001 is not in 0..1000"),
        ({"priority": True}, "s0.priority: True is not in 0..1000"),
    ],
)
def test_a_wrong_setting_is_named(settings, problem):
    with pytest.raises(ConfigError) as caught:
        controller_object(Sample, "s0", GOOD | settings)
    assert str(caught.value) == f"site.toml: {problem}"


@pytest.mark.parametrize(
    ("cls", "settings", "problem"),
    [
        (ChpSoc, {"low": 80, "high": 20}, "c0.high: 20 is not above low, which is 80"),
        (ChpSoc, {"low": 80}, "c0.high: 80 is not above low, which is 80"),
        (AcIsland, {"low": 70, "high": 70}, "c0.high: 70 is not above low, which is 70"),
        (AnomalyResponse, {"low": 0.9}, "c0.high: 0.8 is not above low, which is 0.9"),
        (FrequencyDroop, {"low_soc": 80}, "c0.high_soc: 80 is not above low_soc, which is 80"),
        (FrequencyDroop, {"recovered": 0}, "c0.recovered: 0 is not in 0.1..50"),
    ],
)
def test_two_thresholds_in_the_wrong_order_are_refused(cls, settings, problem):
    aliases = {"ess": "e", "output": "o", "grid_side": "g", "island_side": "i", "unit": "u", "score": "s", "meter": "m"}
    needed = {f.name: aliases.get(f.name, 1) for f in fields(cls.Params) if f.default is MISSING}
    with pytest.raises(ConfigError) as caught:
        controller_object(cls, "c0", needed | settings)
    assert str(caught.value) == f"site.toml: {problem}"


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match=r"s0.power_w: is missing"):
        controller_object(Sample, "s0", {"ess": "ess0"})


def test_an_enumeration_may_be_named():
    controller_object(Sample, "s0", GOOD | {"curve": "Steep"})


def test_a_parameter_without_documentation_is_a_mistake():
    class Bare(Controller):
        class Params(ControllerParams):
            power_w: Watt = 3.0

    with pytest.raises(DeclarationError, match="power_w: declare it with param"):
        controller_object(Bare, "b0", {})


def test_a_parameter_must_be_of_a_kind_that_a_channel_holds():
    class Odd(Controller):
        class Params(ControllerParams):
            names: dict = param("Names.", default=None)

    with pytest.raises(DeclarationError, match="is no kind of channel"):
        controller_object(Odd, "o0", {})


def test_a_choice_is_counted_from_0_so_that_its_names_are_a_list():
    class Sparse(Controller):
        class Params(ControllerParams):
            time: Milliseconds = param("Time.", default=Milliseconds.Short)

    with pytest.raises(DeclarationError, match="Milliseconds: its values are 700, 1300, and not 0, 1, 2"):
        parameters(Sparse)


@pytest.mark.parametrize("activation", Activation)
def test_an_activation_has_a_trigger_and_a_name_over_opc_ua(activation):
    texts = of_channel(parameters(FastFrequencyReserve)["activation"])["EnumStrings"].value.Value
    assert texts[activation].Text == activation.name
    assert len(texts) == len(TRIGGER_HZ) == 3
