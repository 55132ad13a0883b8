"""Explanations as string channels: a few are made per cycle, in turn, and written when they changed and not too often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from .ask import Ask, as_json, controller_text, shorten
from .constraint import Setting
from .controller import Now
from .explain import ask_of, ask_of_setting
from .natures import Site, SiteMode
from .output import Output
from .runner import Runner
from .site import SITE_ALIAS
from .solver import Solution
from .topology import Topology

LOOKS_PER_CYCLE: Final = 8
"""Controllers that are looked at in one cycle, in turn."""

TEXTS_PER_CYCLE: Final = 2
"""Explanations of controllers that are made in one cycle, apart from those of faults."""

TEXT_EVERY_NS: Final = 1_000_000_000
"""An explanation changes at most so often, unless who decides changed."""


class Texts:
    """Explanations of the site and of its controllers, looked at in turn."""

    def __init__(self, topology: Topology, runners: Sequence[Runner]) -> None:
        self._runners = list(runners)
        self._site_slot = topology.slot(SITE_ALIAS, Site.Explanation)
        self._turn = 0
        self._said: dict[int, tuple[str, int, str]] = {}
        """By slot: the text, when it was written, and a mark of who decided then."""

    def write(
        self,
        situation: Callable[[], str],
        mode: SiteMode,
        solution: Solution,
        settings: Sequence[Setting],
        changed: Sequence[Runner],
        now: Now,
        out: Output,
    ) -> None:
        """Bring texts up to date that are due. situation: makes the site's text, only asked when it is needed. settings: what
        became of wishes for actuators. changed: the controllers whose fault began or ended, which do not wait for their turn.
        """
        mark = mode.name
        if self._due(self._site_slot, mark, now):
            self._say(self._site_slot, situation(), mark, now, out)
        for runner in (*changed, *self._next(now)):
            asks = _asks(runner, solution, settings)
            if runner.claims_slot >= 0:
                self._say(runner.claims_slot, as_json(asks), _mark(runner), now, out)
            self._say(runner.explanation_slot, _runner_text(runner, asks), _mark(runner), now, out)

    def _next(self, now: Now) -> list[Runner]:
        """The controllers whose turn it is and whose text is due."""
        due: list[Runner] = []
        for _ in range(min(LOOKS_PER_CYCLE, len(self._runners))):
            runner = self._runners[self._turn]
            self._turn = (self._turn + 1) % len(self._runners)
            if self._due(runner.explanation_slot, _mark(runner), now):
                due.append(runner)
                if len(due) == TEXTS_PER_CYCLE:
                    break
        return due

    def _due(self, slot: int, mark: str, now: Now) -> bool:
        said = self._said.get(slot)
        return slot >= 0 and (said is None or said[2] != mark or now.monotonic_ns - said[1] >= TEXT_EVERY_NS)

    def _say(self, slot: int, text: str, mark: str, now: Now, out: Output) -> None:
        said = self._said.get(slot)
        if said is None or said[0] != text:
            out.set_text(slot, text)
        self._said[slot] = (text, now.monotonic_ns, mark)


def _mark(runner: Runner) -> str:
    return f"{runner.run_state}{runner.failure}{runner.enabled}{runner.schedule_text}"


def _asks(runner: Runner, solution: Solution, settings: Sequence[Setting]) -> list[Ask]:
    """What a controller asks for, and what became of it; nothing while it does not run."""
    if runner.failure or not runner.enabled:
        return []
    first: dict[int, str] = {}
    for s in settings:
        first.setdefault(s.wish.actuator.slot, s.who)
    own = [ask_of_setting(s, first[s.wish.actuator.slot]) for s in settings if s.who == runner.alias]
    return [*(ask_of(grant, solution.fixed) for grant in solution.grants_of(runner.alias)), *own]


def _runner_text(runner: Runner, asks: Sequence[Ask]) -> str:
    if runner.failure:
        return runner.failure if runner.controller is None else f"failed: {runner.failure}"
    text = controller_text(asks) if runner.enabled else "disabled"
    return shorten(f"{text}; schedule {runner.schedule_text}") if runner.schedule_text else text
