"""The receiver: in control's place at a site whose control runs on another host.

It freezes frames on the site's cycle like control, and decides nothing: set-points arrive with a lease each, as a duration that
runs from their arrival by this host's clock. What is not renewed runs out, and the driver takes the device to its fail-safe.
Other results of control, its sums and texts, are shown for as long as they keep arriving.

    remote ring ── hear ─┬─ set-points, leases ── drivers, at once
                         └─ results, texts ────── control's block

One thing is done here without asking anybody: an emergency stop, by a person or a digital input, holds all units at their safe
values from the cycle that hears it, until it is reset here, whatever arrives (REQ-SAFE-031 to 034).
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.bridge.protocol import decided, unpack
from server.core.channel import DataType
from server.core.image import Image
from server.core.layout import CONTROL, Layout
from server.core.natures import Site
from server.core.proposal import Proposal
from server.core.site import SITE_ALIAS, SiteSettings
from server.core.status import BAD_NO_COMMUNICATION, BAD_NO_DATA, GOOD
from server.core.step import Now, Output, Write
from server.core.stop_inputs import StopInputs
from server.core.topology import Topology
from server.core.trips import SAFE_W

from .context import ProcessContext
from .control import ControlLoop, StopSignal
from .memory import SharedImage, drivers
from .outputs import LEASE_S, Outputs, output_slots
from .realtime import be_prompt, stop_collecting

SILENT_NS: Final = 1_000_000_000
"""Results of control that were not renewed for so long are not shown as good any more."""

_LEASE_NS: Final = round(LEASE_S * 1e9)


class Receiver:
    """Takes decisions as they arrive, and shows them. until: CLOCK_MONOTONIC until which each set-point is leased."""

    def __init__(self, layout: Layout, site: SiteSettings) -> None:
        first = layout.owner(CONTROL).first
        rows = decided(layout)
        self._cells = np.array([slot for _, slot in rows], np.int64) - first
        self._numbers = np.array([c.output < 0 and c.spec.data_type is not DataType.STRING for c, _ in rows], np.bool_)
        self._texts = {i: slot for i, (c, slot) in enumerate(rows) if c.spec.data_type is DataType.STRING}
        self._setpoints = output_slots(layout, [d for d in drivers(layout) if d.outputs])
        place = {cell: i for i, cell in enumerate(self._setpoints.tolist())}
        self._output = np.array([place.get(cell, -1) for cell in self._cells.tolist()], np.int64)
        self.until = np.zeros(len(self._setpoints), np.int64)
        self.stopped = False
        self.healthy = False
        """The last step showed what is in force (REQ-SAFE-003)."""
        self._status = np.full(len(rows), BAD_NO_DATA, np.uint32)
        self._heard_ns = 0
        self._silent: bool | None = None
        topology = Topology(layout, site)
        self._stops = StopInputs(topology)
        powers = [*topology.setpoint_nodes, *(slot for unit in topology.units for slot in unit.phase_setpoints)]
        self._safe = np.array([place[slot - first] for slot in powers], np.int64)
        self._stop, self._explanation = (topology.slot(SITE_ALIAS, s) for s in (Site.EmergencyStopActive, Site.Explanation))
        self._stop_cell = self._stop - first

    def hear(self, record: bytes, out: Output) -> None:
        """Take one exchange. Rows that are not what their number says are left out; a record that is none changes nothing."""
        arrived_ns, *parts, texts = unpack(record)
        setpoints, values = (rows[rows["index"] < len(self._cells)] for rows in parts)
        values = values[self._numbers[values["index"]]]
        self._heard_ns = arrived_ns
        self._take_setpoints(setpoints, arrived_ns, out)
        out.records["value"][self._cells[values["index"]]] = values["value"]
        self._status[values["index"]] = values["status"]
        for number, text in texts:
            if number in self._texts:
                out.set_text(self._texts[number], str(text))

    def _take_setpoints(self, rows: NDArray[Any], arrived_ns: int, out: Output) -> None:
        outputs = self._output[rows["index"]]
        usable = (outputs >= 0) & np.isfinite(rows["value"])
        rows, outputs = rows[usable], outputs[usable]
        self.until[outputs] = arrived_ns + rows["lease_ms"].astype(np.int64) * 1_000_000
        out.records["value"][self._setpoints[outputs]] = rows["value"]
        if self.stopped:
            self._hold_safe(arrived_ns, out)

    def step(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """Show what is in force in this cycle."""
        self.healthy = False
        self._hear_stops(image, now, writes, out)
        if self.stopped:
            self._hold_safe(now.monotonic_ns, out)
        records = out.records
        self._tell_silence(now.monotonic_ns - self._heard_ns > SILENT_NS, out)
        shown = np.maximum(self._status, BAD_NO_COMMUNICATION if self._silent else GOOD)
        cells = self._cells[self._numbers]
        records["status"][cells] = shown[self._numbers]
        records["status"][self._setpoints] = np.where(self.until > now.monotonic_ns, GOOD, BAD_NO_DATA)
        for where in (cells, self._setpoints):
            records["source"][where] = now.time
            records["arrival"][where] = now.monotonic_ns
        if self.stopped:
            records["value"][self._stop_cell], records["status"][self._stop_cell] = 1.0, GOOD
        self.healthy = True

    def _hear_stops(self, image: Image, now: Now, writes: Sequence[Write], out: Output) -> None:
        """A person's stop or reset, and digital inputs: what is pressed cannot be reset."""
        pressed = self._stops.step(image, now.dt_s)
        for write in writes:
            if write.slot == self._stop:
                self.stopped = write.value != 0
                out.event("emergency_stop", f"emergency stop {'by' if self.stopped else 'reset by'} user {write.user}", {})
        if pressed and not self.stopped:
            self.stopped = True
            out.event("emergency_stop", f"emergency stop: {pressed}", {})

    def _hold_safe(self, now_ns: int, out: Output) -> None:
        self.until[:] = 0
        self.until[self._safe] = now_ns + _LEASE_NS
        out.records["value"][self._setpoints[self._safe]] = SAFE_W

    def _tell_silence(self, silent: bool, out: Output) -> None:
        if silent == self._silent:
            return
        self._silent = silent
        text = f"control on another host is {'silent; devices go to their fail-safe' if silent else 'heard'}"
        out.event("remote_control", text, {"silent": silent})
        if silent:
            out.set_text(self._explanation, text)

    def propose(self, proposal: Proposal, out: Output) -> None:
        """Proposals are for control, wherever it is; none comes here."""

    def explain(self, out: Output) -> None:
        """Explanations arrive."""

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON."""
        return {"stopped": self.stopped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.stopped = bool(state.get("stopped", False))


class LeasedOutputs(Outputs):
    """Set-points whose leases come from elsewhere. until: by output, CLOCK_MONOTONIC."""

    def __init__(self, image: SharedImage, until: NDArray[np.int64]) -> None:
        super().__init__(image)
        self._until = until

    def write(self, block: NDArray[Any], cycle: int, now_ns: int) -> None:
        """Send what is in control's `block`, with the leases as they are now."""
        self.rehearse(block, now_ns)
        np.copyto(self._records["value"], self._value, where=self._asserted)
        np.copyto(self._records["lease"], self._until)
        np.copyto(self._records["cycle"], cycle, where=self._asserted)
        np.copyto(self._records["changed"], cycle, where=self._changed)
        self._publish()


class ReceiverLoop(ControlLoop):
    """The cycle of a site without control of its own. What arrives between two cycles reaches the drivers at once."""

    def __init__(self, image: SharedImage, receiver: Receiver, *, cycle_s: float, restarts: int = 0) -> None:
        super().__init__(image, receiver, contextlib.nullcontext(), cycle_s=cycle_s, restarts=restarts)
        self._receiver = receiver
        self._ring = image.remote
        self._bell = image.remote_bell
        self._documents = image.documents
        self._outputs = LeasedOutputs(image, receiver.until)
        self._outputs.forget(self._block.records)

    def _await_deadline(self) -> None:
        while (left_ns := self.pacer.deadline_ns - self._lead.plan() - time.monotonic_ns()) > 0:
            if select.select([self._bell.fileno()], [], [], left_ns * 1e-9)[0]:
                self._bell.silence()
                self._listen()
        super()._await_deadline()

    def _idle(self) -> None:
        """Documents are for control, wherever it is: none waits here."""
        self._documents.take()
        super()._idle()

    def _listen(self) -> None:
        """Take what arrived, and hand set-points on."""
        heard = self._ring.take()
        for record in heard:
            self._receiver.hear(record, self._output)
        if heard:
            now_ns = time.monotonic_ns()
            self._block.records["status"][self._outputs.slots] = np.where(self._receiver.until > now_ns, GOOD, BAD_NO_DATA)
            self._outputs.write(self._block.records, self._cycle, now_ns)


def run(context: ProcessContext) -> None:
    """Entry of the process. settings: site: SiteSettings."""
    stop = StopSignal()
    image, site = context.image(), context.settings["site"]
    receiver = Receiver(image.layout, site)
    if context.state is not None:
        receiver.restore(context.state)
    loop = ReceiverLoop(image, receiver, cycle_s=site.cycle_s, restarts=context.restarts)
    context.log.info("control runs on another host; granted: %s", ", ".join(be_prompt()) or "nothing")
    stop_collecting()
    context.ready()
    loop.run(until=lambda: stop.asked or context.orphaned())
