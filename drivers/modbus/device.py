"""One device: reads its blocks, writes its set-points, and says how it is.

    Down --answer--> Up <--> Degraded (a block refused, a first silence, frozen) --silence--> Down

While Down every measured channel is BadNoCommunication and the device is tried again after 0.5 s, doubling to 10 s. Coming up
runs the same setup each time: is it the right device, arm its watchdog, then the set-points, fail-safe or leased.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.core.channel import Level
from server.core.driver import DriverIo, Entry
from server.core.natures import CommState
from server.core.status import BAD_DEVICE_FAILURE, BAD_NO_COMMUNICATION, BAD_OUT_OF_RANGE, GOOD

from .client import Client, NoAnswer, Refused
from .codec import BlockDecoder, encode, text
from .config import Config
from .output import Budget, Output, Write
from .profile import Block, Profile, Quantity, load_profile
from .view import DeviceView, Publisher, utc_ticks

_log = logging.getLogger("ems.modbus")

_NS = 1_000_000_000
_BACKOFF_FIRST_NS = _NS // 2
_BACKOFF_MAX_NS = 10 * _NS
_LAST_COMMUNICATION_NS = _NS
_STRANGE_IN_A_ROW = 3
_SHOWN_MAX = 3

Setpoints = Callable[[int], tuple[float, int]]
"""(value, lease) of a record of the driver's set-point block."""


@dataclass
class BlockReader:
    """A block with its decoder, where its values go, and when it is read next."""

    block: Block
    decoder: BlockDecoder
    slots: NDArray[np.intp]
    period_ns: int
    due_ns: int = 0
    refusals: int = 0
    strange: int = 0
    state_index: int | None = field(default=None)

    def refused(self, now_ns: int) -> None:
        """The device refused the block: ask again later, and later each time."""
        self.due_ns = now_ns + _backoff(self.refusals)
        self.refusals += 1


def _backoff(failures: int) -> int:
    return min(_BACKOFF_FIRST_NS << min(failures, 5), _BACKOFF_MAX_NS)


class Device:
    """A device behind a connection. Methods are called one at a time by the connection's poller."""

    def __init__(self, io: DriverIo, entry: Entry, publisher: Publisher, client: Client) -> None:
        config: Config = entry.config
        self.alias = entry.alias
        self.config = config
        self.profile: Profile = load_profile(config.profile)
        self.poll_ns = int(config.poll_ms * 1e6)
        self.next_try_ns = 0
        self.ready = False
        self._io = io
        self._client = client
        self._view = DeviceView(io, entry.alias, publisher)
        self._fast, self._slow = self._readers(fast=True), self._readers(fast=False)
        self._measured = np.concatenate([r.slots for r in (*self._fast, *self._slow)])
        watchdog = self.profile.watchdog
        indices = {c.spec.name: c.output for c in io.layout.channels_of(entry.alias) if c.output >= 0}
        timeout = watchdog.timeout_s if watchdog else None
        self.outputs = [Output(s, indices[s.channel], timeout) for s in self.profile.setpoint]
        self._budget = Budget(self.profile.writes_per_minute, time.monotonic_ns())
        self._comm: CommState | None = None
        self._failures = 0
        self._faults = 0
        self._fault = ""
        self._reported = 0
        self._problems: dict[str, str] = {}
        self._alive_word = -1
        self._alive_ns = 0
        self._heard_ns = 0
        self._view.put("CommState", CommState.Down)
        self._publish_facts()

    def _readers(self, *, fast: bool) -> list[BlockReader]:
        readers = []
        for block in self.profile.block:
            if block.fast is not fast:
                continue
            decoder = BlockDecoder(block, self.profile.specs, self.profile.word_order)
            state = decoder.names.index("State") if "State" in decoder.names else None
            slots = self._view.slots(decoder.names, decoder.elements)
            readers.append(BlockReader(block, decoder, slots, int(block.period_s * _NS), state_index=state))
        return readers

    def _publish_facts(self) -> None:
        for name, value in self.profile.constants.items():
            self._view.put(name, value)
        if self.outputs:
            self._view.put("NoFailSafe", float(self.profile.watchdog is None))
        self._publish_state()

    # Reading

    async def read_fast(self) -> None:
        """Read all fast blocks that are not refused."""
        now = time.monotonic_ns()
        for reader in self._fast:
            if self.ready and (not reader.refusals or reader.due_ns <= now):
                await self._read(reader)

    def slow_due_ns(self) -> int:
        """When the next slow block is due."""
        return min((r.due_ns for r in self._slow), default=1 << 62)

    async def read_slow(self) -> None:
        """Read the slow block that has waited longest."""
        reader = min(self._slow, key=lambda r: r.due_ns)
        reader.due_ns = max(reader.due_ns + reader.period_ns, time.monotonic_ns())
        await self._read(reader)

    async def _read(self, reader: BlockReader) -> None:
        block = reader.block
        before = utc_ticks()
        try:
            registers = await self._request(block.table, block.address, block.count)
        except NoAnswer as error:
            self._no_answer(str(error))
        except Refused as error:
            self._block_refused(reader, error)
        else:
            self._take(reader, registers, (before + utc_ticks()) // 2)

    async def _request(self, table: str, address: int, count: int) -> list[int]:
        config = self.config
        return await self._client.read(config.unit_id, table, address, count, config.timeout_s)  # type: ignore[arg-type]

    def _take(self, reader: BlockReader, registers: list[int], source: int) -> None:
        now = time.monotonic_ns()
        values, status = reader.decoder.decode(registers)
        if self._is_frozen(reader.block, registers, now):
            status[:] = BAD_DEVICE_FAILURE
        self._view.store(reader.slots, values, status, source, now)
        self._judge(reader, status)
        if reader.state_index is not None and status[reader.state_index] == GOOD:
            self._reported = int(values[reader.state_index])
        if reader.refusals:
            reader.refusals = 0
            self._solve(f"block {reader.block.name}", f"block {reader.block.name} is answered again")
        self._answered(now)

    def _judge(self, reader: BlockReader, status: NDArray[np.uint32]) -> None:
        """A device that says what cannot be, several times in a row, is not well. One such value may be a spike."""
        strange = np.flatnonzero(status == BAD_OUT_OF_RANGE)
        reader.strange = reader.strange + 1 if len(strange) else 0
        key = f"values {reader.block.name}"
        if reader.strange >= _STRANGE_IN_A_ROW:
            names = list(dict.fromkeys(reader.decoder.names[i] for i in strange))
            shown = ", ".join(names[:_SHOWN_MAX]) + (f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else "")
            self._problem(key, f"values that cannot be: {shown}")
        elif not reader.strange:
            self._solve(key, f"block {reader.block.name} makes sense again")

    def _block_refused(self, reader: BlockReader, error: Refused) -> None:
        now = time.monotonic_ns()
        reader.refused(now)
        self._view.mark(reader.slots, BAD_DEVICE_FAILURE)
        self._problem(f"block {reader.block.name}", f"block {reader.block.name} at {reader.block.address}: {error}")
        self._answered(now)

    def _is_frozen(self, block: Block, registers: list[int], now: int) -> bool:
        """The register that should change has not changed for too long; judged with its block, valid for all."""
        alive = self.profile.alive
        if alive is None:
            return False
        if block.fast and block.address <= alive.address < block.address + block.count:
            word = registers[alive.address - block.address]
            if word != self._alive_word:
                self._alive_word, self._alive_ns = word, now
        frozen = now - self._alive_ns > alive.within_s * _NS
        if frozen:
            self._problem("frozen", f"values stand still for more than {alive.within_s:g} s")
        else:
            self._solve("frozen", "values move again")
        return frozen

    # Writing

    def write_due(self, now_ns: int, setpoints: Setpoints) -> bool:
        """A set-point is to be written now."""
        return self.ready and any(self._due(o, now_ns, setpoints) for o in self.outputs)

    def _due(self, output: Output, now_ns: int, setpoints: Setpoints) -> Write | None:
        write = output.due(now_ns, *setpoints(output.index))
        return write if write and (write.urgent or self._budget.has(now_ns)) else None

    async def write(self, setpoints: Setpoints) -> None:
        """Write every set-point that is due."""
        for output in self.outputs:
            now = time.monotonic_ns()
            if self.ready and (write := self._due(output, now, setpoints)):
                asserted = output.wanted(now, *setpoints(output.index))[1]
                await self._write(output, write.value, asserted)

    async def write_fail_safe(self) -> None:
        """Write every fail-safe value, whatever is asserted: the driver stops."""
        for output in self.outputs:
            if self.ready and output.held != output.setpoint.fail_safe:
                await self._write(output, output.setpoint.fail_safe, asserted=False)

    async def _write(self, output: Output, value: float, asserted: bool) -> None:
        setpoint = output.setpoint
        self._budget.take()
        output.sent()
        try:
            problem = await self._store(setpoint, value, setpoint.function, setpoint.read_back)
        except NoAnswer as error:
            self._no_answer(str(error))
            return
        now = time.monotonic_ns()
        if problem:
            output.failed(now, value)
            self._problem(setpoint.channel, f"{setpoint.channel} = {value:g}: {problem}")
        else:
            output.done(now, value, asserted)
            self._solve(setpoint.channel, f"{setpoint.channel} is taken again")

    async def _store(self, number: Quantity, value: float, function: int, read_back: bool) -> str:
        """Write a quantity; the text says what went wrong, empty when the device holds it."""
        config = self.config
        try:
            registers = encode(number, value, self.profile.word_order)
            await self._client.write(config.unit_id, number.address, registers, function, config.timeout_s)
            if not read_back:
                return ""
            found = await self._request("holding", number.address, len(registers))
        except (OverflowError, Refused) as error:
            return str(error)
        return "" if found == registers else f"register {number.address} reads back {found} instead of {registers}"

    # Coming and going

    async def set_up(self) -> None:
        """Make the device ready: identity, then watchdog. The first write comes after both (REQ-SAFE-023)."""
        try:
            await self._identify()
            await self._arm()
        except NoAnswer as error:
            self._no_answer(str(error))
        except _WrongDevice as error:
            self._down(str(error))
        else:
            self.ready = True
            self._alive_word, self._alive_ns = -1, time.monotonic_ns()

    async def _identify(self) -> None:
        identity = self.profile.identity
        if identity is None:
            return
        try:
            found = text(await self._request(identity.table, identity.address, identity.count))
        except Refused as error:
            raise _WrongDevice(f"identity at {identity.address}: {error}") from error
        if not found.startswith(identity.expect):
            raise _WrongDevice(f"wrong device: it says '{found}', '{identity.expect}' is expected")

    async def _arm(self) -> None:
        watchdog = self.profile.watchdog
        if watchdog is None or not self.outputs:
            return
        problem = await self._store(watchdog, watchdog.value, watchdog.function, read_back=True)
        self._view.put("NoFailSafe", float(bool(problem)))
        if problem:
            self._problem("watchdog", f"the watchdog cannot be armed: {problem}")
        else:
            self._solve("watchdog", "the watchdog is armed")

    def _answered(self, now: int) -> None:
        """A block was answered. Only this is being up: a device that takes writes but shows nothing is no better than away."""
        self._failures = 0
        if now - self._heard_ns >= _LAST_COMMUNICATION_NS:
            self._heard_ns = now
            self._view.put("LastCommunication", float(utc_ticks()))
        degraded = any(key.startswith(("block ", "frozen")) for key in self._problems)
        self._set_comm(CommState.Degraded if degraded else CommState.Up)

    def _no_answer(self, reason: str) -> None:
        """One silence may be a lost packet; a second one in a row, or one during setup, is Down."""
        self._failures += 1
        if self._comm in (CommState.Up, CommState.Degraded) and self._failures < 2:
            self._set_comm(CommState.Degraded)
            return
        self._down(reason)

    def fail(self, error: Exception) -> None:
        """The driver itself failed at this device: down like a silent one, and tried again, less often each time."""
        fault = f"the driver failed: {type(error).__name__}: {error}"
        if fault != self._fault:
            self._fault = fault
            _log.error("%s: %s", self.alias, fault, exc_info=error)
            if self._comm is CommState.Down:
                self._event("down", fault)
        self._down(fault)
        self.next_try_ns = time.monotonic_ns() + _backoff(self._faults)
        self._faults += 1

    def _down(self, reason: str) -> None:
        self.ready = False
        self.next_try_ns = time.monotonic_ns() + _backoff(max(self._failures - 2, 0))
        self._failures = max(self._failures, 2)
        for output in self.outputs:
            output.forget()
        self._problems.clear()
        self._view.mark(self._measured, BAD_NO_COMMUNICATION)
        self._set_comm(CommState.Down, reason)

    def _set_comm(self, state: CommState, reason: str = "") -> None:
        before, self._comm = self._comm, state
        if state is CommState.Down and before is not CommState.Down:
            self._event("down", f"no communication: {reason}")
        elif state is not CommState.Down and before in (CommState.Down, None):
            self._event("up", "communication works")
        if state is not before:
            self._view.put("CommState", state)
        self._publish_state()

    def _problem(self, key: str, what: str) -> None:
        begun = key not in self._problems
        self._problems.setdefault(key, what)
        if begun:
            self._event("warning", what)
        self._publish_state()

    def _solve(self, key: str, what: str) -> None:
        if self._problems.pop(key, None):
            self._event("info", what)
            self._publish_state()

    def _publish_state(self) -> None:
        own = Level.Fault if self._comm is CommState.Down else Level.Warning if self._problems else Level.Ok
        self._view.put("State", max(own, self._reported))

    def _event(self, kind: str, what: str) -> None:
        self._io.event(kind, f"{self.alias}: {what}", alias=self.alias, trouble="; ".join(self._problems.values()))


class _WrongDevice(Exception):
    """Another device answers than the profile describes."""
