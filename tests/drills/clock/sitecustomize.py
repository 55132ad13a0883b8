"""A wall clock that a drill sets, for one site and not for the machine.

Python imports this module in every interpreter that has its folder in PYTHONPATH, before anything else. All that tells the time
of day then does so with an offset that lies in a file of eight bytes, in ns; whoever writes there sets the clock of every
process of the site at once. The monotonic clock is the kernel's own, as it is when a real clock is set. The product knows
nothing of it. What C libraries read by themselves is not shifted; none of ours keeps time that way.

libfaketime would do the same below Python, but turns monotonic sleeps into errors.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import mmap
import os
import time
from typing import Any


def _install(path: str) -> None:
    with open(path, "rb") as file:
        offset_ns = memoryview(mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)).cast("q")
    real_ns, clock_gettime, clock_gettime_ns = time.time_ns, time.clock_gettime, time.clock_gettime_ns

    def time_ns() -> int:
        return real_ns() + offset_ns[0]

    def seconds() -> float:
        return time_ns() * 1e-9

    time.time_ns, time.time = time_ns, seconds
    time.clock_gettime_ns = lambda clock: time_ns() if clock == time.CLOCK_REALTIME else clock_gettime_ns(clock)
    time.clock_gettime = lambda clock: seconds() if clock == time.CLOCK_REALTIME else clock_gettime(clock)
    for name in ("gmtime", "localtime", "ctime"):
        setattr(time, name, _by_default(getattr(time, name), seconds))
    strftime = time.strftime
    time.strftime = lambda form, *given: strftime(form, *(given or (time.localtime(),)))
    _shift_datetime(seconds)


def _by_default(function: Any, seconds: Any) -> Any:
    return lambda given=None: function(seconds() if given is None else given)


def _shift_datetime(seconds: Any) -> None:
    """Other answers from `datetime.now` and its like. The class itself must stay: libraries in C and Rust ask for exactly it."""
    kind = datetime.datetime
    (methods,) = gc.get_referents(kind.__dict__)
    methods["now"] = classmethod(lambda cls, tz=None: cls.fromtimestamp(seconds(), tz))
    methods["utcnow"] = classmethod(lambda cls: cls.fromtimestamp(seconds(), datetime.UTC).replace(tzinfo=None))
    methods["today"] = classmethod(lambda cls: cls.fromtimestamp(seconds()))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


if "EMS_DRILL_CLOCK" in os.environ:
    _install(os.environ["EMS_DRILL_CLOCK"])
