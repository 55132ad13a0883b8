"""What the clock switches: a timetable, applied to the controllers of an engine.

    configured or set by a person ── base ─┐
    timetable ── span that holds now ──────┴─ in force         a span that ends gives back the base

A person outranks the timetable: what is written while a span holds counts at once, and stays until that span is over; from then
on it is what schedules give back, and the next span sets it anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from .ask import shorten
from .controller import Now
from .output import Output
from .runner import Runner
from .ticks import local_time
from .timetable import ENABLED, NO_TIMETABLE, Span, Timetable

_NEVER: Final = (1, 0)
_FOR_EVER: Final = 1 << 62

Event = Callable[[str, str, dict[str, Any]], None]


class Schedules:
    """Compares times; does something only where a span begins or ends."""

    def __init__(self) -> None:
        self._timetable = NO_TIMETABLE
        self._edges: tuple[int, ...] = ()
        self._window = _NEVER
        self._holding: dict[str, dict[str, Span]] = {}
        self._following: dict[Runner, Mapping[str, Span]] = {}

    def use(self, timetable: Timetable) -> None:
        """Follow another timetable from the next step on."""
        self._timetable, self._edges = timetable, timetable.edges
        self._window = _NEVER

    def look_again(self) -> None:
        """Apply the timetable in the next step to all: controllers are others."""
        self._following.clear()
        self._window = _NEVER

    def apply(
        self, runners: Sequence[Runner], now: Now, out: Output, touched: Collection[Runner] = ()
    ) -> list[tuple[int, float]]:
        """Let controllers follow what holds now. touched: those that somebody has set something of, who outranks it. Slots of
        switches and parameters that changed by it, with their values."""
        begin, end = self._window
        if begin <= now.time < end:
            return [change for runner in touched for change in self._follow(runner, out)]
        after = bisect_right(self._edges, now.time)
        self._window = (
            self._edges[after - 1] if after else 0,
            self._edges[after] if after < len(self._edges) else _FOR_EVER,
        )
        self._holding = {}
        for node, span in self._timetable.at(now.time).items():
            alias, _, name = node.partition("/")
            self._holding.setdefault(alias, {})[name] = span
        others = [r for r in runners if r in touched or self._following.get(r) != self._holding.get(r.alias, {})]
        return [change for runner in others for change in self._follow(runner, out)]

    def _follow(self, runner: Runner, out: Output) -> list[tuple[int, float]]:
        spans = self._following[runner] = self._holding.get(runner.alias, {})
        return _follow(runner, spans, out)


def _follow(runner: Runner, spans: Mapping[str, Span], out: Output) -> list[tuple[int, float]]:
    """Let one controller follow; tells what began and what is over."""
    before = runner.scheduled
    if not spans and not before and not runner.held:
        return []
    for problem in runner.follow(spans):
        out.event("schedule_refused", problem, {"controller": runner.alias})
    for name in dict.fromkeys((*before, *runner.scheduled)):
        if before.get(name) != runner.scheduled.get(name):
            _tell(runner, name, before.get(name), out.event)
    show(runner, out)
    slots = runner.setting_slots
    return [(slots[name], runner.setting(name)) for name in (*before, *runner.scheduled) if name in slots]


def _tell(runner: Runner, name: str, before: Span | None, event: Event) -> None:
    """Journal that a schedule set something, or that it gave it back."""
    span = runner.scheduled.get(name)
    value = runner.setting(name)
    data = {"node": f"{runner.alias}/{name}", "value": value}
    if span is not None:
        until = _clock(runner, span.end)
        event("schedule", f"{span.title} until {until}: {_words(runner, name, value)}", {**data, "event": span.title})
    elif before is not None:
        event("schedule_over", f"{before.title} is over: {_words(runner, name, value)}", {**data, "event": before.title})


def _words(runner: Runner, name: str, value: float) -> str:
    """peak0.import_max_w is 5000, or peak0 is enabled."""
    if name == ENABLED:
        return f"{runner.alias} is {'enabled' if value else 'disabled'}"
    return f"{runner.alias}.{name} is {value:g}"


def show(runner: Runner, out: Output) -> None:
    """Bring the text of what schedules set on a controller up to date."""
    runner.schedule_text = schedule_text(runner)
    if runner.schedule_slot >= 0:
        out.set_text(runner.schedule_slot, runner.schedule_text)


def schedule_text(runner: Runner) -> str:
    """Night rate until 2026-03-01 06:00: import_max_w 5000; set by hand: hysteresis_w; empty while no schedule sets anything."""
    by_event: dict[tuple[str, int], list[str]] = {}
    for name, span in runner.scheduled.items():
        words = ("on" if span.value else "off") if name == ENABLED else f"{name} {span.value:g}"
        by_event.setdefault((span.title, span.end), []).append(words)
    texts = [f"{title} until {_clock(runner, end)}: {', '.join(words)}" for (title, end), words in by_event.items()]
    if runner.held:
        texts.append(f"set by hand: {', '.join(runner.held)}")
    return shorten("; ".join(texts))


def _clock(runner: Runner, time: int) -> str:
    """A moment on the site's clock."""
    zone = runner.controller.zone if runner.controller is not None else None
    return "" if zone is None else f"{local_time(time, zone):%Y-%m-%d %H:%M}"
