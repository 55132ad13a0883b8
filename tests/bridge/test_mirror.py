"""The mirror: what the site measures, as good on the host as the site says it is, and no better than its silence allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from image_site import SITE, Speaking

from server.bridge.mirror import Mirror
from server.client import Table
from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout
from server.core.natures import DigitalIo, ManagedEss
from server.core.site import cycle_object, site_object
from server.core.status import (
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_LAST_USABLE_VALUE,
    UNCERTAIN_SUB_NORMAL,
)
from server.runtime.memory import SharedImage

S = 1_000_000_000
POWER, CAPACITY, LIMIT, WORDS, INPUTS = (
    f"ess0/{name}" for name in ("ActivePower", "Capacity", "AllowedDischargePower", "Message", "Input")
)


class Rig:
    """A host's block for a storage, and what its site says."""

    def __init__(self, image: SharedImage) -> None:
        self.layout = image.layout
        self.block = SharedImage.attach(self.layout, image.handles("bridge"), "bridge").block()
        self.mirror = Mirror(self.layout, self.block)

    def hear(self, told: dict[str, Any], **status: int) -> Rig:
        """A publication: the pulse, and what changed. status: by the last part of a node, Good otherwise."""
        count = len(told) + 1
        nodes = [*told, self.mirror.nodes[-1]]
        table = Table(
            np.array([self.mirror.nodes.index(node) for node in nodes]),
            np.array([value if isinstance(value, float) else np.nan for value in (*told.values(), 1.0)]),
            np.array([status.get(node.partition("/")[2], GOOD) for node in nodes], np.uint32),
            np.ones(count, np.int64),
            {row: value for row, value in enumerate(told.values()) if isinstance(value, str)},
            {row: np.array(value) for row, value in enumerate(told.values()) if isinstance(value, list)},
        )
        self.mirror.take(table)
        return self

    def hear_all(self) -> Rig:
        return self.hear({POWER: 100.0, CAPACITY: 10_000.0, LIMIT: 5_000.0, WORDS: "hello", INPUTS: [3.1, 3.2]})

    def silent(self, seconds: float) -> Rig:
        self.mirror.age(time.monotonic_ns() + int(seconds * S))
        return self

    def status(self, node: str, element: int = 0) -> int:
        return int(self.block.records["status"][self.layout.by_node[node].slot - self.block.owner.first + element])

    @property
    def statuses(self) -> set[int]:
        return {self.status(node) for node in (POWER, CAPACITY, LIMIT, WORDS, INPUTS)}


@pytest.fixture
def rig() -> Iterator[Rig]:
    uses = (
        *(ChannelUse(s) for s in (ManagedEss.ActivePower, ManagedEss.Capacity, ManagedEss.AllowedDischargePower)),
        ChannelUse(Speaking.Message),
        ChannelUse(DigitalIo.Input, length=2),
        ChannelUse(ManagedEss.SetActivePower),
    )
    ess = ObjectSpec("ess0", DEVICE, "bridge", (ManagedEss, Speaking, DigitalIo), uses)
    image = SharedImage.create(build_layout([site_object(SITE), cycle_object(), ess]))
    try:
        yield Rig(image)
    finally:
        image.close()


def test_before_the_site_says_anything_nothing_is_known(rig: Rig) -> None:
    assert rig.silent(5).statuses == {BAD_WAITING_FOR_INITIAL_DATA}


@pytest.mark.parametrize(("silence_s", "aged"), [(0.5, GOOD), (1.5, UNCERTAIN_LAST_USABLE_VALUE), (4.0, BAD_NO_COMMUNICATION)])
def test_after_a_silence_what_did_not_change_is_as_good_as_it_was(rig: Rig, silence_s: float, aged: int) -> None:
    assert rig.hear_all().silent(silence_s).statuses == {aged}
    assert rig.hear({POWER: 101.0}).statuses == {GOOD}


def test_what_is_shown_is_the_worse_of_what_the_site_told_and_of_its_silence(rig: Rig) -> None:
    rig.hear_all().hear(
        {POWER: np.nan, LIMIT: 5_000.0}, ActivePower=BAD_DEVICE_FAILURE, AllowedDischargePower=UNCERTAIN_SUB_NORMAL
    )

    def shown() -> list[int]:
        return [rig.status(node) for node in (POWER, LIMIT, CAPACITY)]

    told = [BAD_DEVICE_FAILURE, UNCERTAIN_SUB_NORMAL, GOOD]
    assert shown() == told
    rig.silent(1.5)
    assert shown() == [*told[:2], UNCERTAIN_LAST_USABLE_VALUE]
    rig.silent(4)
    assert shown() == [told[0], BAD_NO_COMMUNICATION, BAD_NO_COMMUNICATION]
    rig.hear({})
    assert shown() == told


def test_a_new_connection_vouches_for_what_it_has_told_itself(rig: Rig) -> None:
    rig.hear_all().silent(4)
    rig.mirror.again()
    rig.hear({POWER: 101.0})
    assert (rig.status(POWER), rig.status(CAPACITY)) == (GOOD, BAD_NO_COMMUNICATION)
    assert rig.hear_all().statuses == {GOOD}


def test_a_text_and_an_array_are_as_bad_as_the_site_says(rig: Rig) -> None:
    rig.hear_all().hear({WORDS: None, INPUTS: None}, Message=BAD_DEVICE_FAILURE, Input=BAD_DEVICE_FAILURE)
    assert [rig.status(WORDS), rig.status(INPUTS), rig.status(INPUTS, 1)] == [BAD_DEVICE_FAILURE] * 3
    assert rig.hear({WORDS: "hello", INPUTS: [3.1, 3.3]}).statuses == {GOOD}
    first = rig.layout.by_node[INPUTS].slot - rig.block.owner.first
    assert rig.block.records["value"][first : first + 2].tolist() == [3.1, 3.3]
