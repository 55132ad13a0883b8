"""Real processes rewrite whole blocks as fast as they can while others copy them: no copy may mix two publications.

Every block is filled with one number, so a torn copy shows at once. The same is done with the barrier of weakly ordered
machines in place, which must at least do no harm here.
"""

from __future__ import annotations

import multiprocessing
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from image_site import ImageSite

from server.core.layout import DEVICE, ChannelUse, ObjectSpec, build_layout
from server.core.natures import Battery
from server.runtime import banks, fence, freezer, ring, texts
from server.runtime.freezer import Freezer
from server.runtime.memory import SharedImage

HAMMER_S = 1.0
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


@pytest.fixture(params=[platform.machine(), "aarch64"])
def barrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (banks, freezer, ring, texts):
        monkeypatch.setattr(module, "fence", fence.barrier_for(request.param))


def wide_site() -> ImageSite:
    """Two owners of 4,000 slots each."""
    cells = (ChannelUse(Battery.CellVoltages, length=4000),)
    layout = build_layout(ObjectSpec(f"b{i}", DEVICE, f"driver{i}", (Battery,), cells) for i in range(2))
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
    end = time.monotonic() + HAMMER_S
    with process(rewrite, site, "driver0"), process(rewrite, site, "driver1"):
        cycle = 0
        while time.monotonic() < end:
            cycle += 1
            image = freezer_.freeze(cycle, time.monotonic_ns(), 0)
            for owner in site.layout.owners[2:]:
                part = image.records[owner.first : owner.first + owner.count]
                assert np.ptp(part["arrival"]) == 0
                if part["arrival"][0]:
                    assert (part["value"] == part["arrival"]).all()
                seen.add(int(part["arrival"][0]))
    assert len(seen) > 100
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
    end = time.monotonic() + HAMMER_S
    with process(freeze_forever, site):
        while time.monotonic() < end:
            image = frames.latest()
            if image is None:
                continue
            value = image.value[owner.first : owner.first + owner.count]
            assert (value == image.cycle).all()
            assert image.frozen_at == image.time == image.cycle <= frames.cycle()
            seen.add(image.cycle)
    assert len(seen) > 100
    site.image.close()


def speak_forever(site: ImageSite) -> None:
    block = site.attach("meters").block()
    slot = site.slot("meter0/Message")
    number = 0
    while True:
        number += 1
        block.set_text(slot, chr(ord("a") + number % 26) * (number % 1000))


@pytest.mark.usefixtures("barrier")
def test_a_text_is_never_half_old_and_half_new(shared: ImageSite) -> None:
    reader, channel = shared.attach("opcua"), shared.layout.by_node["meter0/Message"]
    seen = set()
    end = time.monotonic() + HAMMER_S
    with process(speak_forever, shared):
        while time.monotonic() < end:
            text = reader.text(channel)
            assert len(set(text)) <= 1
            seen.add(text)
    assert len(seen) > 100


def count_forever(site: ImageSite) -> None:
    journal = site.attach("control").journal
    number = 0
    while True:
        number += journal.put(str(number).encode() * (1 + number % 50))


@pytest.mark.usefixtures("barrier")
def test_a_ring_delivers_every_record_in_order(shared: ImageSite) -> None:
    number = 0
    end = time.monotonic() + HAMMER_S
    with process(count_forever, shared):
        while time.monotonic() < end:
            for record in shared.image.journal.take():
                assert record == str(number).encode() * (1 + number % 50)
                number += 1
    assert number > 1000
