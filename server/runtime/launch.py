"""The first steps of a forked process: from a copy of the zygote to a process of its own that runs its part.

Order matters. The process waits until it is the supervisor's child (its middle parent has gone) and until the supervisor
has noted its pid and opened the gate; only then it asks the kernel for SIGTERM at the supervisor's death. A process the
supervisor never learned of finds the gate closed and ends without having done anything.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError

from .context import ProcessContext, report
from .discovery import use_custom

LOG_FORMAT: Final = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
LOG_TIME: Final = "%Y-%m-%d %H:%M:%S"
ORPHANED: Final = 75
"""Exit status of a process that found nobody waiting for it (EX_TEMPFAIL)."""

_REPORTED: Final = {"reported": True}
_TALKATIVE: Final = ("asyncua",)
"""Libraries that log each of their steps; what goes wrong is still heard."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Order:
    """What a zygote is asked to start. `handles` names the descriptors that come along after the fixed ones."""

    name: str
    target: str
    directory: str
    supervisor: int
    handles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The fixed descriptors of an order, in this order: pickled context, pickled layout, gate, reports; then the handles."""

    context: int
    layout: int
    gate: int
    report: int


def launch(order: Order, descriptors: Sequence[int], parent: int) -> int:
    """Become the process of `order` and run it to its end. parent: pid of the short-lived middle process. Exit status."""
    fixed = Descriptors(*descriptors[:4])
    _own_session(order.name)
    _await_adoption(parent, order.supervisor)
    if not os.read(fixed.gate, 1):
        return ORPHANED
    os.close(fixed.gate)
    _set_up_logging(order, fixed.report)
    use_custom(Path(order.directory))
    context = replace(
        load_context(fixed),
        handles=dict(zip(order.handles, descriptors[4:], strict=True)),
        parent_pids=(order.supervisor,),
        report_fd=fixed.report,
    )
    return run_target(order.target, context)


def run_target(target: str, context: ProcessContext) -> int:
    """Run `module:function` with the context. What it raises is logged, reported and becomes status 1."""
    try:
        find_target(target)(context)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException as error:
        context.log.exception("%s ends", context.name, extra=_REPORTED)
        context.event("failed", failure_text(error))
        return 1
    return 0


def find_target(target: str) -> Callable[[ProcessContext], object]:
    """The function named by `module:function`; `module` alone means its `run`."""
    name, _, attribute = target.partition(":")
    function: Callable[[ProcessContext], object] = getattr(importlib.import_module(name), attribute or "run")
    return function


def failure_text(error: BaseException) -> str:
    """An exception in one line; of a group, its first cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kind = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error).strip().splitlines()
    return f"{kind}: {text[0]}" if text and not isinstance(error, EmsError) else text[0] if text else kind


def load_context(fixed: Descriptors) -> ProcessContext:
    """The context, with the layout that all processes share put back into it."""
    context: ProcessContext = pickle.loads(_content(fixed.context))
    if os.fstat(fixed.layout).st_size:
        context = replace(context, layout=pickle.loads(_content(fixed.layout)))
    os.close(fixed.context)
    os.close(fixed.layout)
    return context


def memory_file(name: str, content: bytes) -> int:
    """An anonymous file with `content`; its descriptor, which the caller closes."""
    descriptor = os.memfd_create(f"ems-{name}", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor


def become_subreaper() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """Name this process for ps and top; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(f"ems:{name}".encode()[:15]))


class ReportHandler(logging.Handler):
    """Sends warnings and errors to the supervisor, which shows them in its terminal."""

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(logging.WARNING)
        self._fd = fd
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        """One datagram for each record that is not reported otherwise."""
        if "reported" not in vars(record):
            report(self._fd, self._name, "log", record.getMessage(), {"level": record.levelname, "logger": record.name})


def _own_session(name: str) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    set_process_name(name)


def _await_adoption(parent: int, supervisor: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.0002)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        os._exit(ORPHANED)


def _set_up_logging(order: Order, report_fd: int) -> None:
    """Everything printed or logged goes to DIR/data/log/<name>.log; appending, so that the supervisor may cut the file."""
    path = Path(order.directory) / "data" / "log" / f"{order.name}.log"
    log_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    os.close(log_file)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(logging.Formatter(LOG_FORMAT, LOG_TIME))
    logging.basicConfig(level=logging.INFO, handlers=[lines, ReportHandler(report_fd, order.name)], force=True)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)


def _content(descriptor: int) -> bytes:
    """All bytes of a memory file; without moving the file offset, which other processes share."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _prctl(option: int, value: Any) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")
