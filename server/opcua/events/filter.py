"""An EventFilter, checked and compiled once: what to select from an event, and whether it is wanted (Part 4, 7.22.3).

What is wrong is answered clause by clause. Elements of the where clause refer only forward, so that there is no cycle; a filter
whose where clause is wrong is refused as a whole, because nobody knows what it would let through. A select clause that no event
type declares stays null. Each element is evaluated once an event, however often others refer to it, and a filter once for all
items that have an equal one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary

from .. import limits
from ..index_range import parse, select
from ..service import ServiceError
from . import operators
from .event import NULL, Event, Path
from .operators import Value
from .types import BASE_EVENT_TYPE, CONDITION_TYPE, EventTypes

_CODES: Final = ua.StatusCodes
_OPERATOR: Final = ua.FilterOperator
_TYPE: Final = ua.VariantType
Getter = Callable[[Event], Value]
Operand = Callable[[Event, Sequence[Value]], Value]
"""A value of an event in a where clause; the second argument has what its elements are so far, the later ones first."""
FILTER_OPERANDS_MAX: Final = 1_024
"""Select clauses and operands of the where clause together: what one filter may cost for each event."""
_NULL_BLOCK: Final = variant_to_binary(NULL)


class Clause(NamedTuple):
    """A select clause: the value it finds, and the same encoded."""

    value: Getter
    block: Callable[[Event], bytes]


class FilterRefused(ServiceError):
    """The filter cannot be had; `result` says which clause is wrong."""

    def __init__(self, result: ua.EventFilterResult) -> None:
        super().__init__(ua.StatusCodes.BadEventFilterInvalid)
        self.result = result


class _Wrong(Exception):
    """One clause or operand is wrong."""

    def __init__(self, status: int) -> None:
        super().__init__(ua.StatusCode(status).name)
        self.status = status


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class EventFilter:
    """A filter ready for use. result: for the client, None when there is nothing to say. key: the same for equal filters.

    operands: number of select clauses and of operands of the where clause.
    """

    selected: tuple[Clause, ...]
    where: tuple[Operand, ...]
    result: ua.EventFilterResult | None
    key: bytes
    operands: int

    def tell(self, event: Event) -> bytes | None:
        """The event as the client gets it, None when it is not wanted. An equal filter has the same answer, without work."""
        if self.key not in event.told:
            event.told[self.key] = self.encode(event) if self.wants(event) else None
        return event.told[self.key]

    def wants(self, event: Event) -> bool:
        """True when the where clause is true; NULL is not."""
        values: list[Value] = [None] * len(self.where)
        for index in range(len(values) - 1, -1, -1):
            values[index] = self.where[index](event, values)
        return not values or operators.truth(values[0]) is True

    def fields(self, event: Event) -> list[ua.Variant]:
        """The selected fields."""
        return [NULL if (value := clause.value(event)) is None else value for clause in self.selected]

    def encode(self, event: Event) -> bytes:
        """The fields as an array of Variants."""
        parts = [clause.block(event) for clause in self.selected]
        return len(parts).to_bytes(4, "little") + b"".join(parts)


def compile_filter(asked: ua.EventFilter, types: EventTypes) -> EventFilter:
    """Check and compile; who has an equal filter has the same. FilterRefused with a result for each clause."""
    clauses = asked.SelectClauses or []
    elements = (asked.WhereClause.Elements if asked.WhereClause is not None else None) or []
    if len(clauses) > limits.EVENT_SELECT_CLAUSES_MAX or len(elements) > limits.EVENT_WHERE_ELEMENTS_MAX:
        raise ServiceError(_CODES.BadTooManyOperations if clauses else _CODES.BadEventFilterInvalid)
    operands = len(clauses) + sum(len(element.FilterOperands or []) for element in elements)
    if operands > FILTER_OPERANDS_MAX:
        raise ServiceError(_CODES.BadTooManyOperations, f"{operands} clauses and operands of at most {FILTER_OPERANDS_MAX}")
    key = _key(clauses, elements)
    found = types.filters.get(key)
    if found is None:
        found = types.filters[key] = _compile(clauses, elements, types, key, operands)
    return found


def _compile(clauses: Sequence[Any], elements: Sequence[Any], types: EventTypes, key: bytes, operands: int) -> EventFilter:
    chosen, selected = _selects(clauses, types)
    where, tested = _where(elements, types)
    result = ua.EventFilterResult()
    result.SelectClauseResults = [ua.StatusCode(status) for status in selected]
    result.WhereClauseResult = ua.ContentFilterResult(ElementResults=tested)
    if not any(status == 0 for status in selected) or any(e.StatusCode.value for e in tested):
        raise FilterRefused(result)
    return EventFilter(tuple(chosen), where, result if any(selected) else None, key, operands)


def _key(clauses: Sequence[Any], elements: Sequence[Any]) -> bytes:
    """The same for filters that ask for the same in the same words: everything in them tells all of itself in its repr."""
    return sha256(repr((list(clauses), list(elements))).encode()).digest()


def _selects(clauses: Sequence[Any], types: EventTypes) -> tuple[list[Clause], list[int]]:
    chosen: list[Clause] = []
    results: list[int] = []
    for clause in clauses:
        try:
            chosen.append(_attribute(clause, types))
            results.append(0)
        except _Wrong as wrong:
            chosen.append(_alone(lambda event: None))
            results.append(wrong.status)
    return chosen, results


def _attribute(operand: Any, types: EventTypes) -> Clause:
    """What a SimpleAttributeOperand means."""
    kind = operand.TypeDefinitionId
    if not types.is_event_type(kind):
        raise _Wrong(_CODES.BadTypeDefinitionInvalid)
    names = operand.BrowsePath or []
    if operand.AttributeId == ua.AttributeIds.NodeId:
        return _alone(_condition_id(kind, names, types))
    if operand.AttributeId != ua.AttributeIds.Value:
        raise _Wrong(_CODES.BadAttributeIdInvalid)
    path = tuple(name.Name or "" for name in names)
    if not path or any(name.NamespaceIndex for name in names) or path not in types.known_paths():
        raise _Wrong(_CODES.BadNodeIdUnknown)
    clause = _field(kind, path, types)
    return _alone(_part(clause.value, operand.IndexRange)) if operand.IndexRange else clause


def _alone(getter: Getter) -> Clause:
    """A value that no other clause has a use for."""

    def block(event: Event) -> bytes:
        value = getter(event)
        return _NULL_BLOCK if value is None else bytes(variant_to_binary(value))

    return Clause(getter, block)


def _condition_id(kind: ua.NodeId, names: Sequence[Any], types: EventTypes) -> Getter:
    if names:
        raise _Wrong(_CODES.BadAttributeIdInvalid)
    if not types.is_a(kind, CONDITION_TYPE):
        raise _Wrong(_CODES.BadNodeIdUnknown)
    return lambda event: None if event.condition.is_null() else ua.Variant(event.condition, _TYPE.NodeId)


def _field(kind: ua.NodeId, path: Path, types: EventTypes) -> Clause:
    """A field of events of a type and its subtypes; others have none."""
    if kind == BASE_EVENT_TYPE:
        return Clause(lambda event: event.field(path), lambda event: event.block(path))
    return Clause(
        lambda event: event.field(path) if types.is_a(event.type, kind) else None,
        lambda event: event.block(path) if types.is_a(event.type, kind) else _NULL_BLOCK,
    )


def _part(getter: Getter, index_range: str) -> Getter:
    selection = parse(index_range)
    if isinstance(selection, int):
        raise _Wrong(_CODES.BadIndexRangeInvalid)

    def part(event: Event) -> Value:
        value = getter(event)
        return None if value is None else select(value, selection)

    return part


# The where clause.


def _where(elements: Sequence[Any], types: EventTypes) -> tuple[tuple[Operand, ...], list[ua.ContentFilterElementResult]]:
    """The elements as functions of an event, and what is to be said about each of them."""
    compiled: list[Operand] = []
    results = []
    for index, element in enumerate(elements):
        result = ua.ContentFilterElementResult()
        try:
            compiled.append(_element(index, element, len(elements), types, result))
        except _Wrong as wrong:
            result.StatusCode = ua.StatusCode(wrong.status)
        results.append(result)
    return tuple(compiled), results


def _element(index: int, element: Any, count: int, types: EventTypes, result: ua.ContentFilterElementResult) -> Operand:
    if element.FilterOperator not in _OPERATORS:
        known = element.FilterOperator in tuple(_OPERATOR)
        raise _Wrong(_CODES.BadFilterOperatorUnsupported if known else _CODES.BadFilterOperatorInvalid)
    least, most, build = _OPERATORS[element.FilterOperator]
    given = element.FilterOperands or []
    if not least <= len(given) <= most:
        raise _Wrong(_CODES.BadFilterOperandCountMismatch)
    operands: list[Operand] = []
    for operand in given:
        status = 0
        try:
            operands.append(_operand(index, operand, count, types))
        except _Wrong as wrong:
            status = wrong.status
        result.OperandStatusCodes.append(ua.StatusCode(status))
    if len(operands) < len(given):
        raise _Wrong(_CODES.BadFilterOperandInvalid)
    return build(operands, types)


def _operand(index: int, operand: Any, count: int, types: EventTypes) -> Operand:
    match operand:
        case ua.LiteralOperand():
            literal = operand.Value
            return lambda event, values: literal
        case ua.ElementOperand():
            other = operand.Index
            if not index < other < count:
                raise _Wrong(_CODES.BadFilterElementInvalid)
            return lambda event, values: values[other]
        case ua.SimpleAttributeOperand():
            getter = _attribute(operand, types).value
            return lambda event, values: getter(event)
    raise _Wrong(_CODES.BadFilterOperandInvalid)


Build = Callable[[list[Operand], EventTypes], Operand]


def _flag(result: bool | None) -> Value:
    return None if result is None else ua.Variant(result, _TYPE.Boolean)


def _binary(function: Callable[[Value, Value], bool | None]) -> tuple[int, int, Build]:
    def build(operands: list[Operand], types: EventTypes) -> Operand:
        left, right = operands
        return lambda event, values: _flag(function(left(event, values), right(event, values)))

    return 2, 2, build


def _logic(function: Callable[[bool | None, bool | None], bool | None]) -> tuple[int, int, Build]:
    return _binary(lambda left, right: function(operators.truth(left), operators.truth(right)))


def _is_null(operands: list[Operand], types: EventTypes) -> Operand:
    return lambda event, values: _flag(operators.plain(operands[0](event, values)) is None)


def _not(operands: list[Operand], types: EventTypes) -> Operand:
    def negated(event: Event, values: Sequence[Value]) -> Value:
        found = operators.truth(operands[0](event, values))
        return _flag(None if found is None else not found)

    return negated


def _between(operands: list[Operand], types: EventTypes) -> Operand:
    value, low, high = operands
    at_least, at_most = operators.compare(operator.ge), operators.compare(operator.le)

    def between(event: Event, values: Sequence[Value]) -> Value:
        found = value(event, values)
        return _flag(operators.both(at_least(found, low(event, values)), at_most(found, high(event, values))))

    return between


def _in_list(operands: list[Operand], types: EventTypes) -> Operand:
    value, *others = operands
    equal = operators.compare(operator.eq)

    def in_list(event: Event, values: Sequence[Value]) -> Value:
        found = value(event, values)
        return _flag(any(equal(found, other(event, values)) for other in others))

    return in_list


def _cast(operands: list[Operand], types: EventTypes) -> Operand:
    value, kind = operands

    def cast(event: Event, values: Sequence[Value]) -> Value:
        wanted = operators.plain(kind(event, values))
        built_in = isinstance(wanted, ua.NodeId) and wanted.NamespaceIndex == 0 and wanted.Identifier in range(1, 26)
        return operators.convert(value(event, values), ua.VariantType(wanted.Identifier)) if built_in else None

    return cast


def _of_type(operands: list[Operand], types: EventTypes) -> Operand:
    (kind,) = operands

    def of_type(event: Event, values: Sequence[Value]) -> Value:
        wanted = operators.plain(operators.convert(kind(event, values), _TYPE.NodeId))
        return _flag(isinstance(wanted, ua.NodeId) and types.is_a(event.type, wanted))

    return of_type


def _bits(function: Callable[[int, int], int]) -> tuple[int, int, Build]:
    combine = operators.bits(function)

    def build(operands: list[Operand], types: EventTypes) -> Operand:
        left, right = operands
        return lambda event, values: combine(left(event, values), right(event, values))

    return 2, 2, build


_OPERATORS: Final[dict[Any, tuple[int, int, Build]]] = {
    _OPERATOR.Equals: _binary(operators.compare(operator.eq)),
    _OPERATOR.IsNull: (1, 1, _is_null),
    _OPERATOR.GreaterThan: _binary(operators.compare(operator.gt)),
    _OPERATOR.LessThan: _binary(operators.compare(operator.lt)),
    _OPERATOR.GreaterThanOrEqual: _binary(operators.compare(operator.ge)),
    _OPERATOR.LessThanOrEqual: _binary(operators.compare(operator.le)),
    _OPERATOR.Like: _binary(operators.like),
    _OPERATOR.Not: (1, 1, _not),
    _OPERATOR.Between: (3, 3, _between),
    _OPERATOR.InList: (2, limits.EVENT_OPERANDS_MAX, _in_list),
    _OPERATOR.And: _logic(operators.both),
    _OPERATOR.Or: _logic(operators.either),
    _OPERATOR.Cast: (2, 2, _cast),
    _OPERATOR.OfType: (1, 1, _of_type),
    _OPERATOR.BitwiseAnd: _bits(operator.and_),
    _OPERATOR.BitwiseOr: _bits(operator.or_),
}
"""Least and most operands of each operator, and what it does. InView and RelatedTo are for queries only."""
