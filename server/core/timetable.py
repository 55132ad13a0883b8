"""A timetable: when schedules switch controllers and set their parameters, and to what, worked out ahead.

Whoever makes it has read the calendars, time zones and recurrences; the engine only compares times. For each switch or parameter
there is one *track* of spans in the order of time, of which no two overlap: what of several events wins has been decided.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final, NamedTuple, Self

from .errors import EmsError
from .packing import PackingError, floats, integers, pack, unpack

ENABLED: Final = "Enabled"
"""Name of the switch of a controller among its parameters."""


class TimetableError(EmsError):
    """What is no timetable."""


class Span(NamedTuple):
    """An event sets something from `start` until `end` [ticks] to a value. title: of the event."""

    start: int
    end: int
    value: float
    title: str


@dataclass(frozen=True)
class Timetable:
    """Spans by node, `peak0/import_max_w` or `peak0/Enabled`. revision: grows with each news."""

    revision: int
    tracks: Mapping[str, tuple[Span, ...]]

    @property
    def edges(self) -> tuple[int, ...]:
        """All moments at which something begins or ends."""
        return tuple(sorted({edge for spans in self.tracks.values() for span in spans for edge in (span.start, span.end)}))

    def at(self, time: int) -> dict[str, Span]:
        """What holds at a time [ticks], by node."""
        found = {}
        for node, spans in self.tracks.items():
            index = bisect_right(spans, time, key=_start) - 1
            if index >= 0 and time < spans[index].end:
                found[node] = spans[index]
        return found

    def packed(self) -> bytes:
        """The timetable as bytes that control takes over without parsing spans."""
        spans = [span for track in self.tracks.values() for span in track]
        titles = list(dict.fromkeys(span.title for span in spans))
        number = {title: i for i, title in enumerate(titles)}
        head = {"revision": self.revision, "titles": titles, "tracks": [[node, len(t)] for node, t in self.tracks.items()]}
        times = integers([s.start for s in spans]), integers([s.end for s in spans])
        return pack(head, *times, floats([s.value for s in spans]), integers([number[s.title] for s in spans]))

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """What `packed` gave. TimetableError when it is no timetable."""
        try:
            head, (starts, ends, values, numbers) = unpack(data)
            titles = [head["titles"][number] for number in numbers]
            spans = list(map(Span, starts, ends, values, titles))
            tracks, first = {}, 0
            for node, count in head["tracks"]:
                tracks[node] = tuple(spans[first : first + count])
                first += count
            return cls(head["revision"], tracks)
        except (PackingError, KeyError, TypeError, ValueError, IndexError) as error:
            raise TimetableError(f"{len(data)} bytes are no timetable: {error}") from error


def _start(span: Span) -> int:
    return span.start


NO_TIMETABLE: Final = Timetable(0, {})


def overlay(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans of one node in order of rank, cut to a track: where several hold, the first wins and the others are cut."""
    ranked = sorted(enumerate(spans), key=lambda item: item[1].start)
    edges = sorted({edge for _, span in ranked for edge in (span.start, span.end)})
    track: list[Span] = []
    holding: list[tuple[int, Span]] = []
    coming = 0
    winner = -1
    for begin, end in pairwise(edges):
        while coming < len(ranked) and ranked[coming][1].start == begin:
            heappush(holding, ranked[coming])
            coming += 1
        while holding and holding[0][1].end <= begin:
            heappop(holding)
        if not holding:
            winner = -1
        elif holding[0][0] == winner:
            track[-1] = track[-1]._replace(end=end)
        else:
            winner = holding[0][0]
            track.append(holding[0][1]._replace(start=begin, end=end))
    return tuple(track)
