"""Monitored items as columns: what is reported, against tables and against a model of one item at a time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from hypothesis import given, settings
from hypothesis import strategies as st

from server.client import Table
from server.client.decode import publish_response
from server.core.channel import DataType
from server.core.image import Image, blank_records
from server.core.layout import Channel
from server.core.natures import Meter
from server.opcua import publish
from server.opcua.items import (
    DISABLED,
    ON_STATUS,
    ON_TIMESTAMP,
    ON_VALUE,
    OVERFLOW,
    REPORTING,
    SAMPLING,
    Key,
    Row,
)
from server.opcua.publication import Subscription, Terms
from server.opcua.slow_items import SlowItem, SlowLane

CYCLE = 50_000_000
BOTH = ua.TimestampsToReturn.Both
NAN = float("nan")
GOOD, UNCERTAIN, BAD = 0, 0x40900000, 0x80310000


class Nobody:
    user = None


class Bench:
    """A subscription over an image of `slots` doubles that the test freezes by hand."""

    def __init__(self, slots: int = 4, terms: Terms | None = None) -> None:
        self.records = blank_records(slots)
        self.records["value"], self.records["status"] = 0.0, GOOD
        self.cycle = 0
        terms = terms or Terms(CYCLE, 10, 100, 10_000, 0)
        self.subscription = Subscription(1, Nobody(), terms, True)  # type: ignore[arg-type]
        self.subscription.agree(terms, 0, CYCLE)
        self.items = self.subscription.items

    def watch(self, slot: int, **options: Any) -> int:
        data_type = options.pop("data_type", DataType.DOUBLE)
        interval = options.pop("interval", 1) * CYCLE
        limit = options.pop("limit", 1)
        key = Key(interval, data_type, options.pop("timestamps", BOTH), 1 << (limit - 1).bit_length())
        defaults: dict[str, Any] = {"mode": REPORTING, "trigger": ON_VALUE, "keep_old": False, "deadband": NAN}
        number = self.subscription.next_item()
        row = Row(id=number, handle=slot, slot=slot, limit=limit, **defaults | options)
        assert self.items.group(key) is not None
        self.items.add(key, [row])
        return number

    def freeze(self, **values: Any) -> None:
        """One cycle: `v0=1.5` sets slot 0, `s0=...` its status, `t0=...` its source time. Then the subscription steps."""
        self.cycle += 1
        for name, value in values.items():
            slot, column = int(name[1:]), {"v": "value", "s": "status", "t": "source"}[name[0]]
            if (
                column != "source"
                and self.records[column][slot].tobytes() != np.asarray(value, self.records[column].dtype).tobytes()
            ):
                self.records["changed"][slot] = self.cycle
            self.records[column][slot] = value
        image = Image(self.records.copy(), cycle=self.cycle, frozen_at=self.cycle * CYCLE, time=self.cycle * 1000)
        self.subscription.step(image, self.cycle * CYCLE, no_slow_lane)

    def message(self, size_max: int = 1 << 20) -> Table | None:
        """The message that is due, None for a keep-alive or when none is due."""
        if not self.subscription.due:
            return None
        body = self.subscription.message(0, size_max, 1 << 20).body
        return publish_response(publish.publish_response(1, 0, 1, tuple(self.subscription.store), False, body, ())).table

    def values(self, **values: Any) -> list[float]:
        """Freeze, then the values reported."""
        self.freeze(**values)
        table = self.message()
        return [] if table is None else table.value.tolist()


def no_slow_lane(*_: Any) -> Any:
    raise AssertionError("nothing is in the slow lane")


def test_the_first_value_is_always_reported():
    bench = Bench()
    bench.watch(0, interval=1000)
    assert bench.values() == [0.0]
    assert bench.values() == []


def test_different_bits_are_a_change_and_an_unchanged_nan_is_none():
    bench = Bench()
    bench.watch(0)
    bench.values()
    assert np.isnan(bench.values(v0=NAN)[0])
    assert bench.values() == []
    assert bench.values(v0=2.0) == [2.0]
    assert bench.values(v0=2.0) == []


def test_a_new_status_is_a_change():
    bench = Bench()
    bench.watch(0)
    bench.values()
    bench.freeze(s0=UNCERTAIN)
    assert bench.message().status.tolist() == [UNCERTAIN]


def test_a_bad_value_is_sent_without_value_and_in_the_same_message_as_good_ones():
    bench = Bench()
    for slot in range(3):
        bench.watch(slot)
    bench.values()
    bench.freeze(v0=1.0, s1=BAD, v2=3.0)
    table = bench.message()
    by_node = {int(i): (v, s) for i, v, s in zip(table.index, table.value, table.status, strict=True)}
    assert by_node[0] == (1.0, GOOD)
    assert by_node[2] == (3.0, GOOD)
    assert np.isnan(by_node[1][0])
    assert by_node[1][1] == BAD


def test_a_deadband_compares_with_the_value_reported_last():
    bench = Bench()
    bench.watch(0, deadband=1.0)
    ramp = [v for i in range(101) for v in bench.values(v0=0.5 * i)]
    assert ramp == [1.5 * i for i in range(34)]


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"v0": 0.9}, False),
        ({"v0": 1.0}, False),
        ({"v0": 1.1}, True),
        ({"v0": 0.1, "s0": UNCERTAIN}, True),
        ({"v0": NAN}, True),
        ({"v0": float("inf")}, True),
    ],
)
def test_a_deadband_holds_back_only_small_finite_changes_of_the_same_status(change, reported):
    bench = Bench()
    bench.watch(0, deadband=1.0)
    bench.values()
    assert bool(bench.values(**change)) == reported


def test_sampling_intervals_are_true_multiples_of_the_cycle():
    bench = Bench()
    bench.watch(0, interval=1)
    bench.watch(1, interval=3)
    bench.values()
    seen: dict[int, int] = {0: 0, 1: 0}
    for i in range(1, 31):
        bench.freeze(v0=i, v1=i)
        for index in bench.message().index.tolist():
            seen[index] += 1
    assert seen == {0: 30, 1: 10}


def test_a_value_that_came_back_between_two_samples_is_no_change():
    bench = Bench()
    bench.watch(0, interval=4)
    bench.values()
    seen = [v for value in (5.0, 5.0, 0.0, 5.0) * 3 for v in bench.values(v0=value)]
    assert seen == []


@pytest.mark.parametrize(
    ("limit", "keep_old", "values", "flagged"),
    [
        (1, False, [5.0], []),
        (1, True, [5.0], []),
        (3, False, [3.0, 4.0, 5.0], [0]),
        (3, True, [1.0, 2.0, 5.0], [2]),
        (4, False, [2.0, 3.0, 4.0, 5.0], [0]),
        (8, False, [1.0, 2.0, 3.0, 4.0, 5.0], []),
    ],
)
def test_a_full_queue_loses_from_the_right_end_and_says_so(limit, keep_old, values, flagged):
    bench = Bench(terms=Terms(5 * CYCLE, 10, 100, 10_000, 0))
    bench.watch(0, limit=limit, keep_old=keep_old)
    for i in range(1, 6):
        bench.freeze(v0=i)
    table = bench.message()
    assert table.value.tolist() == values
    assert np.flatnonzero(table.status & OVERFLOW).tolist() == flagged


def test_sampling_mode_queues_without_reporting():
    bench = Bench()
    item = bench.watch(0, mode=SAMPLING, limit=4)
    for i in range(3):
        assert bench.values(v0=i) == []
    bench.items.set_mode([item], REPORTING)
    assert bench.values() == [0.0, 1.0, 2.0]


def test_a_disabled_item_forgets_its_queue_and_reports_again_when_enabled():
    bench = Bench()
    item = bench.watch(0, mode=SAMPLING, limit=4)
    bench.freeze(v0=1.0)
    bench.items.set_mode([item], DISABLED)
    bench.freeze(v0=2.0)
    bench.items.set_mode([item], REPORTING)
    assert bench.values() == [2.0]


def test_triggers():
    bench = Bench()
    bench.watch(0, trigger=ON_STATUS)
    bench.watch(1, trigger=ON_TIMESTAMP)
    bench.watch(2)
    bench.values()
    bench.freeze(v0=1.0, t1=7, t2=7)
    assert bench.message().index.tolist() == [1]
    bench.freeze(s0=UNCERTAIN)
    assert bench.message().index.tolist() == [0]


def test_what_a_triggering_item_reports_releases_the_linked_ones_once():
    bench = Bench()
    trigger = bench.watch(0)
    linked = bench.watch(1, mode=SAMPLING, limit=4)
    bench.items.links[trigger] = {linked}
    bench.values()
    bench.message()
    bench.values(v1=1.0)
    assert bench.values(v1=2.0) == []
    bench.freeze(v0=9.0)
    assert sorted(bench.message().value.tolist()) == [1.0, 2.0, 9.0]
    assert bench.values(v1=3.0) == []


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        (DataType.DOUBLE, 1.5, 1.5),
        (DataType.INT32, -7.0, -7.0),
        (DataType.INT64, 2.0**40, 2.0**40),
        (DataType.BOOLEAN, 1.0, 1.0),
        (DataType.DATETIME, 1.3e17, 1.3e17),
    ],
)
@pytest.mark.parametrize("timestamps", list(ua.TimestampsToReturn)[:4])
def test_every_wire_type_with_every_choice_of_timestamps(data_type, value, expected, timestamps):
    bench = Bench(16)
    for slot in range(16):
        bench.watch(slot, data_type=data_type, timestamps=timestamps)
    bench.freeze(**{f"v{slot}": value for slot in range(16)}, t3=99)
    table = bench.message()
    assert table.value.tolist() == [expected] * 16
    assert table.index.tolist() == list(range(16))
    has_source = timestamps in (ua.TimestampsToReturn.Source, BOTH)
    assert table.source[3] == (99 if has_source else 0)


def test_an_integer_that_was_never_heard_is_not_sent_as_a_number():
    bench = Bench()
    bench.watch(0, data_type=DataType.INT32)
    bench.freeze(v0=NAN)
    table = bench.message()
    assert table.status.tolist() == [0x80320000]
    assert np.isnan(table.value[0])


def test_asyncua_decodes_the_same_message():
    bench = Bench()
    bench.watch(0, data_type=DataType.INT32)
    bench.watch(1)
    bench.watch(2)
    bench.freeze(v0=5, v1=2.5, s2=BAD, t1=10)
    body = bench.subscription.message(0, 1 << 20, 1 << 20).body
    data = publish.publish_response(3, 77, 1, (1,), False, body, (0, ua.StatusCodes.BadSequenceNumberUnknown))
    response = ua.ua_binary.struct_from_binary(ua.PublishResponse, ua.utils.Buffer(data))
    items = response.Parameters.NotificationMessage.NotificationData[0].MonitoredItems
    found = {i.ClientHandle: (i.Value.Value.Value, i.Value.StatusCode.value) for i in items}
    assert found == {0: (5, 0), 1: (2.5, 0), 2: (None, BAD)}
    assert response.ResponseHeader.RequestHandle == 3
    assert [r.value for r in response.Parameters.Results] == [0, ua.StatusCodes.BadSequenceNumberUnknown]
    assert response.Parameters.AvailableSequenceNumbers == [1]


def test_a_message_stays_below_the_clients_limits_and_says_that_there_is_more():
    bench = Bench(100, Terms(CYCLE, 10, 100, 30, 0))
    for slot in range(100):
        bench.watch(slot)
    bench.freeze()
    seen, sizes = [], []
    while bench.subscription.due:
        table = bench.message()
        sizes.append(len(table))
        seen += table.index.tolist()
    assert sizes == [30, 30, 30, 10]
    assert sorted(seen) == list(range(100))
    bench.freeze(**{f"v{slot}": 1.0 for slot in range(100)})
    assert len(bench.message(size_max=34 * 7)) == 7


def test_a_slow_client_gets_every_item_in_turn():
    bench = Bench(10, Terms(CYCLE, 10, 100, 3, 0))
    for slot in range(10):
        bench.watch(slot)
    seen = set()
    for i in range(1, 5):
        bench.freeze(**{f"v{slot}": float(i) for slot in range(10)})
        seen |= set(bench.message().index.tolist())
    assert seen == set(range(10))


def test_the_store_is_bounded_and_forgets_what_is_acknowledged():
    store = publish.Store()
    for sequence in range(1, 8):
        store.put(sequence, bytes(100), 500)
    assert list(store) == [3, 4, 5, 6, 7]
    assert store.acknowledge(4)
    assert not store.acknowledge(4)
    store.put(8, bytes(200), 500)
    assert list(store) == [5, 6, 7, 8]
    store.put(9, bytes(501), 500)
    assert list(store) == []


def test_the_first_message_and_every_keep_alive_come_in_time():
    bench = Bench(terms=Terms(2 * CYCLE, 3, 100, 100, 0))
    due = []
    for _ in range(20):
        bench.freeze()
        due.append(bench.subscription.due)
        assert bench.message() is None
    assert [i for i, d in enumerate(due, 1) if d] == [1, 7, 13, 19]


def test_publishing_keeps_its_grid_when_a_tick_is_late():
    bench = Bench(terms=Terms(4 * CYCLE, 100, 1000, 100, 0))
    bench.watch(0)
    bench.subscription.agree(bench.subscription.terms, 0, 4 * CYCLE)
    published = []
    for cycle in (1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 17):
        bench.cycle = cycle - 1
        if bench.values(v0=cycle):
            published.append(cycle)
    assert published == [4, 11, 12, 16]


def test_a_subscription_expires_when_nobody_asks_for_its_messages():
    bench = Bench(terms=Terms(CYCLE, 2, 6, 100, 0))
    for _ in range(5):
        bench.freeze()
    assert not bench.subscription.expired
    bench.subscription.heard()
    for _ in range(6):
        bench.freeze()
    assert bench.subscription.expired


def test_items_are_removed_and_modified_with_their_state():
    bench = Bench(5)
    items = [bench.watch(slot, mode=SAMPLING, limit=4) for slot in range(5)]
    for i in range(3):
        bench.freeze(**{f"v{slot}": 10.0 * slot + i for slot in range(5)})
    bench.items.remove([items[0], items[3]])
    key = Key(CYCLE, DataType.DOUBLE, BOTH, 2)
    bench.items.group(key)
    bench.items.move([(key, Row(items[2], 42, 2, SAMPLING, ON_VALUE, 2, False, NAN))])
    bench.items.set_mode([items[1], items[2], items[4]], REPORTING)
    bench.freeze()
    table = bench.message()
    found: dict[int, list[float]] = {}
    for index, value in zip(table.index.tolist(), table.value.tolist(), strict=True):
        found.setdefault(index, []).append(value)
    assert found == {1: [10.0, 11.0, 12.0], 4: [40.0, 41.0, 42.0], 42: [21.0, 22.0]}
    assert bench.values() == []
    assert bench.items.handles() == [(items[1], 1), (items[2], 42), (items[4], 4)]


@pytest.mark.parametrize("existing", [True, False], ids=["group that is there", "new group"])
def test_a_change_that_an_item_had_not_sampled_when_it_was_modified_is_reported_and_nothing_else(existing):
    bench = Bench()
    slow, unchanged = bench.watch(0, interval=20), bench.watch(1, interval=20)
    if existing:
        bench.watch(2)
    for _ in range(21):
        bench.values()
    assert bench.values(v0=42.0) == []
    assert bench.values() == []
    key = Key(CYCLE, DataType.DOUBLE, BOTH, 1)
    bench.items.move([(key, Row(slow, 0, 0, REPORTING, ON_VALUE, 1, False, NAN))])
    bench.items.move([(key, Row(unchanged, 1, 1, REPORTING, ON_VALUE, 1, False, NAN))])
    assert [bench.values() for _ in range(3)] == [[42.0], [], []]


@pytest.mark.parametrize(("trigger", "band"), [(ON_VALUE, 2.0), (ON_STATUS, NAN)], ids=["deadband", "trigger"])
def test_what_the_old_filter_held_back_is_reported_when_the_new_one_lets_it_through(trigger, band):
    bench = Bench()
    item = bench.watch(0, trigger=trigger, deadband=band)
    bench.values()
    assert bench.values(v0=1.5) == []
    for deadband, reported in ((2.0, []), (1.0, [1.5]), (0.5, [])):
        bench.items.move([(Key(CYCLE, DataType.DOUBLE, BOTH, 1), Row(item, 0, 0, REPORTING, ON_VALUE, 1, False, deadband))])
        assert bench.values() == reported


def test_an_item_disabled_while_its_change_was_planned_stays_disabled():
    bench = Bench()
    item = bench.watch(0)
    bench.values()
    bench.items.set_mode([item], DISABLED)
    bench.items.move([(Key(2 * CYCLE, DataType.DOUBLE, BOTH, 1), Row(item, 0, 0, REPORTING, ON_VALUE, 1, False, NAN))])
    assert bench.items.disabled == 1
    assert [bench.values(v0=float(i)) for i in range(4)] == [[]] * 4


SLOT = st.integers(0, 2)
CHANGE = st.tuples(SLOT, st.sampled_from([0.0, 1.0, 2.0]))
MOVE = st.tuples(SLOT, st.sampled_from([1, 2, 5]), st.sampled_from([1, 4]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.none() | CHANGE, st.none() | MOVE), max_size=25))
def test_however_items_are_modified_each_change_is_reported_once_and_the_last_one_always(cycles):
    bench = Bench(3)
    ids = [bench.watch(slot, interval=interval) for slot, interval in enumerate((1, 2, 5))]
    told: list[list[float]] = [[], [], []]
    for change, move in cycles + [(None, None)] * 5:
        if move is not None:
            slot, interval, limit = move
            key = Key(interval * CYCLE, DataType.DOUBLE, BOTH, limit)
            bench.items.move([(key, Row(ids[slot], slot, slot, REPORTING, ON_VALUE, limit, False, NAN))])
        bench.freeze(**({} if change is None else {f"v{change[0]}": change[1]}))
        if (table := bench.message()) is not None:
            for index, value in zip(table.index.tolist(), table.value.tolist(), strict=True):
                told[index].append(value)
    assert [found[-1] for found in told] == bench.records["value"].tolist()
    assert all(a != b for found in told for a, b in pairwise(found))


# -- the slow lane -----------------------------------------------------------------------------------------------------


class Lane:
    """A slow lane over one text in a slot of the image."""

    def __init__(self) -> None:
        self.lane = SlowLane()
        self.records = blank_records(1)
        self.cycle = 0
        self.text = "first"

    def watch(self, number: int, interval: int) -> SlowItem:
        channel = Channel("site/Explanation", "site", Meter.ActivePower, 0, 1, "control", 0.05)
        item = SlowItem(number, ua.ReadValueId(), REPORTING, channel, False, handle=number, interval_ns=interval * CYCLE)
        self.lane.add(item)
        self.lane.arrange()
        return item

    def say(self, text: str) -> None:
        self.text = text
        self.records["changed"][0] = self.cycle + 1

    def sample(self) -> list[int]:
        """One cycle: ids of the items that queued a notification."""
        self.cycle += 1
        image = Image(self.records.copy(), cycle=self.cycle)
        return self.lane.sample(image, self.cycle * CYCLE, lambda *_: ua.DataValue(ua.Variant(self.text)))

    def amend(self, planned: SlowItem, interval: int) -> None:
        planned.interval_ns = interval * CYCLE
        self.lane.amend(planned)
        self.lane.arrange()


def test_a_change_that_a_slow_item_had_not_sampled_when_it_was_modified_is_reported_and_nothing_else():
    bench = Lane()
    rare, often = bench.watch(1, 60), bench.watch(2, 1)
    assert bench.sample() == [1, 2]
    bench.say("second")
    assert bench.sample() == [2]
    bench.amend(rare.copy(), 1)
    bench.amend(often.copy(), 60)
    assert [bench.sample() for _ in range(3)] == [[1], [], []]
    bench.say("third")
    assert [bench.sample() for _ in range(3)] == [[1], [], []]


def test_what_a_slow_item_queued_while_its_change_was_planned_stays_queued():
    bench = Lane()
    item = bench.watch(1, 1)
    bench.sample()
    bench.lane.take(10, 1 << 20)
    planned = item.copy()
    bench.say("second")
    assert bench.sample() == [1]
    item.set_mode(SAMPLING)
    bench.amend(planned, 2)
    assert (len(item.queue), item.mode, bench.lane.ready) == (1, SAMPLING, False)
    assert bench.lane.items[1] is item


# -- a model of one item -----------------------------------------------------------------------------------------------


@dataclass
class Reference:
    """One item, the slow and obvious way."""

    mode: int
    trigger: int
    limit: int
    keep_old: bool
    deadband: float
    interval: int
    fresh: bool = True
    last: tuple[float, int] = (0.0, 0)
    queue: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, cycle: int, value: float, status: int) -> None:
        if self.mode == DISABLED or (cycle % self.interval and not self.fresh):
            return
        if self.fresh or self._differs(value, status):
            self.last, self.fresh = (value, status), False
            flag = OVERFLOW if self.limit > 1 else 0
            if len(self.queue) < self.limit:
                self.queue.append((value, status))
            elif self.keep_old:
                self.queue[-1] = (value, status | flag)
            else:
                self.queue.popleft()
                self.queue.append((value, status))
                self.queue[0] = (self.queue[0][0], self.queue[0][1] | flag)

    def _differs(self, value: float, status: int) -> bool:
        if status != self.last[1]:
            return True
        if self.trigger == ON_STATUS or np.float64(value).tobytes() == np.float64(self.last[0]).tobytes():
            return False
        return not abs(value - self.last[0]) <= self.deadband if not np.isnan(self.deadband) else True

    def set_mode(self, mode: int) -> None:
        self.fresh |= self.mode == DISABLED and mode != DISABLED
        if mode == DISABLED:
            self.queue.clear()
        self.mode = mode

    def take(self) -> list[tuple[float, int]]:
        taken = list(self.queue) if self.mode == REPORTING else []
        if taken:
            self.queue.clear()
        return taken


ITEM = st.fixed_dictionaries(
    {
        "mode": st.sampled_from([DISABLED, SAMPLING, REPORTING, REPORTING]),
        "trigger": st.sampled_from([ON_STATUS, ON_VALUE, ON_VALUE]),
        "limit": st.integers(1, 5),
        "keep_old": st.booleans(),
        "deadband": st.sampled_from([NAN, 0.0, 1.0, 2.5]),
        "interval": st.sampled_from([1, 1, 2, 3]),
    }
)
VALUE = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, -3.0, NAN]), st.sampled_from([GOOD, GOOD, GOOD, UNCERTAIN, BAD]))
CYCLES = st.lists(
    st.tuples(
        st.lists(VALUE, min_size=4, max_size=4),
        st.one_of(st.none(), st.tuples(st.integers(0, 3), st.sampled_from([DISABLED, SAMPLING, REPORTING]))),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEM, min_size=4, max_size=4), CYCLES)
def test_columns_report_exactly_what_single_items_would(wanted, cycles):
    bench = Bench(4)
    models = [Reference(**item) for item in wanted]
    ids = [bench.watch(slot, **item) for slot, item in enumerate(wanted)]
    for values, change, publishing in cycles:
        frozen = {f"v{i}": v for i, (v, _) in enumerate(values)} | {f"s{i}": s for i, (_, s) in enumerate(values)}
        if change is not None:
            models[change[0]].set_mode(change[1])
            bench.items.set_mode([ids[change[0]]], change[1])
        bench.freeze(**frozen)
        for model, (value, status) in zip(models, values, strict=True):
            model.sample(bench.cycle, value, status)
        if not publishing:
            continue
        expected = {i: taken for i, model in enumerate(models) if (taken := model.take())}
        table = bench.message() if bench.subscription.due or bench.items.ready else None
        found: dict[int, list[tuple[Any, int]]] = {}
        if table is not None:
            for index, value, status in zip(table.index.tolist(), table.value.tolist(), table.status.tolist(), strict=True):
                found.setdefault(index, []).append((value, status))
        found = dict(sorted(found.items()))
        assert repr(found) == repr(
            {i: [(NAN if s & 0x80000000 else v, s) for v, s in rows] for i, rows in sorted(expected.items())}
        )
