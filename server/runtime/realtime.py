"""What the system can do for a process that must be prompt. Every step is tried; none is needed."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from pathlib import Path
from typing import Final

FIFO_PRIORITY: Final = 20
NICE: Final = -10
_MCL_CURRENT_AND_FUTURE: Final = 3


def be_prompt() -> list[str]:
    """Ask for real-time scheduling, exact timers and memory that stays; the names of what was granted."""
    wishes = {"scheduling": _schedule, "timers": _sharpen_timers, "memory": _lock_memory}
    return [name for name, wish in wishes.items() if wish()]


def stop_collecting() -> None:
    """Keep the garbage collector out of the cycle: what exists now is never looked at again, the rest when the loop has time."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _schedule() -> bool:
    """SCHED_FIFO, else a better nice value."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
    except OSError:
        return _be_less_nice()
    return True


def _be_less_nice() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError:
        return False
    return True


def _sharpen_timers() -> bool:
    """Timers of an ordinary process may fire 50 µs late to save wake-ups; this one's shall not."""
    try:
        Path("/proc/self/timerslack_ns").write_text("1")
    except OSError:
        return False
    return True


def _lock_memory() -> bool:
    """mlockall, only where there is no limit: under a limit a later allocation would fail."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return False
    return int(ctypes.CDLL(None).mlockall(_MCL_CURRENT_AND_FUTURE)) == 0
