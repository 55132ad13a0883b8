"""Documents: schedules, forecasts and price series, handed to control as part of the frozen input.

A document is a table over time: each row holds from its start until the next row's start, the last one until `end`. Documents
are immutable; news is a new revision. Names say what and for whom: `schedule/ess0` (column power_w, optionally mode),
`forecast/consumption` and `forecast/production` (column power_w), `price/tariff0` (columns buy, sell in currency per kWh).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any, Final, NamedTuple, Self

from .errors import EmsError
from .packing import PackingError, floats, integers, pack, unpack
from .ticks import TICKS

ROWS_MAX: Final = 4096
"""Rows of a document: six weeks of quarter hours."""
COLUMNS_MAX: Final = 4
CONTENT_BYTES_MAX: Final = 1 << 20
"""Longest content of a document, as a client writes it."""


class DocumentError(EmsError):
    """A document whose rows do not rise in time, are of unequal length, or hold what is no finite number."""


class Span(NamedTuple):
    """A row that holds for a while. hours: how long, within the period asked for. value: of the column asked for."""

    start: int
    hours: float
    value: float


@dataclass(frozen=True, slots=True)
class Document:
    """A table over time. revision: grows with each news. issued, end, starts: ticks. columns: by name, one value per start."""

    name: str
    revision: int
    issued: int
    end: int
    starts: tuple[int, ...]
    columns: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        edges = (*self.starts, self.end)
        if not self.starts or any(a >= b for a, b in pairwise(edges)):
            raise DocumentError(f"{self.name}: rows must begin one after the other, before the end")
        if len(self.starts) > ROWS_MAX or len(self.columns) > COLUMNS_MAX:
            size = f"{len(self.starts)} rows of {len(self.columns)} columns"
            raise DocumentError(f"{self.name}: {size}, at most {ROWS_MAX} of {COLUMNS_MAX} are expected")
        for column, values in self.columns.items():
            if len(values) != len(self.starts):
                raise DocumentError(f"{self.name}: column {column} has {len(values)} values for {len(self.starts)} rows")
            if not all(map(isfinite, values)):
                raise DocumentError(f"{self.name}: column {column} holds what is no finite number")

    @classmethod
    def regular(
        cls, name: str, first: int, step_s: float, columns: Mapping[str, Sequence[float]], *, revision: int = 1, issued: int = 0
    ) -> Self:
        """A document whose rows follow each other every step_s seconds from `first` [ticks]."""
        count, step = len(next(iter(columns.values()))), round(step_s * TICKS)
        starts = tuple(first + i * step for i in range(count))
        values = {column: tuple(map(float, row)) for column, row in columns.items()}
        return cls(name, revision, issued or first, first + count * step, starts, values)

    def row(self, time: int) -> int | None:
        """Index of the row that holds at a time [ticks]; None before the first and from the end on."""
        index = bisect_right(self.starts, time) - 1
        return index if index >= 0 and time < self.end else None

    def at(self, time: int, column: str = "power_w") -> float | None:
        """The value that holds at a time; None where there is none."""
        index, values = self.row(time), self.columns.get(column)
        return None if index is None or values is None else values[index]

    def age_s(self, time: int) -> float:
        """Time since it was issued [s]."""
        return (time - self.issued) / TICKS

    def spans(self, start: int, end: int, column: str = "power_w") -> Iterator[Span]:
        """The rows between two times, cut to them."""
        values = self.columns.get(column, ())
        for begin, until, value in zip(self.starts, (*self.starts[1:], self.end), values, strict=False):
            first, last = max(begin, start), min(until, end)
            if first < last:
                yield Span(first, (last - first) / TICKS / 3600, value)

    def energy_wh(self, start: int, end: int, column: str = "power_w") -> float:
        """The integral of a power between two times [Wh]."""
        return sum(span.hours * span.value for span in self.spans(start, end, column))

    def as_json(self) -> dict[str, Any]:
        """The document as plain data, for the journal and the bus."""
        columns = {name: list(values) for name, values in self.columns.items()}
        head = {"name": self.name, "revision": self.revision, "issued": self.issued, "end": self.end}
        return head | {"starts": list(self.starts), "columns": columns}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `as_json` gave. DocumentError when it is no document."""
        try:
            columns = {str(name): tuple(map(float, values)) for name, values in data["columns"].items()}
            head = (str(data["name"]), int(data["revision"]), int(data["issued"]), int(data["end"]))
            return cls(*head, tuple(map(int, data["starts"])), columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DocumentError(f"{data!r:.60} is no document: {error}") from error

    def packed(self) -> bytes:
        """The document as bytes that control takes over without parsing rows."""
        head = {"name": self.name, "revision": self.revision, "issued": self.issued, "end": self.end, "columns": [*self.columns]}
        return pack(head, integers(self.starts), *map(floats, self.columns.values()))

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """What `packed` gave. DocumentError when it is no document."""
        try:
            head, (starts, *columns) = unpack(data)
            named = dict(zip(head["columns"], columns, strict=True))
            return cls(head["name"], head["revision"], head["issued"], head["end"], starts, named)
        except (PackingError, KeyError, TypeError, ValueError) as error:
            raise DocumentError(f"{len(data)} bytes are no document: {error}") from error
