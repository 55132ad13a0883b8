"""The shared process image: every value of a site, in memory that each process may read and only its owner may write.

    segment            writer      readers                content
    ------------------ ----------- ---------------------- ---------------------------------------------------------
    owner:<name>       the owner   control, opcua         counter, heartbeat | 3 banks of SLOT records | text cells
    frames             control     opcua, other readers   counter, cycle     | 8 banks of FRAME header + SLOT records
    setpoints:<name>   control     that driver            counter            | 3 banks of SETPOINT records
    wake:<name>        control     that driver            an eventfd, rung when a set-point changed
    wake:/remote       opcua       control                an eventfd, rung when control elsewhere was heard
    clock              control     all                    period, next freeze, heartbeat
    inbox              opcua*      control                client writes        (+ inbox.taken, written by control)
    proposals          opcua*      control                foreign controllers  (+ proposals.taken, by control)
    remote             opcua       control                control elsewhere    (+ remote.taken, by control)
    documents          supervisor  control                documents, timetables (+ documents.taken, by control)
    journal            control     supervisor             records for the disk (+ journal.taken, by the supervisor)
    orders             supervisor  control                controllers to load (+ orders.taken, by control)

* or the bridge, where control runs for another site.

The supervisor makes them (`SharedImage.create`), hands each process the descriptors its role needs (`handles`),
read-only where the role is not the writer, and the process maps them (`SharedImage.attach`). There is no name in any
file system and no resource tracker: a killed process leaves nothing behind and takes nothing with it.

Readers and writers never wait for each other; `banks.py` says why that is safe.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.bridge.protocol import BRIDGE
from server.core.image import SETPOINT, SLOT, Image, blank_records
from server.core.layout import CONTROL, SUPERVISOR, Channel, Layout, Owner
from server.core.natures import Site
from server.core.site import SITE_ALIAS
from server.core.status import GOOD, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE
from server.core.ticks import from_unix_ns

from .banks import Banks
from .clock import CLOCK_BYTES, CycleClock
from .ring import TAKEN_BYTES, DocumentRing, Inbox, JournalRing, OrderRing, ProposalRing, RemoteRing
from .segment import LINE, Segment, open_pair
from .texts import CELL, TextCells

OPCUA: Final = "opcua"
READER: Final = "reader"

REMOTE_BELL: Final = "wake:/remote"

OWNER_BANKS: Final = 3
FRAMES: Final = 8

FRAME: Final = np.dtype(
    [
        ("sequence", "<u8"),  # number of the publication
        ("generation", "<u8"),  # of the layout that says what each slot is
        ("cycle", "<u8"),
        ("frozen_at", "<i8"),  # CLOCK_MONOTONIC ns
        ("time", "<i8"),  # 100 ns since 1601-01-01 UTC
        ("reserved", "V24"),
    ]
)
"""Header of a frame, 64 bytes."""

_HEARTBEAT: Final = 1  # word of an owner's header
_CYCLE: Final = 1  # word of the frames' header


def utc_now() -> int:
    """Wall clock in 100 ns since 1601-01-01 UTC."""
    return from_unix_ns(time.time_ns())


def drivers(layout: Layout) -> list[Owner]:
    """Owners that are driver processes."""
    return [o for o in layout.owners if o.name not in (CONTROL, SUPERVISOR)]


def _sizes(layout: Layout) -> Iterator[tuple[str, str, int]]:
    """(segment, its writer, bytes) for everything a layout needs."""
    for owner in layout.owners:
        cells = owner.cells * CELL
        yield f"owner:{owner.name}", owner.name, LINE + Banks.room(OWNER_BANKS, owner.count * SLOT.itemsize) + cells
    for driver in drivers(layout):
        yield f"setpoints:{driver.name}", CONTROL, LINE + Banks.room(OWNER_BANKS, driver.outputs * SETPOINT.itemsize)
    yield "frames", CONTROL, LINE + Banks.room(FRAMES, FRAME.itemsize + layout.slots * SLOT.itemsize)
    yield "clock", CONTROL, CLOCK_BYTES
    asking = BRIDGE if any(o.name == BRIDGE for o in layout.owners) else OPCUA
    yield "inbox", asking, Inbox.room()
    yield "inbox.taken", CONTROL, TAKEN_BYTES
    for name, ring in (("proposals", ProposalRing), ("remote", RemoteRing)):
        yield name, asking, ring.room()
        yield f"{name}.taken", CONTROL, TAKEN_BYTES
    yield "journal", CONTROL, JournalRing.room()
    yield "journal.taken", SUPERVISOR, TAKEN_BYTES
    yield "documents", SUPERVISOR, DocumentRing.room()
    yield "documents.taken", CONTROL, TAKEN_BYTES
    yield "orders", SUPERVISOR, OrderRing.room()
    yield "orders.taken", CONTROL, TAKEN_BYTES


def _wanted(layout: Layout, role: str) -> set[str]:
    """Segments and eventfds that a role is given: what its work needs, and no more."""
    owners = {f"owner:{o.name}" for o in layout.owners}
    asked = {f"{name}{end}" for name in ("inbox", "proposals", "remote") for end in ("", ".taken")}
    rings = asked | {"journal", "journal.taken", "orders", "orders.taken", "documents", "documents.taken"}
    if role in (CONTROL, SUPERVISOR):
        outputs = {f"{kind}:{d.name}" for d in drivers(layout) for kind in ("setpoints", "wake")}
        return owners | outputs | rings | {"frames", "clock", REMOTE_BELL}
    if role == OPCUA:
        return owners | asked | {"frames", "clock", REMOTE_BELL}
    if role == READER:
        return owners | {"frames", "clock"}
    own = {f"owner:{layout.owner(role).name}", f"setpoints:{role}", f"wake:{role}", "clock"}
    return own | asked | {f"owner:{CONTROL}"} if role == BRIDGE else own


class OwnerBlock:
    """The block of one owner, seen by that owner: records are filled in private, then published in one piece.

    A new process takes over what its predecessor published, as UncertainLastUsableValue until it has heard for itself.
    """

    def __init__(self, owner: Owner, segment: Segment) -> None:
        self.owner = owner
        self.records: NDArray[Any] = np.zeros(owner.count, SLOT)
        self._bytes = self.records.view(np.uint8).data
        self._banks, self._header, self._texts = owner_parts(owner, segment)
        self._banks.read(self._bytes)
        self._value, self._status = self.records["value"], self.records["status"]
        self._source, self._arrival = self.records["source"], self.records["arrival"]
        self._status[self._status < UNCERTAIN] = UNCERTAIN_LAST_USABLE_VALUE
        self._said: dict[int, str] = {}

    def publish(self) -> None:
        """Make the records as they are now visible to the next freeze. Counts as a heartbeat."""
        self._banks.publish(self._bytes)
        self.beat()

    def rehearse(self) -> None:
        """All of `publish` that nobody sees."""
        self._banks.fill(self._bytes)

    def beat(self) -> None:
        """Say that the owner is alive although there is nothing new."""
        self._header[_HEARTBEAT] = time.monotonic_ns()

    def adopt(self, owner: Owner) -> None:
        """Take the slots that were given to this owner since."""
        self.owner = owner
        self._texts.extend(owner.texts)

    def set_text(self, slot: int, text: str) -> None:
        """Set a String channel; the record gets its revision, Good, arrival now, and a new source time when it changed."""
        index = slot - self.owner.first
        if self._said.get(slot) != text:
            self._value[index] = self._texts.write(slot, text)
            self._source[index] = utc_now()
            self._said[slot] = text
        self._arrival[index] = time.monotonic_ns()
        self._status[index] = GOOD


def owner_parts(owner: Owner, segment: Segment) -> tuple[Banks, memoryview, TextCells]:
    """Banks, header words and text cells in an owner's segment."""
    size = owner.count * SLOT.itemsize
    cells = TextCells(segment, owner.texts, LINE + Banks.room(OWNER_BANKS, size))
    return Banks(segment, OWNER_BANKS, size), segment.words(0, LINE // 8), cells


class OwnerReader:
    """The block of one owner, seen by control and by readers of its texts.

    heartbeat: one word, CLOCK_MONOTONIC ns of the owner's last sign of life; 0 before the first.
    """

    def __init__(self, owner: Owner, segment: Segment) -> None:
        self.owner = owner
        self.banks, header, self.texts = owner_parts(owner, segment)
        self.heartbeat = header[_HEARTBEAT : _HEARTBEAT + 1]


class SetpointWriter:
    """The set-points of one driver, seen by control."""

    def __init__(self, segment: Segment, outputs: int, wake: int) -> None:
        self._banks = Banks(segment, OWNER_BANKS, outputs * SETPOINT.itemsize)
        self._wake = wake

    def publish(self, source: memoryview) -> None:
        """Publish all SETPOINT records of the driver."""
        self._banks.publish(source)

    def ring(self) -> None:
        """Wake the driver: a value changed."""
        os.eventfd_write(self._wake, 1)

    def last(self, target: memoryview) -> None:
        """Copy what was published last into `target`, zeros before the first time."""
        self._banks.read(target)


class SetpointReader:
    """The set-points of a driver, seen by that driver. wake_fd: eventfd, readable when a value changed."""

    def __init__(self, segment: Segment, outputs: int, wake: int) -> None:
        self.wake_fd = wake
        self._banks = Banks(segment, OWNER_BANKS, outputs * SETPOINT.itemsize)
        self._records = np.zeros(outputs, SETPOINT)
        self._spare = np.zeros(outputs, SETPOINT)

    def read(self) -> NDArray[Any]:
        """All SETPOINT records, consistent; lease 0 before the first. The array is overwritten by the second call after this."""
        if self._banks.published and self._banks.read(self._spare.view(np.uint8).data) >= 0:
            self._records, self._spare = self._spare, self._records
        return self._records


class Bell:
    """An eventfd: whoever waits for its file descriptor to be readable wakes when it is rung."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """For select."""
        return self._descriptor

    def ring(self) -> None:
        """Wake who waits."""
        os.eventfd_write(self._descriptor, 1)

    def silence(self) -> None:
        """Let the next ring be heard."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)


class FrameReader:
    """Frozen frames, seen by any reader."""

    def __init__(self, segment: Segment, slots: int) -> None:
        size = FRAME.itemsize + slots * SLOT.itemsize
        self._banks = Banks(segment, FRAMES, size)
        self._header = segment.words(0, LINE // 8)
        self._buffer, self._spare = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        self._number = 0
        self._image: Image | None = None

    def cycle(self) -> int:
        """Number of the newest cycle, without copying anything; 0 before the first."""
        return self._header[_CYCLE]

    def latest(self) -> Image | None:
        """The newest frame as a consistent private copy, None before the first.

        The same Image while there is no newer frame. Two buffers take turns: an Image is overwritten by the second newer one.
        """
        if self._banks.published != self._number:
            number = self._banks.read(self._spare.data)
            if number > 0:
                self._buffer, self._spare, self._number = self._spare, self._buffer, number
                self._image = frame_image(self._buffer)
        return self._image


def frame_image(frame: NDArray[np.uint8]) -> Image:
    """A frame's bytes as a read-only Image over them."""
    header = frame[: FRAME.itemsize].view(FRAME)[0]
    records = frame[FRAME.itemsize :].view(SLOT)
    records.flags.writeable = False
    _, generation, cycle, frozen_at, time, _ = header.item()
    return Image(records, cycle=cycle, generation=generation, frozen_at=frozen_at, time=time)


class Frame:
    """One of the shared frames, seen by control: its header, its records and their bytes, and the image of them."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        body = frame[FRAME.itemsize :]
        self.header = frame[: FRAME.itemsize].view(FRAME)
        self.records: NDArray[Any] = body.view(SLOT)
        self.bytes = body.data
        self.image = frame_image(frame)


class FrameWriter:
    """Frozen frames, seen by control. Publication `number` is in `frames[number % FRAMES]`; number 0 is blank and never read."""

    def __init__(self, segment: Segment, slots: int, generation: int) -> None:
        size = FRAME.itemsize + slots * SLOT.itemsize
        self._banks = Banks(segment, FRAMES, size)
        self._words = segment.words(0, LINE // 8)
        self._generation = generation
        self.frames = [Frame(segment.array(np.dtype(np.uint8), size, offset)) for offset in self._banks.offsets]
        if not self._banks.published:
            self.frames[0].records[:] = blank_records(slots)

    @property
    def cycle(self) -> int:
        """Cycle of the newest frame, 0 before the first."""
        return self._words[_CYCLE]

    @property
    def newest(self) -> int:
        """Index of the frame published last."""
        return self._banks.published % FRAMES

    def spare(self) -> int:
        """Index of the frame to fill next."""
        return self._banks.spare()

    def adopt(self, generation: int) -> None:
        """Frames are of this generation of the layout from now on."""
        self._generation = generation

    def commit(self, cycle: int, frozen_at: int, now: int) -> Image:
        """Publish the spare frame; its Image is used again eight frames on. frozen_at: monotonic ns; now: 100 ns since 1601."""
        number = self._banks.published + 1
        frame = self.frames[number % FRAMES]
        frame.header[0] = (number, self._generation, cycle, frozen_at, now, b"")
        self._banks.commit()
        self._words[_CYCLE] = cycle
        image = frame.image
        image.cycle, image.generation, image.frozen_at, image.time = cycle, self._generation, frozen_at, now
        return image


class SharedImage:
    """The shared memory of a site as one role sees it."""

    def __init__(self, layout: Layout, role: str, descriptors: Mapping[str, int], writable: set[str]) -> None:
        self.layout = layout
        self.role = role
        self._segments = {n: Segment(fd, writable=n in writable) for n, fd in descriptors.items() if not n.startswith("wake:")}
        self._wakes = {n: os.dup(fd) for n, fd in descriptors.items() if n.startswith("wake:")}
        self._pairs: dict[str, tuple[int, int]] = {}
        self._writers: dict[str, str] = {}
        self._texts: dict[str, TextCells] = {}
        self.clock = CycleClock(self._segments["clock"])

    @staticmethod
    def create(layout: Layout, directory: Path | None = None) -> SharedImage:
        """Supervisor: allocate everything. directory: for unlinked files where the system has no memfd."""
        sizes = list(_sizes(layout))
        pairs = {name: open_pair(name, size, directory) for name, _, size in sizes}
        for driver in drivers(layout):
            wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            pairs[f"wake:{driver.name}"] = (wake, wake)
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        pairs[REMOTE_BELL] = (bell, bell)
        image = SharedImage(layout, SUPERVISOR, {name: pair[0] for name, pair in pairs.items()}, set(pairs))
        for owner in layout.owners:
            image.owner_reader(owner).banks.views[0][:] = blank_records(owner.count).view(np.uint8).data
        image._pairs = pairs
        image._writers = {name: writer for name, writer, _ in sizes}
        return image

    def handles(self, role: str) -> dict[str, int]:
        """Supervisor: descriptors for a process: an owner's name, "opcua" or "reader". They stay this image's."""
        return {name: self._pairs[name][self._writers.get(name) != role] for name in sorted(_wanted(self.layout, role))}

    @staticmethod
    def attach(layout: Layout, handles: Mapping[str, int], role: str) -> SharedImage:
        """Map what `handles` gave this process. The descriptors may be closed afterwards."""
        writers = {name: writer for name, writer, _ in _sizes(layout)}
        return SharedImage(layout, role, handles, {name for name in handles if writers.get(name) == role})

    def adopt(self, layout: Layout) -> None:
        """Go on with a later generation of the layout."""
        self.layout = layout
        for name, cells in self._texts.items():
            cells.extend(layout.owner(name).texts)

    def block(self) -> OwnerBlock:
        """The block that this role writes. KeyError when the role owns none."""
        return OwnerBlock(self.layout.owner(self.role), self._segments[f"owner:{self.role}"])

    def setpoints(self) -> SetpointReader:
        """Driver: its set-points."""
        outputs = self.layout.owner(self.role).outputs
        return SetpointReader(self._segments[f"setpoints:{self.role}"], outputs, self._wakes[f"wake:{self.role}"])

    def setpoint_writer(self, driver: Owner) -> SetpointWriter:
        """Control: where the set-points of a driver go."""
        return SetpointWriter(self._segments[f"setpoints:{driver.name}"], driver.outputs, self._wakes[f"wake:{driver.name}"])

    def frames(self) -> FrameReader:
        """A reader of the frozen frames."""
        return FrameReader(self._segments["frames"], self.layout.slots)

    def frame_writer(self) -> FrameWriter:
        """Control: where frames go."""
        return FrameWriter(self._segments["frames"], self.layout.slots, self.layout.generation)

    def owner_reader(self, owner: Owner) -> OwnerReader:
        """An owner's block as it was last published."""
        return OwnerReader(owner, self._segments[f"owner:{owner.name}"])

    def text(self, channel: Channel, index: int = 0) -> str:
        """The text of a String channel (element `index` of an array); empty before the first."""
        cells = self._texts.get(channel.owner)
        if cells is None:
            cells = self._texts[channel.owner] = self.owner_reader(self.layout.owner(channel.owner)).texts
        return cells.read(channel.slot + index)

    @cached_property
    def inbox(self) -> Inbox:
        """Client writes: opcua puts, control takes."""
        stop = self.layout.find(SITE_ALIAS, Site.EmergencyStopActive)
        return Inbox(self._segments["inbox"], self._segments["inbox.taken"], -1 if stop is None else stop.slot)

    @cached_property
    def proposals(self) -> ProposalRing:
        """Proposals of foreign controllers: opcua puts, control takes."""
        return ProposalRing(self._segments["proposals"], self._segments["proposals.taken"])

    @cached_property
    def remote(self) -> RemoteRing:
        """Decisions of control on another host: opcua puts, the receiver takes."""
        return RemoteRing(self._segments["remote"], self._segments["remote.taken"])

    @cached_property
    def documents(self) -> DocumentRing:
        """Documents and timetables: the supervisor puts, control takes."""
        return DocumentRing(self._segments["documents"], self._segments["documents.taken"])

    @cached_property
    def remote_bell(self) -> Bell:
        """Rung by opcua when there is something in `remote`."""
        return Bell(self._wakes[REMOTE_BELL])

    @cached_property
    def journal(self) -> JournalRing:
        """Records for the disk: control puts, the supervisor takes."""
        return JournalRing(self._segments["journal"], self._segments["journal.taken"])

    @cached_property
    def orders(self) -> OrderRing:
        """What control is told to load: the supervisor puts, control takes."""
        return OrderRing(self._segments["orders"], self._segments["orders.taken"])

    def close(self) -> None:
        """Close descriptors and let go of the memory; it is unmapped with its last view."""
        for descriptor in {fd for pair in self._pairs.values() for fd in pair} | set(self._wakes.values()):
            os.close(descriptor)
        self._pairs, self._wakes, self._segments, self._texts = {}, {}, {}, {}
