"""Long work in short turns: a request of thousands of operations lets other clients in every few milliseconds.

The work is a generator that yields wherever it may pause, or what it must wait for. One that is done within its first turn is
answered at once, in order and without a task; only what takes longer becomes a coroutine.

    def handler(...): return in_turns(_work(...))
    def _work(...) -> Work[Response]:
        turn = Turn()
        for operation in operations:
            if turn.over():
                yield
                turn.begin()
            ...
        return response

The look comes before the operation: one that was interrupted, and was the last, is answered at once all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeVar

TURN_S: Final = 0.005

T = TypeVar("T")
Work = Generator[Any, None, T]
"""Yields None to pause, or a future when it cannot go on before that is done."""


class Turn:
    """The present turn of some work."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new turn begins now."""
        self._ends = time.monotonic() + TURN_S

    def over(self) -> bool:
        """True when it is the others' turn."""
        return time.monotonic() >= self._ends


def in_turns(work: Work[T]) -> T | Coroutine[Any, Any, T]:
    """The result of the work when its first turn was enough, else a coroutine that goes on turn by turn."""
    try:
        awaited = next(work)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    return _go_on(work, awaited)


async def _go_on(work: Work[T], awaited: asyncio.Future[Any] | None) -> T:
    while True:
        await (awaited or asyncio.sleep(0))
        try:
            awaited = next(work)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
