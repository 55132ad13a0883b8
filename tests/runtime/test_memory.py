"""The shared image: who may write what, and what survives whom."""

from __future__ import annotations

import gc
import mmap
import os

import numpy as np
import pytest
from image_site import ImageSite, image_site, make_layout

from server.core.status import BAD_WAITING_FOR_INITIAL_DATA, GOOD, UNCERTAIN_LAST_USABLE_VALUE
from server.core.step import Write
from server.runtime.memory import SharedImage
from server.runtime.ring import Inbox, JournalRing
from server.runtime.texts import TEXT_BYTES_MAX, cut

OWNERS = {"owner:control", "owner:supervisor", "owner:battery", "owner:meters"}


SETPOINTS = {"setpoints:battery", "setpoints:meters"}
FREE = 1000
"""Slots from here on mean nothing in this site."""
ASKED = {"inbox.taken", "proposals.taken", "remote.taken"}


@pytest.mark.parametrize(
    ("role", "writes", "reads"),
    [
        ("battery", {"owner:battery"}, {"setpoints:battery", "clock"}),
        ("meters", {"owner:meters"}, {"setpoints:meters", "clock"}),
        ("opcua", {"inbox", "proposals", "remote"}, OWNERS | ASKED | {"frames", "clock"}),
        ("reader", set(), OWNERS | {"frames", "clock"}),
        (
            "control",
            {"owner:control", "frames", "clock", "journal", "orders.taken", "documents.taken"} | SETPOINTS | ASKED,
            (OWNERS - {"owner:control"}) | {"inbox", "proposals", "remote", "journal.taken", "orders", "documents"},
        ),
    ],
)
def test_a_role_can_write_only_what_it_owns(shared: ImageSite, role: str, writes: set[str], reads: set[str]) -> None:
    handles = shared.image.handles(role)
    segments = {name for name in handles if not name.startswith("wake:")}
    assert segments == writes | reads
    assert {name for name in segments if _maps_writable(handles[name])} == writes


def _maps_writable(descriptor: int) -> bool:
    try:
        mmap.mmap(descriptor, 4096).close()
    except PermissionError:
        return False
    return True


def test_what_is_read_only_cannot_be_written_through_its_arrays(shared: ImageSite) -> None:
    shared.attach("control").frame_writer().commit(1, 0, 0)
    image = shared.attach("reader").frames().latest()
    assert image is not None
    with pytest.raises(ValueError, match="read-only"):
        image.value[0] = 1.0


def test_nobody_can_pull_the_pages_away_from_the_others(shared: ImageSite) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(shared.image.handles("battery")["owner:battery"], 0)


def test_a_driver_is_not_given_the_memory_of_others(shared: ImageSite) -> None:
    with pytest.raises(KeyError):
        shared.attach("battery").frames()


def test_an_unknown_role_is_refused(shared: ImageSite) -> None:
    with pytest.raises(StopIteration):
        shared.image.handles("nobody")


def test_a_successor_takes_over_the_values_but_does_not_vouch_for_them(shared: ImageSite) -> None:
    first = shared.attach("battery").block()
    first.records["value"][:] = 7.0
    first.records["status"][0] = GOOD
    first.publish()
    second = shared.attach("battery").block()
    assert second.records["value"].tolist() == [7.0, 7.0]
    assert second.records["status"].tolist() == [UNCERTAIN_LAST_USABLE_VALUE, BAD_WAITING_FOR_INITIAL_DATA]


def test_before_anything_was_heard_there_is_no_value(shared: ImageSite) -> None:
    block = shared.attach("battery").block()
    assert np.isnan(block.records["value"]).all()
    assert (block.records["status"] == BAD_WAITING_FOR_INITIAL_DATA).all()


def test_set_points_have_no_lease_before_the_first(shared: ImageSite) -> None:
    assert shared.attach("battery").setpoints().read()["lease"].tolist() == [0, 0]


def test_without_memfd_an_unlinked_file_takes_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delattr(os, "memfd_create")
    layout = make_layout()
    image = SharedImage.create(layout, tmp_path)
    site = ImageSite(layout, image)
    block = site.attach("meters").block()
    block.set_text(site.slot("meter0/Message"), "from a file")
    assert site.attach("reader").text(layout.by_node["meter0/Message"]) == "from a file"
    assert not _maps_writable(image.handles("reader")["owner:meters"])
    assert list(tmp_path.iterdir()) == []
    image.close()


def test_closing_leaves_no_descriptor_and_no_mapping_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with image_site() as site:
        reader = site.attach("battery")
        reader.block()
        reader.close()
    del site, reader
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    with open("/proc/self/maps") as maps:
        assert "memfd:ems-" not in maps.read()


# texts


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("Überspannung an Phase 2", "Überspannung an Phase 2"),
        ("x" * 2000, "x" * TEXT_BYTES_MAX),
        ("x" * 999 + "ü", "x" * 999),
        ("broken \ud800 half", "broken ? half"),
    ],
)
def test_a_text_arrives_whole_or_cut_at_a_character(shared: ImageSite, text: str, stored: str) -> None:
    block, reader = shared.attach("meters").block(), shared.attach("opcua")
    block.set_text(shared.slot("meter0/Message"), "before")
    block.set_text(shared.slot("meter0/Message"), text)
    assert reader.text(shared.layout.by_node["meter0/Message"]) == stored
    assert len(cut(text)) <= TEXT_BYTES_MAX


def test_a_text_marks_its_record_good_and_counts_revisions(shared: ImageSite) -> None:
    block = shared.attach("meters").block()
    slot = shared.slot("meter0/Message")
    record = block.records[slot - block.owner.first]
    revisions = []
    for text in ("a", "a", "b", "a"):
        block.set_text(slot, text)
        revisions.append(record["value"].item())
    assert revisions == [1, 1, 2, 3]
    assert record["status"] == GOOD
    assert record["arrival"] > 0
    assert record["source"] > 0


def test_a_successor_continues_the_revisions_even_after_a_half_written_text(shared: ImageSite) -> None:
    channel = shared.layout.by_node["meter0/Message"]
    image = shared.attach("meters")
    reader = shared.attach("opcua")
    image.block().set_text(channel.slot, "whole")
    assert reader.text(channel) == "whole"
    cells = image.owner_reader(shared.layout.owner("meters")).texts
    cells._words[channel.slot][0] += 1  # killed in the middle of the next text
    assert reader.text(channel) == "whole"
    successor = shared.attach("meters").block()
    successor.set_text(channel.slot, "after")
    assert reader.text(channel) == "after"
    assert successor.records["value"][channel.slot - successor.owner.first] == 2


def test_only_a_text_channel_takes_a_text(shared: ImageSite) -> None:
    with pytest.raises(KeyError):
        shared.attach("meters").block().set_text(shared.slot("meter0/Voltage"), "230 V")


# rings


def test_client_writes_arrive_in_order_and_once(shared: ImageSite) -> None:
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    assert opcua.put(3, -5.5, 1)
    assert opcua.put(4, float("inf"), 2)
    assert control.take() == [Write(3, -5.5, 1), Write(4, float("inf"), 2)]
    assert control.take() == []


def taken(control: Inbox) -> list[Write]:
    """What the next cycles take, until nothing waits."""
    return [write for cycle in iter(control.take, []) for write in cycle]


def test_a_full_inbox_says_no_and_takes_again_after_the_next_cycle(shared: ImageSite) -> None:
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    accepted = [opcua.put(FREE + i, float(i), 0) for i in range(Inbox.CAPACITY + 1)]
    assert accepted == [True] * Inbox.CAPACITY + [False]
    assert len(control.take()) == Inbox.PER_CYCLE
    assert opcua.put(1, 1.0, 1)
    assert taken(control)[-1] == Write(1, 1.0, 1)


@pytest.mark.parametrize(("before", "first"), [(0, 1), (Inbox.PER_CYCLE - 3, 0), (Inbox.PER_CYCLE - 6, 1)])
def test_a_cycle_takes_whole_groups_and_no_more_than_its_part(shared: ImageSite, before: int, first: int) -> None:
    """Else a flood would cost cycles, or a group be torn apart."""
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    opcua.put_all(FREE + np.arange(before), np.zeros(before), 1)
    group = {slot: float(slot) for slot in range(5)}
    for _ in range(3):
        assert opcua.put_together(group, 2)
    rest = Inbox.PER_CYCLE
    opcua.put_all(FREE + np.arange(rest), np.zeros(rest), 3)
    found = control.take()
    assert len(found) == (Inbox.PER_CYCLE if before == 0 else before + 6 * first)
    assert len([w for w in found if w.user == 2]) % 6 == 0
    assert len(found) + len(taken(control)) == before + 18 + rest


def test_a_group_larger_than_the_part_of_a_cycle_is_taken_alone(shared: ImageSite) -> None:
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    assert opcua.put_together(dict.fromkeys(range(2 * Inbox.PER_CYCLE), 1.0), 2)
    opcua.put(1, 1.0, 3)
    assert len(control.take()) == 2 * Inbox.PER_CYCLE + 1
    assert control.take() == [Write(1, 1.0, 3)]


@pytest.fixture
def stop(shared: ImageSite) -> int:
    """Slot of the emergency stop."""
    return shared.layout.by_node["site/EmergencyStopActive"].slot


def test_an_emergency_stop_does_not_wait_behind_a_flood(shared: ImageSite, stop: int) -> None:
    """REQ-SAFE-035."""
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    while opcua.put(3, 1.0, 1):
        pass
    assert opcua.put(stop, 1.0, 2)
    assert opcua.put_all(np.array([stop]), np.array([0.0]), 2) == 1
    first, second, *others = control.take()
    assert (first, second) == (Write(stop, 1.0, 2), Write(stop, 0.0, 2))
    assert others == [Write(3, 1.0, 1)] * Inbox.PER_CYCLE


def test_resets_leave_room_for_an_emergency_stop(shared: ImageSite, stop: int) -> None:
    """REQ-SAFE-035."""
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    resets = [opcua.put(stop, 0.0, 1) for _ in range(Inbox.URGENT)]
    assert resets.count(True) == Inbox.URGENT // 2
    assert all(opcua.put(stop, 1.0, 2) for _ in range(2 * Inbox.URGENT)), "one more would say nothing new"
    assert not opcua.put(stop, 0.0, 1)
    assert [w.value for w in control.take()] == [0.0] * 32 + [1.0] * 32


def test_many_writes_go_in_as_far_as_there_is_room(shared: ImageSite) -> None:
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    for first in (FREE, FREE + 3000, FREE + 6000):  # each time over another part of the ring
        slots = np.arange(first, first + 3000)
        assert opcua.put_all(slots, slots * 0.5, 9) == 3000
        assert opcua.put_all(slots, slots * 0.5, 9) == Inbox.CAPACITY - 3000
        assert opcua.put_all(slots, slots * 0.5, 9) == 0
        expected = [Write(int(slot), slot * 0.5, 9) for slot in (*slots, *slots[: Inbox.CAPACITY - 3000])]
        assert taken(control) == expected


def test_the_inbox_outlives_both_its_ends(shared: ImageSite) -> None:
    shared.attach("opcua").inbox.put(1, 1.0, 1)
    shared.attach("opcua").inbox.put(2, 2.0, 2)
    assert [w.slot for w in shared.attach("control").inbox.take()] == [1, 2]
    shared.attach("opcua").inbox.put(3, 3.0, 3)
    assert [w.slot for w in shared.attach("control").inbox.take()] == [3]


@pytest.mark.parametrize("put", [2**64 - 1, 10 * Inbox.CAPACITY, 0])
def test_an_inbox_whose_counter_is_nonsense_is_emptied_not_believed(shared: ImageSite, put: int) -> None:
    opcua, control = shared.attach("opcua").inbox, shared.attach("control").inbox
    opcua.put(1, 1.0, 1)
    control.take()
    opcua._usual.counts._put[0] = put
    assert control.take() == []


def test_journal_records_arrive_whole_around_the_end_of_the_memory(shared: ImageSite) -> None:
    control, supervisor = shared.attach("control").journal, shared.image.journal
    sent, received = [], []
    for i in range(2000):
        record = bytes([i % 251]) * (i % 1700)
        sent.append(record)
        assert control.put(record)
        received += supervisor.take() if i % 7 == 0 else []
    assert received + supervisor.take() == sent


def test_a_full_journal_says_no_and_loses_nothing_it_accepted(shared: ImageSite) -> None:
    control, supervisor = shared.attach("control").journal, shared.image.journal
    record = b"x" * (JournalRing.CAPACITY // 4)
    assert [control.put(record) for _ in range(4)] == [True, True, True, False]
    assert supervisor.take() == [record] * 3
    assert control.put(record)
