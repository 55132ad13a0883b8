"""The history as the panel's charts ask for it: raw values or averages of several channels, as JSON and as CSV.

    GET /history?node=site/GridPower&node=ess0/Soc&from=<ms>&to=<ms>&points=600&how=auto
    GET /history.csv?…

Read through the person's own OPC UA session, so the server decides what they may see. `auto` averages where raw values would
be more than a chart of `points` can show. States are never averaged.
"""

from __future__ import annotations

import asyncio
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import QueryParams

from server.client import ChannelInfo, ClientError, Series
from server.core import status
from server.core.ticks import TICKS, UNIX_EPOCH

from . import login, quality
from .catalogue import Catalogue, label
from .person import People, Person

NODES_MAX = 60
POINTS_MAX = 5000
RAW_STEP_S = 2.0
"""Values are stored once a second at most: an average over less than two says nothing more."""
STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
AVERAGE = "TimeAverage2"
"""Weighs each value by how long it held: what does not change is stored once, and is no less there for that."""
HOLD_S = 3.0
"""Values are stored when they change: after a longer silence the last one held until just before the next."""
RAW_MAX = 50_000
TOGETHER = 4
MISSING = 3
_GRADES = ("good", "uncertain", "bad", "missing")
_HOW = ("auto", "raw", "average")


@dataclass(frozen=True)
class Wish:
    """What was asked for. step_s: width of the averages, 0 for raw values."""

    nodes: tuple[str, ...]
    start: datetime
    end: datetime
    step_s: float


class Points(NamedTuple):
    """One channel: times in ms since 1970, values in SI, None where there is none, and a grade: 0 good, 1 uncertain,
    2 bad, 3 nothing was stored."""

    t: list[int]
    v: list[float | None]
    q: list[int]


def install(app: FastAPI, people: People) -> None:
    """Add the routes."""

    @app.get("/history")
    async def read(request: Request) -> Response:
        return await _answer(request, people, _json)

    @app.get("/history.csv")
    async def export(request: Request) -> Response:
        return await _answer(request, people, _csv)


async def _answer(request: Request, people: People, form: Any) -> Response:
    person = people.find(request.session.get(login.COOKIE_KEY, ""))
    if person is None:
        return JSONResponse({"error": "Please log in again."}, 401)
    try:
        wish = parse(request.query_params, person.catalogue)
        found = await read_all(person, wish)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    except ClientError as error:
        return JSONResponse({"error": f"The history could not be read: {error}"}, 503)
    response: Response = form(person.catalogue, wish, found)
    return response


def parse(query: QueryParams, catalogue: Catalogue) -> Wish:
    """The wish in an address. ValueError says in words what is wrong with it."""
    nodes = tuple(dict.fromkeys(query.getlist("node")))
    unknown = [n for n in nodes if n not in catalogue.channels or not catalogue.channels[n].historized]
    if unknown:
        raise ValueError(f"{unknown[0]} has no history.")
    if not 1 <= len(nodes) <= NODES_MAX:
        raise ValueError(f"{len(nodes)} channels are asked for; 1 to {NODES_MAX} can be read at once.")
    start, end = _time(query, "from"), _time(query, "to")
    if not start < end:
        raise ValueError("The range ends before it begins.")
    how = query.get("how", "auto")
    if how not in _HOW:
        raise ValueError(f"how={how}: {', '.join(_HOW)} are known.")
    points = query.get("points", "600")
    if not points.isdecimal() or not 1 <= int(points) <= POINTS_MAX:
        raise ValueError(f"points={points}: 1 to {POINTS_MAX} are expected.")
    return aligned(Wish(nodes, start, end, step((end - start).total_seconds(), int(points), how)), datetime.now(UTC))


def _time(query: QueryParams, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(query[name]) / 1000, UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        raise ValueError(f"{name}: a time in ms since 1970 is expected.") from None


def step(span_s: float, points: int, how: str = "auto") -> float:
    """Width of averages in s that gives about `points` of them; 0 where raw values are as good, or wished for."""
    if how == "raw" or (how == "auto" and span_s / points <= RAW_STEP_S):
        return 0.0
    return next((float(s) for s in STEPS_S if s >= span_s / points), float(STEPS_S[-1]))


def aligned(wish: Wish, now: datetime) -> Wish:
    """The wish with its averages on multiples of their width, without the one that is not over: they stay as they are."""
    if not wish.step_s:
        return wish
    start, end, latest = (moment.timestamp() / wish.step_s for moment in (wish.start, wish.end, now))
    first, last = math.floor(start) * wish.step_s, min(math.ceil(end), math.floor(latest)) * wish.step_s
    return replace(
        wish, start=datetime.fromtimestamp(first, UTC), end=datetime.fromtimestamp(max(last, first + wish.step_s), UTC)
    )


async def read_all(person: Person, wish: Wish) -> dict[str, Points]:
    """All channels of a wish, some at a time. ClientError with the server's reason."""
    turn = asyncio.Semaphore(TOGETHER)

    async def one(node: str) -> Points:
        async with turn:
            return await _read(person, person.catalogue.channels[node], wish)

    return dict(zip(wish.nodes, await asyncio.gather(*map(one, wish.nodes)), strict=True))


async def _read(person: Person, channel: ChannelInfo, wish: Wish) -> Points:
    if wish.step_s and not is_state(channel):
        return averages(
            await person.client.history_aggregate(channel.node, wish.start, wish.end, wish.step_s, "TimeAverage2"), wish.step_s
        )
    series = await person.client.history_read(channel.node, wish.start, wish.end, RAW_MAX)
    before = await person.client.history_read(channel.node, wish.start, datetime(1970, 1, 1, tzinfo=UTC), 1)
    return raw(series, before, wish, hold=not is_state(channel))


def is_state(channel: ChannelInfo) -> bool:
    """Whether the channel's numbers are names: an average of them is nothing."""
    return bool(channel.states) or channel.data_type == "Boolean"


def averages(series: Series, step_s: float) -> Points:
    """Averages, each in the middle of its interval."""
    return _points(series, round(step_s * 500))


def raw(series: Series, before: Series, wish: Wish, *, hold: bool) -> Points:
    """Raw values from the range's beginning, where the last value before it held, to its end.

    hold: before a value that comes after a silence the one before is repeated, so that a line between them is level.
    """
    points = _points(series, 0)
    start, end = round(wish.start.timestamp() * 1000), round(wish.end.timestamp() * 1000)
    if len(before) and (not points.t or points.t[0] > start):
        points = _joined(_points(before, 0)._replace(t=[start]), points)
    if points.t:
        points = _joined(points, Points([end], points.v[-1:], points.q[-1:]))
    return held(points) if hold else points


def _joined(first: Points, second: Points) -> Points:
    return Points(first.t + second.t, first.v + second.v, first.q + second.q)


def held(points: Points) -> Points:
    """The same with the last value repeated just before whatever comes after a silence."""
    rows: list[tuple[int, float | None, int]] = []
    for row in zip(*points, strict=True):
        if rows and row[0] - rows[-1][0] > HOLD_S * 1000:
            rows.append((row[0] - 1, *rows[-1][1:]))
        rows.append(row)
    return Points([t for t, _, _ in rows], [v for _, v, _ in rows], [q for _, _, q in rows])


def _points(series: Series, shift_ms: int) -> Points:
    times = (np.asarray(series.times, np.int64) - UNIX_EPOCH) // (TICKS // 1000) + shift_ms
    codes = np.asarray(series.status, np.uint32).tolist()
    values = [None if status.is_bad(c) or not math.isfinite(v) else v for v, c in zip(series.values.tolist(), codes, strict=True)]
    return Points(times.tolist(), values, [_grade(c) for c in codes])


def _grade(code: int) -> int:
    return MISSING if code & 0xFFFF0000 == status.BAD_NO_DATA else quality.rank(code)


def _json(catalogue: Catalogue, wish: Wish, found: Mapping[str, Points]) -> Response:
    return JSONResponse({"step": wish.step_s, "series": {node: points._asdict() for node, points in found.items()}})


def _csv(catalogue: Catalogue, wish: Wish, found: Mapping[str, Points]) -> Response:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(table(catalogue, found))
    name = f"{wish.start:%Y%m%d-%H%M}-{wish.end:%Y%m%d-%H%M}.csv"
    headers = {"content-disposition": f'attachment; filename="history-{name}"'}
    return Response("\ufeff" + text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def table(catalogue: Catalogue, found: Mapping[str, Points]) -> Iterator[Sequence[Any]]:
    """Rows of a CSV file: a time (UTC), then value and quality of each channel; empty where a channel has none at that time."""
    channels = [catalogue.channels[node] for node in found]
    yield ["time", *(cell for c in channels for cell in (_heading(catalogue, c), "quality"))]
    columns = [{t: (v, q) for t, v, q in zip(*points, strict=True)} for points in found.values()]
    for t in sorted({t for column in columns for t in column}):
        cells = [cell for column in columns for cell in _cells(column.get(t))]
        yield [f"{datetime.fromtimestamp(t / 1000, UTC).isoformat(timespec='milliseconds')}", *cells]


def _heading(catalogue: Catalogue, channel: ChannelInfo) -> str:
    thing = catalogue.model.objects[channel.node.partition("/")[0]]
    return f"{label(thing)} {channel.name}" + (f" [{channel.unit}]" if channel.unit else "")


def _cells(found: tuple[float | None, int] | None) -> tuple[Any, str]:
    if found is None:
        return "", ""
    value, grade = found
    return "" if value is None else value, _GRADES[grade]
