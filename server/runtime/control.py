"""The control process: freeze, step, write, on absolute deadlines.

    ──┬─ freeze ─ step ─ write ─┬─ explain ─ idle: journal, collector ─┬─ sleep ─┬─ freeze ...
      deadline                  next deadline announced                          deadline + cycle

The cycle touches memory only: no file, no socket, no event loop. What must reach the disk goes through the journal ring. All that
may take time, like the engine's state as JSON or the garbage collector, happens after the work, while there is time left.
Explanations come after the outputs, and are published with the next cycle's.

Stopped by SIGTERM or orphaned, control ends all leases at once, so that every device goes to its fail-safe, and exits. Killed, it
leaves leases that run out by themselves, and a successor that continues from the journal's last state and the last frame.
"""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from server.core.image import Image
from server.core.layout import CONTROL, Layout
from server.core.proposal import Proposal
from server.core.rehearsal import Rehearsal
from server.core.step import Engine, Now, Output, Write

from .adoption import Adoption, Answer
from .context import ProcessContext
from .figures import Figures
from .freezer import Freezer
from .guard import AlarmGuard
from .intake import Intake
from .lead import DIVISOR, Lead
from .memory import OwnerBlock, SharedImage, utc_now
from .outputs import LEASE_S, Outputs
from .pacer import Pacer
from .proposing import unpack
from .realtime import be_prompt, stop_collecting
from .ring import JournalRing

PROPOSED_PER_CYCLE: Final = 1 << 14
"""Bytes of proposals one cycle hears, a few more to end the last: each costs up to 20 µs and 0.2 µs a byte."""
STATE_EVERY_NS: Final = 1_000_000_000
"""The engine's state goes to the journal so often when it changed, and at once when a client asked for something."""


class Steps(Protocol):
    """What the loop needs of an engine. healthy: its last step decided on every output, and they passed the safety layers."""

    healthy: bool

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Decide one cycle."""
        ...

    def propose(self, proposal: Proposal, out: Output) -> None:
        """Hear what a client proposes."""
        ...

    def explain(self, out: Output) -> None:
        """Say in words what the last step decided."""
        ...

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        ...


class ControlOutput:
    """Where the engine leaves its results: control's block, its texts, and events for the journal."""

    def __init__(self, block: OwnerBlock, journal: JournalRing) -> None:
        self.records: NDArray[Any] = block.records
        self.set_text = block.set_text
        self.lost = 0
        self._journal = journal

    def event(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Journal something that happened."""
        self.journal({**data, "kind": kind, "text": text})

    def journal(self, record: dict[str, Any]) -> bool:
        """Put a record into the ring. What finds no room is counted and told with the next that does."""
        if self.lost:
            record = {**record, "lost_before": self.lost}
        kept = self._journal.put(json.dumps(record, default=str).encode())
        self.lost = 0 if kept else self.lost + 1
        return kept


class ControlLoop:
    """The cycle of one site over its shared image."""

    def __init__(
        self,
        image: SharedImage,
        engine: Steps,
        guard: AbstractContextManager[None],
        *,
        cycle_s: float,
        lease_s: float = LEASE_S,
        restarts: int = 0,
        rehearsal: Rehearsal | None = None,
        adoption: Adoption | None = None,
        intake: Intake | None = None,
    ) -> None:
        self.pacer = Pacer(round(cycle_s * 1e9), time.monotonic_ns())
        self.freeze_ns = 0
        self._engine = engine
        self._guard = guard
        self._clock = image.clock
        self._inbox = image.inbox
        self._proposals = image.proposals
        self._block = image.block()
        self._output = ControlOutput(self._block, image.journal)
        self._freezer = Freezer(image)
        self._outputs = Outputs(image, lease_s)
        self._outputs.forget(self._block.records)
        self._figures = Figures(image.layout, restarts)
        self._cycle = self._freezer.cycle
        self._image: Image | None = None
        self._rehearsal = rehearsal
        self._adoption = adoption
        self._intake = intake
        if intake is not None:
            intake.event = self._output.event
        if adoption is not None:
            adoption.use = self._use
        self._lead = Lead(
            (self._rehearse_freeze, self._rehearse_step, self._rehearse_write, self._rehearse_freeze), self.pacer.period_ns
        )
        self._frozen_at = 0
        self._stroked_ns = 0
        self._state = b""
        self._commanded = False
        self._idle_due = 0

    def run(self, until: Callable[[], bool]) -> None:
        """Cycle until `until`, which is asked once per cycle, then end all leases; or until a successor is to take them over."""
        self.pacer.deadline_ns = time.monotonic_ns() + self.pacer.period_ns
        self._frozen_at = self.pacer.deadline_ns - self.pacer.period_ns
        while not until() and not self._leaving:
            self._await_deadline()
            self.cycle()
            self._engine.explain(self._output)
            self._idle()
        if not self._leaving:
            self._outputs.withdraw()
        self._save_state()

    @property
    def _leaving(self) -> bool:
        return self._adoption is not None and self._adoption.leaving

    def _use(self, layout: Layout) -> None:
        """Go on with a later generation of the layout."""
        self._block.adopt(layout.owner(CONTROL))
        self._freezer.adopt(layout)

    def cycle(self) -> None:
        """One cycle: the image of this moment, the decisions on it, the outputs; the watchdog last (REQ-SAFE-021)."""
        self.pacer.started(time.monotonic_ns())
        image = self._freeze()
        self._step(image)
        self._write(image)
        self._image = image
        now_ns = time.monotonic_ns()
        self.pacer.finished(now_ns)
        if self._engine.healthy:
            self._stroked_ns = now_ns
        self._clock.announce(self.pacer.period_ns, self.pacer.deadline_ns, self._stroked_ns)

    def _await_deadline(self) -> None:
        """Sleep until shortly before the deadline, rehearse the cycle, which the sleep left cold, and be there on time."""
        deadline_ns = self.pacer.deadline_ns
        sleep_until(deadline_ns - self._lead.plan())
        self._lead.use(deadline_ns)
        while time.monotonic_ns() < deadline_ns:
            pass

    def _rehearse_freeze(self, deadline_ns: int) -> None:
        self._freezer.rehearse(self._cycle + 1, deadline_ns)

    def _rehearse_step(self, deadline_ns: int) -> None:
        image = self._image
        if self._rehearsal is not None and image is not None:
            ahead_ns = deadline_ns - image.frozen_at
            now = Now(image.cycle + 1, deadline_ns, image.time + ahead_ns // 100, ahead_ns * 1e-9)
            try:
                with self._guard:
                    self._rehearsal.play(image, now)
            except Exception as error:  # noqa: BLE001 (supervision point: a rehearsal has no effect, not even when it fails)
                self._rehearsal = None
                self._output.event("rehearsal_failed", f"no more rehearsals: {type(error).__name__}: {error}", {})

    def _rehearse_write(self, deadline_ns: int) -> None:
        self._outputs.rehearse(self._block.records, deadline_ns)
        self._block.rehearse()

    def _freeze(self) -> Image:
        start_ns = time.monotonic_ns()
        self._cycle += 1
        image = self._freezer.freeze(self._cycle, start_ns, utc_now())
        if self._intake is not None:
            image.documents = self._intake.documents
        self.freeze_ns = time.monotonic_ns() - start_ns
        return image

    def _step(self, image: Image) -> None:
        now = Now(image.cycle, image.frozen_at, image.time, (image.frozen_at - self._frozen_at) * 1e-9)
        self._frozen_at = image.frozen_at
        writes = self._inbox.take()
        self._commanded |= bool(writes)
        for record in self._proposals.take(PROPOSED_PER_CYCLE):
            self._hear(record)
        with self._guard:
            self._engine.step(image, now, writes, self._output)

    def _hear(self, record: bytes) -> None:
        """Hand a proposal to the engine. What is none is told, and does no harm."""
        try:
            proposal = unpack(record)
        except ValueError as error:
            self._output.event("proposal_refused", str(error), {})
        else:
            self._engine.propose(proposal, self._output)

    def _write(self, image: Image) -> None:
        self._outputs.write(self._block.records, image.cycle, image.frozen_at)
        self._figures.write(self._block.records, self.pacer, image)
        self._block.publish()

    def _idle(self) -> None:
        """With at least half a period left: what clients asked for to the journal; once a second all state, and garbage away;
        else a document that waits, or a step of loading other controllers."""
        now_ns = time.monotonic_ns()
        if self.pacer.deadline_ns - now_ns < self.pacer.period_ns // 2:
            return
        due = now_ns >= self._idle_due
        if due or self._commanded:
            self._save_state()
        if due:
            self._idle_due = now_ns + STATE_EVERY_NS
            gc.collect()
        elif self._intake is not None and self._intake.idle():
            return
        elif self._adoption is not None:
            self._adoption.idle(self.pacer.deadline_ns - self.pacer.period_ns // DIVISOR)

    def _save_state(self) -> None:
        state = self._engine.state()
        encoded = json.dumps(state, sort_keys=True).encode()
        record = {"kind": "state", "state": state, "commanded": self._commanded}
        if encoded == self._state or self._output.journal(record):
            self._state = encoded
            self._commanded = False


class StopSignal:
    """SIGTERM and SIGINT as a flag that the loop looks at."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def sleep_until(deadline_ns: int) -> None:
    """Sleep until a moment of CLOCK_MONOTONIC."""
    while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns * 1e-9)


def run(context: ProcessContext) -> None:
    """Entry of the control process.

    settings: site: SiteSettings; codes: {type name: Code}; orders: number of the last order that these follow from;
    lease_s: optional, seconds a set-point outlives us.
    """
    stop = StopSignal()
    image, site, guard = context.image(), context.settings["site"], AlarmGuard()
    codes = context.settings["codes"]
    classes = {name: code.load() for name, code in codes.items()}
    engine = Engine(image.layout, site, classes, guard)
    if context.state is not None:
        engine.restore(context.state, context.state_age_s)
    twin = Engine(image.layout, site, classes, guard)
    rehearsal = Rehearsal(image.layout, engine, twin)

    def tell(answer: Answer) -> None:
        context.event("adopted", answer.declined, number=answer.number, cycles=answer.cycles)

    done = context.settings.get("orders", 0)
    adoption = Adoption(image.orders, image.layout, codes, classes, (engine, twin), guard, tell, done)
    lease_s = context.settings.get("lease_s", LEASE_S)
    intake = Intake(image.documents, context.documents, engine.use)
    loop = ControlLoop(
        image,
        engine,
        guard,
        cycle_s=site.cycle_s,
        lease_s=lease_s,
        restarts=context.restarts,
        rehearsal=rehearsal,
        adoption=adoption,
        intake=intake,
    )
    context.log.info("cycle of %.0f ms; granted: %s", site.cycle_s * 1e3, ", ".join(be_prompt()) or "nothing")
    stop_collecting()
    context.ready()
    loop.run(until=lambda: stop.asked or context.orphaned())
