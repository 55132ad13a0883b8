"""The receiver: what arrives is leased by this host's clock, an emergency stop waits for nobody, nonsense changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from image_site import SITE, ImageSite, image_site

from server.bridge.protocol import SETPOINT_ROW, VALUE_ROW, decided, pack
from server.core.image import Image, blank_records
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import DigitalIo
from server.core.site import SiteSettings, StopInput
from server.core.status import BAD_NO_COMMUNICATION, GOOD
from server.core.step import Now, Write
from server.runtime.receiver import LeasedOutputs, Receiver

S = 1_000_000_000


class Rig:
    """A receiver, control's block, and the battery driver's view."""

    def __init__(self, site: ImageSite, settings: SiteSettings = SITE) -> None:
        control = site.attach("control")
        self.site, self.block = site, control.block()
        self.records, self.events, self.texts = self.block.records, [], {}
        self.set_text = self.texts.__setitem__
        self.receiver = Receiver(site.layout, settings)
        self.outputs = LeasedOutputs(control, self.receiver.until)
        self.outputs.forget(self.records)
        self.setpoints = site.attach("battery").setpoints()
        self.numbers = {c.node: i for i, (c, _) in enumerate(decided(site.layout))}

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        self.events.append(text)

    def hear(self, arrived_s: float, setpoints: Any = (), values: Any = (), texts: Any = ()) -> Rig:
        rows = np.array([(self.numbers[n], ms, v) for n, ms, v in setpoints], SETPOINT_ROW)
        told = np.array([(self.numbers[n], status, v) for n, status, v in values], VALUE_ROW)
        record = pack(int(arrived_s * S), rows.tobytes(), told.tobytes(), [(self.numbers[n], t) for n, t in texts])
        self.receiver.hear(record, self)
        return self

    def step(self, at_s: float, *writes: tuple[str, float], closed: float = 1.0) -> Rig:
        """closed: the contact at the digital input, where the site has one."""
        records = blank_records(self.site.layout.slots)
        if contact := self.site.layout.by_node.get("io0/Input"):
            records["value"][contact.slot], records["status"][contact.slot] = closed, GOOD
        image = Image(records, cycle=1, frozen_at=int(at_s * S))
        asked = [Write(self.site.slot(node), value, 7) for node, value in writes]
        self.receiver.step(image, Now(1, int(at_s * S), 0, 0.02), asked, self)
        self.outputs.write(self.records, 1, int(at_s * S))
        return self

    def shown(self, node: str) -> tuple[float, int]:
        record = self.records[self.site.slot(node) - self.block.owner.first]
        return float(record["value"]), int(record["status"])

    @property
    def setpoint(self) -> tuple[float, float]:
        """Value and lease [s] of SetActivePower, as the driver has them."""
        value, lease = self.setpoints.read()[["value", "lease"]][0].item()
        return value, lease / S


@pytest.fixture
def rig() -> Iterator[Rig]:
    with image_site() as site:
        yield Rig(site)


def test_a_set_point_is_leased_from_its_arrival_for_as_long_as_it_says(rig: Rig) -> None:
    rig.hear(10.0, [("ess0/SetActivePower", 2500, 700.0)]).step(10.01)
    assert rig.setpoint == (700.0, 12.5)
    assert rig.shown("ess0/SetActivePower") == (700.0, GOOD)


def test_what_is_not_renewed_runs_out_and_is_shown_as_that(rig: Rig) -> None:
    rig.hear(10.0, [("ess0/SetActivePower", 1000, 700.0)]).step(10.01).step(10.9)
    assert rig.setpoint == (700.0, 11.0)
    rig.step(11.1)
    assert rig.setpoint == (700.0, 11.0)
    assert rig.shown("ess0/SetActivePower")[1] >= 0x80000000


def test_a_lease_of_nothing_ends_the_one_before(rig: Rig) -> None:
    rig.hear(10.0, [("ess0/SetActivePower", 3000, 700.0)]).step(10.01)
    rig.hear(10.5, [("ess0/SetActivePower", 0, 0.0)]).step(10.51)
    assert rig.setpoint[1] <= 10.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_set_point_that_is_no_number_is_not_taken(rig: Rig, value: float) -> None:
    rig.hear(10.0, [("ess0/SetActivePower", 3000, 700.0)]).hear(10.1, [("ess0/SetActivePower", 3000, value)]).step(10.2)
    assert rig.setpoint == (700.0, 13.0)


def test_results_are_shown_while_they_arrive_and_bad_when_nothing_does(rig: Rig) -> None:
    rig.hear(10.0, values=[("site/GridPower", GOOD, 42.0)], texts=[("site/Explanation", "all is well")]).step(10.1)
    assert rig.shown("site/GridPower") == (42.0, GOOD)
    assert rig.texts[rig.site.slot("site/Explanation")] == "all is well"
    rig.step(11.5)
    assert rig.shown("site/GridPower") == (42.0, BAD_NO_COMMUNICATION)
    assert "silent" in rig.texts[rig.site.slot("site/Explanation")]
    rig.hear(12.0, values=[("site/GridPower", GOOD, 43.0)]).step(12.1)
    assert rig.shown("site/GridPower") == (43.0, GOOD)
    assert [t.rpartition(" is ")[2] for t in rig.events] == ["heard", "silent; devices go to their fail-safe", "heard"]


def test_an_emergency_stop_holds_safe_values_whatever_arrives_until_it_is_reset_here(rig: Rig) -> None:
    rig.hear(10.0, [("ess0/SetActivePower", 3000, 700.0)]).step(10.1)
    rig.step(10.2, ("site/EmergencyStopActive", 1.0))
    assert rig.setpoint == (0.0, 13.2)
    rig.hear(10.3, [("ess0/SetActivePower", 3000, 700.0)], [("site/EmergencyStopActive", GOOD, 0.0)]).step(10.4)
    assert rig.setpoint == (0.0, 13.4)
    assert rig.shown("site/EmergencyStopActive") == (1.0, GOOD)
    rig.step(10.5, ("site/EmergencyStopActive", 0.0)).hear(10.6, [("ess0/SetActivePower", 3000, 700.0)]).step(10.7)
    assert rig.setpoint == (700.0, 13.6)


def test_an_emergency_stop_outlives_the_receiver(rig: Rig) -> None:
    rig.step(10.0, ("site/EmergencyStopActive", 1.0))
    successor = Receiver(rig.site.layout, SITE)
    successor.restore(rig.receiver.state())
    assert successor.stopped


def test_no_other_row_lifts_an_emergency_stop_or_stops_the_receiver(rig: Rig) -> None:
    rig.step(10.2, ("site/EmergencyStopActive", 1.0))
    rig.hear(10.3, values=[("ess0/SetActivePower", GOOD, 9e9)], texts=[("site/GridPower", "x"), ("site/Explanation", "well")])
    rig.outputs.write(rig.records, 1, int(10.3 * S))
    assert rig.setpoint == (0.0, 13.3)
    assert rig.texts == {rig.site.slot("site/Explanation"): "well"}


def test_a_digital_input_stops_at_the_site_and_is_not_reset_while_it_is_pressed() -> None:
    """REQ-SAFE-033"""
    stop = StopInput("io0/Input[0]")
    with image_site(ObjectSpec("io0", DEVICE, "io", (DigitalIo,), (ChannelUse(DigitalIo.Input, 1, 0.05),))) as site:
        rig = Rig(site, replace(SITE, emergency_stops=(stop,)))
        rig.hear(10.0, [("ess0/SetActivePower", 3000, 700.0)]).step(10.1)
        assert rig.setpoint == (700.0, 13.0)
        assert rig.step(10.2, closed=0.0).setpoint == (0.0, 13.2)
        assert rig.step(10.3, ("site/EmergencyStopActive", 0.0), closed=0.0).setpoint == (0.0, 13.3)
        assert rig.step(10.4).setpoint == (0.0, 13.4)
        rig.step(10.5, ("site/EmergencyStopActive", 0.0)).hear(10.6, [("ess0/SetActivePower", 3000, 700.0)]).step(10.7)
        assert rig.setpoint == (700.0, 13.6)


def test_rows_with_numbers_that_there_are_not_are_left_out(rig: Rig) -> None:
    rows = np.array([(999_999, 3000, 5.0)], SETPOINT_ROW)
    values = np.array([(999_999, 0, 5.0)], VALUE_ROW)
    before = rig.records.copy()
    rig.receiver.hear(pack(10 * S, rows.tobytes(), values.tobytes(), [(999_999, "x")]), rig)
    assert (rig.records["value"] == before["value"]).all() or np.isnan(before["value"]).any()
    assert rig.texts == {}
