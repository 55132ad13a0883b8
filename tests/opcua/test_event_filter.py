"""Event filters: what each clause selects, what each operator says, and what is refused, without a connection."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from opcua_model import Server, site_layout

from server.opcua import limits
from server.opcua.events.event import Event, make_event
from server.opcua.events.filter import FilterRefused, compile_filter
from server.opcua.events.items import EventItem, EventLane
from server.opcua.events.types import EventTypes
from server.opcua.service import ServiceError

OP, TYPE, IDS = ua.FilterOperator, ua.VariantType, ua.ObjectIds
WHEN = datetime(2026, 5, 1, tzinfo=UTC)
FIELDS = {
    ("Message",): ua.Variant(ua.LocalizedText("Cable cut at K3", "en")),
    ("Severity",): ua.Variant(800, TYPE.UInt16),
    ("SourceName",): ua.Variant("Battery"),
    ("Time",): ua.Variant(WHEN),
    ("Retain",): ua.Variant(True),
    ("ActiveState", "Id"): ua.Variant(True),
    ("EventId",): ua.Variant(b"\x01\x02\x03"),
    ("ConditionName",): ua.Variant("12"),
}
ALARM = make_event(ua.NodeId(IDS.ExclusiveLimitAlarmType), ua.NodeId("ess0", 4), FIELDS)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> EventTypes:
    server = Server(tmp_path_factory.mktemp("site"), site_layout())
    return EventTypes(server.nodes)


def path(text: str, kind: int = IDS.BaseEventType, **options: Any) -> ua.SimpleAttributeOperand:
    names = [ua.QualifiedName(name) for name in text.split("/")] if text else []
    attribute = options.pop("attribute", ua.AttributeIds.Value)
    return ua.SimpleAttributeOperand(ua.NodeId(kind), options.pop("names", names), attribute, options.pop("index", None))


def literal(value: Any, kind: ua.VariantType | None = None) -> ua.LiteralOperand:
    return ua.LiteralOperand(ua.Variant(value, kind))


def element(operator: Any, *operands: Any) -> ua.ContentFilterElement:
    return ua.ContentFilterElement(operator, list(operands))


def ref(index: int) -> ua.ElementOperand:
    return ua.ElementOperand(index)


def make(*elements: ua.ContentFilterElement, select: tuple[Any, ...] = (path("Message"),)) -> ua.EventFilter:
    return ua.EventFilter(list(select), ua.ContentFilter(list(elements)))


def of(kind: int) -> ua.LiteralOperand:
    return literal(ua.NodeId(kind), TYPE.NodeId)


SEVERITY, MESSAGE, NAME, TIME = path("Severity"), path("Message"), path("SourceName"), path("Time")
MISSING = path("ConfirmedState/Id", IDS.AcknowledgeableConditionType)


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        ([], True),
        ([element(OP.Equals, SEVERITY, literal(800, TYPE.UInt16))], True),
        ([element(OP.Equals, SEVERITY, literal(800.0))], True),
        ([element(OP.Equals, SEVERITY, literal("800"))], True),
        ([element(OP.Equals, SEVERITY, literal("eight"))], False),
        ([element(OP.Equals, MESSAGE, literal("Cable cut at K3"))], True),
        ([element(OP.Equals, path("ConditionName", IDS.ConditionType), literal(12, TYPE.Int32))], True),
        ([element(OP.Equals, MISSING, literal(True))], False),
        ([element(OP.Not, ref(1)), element(OP.Equals, MISSING, literal(True))], False),
        ([element(OP.GreaterThan, SEVERITY, literal(799, TYPE.Int64))], True),
        ([element(OP.GreaterThan, SEVERITY, literal(800, TYPE.Byte))], False),
        ([element(OP.LessThan, SEVERITY, literal(900, TYPE.Int32))], True),
        ([element(OP.GreaterThanOrEqual, SEVERITY, literal(800, TYPE.Int32))], True),
        ([element(OP.LessThanOrEqual, SEVERITY, literal(799, TYPE.Int32))], False),
        ([element(OP.GreaterThan, NAME, literal(True))], False),
        ([element(OP.GreaterThan, TIME, literal(datetime(2026, 4, 1, tzinfo=UTC)))], True),
        ([element(OP.Between, SEVERITY, literal(700, TYPE.Int32), literal(800, TYPE.Int32))], True),
        ([element(OP.Between, SEVERITY, literal(801, TYPE.Int32), literal(900, TYPE.Int32))], False),
        ([element(OP.InList, NAME, literal("Roof"), literal("Battery"))], True),
        ([element(OP.InList, NAME, literal("Roof"), literal("Grid"))], False),
        ([element(OP.IsNull, MISSING)], True),
        ([element(OP.IsNull, SEVERITY)], False),
        ([element(OP.Like, MESSAGE, literal("Cable%"))], True),
        ([element(OP.Like, MESSAGE, literal("cable%"))], False),
        ([element(OP.Like, MESSAGE, literal("%K_"))], True),
        ([element(OP.Like, MESSAGE, literal("%K[0-5]"))], True),
        ([element(OP.Like, MESSAGE, literal("%K[^0-5]"))], False),
        ([element(OP.Like, MESSAGE, literal("Cable\\%"))], False),
        ([element(OP.Like, MESSAGE, literal("Cable (.*"))], False),
        ([element(OP.Like, MESSAGE, literal("Cable [a"))], False),
        ([element(OP.Like, MISSING, literal("%"))], False),
        ([element(OP.OfType, of(IDS.ExclusiveLimitAlarmType))], True),
        ([element(OP.OfType, of(IDS.ConditionType))], True),
        ([element(OP.OfType, of(IDS.BaseEventType))], True),
        ([element(OP.OfType, of(IDS.OffNormalAlarmType))], False),
        ([element(OP.OfType, literal("i=2782"))], True),
        ([element(OP.OfType, literal(7, TYPE.Int32))], False),
        ([element(OP.And, ref(1), ref(2)), element(OP.OfType, of(2782)), element(OP.GreaterThan, SEVERITY, literal(5.0))], True),
        ([element(OP.And, literal(True), literal(False))], False),
        ([element(OP.Or, literal(False), literal(True))], True),
        ([element(OP.Or, literal(None), literal(True))], True),
        ([element(OP.And, literal(None), literal(True))], False),
        ([element(OP.Or, literal(None), literal(False))], False),
        ([element(OP.Not, literal(False))], True),
        ([element(OP.Equals, ref(1), literal("800")), element(OP.Cast, SEVERITY, of(IDS.String))], True),
        ([element(OP.IsNull, ref(1)), element(OP.Cast, NAME, of(IDS.Double))], True),
        ([element(OP.IsNull, ref(1)), element(OP.Cast, SEVERITY, of(IDS.Byte))], True),
        ([element(OP.IsNull, ref(1)), element(OP.Cast, SEVERITY, literal("x"))], True),
        ([element(OP.Equals, ref(1), literal(32.0)), element(OP.BitwiseAnd, SEVERITY, literal(0x30, TYPE.UInt16))], True),
        ([element(OP.Equals, ref(1), literal(0x321)), element(OP.BitwiseOr, SEVERITY, literal(1, TYPE.UInt16))], True),
        ([element(OP.IsNull, ref(1)), element(OP.BitwiseOr, NAME, literal(1, TYPE.UInt16))], True),
        ([element(OP.Equals, path("Severity", IDS.OffNormalAlarmType), literal(800, TYPE.UInt16))], False),
    ],
)  # fmt: skip
def test_a_where_clause_says(types: EventTypes, elements: list[Any], wanted: bool) -> None:
    assert compile_filter(make(*elements), types).wants(ALARM) is wanted


def test_what_is_selected(types: EventTypes) -> None:
    condition = Event(ALARM.type, ALARM.source, ALARM.field, ua.NodeId("ess0/A", 4))
    clauses = (
        path("Severity"),
        path("", IDS.ConditionType, attribute=ua.AttributeIds.NodeId),
        path("EventId", index="1:2"),
        path("ActiveState/Id", IDS.AlarmConditionType),
        path("Retain", IDS.OffNormalAlarmType),
        path("NoSuchField"),
    )
    compiled = compile_filter(make(select=clauses), types)
    assert [v.Value for v in compiled.fields(condition)] == [800, ua.NodeId("ess0/A", 4), b"\x02\x03", True, None, None]
    assert compiled.result is not None
    assert [s.name for s in compiled.result.SelectClauseResults] == ["Good"] * 5 + ["BadNodeIdUnknown"]
    assert [v.Value for v in compile_filter(make(select=clauses[1:2]), types).fields(ALARM)] == [None]


@pytest.mark.parametrize(
    ("clause", "status"),
    [
        (path("Message", IDS.BaseObjectType), "BadTypeDefinitionInvalid"),
        (path("Message", 999_999), "BadTypeDefinitionInvalid"),
        (path(""), "BadNodeIdUnknown"),
        (path("Nope"), "BadNodeIdUnknown"),
        (path("Message", names=[ua.QualifiedName("Message", 4)]), "BadNodeIdUnknown"),
        (path("Message", attribute=ua.AttributeIds.BrowseName), "BadAttributeIdInvalid"),
        (path("", attribute=ua.AttributeIds.NodeId), "BadNodeIdUnknown"),
        (path("Message", attribute=ua.AttributeIds.NodeId), "BadAttributeIdInvalid"),
        (path("Message", index="2:1"), "BadIndexRangeInvalid"),
    ],
)
def test_a_filter_that_selects_nothing_is_refused_with_the_reason(types: EventTypes, clause: Any, status: str) -> None:
    with pytest.raises(FilterRefused) as refused:
        compile_filter(make(select=(clause,)), types)
    assert [s.name for s in refused.value.result.SelectClauseResults] == [status]


@pytest.mark.parametrize(
    ("elements", "statuses", "operands"),
    [
        ([element(OP.InView, of(85))], ["BadFilterOperatorUnsupported"], []),
        ([element(OP.RelatedTo, of(85), of(85), of(85), literal(1), literal(True))], ["BadFilterOperatorUnsupported"], []),
        ([element(77, literal(1))], ["BadFilterOperatorInvalid"], []),
        ([element(OP.Equals, literal(1))], ["BadFilterOperandCountMismatch"], []),
        ([element(OP.Not)], ["BadFilterOperandCountMismatch"], []),
        ([element(OP.Not, ref(0))], ["BadFilterOperandInvalid"], ["BadFilterElementInvalid"]),
        ([element(OP.Not, ref(1)), element(OP.Not, ref(0))], ["Good", "BadFilterOperandInvalid"], ["BadFilterElementInvalid"]),
        ([element(OP.Not, ref(9))], ["BadFilterOperandInvalid"], ["BadFilterElementInvalid"]),
        ([element(OP.Not, ua.AttributeOperand())], ["BadFilterOperandInvalid"], ["BadFilterOperandInvalid"]),
        ([element(OP.Not, ua.ExtensionObject(ua.NodeId(1, 1), b"x"))], ["BadFilterOperandInvalid"], ["BadFilterOperandInvalid"]),
        ([element(OP.Equals, path("Nope"), literal(1))], ["BadFilterOperandInvalid"], ["BadNodeIdUnknown", "Good"]),
    ],
)  # fmt: skip
def test_a_wrong_where_clause_is_refused_element_by_element(
    types: EventTypes, elements: list[Any], statuses: list[str], operands: list[str]
) -> None:
    with pytest.raises(FilterRefused) as refused:
        compile_filter(make(*elements), types)
    results = refused.value.result.WhereClauseResult.ElementResults
    assert [r.StatusCode.name for r in results] == statuses
    assert [s.name for s in results[-1].OperandStatusCodes] == operands


def test_elements_that_share_others_are_evaluated_once(types: EventTypes) -> None:
    """As a tree this filter has 2^200 leaves."""
    chain = [element(OP.And, ref(i + 1), ref(i + 1)) for i in range(200)]
    assert compile_filter(make(*chain, element(OP.Not, literal(False))), types).wants(ALARM)


@pytest.mark.parametrize(
    "asked",
    [
        make(select=(path("Message"),) * (limits.EVENT_SELECT_CLAUSES_MAX + 1)),
        make(*[element(OP.Not, literal(True))] * (limits.EVENT_WHERE_ELEMENTS_MAX + 1)),
        make(element(OP.InList, *[literal(1)] * (limits.EVENT_OPERANDS_MAX + 1))),
        make(*[element(OP.InList, *[literal(1)] * 250)] * 5),
        make(select=()),
    ],
)
def test_a_filter_has_bounds(types: EventTypes, asked: ua.EventFilter) -> None:
    with pytest.raises(ServiceError):
        compile_filter(asked, types)


NUMBERS = (True, float("nan"), float("inf"), 1e300, -(2**63))
TEXTS = ("", "x", "12", "i=85", "g=nonsense", "ns=x;i=1", b"\xff", ua.LocalizedText(None), ua.QualifiedName(None))
OTHERS = ([1, 2], ["a"], ua.NodeId(), ua.StatusCode(0x80000000))
ODD = [
    *map(ua.Variant, (*NUMBERS, *TEXTS, *OTHERS)),
    *(ua.Variant(v, k) for v, k in ((2**64 - 1, TYPE.UInt64), (uuid.UUID(int=1), TYPE.Guid), (WHEN, TYPE.DateTime))),
    ua.Variant(),
]


@pytest.mark.parametrize("operator", [op for op in OP if op not in (OP.InView, OP.RelatedTo)])
def test_no_operands_make_an_operator_fail(types: EventTypes, operator: Any) -> None:
    count = {OP.IsNull: 1, OP.Not: 1, OP.OfType: 1, OP.Between: 3}.get(operator, 2)
    for left, right in itertools.product(ODD, ODD):
        operands = [ua.LiteralOperand(v) for v in (left, right, left)[:count]]
        assert compile_filter(make(element(operator, *operands)), types).wants(ALARM) in (True, False)


@pytest.mark.parametrize("kind", range(1, 26))
def test_a_cast_of_anything_to_anything_is_something_or_null(types: EventTypes, kind: int) -> None:
    for value in ODD:
        cast = element(OP.Cast, ua.LiteralOperand(value), of(kind))
        assert compile_filter(make(element(OP.IsNull, ref(1)), cast), types).wants(ALARM) in (True, False)


def test_a_pattern_made_to_take_long_does_not(types: EventTypes) -> None:
    """With backtracking this would take longer than the universe is old."""
    slow = make(element(OP.Like, literal("a" * 900), literal("%a" * 200 + "%b")))
    assert not compile_filter(slow, types).wants(ALARM)
    assert not compile_filter(make(element(OP.Like, literal("a"), literal("%" * 5_000))), types).wants(ALARM), "too long"


# Queues.


def item(types: EventTypes, limit: int, keep_old: bool = False, mode: int = 2) -> tuple[EventLane, EventItem]:
    lane = EventLane()
    made = EventItem(1, ua.NodeId(2253), mode, compile_filter(make(select=(path("Message"),)), types), 7, limit, keep_old)
    lane.add(made)
    return lane, made


def event(text: str) -> Event:
    return make_event(ua.NodeId(IDS.BaseEventType), ua.NodeId(2253), {("Message",): ua.Variant(text)})


def texts(blocks: list[bytes]) -> list[str]:
    return [block[13:].decode() for block in blocks]


def put(lane: EventLane, made: EventItem, text: str) -> None:
    encode = made.filter.encode
    lane.put(made, encode(event(text)), lambda: encode(event("lost")))


@pytest.mark.parametrize(("keep_old", "expected"), [(False, ["lost", "c", "d", "e"]), (True, ["a", "b", "c", "lost"])])
def test_a_full_queue_says_that_events_were_lost(types: EventTypes, keep_old: bool, expected: list[str]) -> None:
    lane, made = item(types, 3, keep_old)
    for text in "abcde":
        put(lane, made, text)
    count, blocks = lane.take(10, 1 << 20)
    assert (count, texts(blocks)) == (4, expected)
    assert not lane.ready


def test_what_does_not_fit_into_a_message_comes_with_the_next(types: EventTypes) -> None:
    lane, made = item(types, 10)
    for text in "abc":
        put(lane, made, text)
    size = len(lane.take(1, 1 << 20)[1][0])
    assert texts(lane.take(10, 2 * size - 1)[1]) == ["b"]
    assert lane.take(10, 5)[1] == [b"\x07\0\0\0\0\0\0\0"], "larger than a message by itself: told without fields"
    assert not lane.ready


def test_a_queue_is_bounded_in_bytes(types: EventTypes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_QUEUE_BYTES_MAX", 100)
    lane, made = item(types, 1_000)
    for number in range(50):
        put(lane, made, f"{number:10}")
    assert made.size <= 100
    assert made.queue
    lane.take(100, 1 << 20)
    put(lane, made, "fits")
    put(lane, made, "x" * 1_000)
    assert texts(lane.take(100, 1 << 20)[1]) == ["lost", "fits"], "what never fits pushes nothing else out"


def test_a_refresh_is_let_through_whatever_the_limit(types: EventTypes) -> None:
    lane, made = item(types, 2)
    put(lane, made, "before")
    for text in ("start", "1", "2", "3"):
        made.refresh(made.filter.encode(event(text)))
    made.refresh(made.filter.encode(event("end")), end=True)
    put(lane, made, "after")
    assert made.refreshing
    assert texts(lane.take(100, 1 << 20)[1]) == ["before", "start", "1", "2", "3", "end", "after"]
    assert not made.refreshing


@pytest.mark.parametrize(("mode", "reports"), [(0, False), (1, False), (2, True)])
def test_modes(types: EventTypes, mode: int, reports: bool) -> None:
    lane, made = item(types, 10, mode=mode)
    for listening in lane.listening(frozenset([ua.NodeId(2253)])):
        put(lane, listening, "x")
    assert lane.ready is reports
    assert bool(made.queue) is (mode > 0)
    made.set_mode(0)
    assert not made.queue


def test_types_know_what_they_declare(types: EventTypes) -> None:
    members = types.members(ua.NodeId(IDS.ExclusiveLimitAlarmType))
    assert {("EventId",), ("AckedState", "Id"), ("LimitState", "CurrentState", "Id"), ("HighLimit",)} < set(members)
    assert ("NormalState",) not in members
    assert ("NormalState",) in types.known_paths()
