"""The freeze: staleness by the monotonic clock, changes by bits, and frames for readers."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from image_site import PERIOD_S, ImageSite, image_site

from server.core.image import SLOT
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Meter
from server.core.status import (
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    GOOD_LOCAL_OVERRIDE,
    UNCERTAIN_LAST_USABLE_VALUE,
    UNCERTAIN_SUBSTITUTE_VALUE,
)
from server.runtime.banks import Banks
from server.runtime.freezer import DEAD_NS, SILENT_NS, Freezer, age_limits, slot_periods
from server.runtime.memory import OWNER_BANKS, OwnerBlock

S = 1_000_000_000


@pytest.mark.parametrize(
    ("own", "age_periods", "seen"),
    [
        (GOOD, 0.0, GOOD),
        (GOOD, 2.9, GOOD),
        (GOOD, 3.1, UNCERTAIN_LAST_USABLE_VALUE),
        (GOOD_LOCAL_OVERRIDE, 3.1, UNCERTAIN_LAST_USABLE_VALUE),
        (GOOD, 9.9, UNCERTAIN_LAST_USABLE_VALUE),
        (GOOD, 10.1, BAD_NO_COMMUNICATION),
        (UNCERTAIN_SUBSTITUTE_VALUE, 3.1, UNCERTAIN_SUBSTITUTE_VALUE),
        (UNCERTAIN_SUBSTITUTE_VALUE, 10.1, BAD_NO_COMMUNICATION),
        (BAD_DEVICE_FAILURE, 3.1, BAD_DEVICE_FAILURE),
        (BAD_DEVICE_FAILURE, 10.1, BAD_DEVICE_FAILURE),
    ],
)
def test_a_polled_channel_ages_by_its_arrival(shared: ImageSite, own: int, age_periods: float, seen: int) -> None:
    now = time.monotonic_ns()
    block = shared.attach("meters").block()
    block.records["status"][:] = own
    block.records["arrival"][:] = now - int(age_periods * PERIOD_S * S)
    block.publish()
    image = Freezer(shared.attach("control")).freeze(1, now, 0)
    assert image.status[shared.slot("meter0/ActivePower")] == seen


@pytest.mark.parametrize(
    ("silence_ns", "seen"),
    [
        (0, GOOD),
        (SILENT_NS // 2, GOOD),
        (SILENT_NS + S // 10, UNCERTAIN_LAST_USABLE_VALUE),
        (DEAD_NS - S // 10, UNCERTAIN_LAST_USABLE_VALUE),
        (DEAD_NS + S // 10, BAD_NO_COMMUNICATION),
    ],
)
def test_a_pushed_channel_ages_only_with_its_owners_heartbeat(shared: ImageSite, silence_ns: int, seen: int) -> None:
    block = shared.attach("battery").block()
    block.records["status"][:] = GOOD
    block.records["arrival"][:] = time.monotonic_ns() - 1000 * S
    block.publish()
    image = Freezer(shared.attach("control")).freeze(1, time.monotonic_ns() + silence_ns, 0)
    assert image.status[shared.slot("ess0/ActivePower")] == seen


def test_a_heartbeat_without_news_keeps_pushed_channels_good(shared: ImageSite) -> None:
    block, freezer = shared.attach("battery").block(), Freezer(shared.attach("control"))
    block.records["status"][:] = GOOD
    block.publish()
    block._header[1] = time.monotonic_ns() - 2 * SILENT_NS
    slot = shared.slot("ess0/Soc")
    assert freezer.freeze(1, time.monotonic_ns(), 0).status[slot] == UNCERTAIN_LAST_USABLE_VALUE
    block.beat()
    assert freezer.freeze(2, time.monotonic_ns(), 0).status[slot] == GOOD


def test_an_owner_that_never_spoke_is_still_waited_for(shared: ImageSite) -> None:
    image = Freezer(shared.attach("control")).freeze(1, time.monotonic_ns() + 100 * S, 0)
    assert (image.status == BAD_WAITING_FOR_INITIAL_DATA).all()
    assert np.isnan(image.value).all()


def test_nothing_is_judged_anew_while_nothing_new_comes_and_nothing_grows_old() -> None:
    uses = tuple(ChannelUse(spec, period_s=period) for spec, period in ((Meter.ActivePower, 0.1), (Meter.Voltage, 60.0)))
    with image_site(ObjectSpec("slow0", DEVICE, "slow", (Meter,), uses)) as site:
        block, freezer, now = site.attach("slow").block(), Freezer(site.attach("control")), time.monotonic_ns()
        source = next(s for s in freezer._sources if s.first == block.owner.first)
        block.records["status"] = GOOD
        block.records["arrival"][:] = now, now - 10 * S  # the slow one came long ago
        block.publish()
        for cycle in range(1, 4):
            freezer.freeze(cycle, now + cycle, 0)
        assert not source.has_news(now + 4, 0)
        assert source.has_news(now + S // 2, 0)


def test_what_control_computes_does_not_age(shared: ImageSite) -> None:
    control = shared.attach("control")
    block, freezer = control.block(), Freezer(control)
    block.records["status"][:] = GOOD
    block.publish()
    image = freezer.freeze(1, time.monotonic_ns() + 1000 * S, 0)
    assert (image.status[: block.owner.count] == GOOD).all()


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ((1.0, GOOD), (1.0, GOOD), False),
        ((1.0, GOOD), (1.5, GOOD), True),
        ((1.0, GOOD), (1.0, UNCERTAIN_SUBSTITUTE_VALUE), True),
        ((math.nan, GOOD), (math.nan, GOOD), False),
        ((0.0, GOOD), (-0.0, GOOD), True),
        ((math.inf, GOOD), (math.inf, GOOD), False),
    ],
)
def test_changed_means_other_bits_or_another_status(
    shared: ImageSite, before: tuple[float, int], after: tuple[float, int], changed: bool
) -> None:
    block, freezer = shared.attach("battery").block(), Freezer(shared.attach("control"))
    slot = shared.slot("ess0/Soc")
    for cycle, (value, status) in ((1, before), (2, after)):
        block.records["value"][:] = value
        block.records["status"][:] = status
        block.records["arrival"][:] = cycle  # news alone is no change
        block.records["changed"][:] = 99  # the owner has no say in it
        block.publish()
        image = freezer.freeze(cycle, time.monotonic_ns(), 0)
    assert image.changed[slot] == (2 if changed else 1)


def test_changed_keeps_the_cycle_of_the_last_change(shared: ImageSite) -> None:
    block, freezer = shared.attach("battery").block(), Freezer(shared.attach("control"))
    block.records["value"][:] = 1.0
    block.publish()
    marks = [freezer.freeze(cycle, time.monotonic_ns(), 0).changed[shared.slot("ess0/Soc")] for cycle in range(1, 12)]
    assert marks == [1] * 11


def test_cycle_numbers_beyond_32_bits_wrap_in_the_changed_column(shared: ImageSite) -> None:
    block, freezer = shared.attach("battery").block(), Freezer(shared.attach("control"))
    block.records["value"][:] = 1.0
    block.publish()
    image = freezer.freeze(2**32 + 5, time.monotonic_ns(), 0)
    assert (image.cycle, image.changed[shared.slot("ess0/Soc")]) == (2**32 + 5, 5)


def test_a_torn_owner_keeps_what_the_frame_before_said(shared: ImageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    block, freezer = shared.attach("battery").block(), Freezer(shared.attach("control"))
    block.records["value"][:] = 1.0
    block.publish()
    freezer.freeze(1, time.monotonic_ns(), 0)
    source = next(s for s in freezer._sources if s.first == block.owner.first)

    class Racing:
        """A counter whose owner publishes twice during every copy."""

        def __init__(self) -> None:
            self.count = 1

        def __getitem__(self, item: int) -> int:
            self.count += 2
            return self.count

    racing = Racing()
    monkeypatch.setattr(source._banks, "counter", racing)
    monkeypatch.setattr(source, "_counter", racing)
    block.records["value"][:] = 2.0
    for _ in range(3):
        block.publish()
    image = freezer.freeze(2, time.monotonic_ns(), 0)
    assert image.value[shared.slot("ess0/Soc")] == 1.0
    assert image.changed[shared.slot("ess0/Soc")] == 1


def test_owners_that_are_worked_on_apart_come_into_one_frame(shared: ImageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.runtime.freezer.RUN_SLOTS", 1)
    blocks, freezer = [shared.attach(name).block() for name in ("meters", "battery")], Freezer(shared.attach("control"))
    slots = [shared.slot("meter0/ActivePower"), shared.slot("ess0/Soc")]
    heard = time.monotonic_ns() - int(11 * PERIOD_S * S)
    seen = []
    for cycle, (values, age_s) in enumerate([((1.0, 2.0), 0), ((1.0, 3.0), 0), ((1.0, 3.0), 11 * PERIOD_S)], 1):
        for block, value in zip(blocks, values, strict=True):
            block.records["value"][:], block.records["status"][:] = value, GOOD
            block.records["arrival"][:] = heard
            block.publish()
        image = freezer.freeze(cycle, heard + int(age_s * S), 0)
        seen.append([(image.value[s], image.status[s], image.changed[s]) for s in slots])
    assert seen == [
        [(1.0, GOOD, 1), (2.0, GOOD, 1)],
        [(1.0, GOOD, 1), (3.0, GOOD, 2)],
        [(1.0, BAD_NO_COMMUNICATION, 3), (3.0, GOOD, 2)],
    ]


def test_a_rehearsal_is_seen_by_nobody(shared: ImageSite) -> None:
    block, control = shared.attach("battery").block(), shared.attach("control")
    freezer, reader = Freezer(control), shared.attach("reader").frames()
    freezer.freeze(1, time.monotonic_ns(), 0)
    first = reader.latest()
    block.records["value"][:] = 5.0
    block.publish()
    freezer.rehearse(2, time.monotonic_ns())
    assert reader.latest() is first
    assert reader.cycle() == 1
    image = freezer.freeze(2, time.monotonic_ns(), 0)
    assert image.changed[shared.slot("ess0/Soc")] == 2


def test_a_reader_gets_the_newest_frame_once_and_nothing_before_the_first(shared: ImageSite) -> None:
    freezer, frames = Freezer(shared.attach("control")), shared.attach("reader").frames()
    assert frames.latest() is None
    assert frames.cycle() == 0
    for cycle in range(1, 20):
        freezer.freeze(cycle, cycle * 10, cycle * 100)
        image = frames.latest()
        assert image is not None
        assert (image.cycle, image.frozen_at, image.time, image.generation) == (cycle, cycle * 10, cycle * 100, 1)
        assert frames.latest() is image


def test_a_reader_that_cannot_copy_keeps_the_frame_it_has(shared: ImageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    freezer, frames = Freezer(shared.attach("control")), shared.attach("reader").frames()
    freezer.freeze(1, 10, 100)
    first = frames.latest()
    freezer.freeze(2, 20, 200)
    monkeypatch.setattr(Banks, "read", lambda banks, target: -1)
    assert frames.latest() is first


def test_the_engine_cannot_write_into_its_image(shared: ImageSite) -> None:
    image = Freezer(shared.attach("control")).freeze(1, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        image.value[0] = 1.0


def test_a_successor_continues_cycles_values_and_change_marks(shared: ImageSite) -> None:
    block, first = shared.attach("battery").block(), Freezer(shared.attach("control"))
    block.records["value"][:] = 3.0
    block.publish()
    first.freeze(7, time.monotonic_ns(), 0)
    second = Freezer(shared.attach("control"))
    assert second.cycle == 7
    image = second.freeze(8, time.monotonic_ns(), 0)
    assert image.value[shared.slot("ess0/Soc")] == 3.0
    assert image.changed[shared.slot("ess0/Soc")] == 7


@pytest.mark.parametrize("seed", range(10))
def test_frames_say_what_owners_said_last_however_they_come_by_it(shared: ImageSite, seed: int) -> None:
    dice = np.random.default_rng(seed)
    freezer, now = Freezer(shared.attach("control")), 10**12
    blocks = [shared.attach(name).block() for name in ("meters", "battery")]
    limits = age_limits(slot_periods(shared.layout), 3), age_limits(slot_periods(shared.layout), 10)
    before: dict[int, tuple[tuple[float, int], int]] = {}
    for block in blocks:
        block.records["value"][:] = 0.0
        block.publish()
    for cycle in range(1, 120):
        now += int(dice.choice([0.05, 0.05, 0.05, 0.4, 2.0]) * S)
        for block in blocks:
            _live(block, now, dice)
        for _ in range(int(dice.integers(3))):
            freezer.rehearse(cycle, now - 1)
            if dice.random() < 0.3:
                _live(blocks[0], now, dice)
        image = freezer.freeze(cycle, now, 0)
        for block in blocks:
            for i, record in enumerate(_published(block)):
                slot, age, silence = block.owner.first + i, now - record["arrival"], now - block._header[1]
                status = int(record["status"])
                if age > limits[0][slot] or silence > SILENT_NS:
                    status = max(status, UNCERTAIN_LAST_USABLE_VALUE)
                if age > limits[1][slot] or silence > DEAD_NS:
                    status = max(status, BAD_NO_COMMUNICATION)
                said = float(record["value"]), status
                changed = before[slot][1] if slot in before and before[slot][0] == said else cycle
                assert (image.value[slot], image.status[slot], image.changed[slot]) == (*said, changed), (cycle, slot)
                before[slot] = said, changed


def _live(block: OwnerBlock, now: int, dice: np.random.Generator) -> None:
    """Now and then something new of some channels, a sign of life, or silence."""
    deed = dice.random()
    if deed < 0.3:
        some = dice.random(block.owner.count) < 0.5
        block.records["value"][some] = dice.integers(3)
        block.records["status"][some] = dice.choice([GOOD, UNCERTAIN_LAST_USABLE_VALUE, BAD_NO_COMMUNICATION])
        block.records["arrival"][some] = now
        block.publish()
    block._header[1] = now if deed < 0.8 else min(block._header[1], now)


def _published(block: OwnerBlock) -> np.ndarray:
    """What the block published last."""
    banks = block._banks
    return np.frombuffer(banks.views[banks.published % OWNER_BANKS], SLOT)
