"""Other controllers for a control process that runs, without a slip: loaded in steps, in the time that cycles leave.

    order ─▶ read │ load a file │ ... │ lay out │ line up │ line up the rehearsal │ take over ─▶ told
             one step in the idle time of a cycle, each under an alarm that ends it in time        between two cycles

What comes here was tried by the supervisor in a process of its own. A step that does not fit into what a cycle leaves is tried
again in later ones; when it never does, or an engine that runs cannot take the controllers over, the order is declined with the
reason. Until the last step everything is as it was, and so it stays after an order that was declined.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from server.core.controller import Controller
from server.core.layout import CONTROLLER, Layout, ObjectSpec, with_controllers
from server.core.step import OverBudget
from server.core.succession import Generation, Successors

from .code import Code
from .guard import AlarmGuard
from .ring import OrderRing

TRIES: Final = 20
"""In so many cycles a step may turn out too long before the order is declined."""


@dataclass(frozen=True, slots=True)
class Load:
    """The controllers a site shall have: all their aliases in order, what is new or changed of them, and the code they need.

    number: counts orders. leave: end, so that a successor begins with these controllers; its leases hold meanwhile.
    """

    number: int
    aliases: tuple[str, ...] = ()
    changed: Mapping[str, ObjectSpec] = field(default_factory=dict)
    codes: Mapping[str, Code] = field(default_factory=dict)
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order; `declined` is why not, empty when it was carried out. cycles: how many it took."""

    number: int
    declined: str
    cycles: int


class Adopter(Protocol):
    """An engine whose controllers can be replaced."""

    def prepare(self, generation: Generation) -> Successors:
        """Make other controllers ready."""
        ...

    def adopt(self, successors: Successors) -> None:
        """Go on with them."""
        ...


class Adoption:
    """Carries out orders for `engines`: the one that steers and the one that rehearses it.

    layout, codes, classes: what runs at first, the latter two by type name. tell: gets the answer to each order. done: orders up
    to this number were carried out before. use: takes a new layout over; set by whoever has memory that depends on it.
    """

    def __init__(
        self,
        orders: OrderRing,
        layout: Layout,
        codes: Mapping[str, Code],
        classes: Mapping[str, type[Controller]],
        engines: Sequence[Adopter],
        guard: AlarmGuard,
        tell: Callable[[Answer], None],
        done: int = 0,
    ) -> None:
        self.leaving = False
        self.use: Callable[[Layout], None] = lambda layout: None
        self._orders = orders
        self._layout = layout
        self._codes = dict(codes)
        self._classes = dict(classes)
        self._engines = engines
        self._guard = guard
        self._tell = tell
        self._done = done
        self._waiting: deque[bytes] = deque()
        self._work: _Work | None = None

    def idle(self, until_ns: int) -> None:
        """Do a step of what there is to do, until a moment of CLOCK_MONOTONIC at the latest."""
        if self._work is None:
            self._waiting.extend(self._orders.take())
            if not self._waiting:
                return
            self._work = _Work(self._waiting.popleft(), self)
        work = self._work
        work.cycles += 1
        try:
            if self._step(work, until_ns):
                self._take_over(work)
                self._answer(work, "")
        except OverBudget:
            work.failures += 1
            if work.failures >= TRIES:
                self._answer(work, "loading it does not fit into what the cycles leave")
        except Exception as error:  # noqa: BLE001 (supervision point: what cannot be loaded is declined, the cycle goes on)
            self._answer(work, str(error) or type(error).__name__)

    def _step(self, work: _Work, until_ns: int) -> bool:
        """Do the next step; True when all is ready to be taken over. OverBudget when it took too long; it is done again then."""
        with self._guard:
            self._guard.arm(max(until_ns - time.monotonic_ns(), 1) * 1e-9)
            work.steps[0]()
            self._guard.disarm()
        work.steps.popleft()
        return not work.steps

    def _take_over(self, work: _Work) -> None:
        if work.load.number <= self._done:
            return
        self.leaving = work.load.leave
        if work.layout is not None:
            for engine, successors in zip(self._engines, work.successors, strict=True):
                engine.adopt(successors)
            self._use(work, work.layout)

    def _use(self, work: _Work, layout: Layout) -> None:
        """Go on with a layout and its classes, and let go of what no longer runs."""
        used = {o.type_name for o in layout.objects if o.kind == CONTROLLER}
        codes, classes = {**self._codes, **work.load.codes}, {**self._classes, **work.classes}
        self._classes = {name: cls for name, cls in classes.items() if name in used}
        before, self._codes = self._codes, {name: code for name, code in codes.items() if name in used}
        _forget(before, self._codes)
        self._layout = layout
        self.use(layout)

    def _answer(self, work: _Work, declined: str) -> None:
        self._done = max(self._done, work.load.number)
        _forget(work.load.codes, self._codes)
        self._work = None
        self._tell(Answer(work.load.number, declined, work.cycles))

    def generation(self, work: _Work, layout: Layout) -> Generation:
        """The controllers that an order is about."""
        return Generation(layout, {**self._classes, **work.classes}, frozenset(work.load.changed))

    def begin(self, work: _Work) -> None:
        """Find out what there is to do for an order."""
        if work.load.number <= self._done or work.load.leave:
            return
        work.steps.extend(partial(work.load_code, name, code) for name, code in work.load.codes.items())
        work.steps.append(partial(work.lay_out, self._layout))
        work.steps.extend(partial(work.line_up, engine, self) for engine in self._engines)


def _forget(codes: Mapping[str, Code], running: Mapping[str, Code]) -> None:
    """Let go of the modules of code that does not run."""
    places = {code.place for code in running.values()}
    for code in codes.values():
        if code.place not in places:
            code.forget()


class _Work:
    """An order, and what was made ready for it. steps: what is still to be done."""

    def __init__(self, record: bytes, adoption: Adoption) -> None:
        self.load = Load(0)
        self.steps: deque[Callable[[], None]] = deque([partial(self._read, record, adoption)])
        self.classes: dict[str, type[Controller]] = {}
        self.layout: Layout | None = None
        self.successors: list[Successors] = []
        self.failures = 0
        self.cycles = 0

    def _read(self, record: bytes, adoption: Adoption) -> None:
        self.load = pickle.loads(record)
        adoption.begin(self)

    def load_code(self, name: str, code: Code) -> None:
        """Execute a file."""
        self.classes[name] = code.load()

    def lay_out(self, layout: Layout) -> None:
        """Find a place for every channel."""
        objects = [self.load.changed.get(alias) or layout.by_alias[alias] for alias in self.load.aliases]
        self.layout = with_controllers(layout, objects)

    def line_up(self, engine: Adopter, adoption: Adoption) -> None:
        """Make the successors of an engine's controllers."""
        assert self.layout is not None
        self.successors.append(engine.prepare(adoption.generation(self, self.layout)))
