"""One connection's rhythm: who is asked what, and when. One request at a time, set-points first.

Each turn: write what is due; in the round before a freeze read the fast blocks of all devices; between rounds set up devices
that came back, or read one slow block, when it fits before the next round. Then sleep until the next of these, or until the
engine rings because a set-point changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from server.core.driver import Clock

from .client import Client
from .device import Device, Setpoints
from .pace import Duration, aligned_period, next_start

_LOOK_NS = 50_000_000
_STOP_S = 1.0


class Poller:
    """The devices behind one connection."""

    def __init__(self, client: Client, devices: Sequence[Device], clock: Clock, setpoints: Setpoints) -> None:
        self._client = client
        self._devices = devices
        self._clock = clock
        self._setpoints = setpoints
        self._period_ns = min(d.poll_ns for d in devices)
        self._round_ns = Duration()
        self._slow_ns = Duration()
        self._round_at = 0
        self._last_round = 0
        self._due = dict.fromkeys(range(len(devices)), 0)
        self._sleeper: asyncio.Future[None] | None = None
        self._rung = False

    def wake_if_due(self, now_ns: int) -> None:
        """A set-point may have changed: no sleep before a device that must hear of it has heard."""
        if any(d.write_due(now_ns, self._setpoints) for d in self._devices):
            self._rung = True
            if self._sleeper is not None:
                _finish(self._sleeper)

    async def run(self) -> None:
        """Until cancelled; then every device gets its fail-safe set-points, for at most a second.

        `asyncio.wait_for` of Python 3.11, inside pymodbus, can swallow a cancellation that meets an answer; the
        task's own count of cancellations does not forget it.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            self._plan(time.monotonic_ns())
            while not task.cancelling():
                await self._turn()
                await self._sleep(self._next_event())
            raise asyncio.CancelledError
        finally:
            await self._stop()

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                for device in self._devices:
                    with _sparing_others(device):
                        await device.write_fail_safe()
        except TimeoutError:
            pass  # a device that does not answer is left to its own watchdog
        finally:
            self._client.close()

    async def _turn(self) -> None:
        self._rung = False
        await self._write()
        now = time.monotonic_ns()
        if now >= self._round_at:
            await self._round(now)
        elif (device := self._to_set_up(now)) is not None:
            with _sparing_others(device):
                await device.set_up()
            await self._write()
        elif (device := self._to_read_slowly(now)) is not None:
            with _sparing_others(device):
                await device.read_slow()
            self._slow_ns.learn(time.monotonic_ns() - now)

    async def _write(self) -> None:
        for device in self._devices:
            with _sparing_others(device):
                if device.write_due(time.monotonic_ns(), self._setpoints):
                    await device.write(self._setpoints)

    async def _round(self, now: int) -> None:
        planned = self._round_at
        tolerance = self._period_ns // 4
        for n, device in enumerate(self._devices):
            if device.ready and self._due[n] <= now + tolerance:
                self._due[n] = now + aligned_period(device.poll_ns, self._clock.cycle_ns)
                with _sparing_others(device):
                    await device.read_fast()
        end = time.monotonic_ns()
        if all(d.ready for d in self._devices):
            self._round_ns.learn(end - max(planned, now - self._period_ns))
        self._last_round = now
        self._plan(end)

    def _plan(self, now: int) -> None:
        clock = self._clock
        self._round_at = next_start(
            now, self._last_round, self._period_ns, clock.cycle_ns, clock.next_freeze_ns(), self._round_ns.bound_ns
        )

    def _to_set_up(self, now: int) -> Device | None:
        return next((d for d in self._devices if not d.ready and d.next_try_ns <= now), None)

    def _to_read_slowly(self, now: int) -> Device | None:
        """The device whose slow block is most overdue, when the read likely ends before the next round."""
        device = min((d for d in self._devices if d.ready), key=Device.slow_due_ns, default=None)
        if device is None or device.slow_due_ns() > now:
            return None
        starved = now - device.slow_due_ns() > 4 * self._period_ns
        return device if starved or now + self._slow_ns.bound_ns < self._round_at else None

    def _next_event(self) -> int:
        now = time.monotonic_ns()
        moments = [self._round_at]
        for device in self._devices:
            if not device.ready:
                moments.append(device.next_try_ns)
            elif now + self._slow_ns.bound_ns < self._round_at:
                moments.append(device.slow_due_ns())
            if device.outputs:
                moments.append(now + _LOOK_NS)
        return min(moments)

    async def _sleep(self, until_ns: int) -> None:
        delay_s = (until_ns - time.monotonic_ns()) * 1e-9
        if delay_s <= 0.0 or self._rung:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(delay_s, _finish, self._sleeper)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None


@contextmanager
def _sparing_others(device: Device) -> Iterator[None]:
    """Whatever the driver fails at with a device costs that device only."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (supervision point: the device is down and says why, and is tried again)
        device.fail(error)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
