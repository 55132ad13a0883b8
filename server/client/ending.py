"""Tasks that are to end, and do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 3.0
"""Longer than a link takes to close, so that nobody who tidies up is disturbed."""


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for them; their errors are theirs.

    `asyncio.wait_for` of Python 3.11 can swallow a cancellation that meets an answer, so whoever goes on is told again.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
