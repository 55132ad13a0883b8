"""Events on their way to many items: in turns with requests, in order, once, fair between users; each equal filter asked once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import DISABLED, REPORTING, Live, item, live_site
from opcua_model import at

from server.core.alarms import NORMAL, LimitZone
from server.opcua import limits
from server.opcua.conditions.conditions import event_of
from server.opcua.events import delivery
from server.opcua.events.event import Event
from server.opcua.events.filter import EventFilter
from server.opcua.events.items import EventItem
from server.opcua.publication import Subscription

LOW_SOC = {"channel": "ess0/Soc", "low": 20.0, "low_low": 10.0}
SOC = "ess0/SocLimitAlarm"
EVENTS = ua.AttributeIds.EventNotifier


@pytest.fixture
async def live(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    """A site on which each turn is over at once: every round of the event loop has time for one filter."""
    async with live_site(directory, LOW_SOC) as site:
        site.set("ess0/Soc", 50.0)
        await asyncio.sleep(0.1)
        monkeypatch.setattr("server.opcua.turns.TURN_S", 0.0)
        yield site


def telling(*fields: str, least: int = 0) -> ua.EventFilter:
    """A filter that selects these fields of events of at least this severity."""
    selected = [_field(name) for name in fields or ("Message",)]
    operands = [_field("Severity"), ua.LiteralOperand(ua.Variant(least, ua.VariantType.UInt16))]
    return ua.EventFilter(selected, ua.ContentFilter([ua.ContentFilterElement(ua.FilterOperator.GreaterThanOrEqual, operands)]))


def _field(name: str) -> ua.SimpleAttributeOperand:
    return ua.SimpleAttributeOperand(ua.NodeId(2041), [ua.QualifiedName(name)], ua.AttributeIds.Value)


async def listen(live: Live, talk: Any, *filters: ua.EventFilter) -> tuple[Subscription, list[EventItem]]:
    """A subscription with an item for each filter; nobody asks for what it has to say."""
    number = (await talk.subscribe(10_000)).SubscriptionId
    wanted = [item("i=2253", attribute=EVENTS, queue=1_000, filter=chosen) for chosen in filters]
    assert all(result.StatusCode.is_good() for result in await talk.monitor(number, *wanted))
    subscription = next(s for s in live.site.server.subscriptions if s.id == number)
    return subscription, list(subscription.items.events.items.values())


def happens(live: Live, *texts: str, severity: int = 500) -> None:
    hub = live.site.server.events
    for text in texts:
        hub.emit(hub.of_server(ua.ObjectIds.SystemEventType, text, severity))


def told(*items: EventItem) -> list[list[str]]:
    """The texts that wait in the queues: of events with the Message as their only field."""
    return [[block[16:].decode() for block in each.queue] for each in items]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_request_is_answered_before_the_last_of_many_items_has_its_event(live: Live) -> None:
    filters = [telling(least=n) for n in range(32)]
    async with live.link() as talk, live.link() as more, live.link("otto") as other:
        items = [each for link in (talk, more) for each in (await listen(live, link, *filters[:32]))[1]]
        for each in items:
            each.filter = _own(each.filter)
        for _ in range(20):
            happens(live, "x")
        served = sum(len(each.queue) for each in items)
        read = ua.ReadRequest()
        await other.ask(read, NodesToRead=[ua.ReadValueId(NodeId=at("ess0/Soc"), AttributeId=ua.AttributeIds.Value)])
        assert served <= 20
        assert sum(len(each.queue) for each in items) < 20 * len(items)
        await until(lambda: all(len(each.queue) == 20 for each in items))


def _own(chosen: EventFilter) -> EventFilter:
    """The same filter as one that no other item has."""
    return EventFilter(chosen.selected, chosen.where, chosen.result, uuid.uuid4().bytes, chosen.operands)


async def test_an_equal_filter_is_asked_once_whoever_has_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    wants = EventFilter.wants
    monkeypatch.setattr(EventFilter, "wants", lambda self, event: asked.append(self.key) or wants(self, event))
    async with live.link() as talk, live.link("otto") as other:
        _, items = await listen(live, talk, *[telling()] * 16, telling(least=501), telling("EventType"))
        _, others = await listen(live, other, *[telling()] * 16)
        assert len({id(each.filter) for each in (*items, *others)}) == 3
        happens(live, "one", "two")
        await until(lambda: told(*others) == [["one", "two"]] * 16 and len(items[-1].queue) == 2)
        assert told(*items[:17]) == [["one", "two"]] * 16 + [[]]
        assert len(asked) == 2 * 3


async def test_every_item_gets_every_event_once_and_in_order(live: Live) -> None:
    async with live.link() as talk:
        _, items = await listen(live, talk, *(telling(least=n) for n in range(32)))
        texts = [f"event {n}" for n in range(50)]
        for text in texts:
            happens(live, text)
            await asyncio.sleep(0)
        assert told(items[-1]) != [texts]
        await until(lambda: len(items[-1].queue) == 50)
        assert told(*items) == [texts] * 32


async def test_what_changes_meanwhile(live: Live) -> None:
    async with live.link() as talk, live.link() as leaving:
        subscription, items = await listen(live, talk, *(telling(least=n) for n in range(8)))
        gone, lost_items = await listen(live, leaving, *(telling(least=n) for n in range(50, 58)))
        happens(live, "before")
        await until(lambda: told(*items, *lost_items) == [["before"]] * 16)
        happens(live, "one", "two")
        *_, renewed, deleted, changed, last = items
        assert told(last) == [["before"]]
        ids = [renewed.id]
        subscription.items.set_mode(ids, DISABLED)
        subscription.items.set_mode(ids, REPORTING)
        subscription.items.remove([deleted.id])
        changed.filter = telling_nothing(changed)
        live.site.server.subscriptions.delete(gone)
        _, (new,) = await listen(live, talk, telling())
        happens(live, "three")
        await until(lambda: told(last) == [["before", "one", "two", "three"]] and told(new) == [["three"]])
        assert told(*items[:4]) == [["before", "one", "two", "three"]] * 4
        assert told(renewed) == [["three"]], "what happened before it was disabled is forgotten"
        assert told(deleted) == [[]]
        assert told(changed)[0] == ["before", "one", "two"][: len(changed.queue)]
        assert all(len(each.queue) < 3 for each in lost_items)


def telling_nothing(changed: EventItem) -> EventFilter:
    """A filter that wants no event, in place of an item's own."""
    where = (lambda event, values: None,)
    return EventFilter(changed.filter.selected, where, None, b"nothing", 1)


async def test_nobody_waits_for_the_filters_of_another_user(live: Live) -> None:
    async with live.link() as talk, live.link("otto") as other:
        _, many = await listen(live, talk, *(telling(least=n) for n in range(32)))
        _, (one,) = await listen(live, other, telling())
        happens(live, *"abcde")
        await until(lambda: told(one) == [[*"abcde"]])
        assert told(many[-1]) == [[]], "not even the first"
        await until(lambda: told(*many) == [[*"abcde"]] * 32)


async def test_a_line_that_is_full_says_that_events_were_lost(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "WAITING_MAX", 3)
    async with live.link() as talk:
        _, items = await listen(live, talk, *(telling(least=n) for n in range(4)))
        happens(live, *"abcdefg")
        waiting = live.site.server.events.delivery.waiting
        user = next(iter(live.site.server.subscriptions)).user
        assert waiting(user) == 4
        await until(lambda: not waiting(user))
        assert told(*items) == [[*"abc"]] * 4
        assert all(b"events were lost" in each.lost for each in items)
        happens(live, "h")
        await until(lambda: told(*items) == [[*"abch"]] * 4)


async def test_a_filter_that_fails_keeps_nothing_from_the_others(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    async with live.link() as talk:
        _, (bad, good) = await listen(live, talk, telling(), telling(least=1))
        bad.filter = EventFilter(bad.filter.selected, (fail,), None, b"bad", 1)
        happens(live, "one", "two")
        await until(lambda: told(bad, good) == [[], ["one", "two"]])
        assert "the filter of 1 event items failed" in caplog.text


@pytest.mark.parametrize(("scope", "other_session"), [("SESSION", False), ("USER", True)])
async def test_what_different_filters_cost_is_bounded(
    live: Live, monkeypatch: pytest.MonkeyPatch, scope: str, other_session: bool
) -> None:
    monkeypatch.setattr(limits, f"EVENT_FILTERS_PER_{scope}_MAX", 9)
    async with live.link() as talk, live.link() as second, live.link("otto") as somebody:
        subscription, (first, *_) = await listen(live, talk, telling(least=1), telling(least=2), *[telling(least=1)] * 5)
        asking = second if other_session else talk
        number = (await asking.subscribe(10_000)).SubscriptionId
        wanted = [item("i=2253", attribute=EVENTS, filter=telling(least=n)) for n in (3, 4, 1)]
        results = await asking.monitor(number, *wanted)
        assert [r.StatusCode.name for r in results] == ["Good", "BadTooManyMonitoredItems", "Good"]
        await listen(live, somebody, telling(least=5), telling(least=6))
        subscription.items.remove([*subscription.items.events.items])
        assert first.mode == DISABLED
        assert [r.StatusCode.name for r in await asking.monitor(number, wanted[1])] == ["Good"]


# Conditions.


async def test_the_event_of_a_condition_stays_as_it_was(live: Live) -> None:
    condition = live.site.server.conditions.live(SOC)
    condition.condition.turn(LimitZone.Low, "low", 133_000_000_000_000_000)
    event = event_of(condition)
    condition.condition.turn(NORMAL, "normal", 133_000_000_000_000_001)
    assert _words(event) == ["low", True, False]


def _words(event: Event) -> list[Any]:
    found = [event.field(path) for path in (("Message",), ("ActiveState", "Id"), ("AckedState", "Id"))]
    message, *states = [value.Value for value in found if value is not None]
    return [message.Text, *states]


async def test_a_refresh_comes_after_what_is_on_its_way_and_before_what_follows(live: Live) -> None:
    conditions = live.site.server.conditions
    async with live.link() as talk:
        subscription, items = await listen(live, talk, *(telling(least=n) for n in range(16)))
        for text in ("first", "second"):
            conditions.report(SOC, LimitZone.Low, text)
        refresh = asyncio.create_task(_refresh(talk, subscription.id))
        await until(lambda: items[0].refreshing or refresh.done())
        assert told(items[-1]) == [[]], "the refresh came while nothing was delivered to the last item"
        conditions.report(SOC, LimitZone.Low, "third")
        assert await refresh == "Good"
        await until(lambda: "third" in told(items[-1])[0])
        for queue in told(*items):
            begin, end = queue.index("refresh begins"), queue.index("refresh is complete")
            assert queue[:begin] == ["first", "second"]
            states = [text for text in queue if not text.startswith("refresh")]
            assert states == sorted(states, key=["first", "second", "third"].index)
            assert {*queue[begin + 1 : end]} & {"second", "third"}
            assert states[-1] == "third"


async def test_a_refresh_has_its_end_when_its_caller_is_gone(live: Live) -> None:
    server = live.site.server
    server.conditions.report(SOC, LimitZone.Low, "low")
    async with live.link() as talk:
        subscription, (one,) = await listen(live, talk, telling())
        refresh = asyncio.create_task(_refresh(talk, subscription.id))
        await until(lambda: one.refreshing)
        for connection in server.connections:
            for task in list(connection.tasks):
                task.cancel()
        await until(lambda: one.refresh_end is not None)
        refresh.cancel()
        await asyncio.gather(refresh, return_exceptions=True)


async def _refresh(talk: Any, number: int) -> str:
    request = ua.CallRequest()
    value = ua.Variant(number, ua.VariantType.UInt32)
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(ua.NodeId(2782), ua.NodeId(3875), [value])]
    return str((await talk.ask(request)).Results[0].StatusCode.name)
