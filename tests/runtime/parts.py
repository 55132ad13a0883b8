"""Small processes for tests of the supervisor: each `function(context)` is a target."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from server.runtime.context import ProcessContext
from server.runtime.freezer import Freezer
from server.runtime.memory import utc_now


def _nothing() -> None:
    """The default of what is done at the end, and meanwhile."""


def _wait(context: ProcessContext, at_end: Callable[[], None] = _nothing, meanwhile: Callable[[], None] = _nothing) -> None:
    """Live until SIGTERM."""

    def end(*_: object) -> None:
        at_end()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    context.ready()
    while not context.orphaned():
        meanwhile()
        time.sleep(0.05)


def _note_end(context: ProcessContext) -> None:
    """Append this process's name to the file `ends`."""
    with (context.directory / "ends").open("a") as file:
        file.write(f"{context.name}\n")


def quiet(context: ProcessContext) -> None:
    """Does nothing until it is asked to end, and then says when."""
    _wait(context, lambda: _note_end(context))


def control(context: ProcessContext) -> None:
    """Stands in for control: writes down what it was given, and journals a state that counts its starts."""
    starts = int((context.state or {}).get("starts", 0)) + 1
    image = context.image()
    image.journal.put(json.dumps({"kind": "state", "state": {"starts": starts}}).encode())
    with (context.directory / "starts").open("a") as file:
        file.write(json.dumps({"starts": starts, "restarts": context.restarts, "role": image.role}) + "\n")
    freezer, period = Freezer(image), 50_000_000

    def beat() -> None:
        now = time.monotonic_ns()
        freezer.freeze(freezer.cycle + 1, now, utc_now())
        image.clock.announce(period, now + period, now)

    _wait(context, lambda: _note_end(context), beat)


def late(context: ProcessContext) -> None:
    """Is ready only when there is a file `go`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while not (context.directory / "go").exists():
        time.sleep(0.02)
    _wait(context)


def stubborn(context: ProcessContext) -> None:
    """Ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.ready()
    while True:
        time.sleep(0.05)


def failing(context: ProcessContext) -> None:
    """Cannot start."""
    raise RuntimeError("there is no coffee")


def crashing(context: ProcessContext) -> None:
    """Ends by a signal, as after a fault in C code."""
    os.kill(os.getpid(), signal.SIGSEGV)


def parent(context: ProcessContext) -> None:
    """Has a child of its own, whose pid it writes down, and another that lost its parent."""
    child = subprocess.Popen(["sleep", "1000"])
    orphan = subprocess.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True)
    (context.directory / "children").write_text(f"{child.pid} {orphan.stdout}")
    _wait(context)


def talker(context: ProcessContext) -> None:
    """Reports all kinds of things, some of them strange."""
    context.event("down", "meter0: nobody home", alias="meter0")
    context.event("huge", "x" * 10_000, data=["y" * 100_000])
    os.write(context.report_fd, b"\xff not json")
    os.write(context.report_fd, b'{"process": 7}')
    context.log.warning("the talker warns")
    print("the talker prints")
    _wait(context)


def handles(context: ProcessContext) -> None:
    """Writes down what each of its handles contains."""
    content = {name: os.pread(fd, 100, 0).decode() for name, fd in context.handles.items()}
    Path(context.settings["to"]).write_text(json.dumps(content))
