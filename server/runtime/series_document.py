"""Documents that are tables over time, as clients write them: schedules, forecasts, prices, plans, events.

    {"start": "2026-03-01T00:00:00Z", "step_s": 900, "columns": {"power_w": [0, -2000, 1500]}}
    {"starts": ["2026-03-01T00:00:00+01:00", "2026-03-01T06:00:00+01:00"], "end": "2026-03-02T00:00:00+01:00", "columns": {...}}

Times have a zone. `issued` is when the content was made; when it arrived, where it says nothing. Which columns a kind of document
has is in KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AwareDatetime, Field

from server.core.document import COLUMNS_MAX, ROWS_MAX, Document, DocumentError
from server.core.errors import ConfigError
from server.core.layout import DEVICE, Layout
from server.core.site import GRID_ALIAS
from server.core.ticks import TICKS, from_datetime, to_datetime

from .config import Table
from .explain import validate


class Kind(NamedTuple):
    """A kind of document. columns: what it may have, at least one of them. of: what its name ends with, None for a device."""

    columns: tuple[str, ...]
    of: tuple[str, ...] | None
    doc: str


KINDS: Final[Mapping[str, Kind]] = {
    "schedule": Kind(("power_w", "mode"), None, "What a storage or the grid connection is to do."),
    "plan": Kind(("power_w", "import_w"), None, "What an optimiser plans for a storage."),
    "event": Kind(("level", "import_max_w"), None, "Demand response at a grid connection."),
    "forecast": Kind(("power_w",), ("consumption", "production"), "What is expected."),
    "price": Kind(("buy", "sell"), ("buy",), "Prices in currency per kWh."),
}
"""By the first part of a document's name, `schedule/ess0`."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Column = Annotated[tuple[Finite, ...], Field(max_length=ROWS_MAX, strict=False)]
Moment = Annotated[AwareDatetime, Field(strict=False)]


class _Content(Table):
    """Rows at a regular step, or with a start each."""

    issued: Moment | None = None
    start: Moment | None = None
    step_s: float | None = Field(None, ge=1, le=31_622_400, allow_inf_nan=False)
    starts: tuple[Moment, ...] | None = Field(None, min_length=1, max_length=ROWS_MAX, strict=False)
    end: Moment | None = None
    columns: dict[str, Column] = Field(min_length=1, max_length=COLUMNS_MAX)


def check_name(name: str, layout: Layout) -> Kind:
    """The kind of a table by its name. ConfigError when the name says nothing here."""
    first, _, last = name.partition("/")
    kind = KINDS.get(first)
    if kind is None:
        raise ConfigError(name, "name", f"'{first}' is no kind of document; known: calendar, {', '.join(KINDS)}")
    known = kind.of or (GRID_ALIAS, *(o.alias for o in layout.objects if o.kind == DEVICE))
    if last not in known:
        raise ConfigError(name, "name", f"'{last}' is none of {', '.join(known)}")
    return kind


def read_table(name: str, content: Mapping[str, Any], layout: Layout, revision: int, arrived: int) -> Document:
    """A table a client sent. ConfigError or InvalidFile say where it is wrong. arrived: ticks."""
    kind = check_name(name, layout)
    found = validate(_Content, content, name)
    for column in found.columns:
        if column not in kind.columns:
            raise ConfigError(name, f"columns.{column}", f"is not one of {', '.join(kind.columns)}")
    starts, end = _regular(name, found) if found.starts is None else _uneven(name, found)
    issued = from_datetime(found.issued) or arrived
    try:
        document = Document(name, revision, issued, end, starts, found.columns)
    except DocumentError as error:
        raise ConfigError(name, "starts", str(error).removeprefix(f"{name}: ")) from error
    if to_datetime(end) is None:
        raise ConfigError(name, "end", "is past the year 9999; an end in UTC up to 9999-12-31T23:59:59Z is expected")
    return document


def _regular(name: str, found: _Content) -> tuple[tuple[int, ...], int]:
    if found.start is None or found.step_s is None:
        missing = "start" if found.start is None else "step_s"
        raise ConfigError(name, missing, "is missing: rows have start and step_s, or starts and end")
    first, step = from_datetime(found.start), round(found.step_s * TICKS)
    count = len(next(iter(found.columns.values())))
    return tuple(first + i * step for i in range(count)), first + count * step


def _uneven(name: str, found: _Content) -> tuple[tuple[int, ...], int]:
    if found.end is None or found.start is not None or found.step_s is not None:
        field, problem = ("end", "is missing") if found.end is None else ("starts", "start and step_s say the same")
        raise ConfigError(name, field, f"{problem}: rows have start and step_s, or starts and end")
    return tuple(map(from_datetime, found.starts or ())), from_datetime(found.end)
