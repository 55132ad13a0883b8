"""Real processes rewrite whole blocks as fast as they can while others copy them: no copy may mix two publications.

Every block is filled with one number, so a torn copy shows at once. The same is done with the barrier of weakly ordered
machines in place, which must at least do no harm here.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from image_site import ImageSite

from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout
from server.core.natures import Battery
from server.runtime import banks, fence, freezer, ring, texts
from server.runtime.banks import Banks
from server.runtime.freezer import Freezer
from server.runtime.memory import FRAMES, OWNER_BANKS, SharedImage
from server.runtime.segment import LINE, Segment, open_pair

HAMMER_S = 1.0
ENOUGH = 100
"""Different publications that must have been seen; on a busy machine that takes longer."""
PATIENCE_S = 60.0
fork = multiprocessing.get_context("fork")


@contextmanager
def process(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    child = fork.Process(target=target, args=arguments, daemon=True)
    child.start()
    try:
        yield
    finally:
        child.kill()
        child.join()


def hammering(seen: set[object]) -> Iterator[None]:
    """Go on for HAMMER_S and until enough was seen."""
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < HAMMER_S or len(seen) < ENOUGH:
        assert elapsed < PATIENCE_S, f"only {len(seen)} publications were seen"
        yield


@pytest.fixture(params=[platform.machine(), "aarch64"])
def barrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (banks, freezer, ring, texts):
        monkeypatch.setattr(module, "fence", fence.barrier_for(request.param))


SIZE = 100_000


def publish_forever(descriptor: int, count: int) -> None:
    shared = Banks(Segment(descriptor, writable=True), count, SIZE)
    sources = [memoryview(bytes([i]) * SIZE) for i in range(251)]
    chance = random.Random(1)
    while True:
        for _ in range(chance.randrange(2 * count)):
            shared.publish(sources[shared.published % 251])
        time.sleep(0.0003)


@pytest.mark.usefixtures("barrier")
@pytest.mark.parametrize("count", [OWNER_BANKS, FRAMES])
def test_a_slow_copy_is_whole_although_its_writer_overtakes_it(count: int) -> None:
    writable, readable = open_pair("hammer", LINE + Banks.room(count, SIZE))
    shared = Banks(Segment(readable, writable=False), count, SIZE)
    target = np.zeros(2 * SIZE, np.uint8)[::2]  # strided, which takes a hundred times as long
    seen: set[object] = set()
    overtaken = 0
    with process(publish_forever, writable, count):
        for _ in hammering(seen):
            before = shared.published
            number = shared.read(target.data)
            overtaken += shared.published - before > count - 2
            if number > 0:
                assert (target == (number - 1) % 251).all()
                seen.add(number)
    assert overtaken
    os.close(writable)
    os.close(readable)


def wide_site() -> ImageSite:
    """Eight owners of 1,000 slots each, so that copying all of them takes longer than writing one."""
    cells = (ChannelUse(Battery.CellVoltages, length=1000),)
    layout = build_layout(ObjectSpec(f"b{i}", DEVICE, f"driver{i}", (Battery,), cells) for i in range(8))
    return ImageSite(layout, SharedImage.create(layout))


def rewrite(site: ImageSite, owner: str) -> None:
    block = site.attach(owner).block()
    number = 0
    while True:
        number += 1
        block.records["value"] = number
        block.records["arrival"] = number
        block.publish()


@pytest.mark.usefixtures("barrier")
def test_a_frame_never_mixes_two_publications_of_an_owner() -> None:
    site = wide_site()
    freezer_, seen = Freezer(site.attach("control")), set()
    with process(rewrite, site, "driver0"), process(rewrite, site, "driver7"):
        for cycle, _ in enumerate(hammering(seen), 1):
            image = freezer_.freeze(cycle, time.monotonic_ns(), 0)
            for owner in site.layout.owners[2:]:
                part = image.records[owner.first : owner.first + owner.count]
                assert np.ptp(part["arrival"]) == 0
                if part["arrival"][0]:
                    assert (part["value"] == part["arrival"]).all()
                seen.add(int(part["arrival"][0]))
    site.image.close()


def freeze_forever(site: ImageSite) -> None:
    block, freezer_ = site.attach("driver0").block(), Freezer(site.attach("control"))
    cycle = 0
    while True:
        cycle += 1
        block.records["value"] = cycle
        block.publish()
        freezer_.freeze(cycle, cycle, cycle)


@pytest.mark.usefixtures("barrier")
def test_a_reader_never_sees_half_a_frame() -> None:
    site = wide_site()
    owner = site.layout.owner("driver0")
    frames, seen = site.attach("reader").frames(), set()
    with process(freeze_forever, site):
        for _ in hammering(seen):
            image = frames.latest()
            if image is None:
                continue
            value = image.value[owner.first : owner.first + owner.count]
            assert (value == image.cycle).all()
            assert image.frozen_at == image.time == image.cycle
            seen.add(image.cycle)
    site.image.close()


def spoken(number: int) -> str:
    """A text whose beginning says the rest: short and long ones take turns."""
    return f"{number:08d}" + "xy"[number % 2] * (10 + 900 * (number % 2))


def speak_forever(site: ImageSite) -> None:
    block = site.attach("meters").block()
    slot = site.slot("meter0/Message")
    number = 0
    while True:
        number += 1
        block.set_text(slot, spoken(number))


@pytest.mark.usefixtures("barrier")
def test_a_text_is_never_half_old_and_half_new(shared: ImageSite) -> None:
    reader, channel = shared.attach("opcua"), shared.layout.by_node["meter0/Message"]
    seen = set()
    with process(speak_forever, shared):
        for _ in hammering(seen):
            text = reader.text(channel)
            assert not text or text == spoken(int(text[:8]))
            seen.add(text)


def count_forever(site: ImageSite) -> None:
    journal = site.attach("control").journal
    number = 0
    while True:
        number += journal.put(str(number).encode() * (1 + number % 50))


@pytest.mark.usefixtures("barrier")
def test_a_ring_delivers_every_record_in_order(shared: ImageSite) -> None:
    seen: set[object] = set()
    with process(count_forever, shared):
        for _ in hammering(seen):
            for record in shared.image.journal.take():
                number = len(seen)
                assert record == str(number).encode() * (1 + number % 50)
                seen.add(number)
