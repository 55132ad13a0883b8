"""Checks of the machine: versions, kernel, clock, time zones, disk, memory, real-time permission."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from server.runtime.journal import newest_time
from server.runtime.realtime import FIFO_PRIORITY

from .finding import Finding, fault, note, ok, warning
from .patient import Patient

PACKAGE: Final = "unified-ems"
PYTHON_MIN: Final = (3, 11)
DISK_LOW_BYTES: Final = 1_000_000_000
DISK_FULL_BYTES: Final = 100_000_000
MEMORY_LOW_BYTES: Final = 200_000_000
CLOCK_BACK_S: Final = 60.0
_MB: Final = 1_000_000
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 256
"""Room for the kernel's struct timex (208 bytes on 64-bit machines)."""
_CAP_SYS_NICE: Final = 1 << 23


def versions(patient: Patient) -> Iterator[Finding]:
    """Python, the product, and every library it needs."""
    found = f"{PACKAGE} {version(PACKAGE)}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    if sys.version_info < PYTHON_MIN:
        yield fault("versions", found, "install Python 3.11 or newer and make the environment anew (`make clean demo`)")
    missing = [name for name in _needed() if _version(name) is None]
    if missing:
        yield fault("versions", f"missing: {', '.join(missing)}", "install the product again (`make install`, or pip)")
    else:
        yield ok("versions", f"{found}; {', '.join(f'{n} {_version(n)}' for n in ('asyncua', 'numpy', 'cryptography'))}")


def _needed() -> list[str]:
    """Names of the libraries the product cannot do without."""
    lines = [line for line in requires(PACKAGE) or () if "extra ==" not in line]
    return [line.split(";")[0].split("[")[0].split("<")[0].split(">")[0].split("=")[0].strip(" !~()") for line in lines]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def kernel(patient: Patient) -> Iterator[Finding]:
    """What the runtime needs of the system."""
    missing = [name for name in ("memfd_create", "pidfd_open", "eventfd") if not hasattr(os, name)]
    if missing or sys.platform != "linux":
        yield fault("kernel", f"{platform.system()} has no {', '.join(missing) or 'Linux'}", "run it on Linux 5.4 or newer")


def clock(patient: Patient) -> Iterator[Finding]:
    """Whether the wall clock can be right, and whether something keeps it right."""
    now = time.time()
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    newest = newest_time(patient.directory / "data" / "journal") if patient.directory else 0.0
    built = Path(__file__).stat().st_mtime
    if now < built:
        yield fault(
            "clock", f"it shows {shown}, which is before this program was made", "set the clock (`timedatectl set-ntp true`)"
        )
    elif now < newest - CLOCK_BACK_S:
        text = f"it shows {shown}, {(newest - now) / 60:.0f} min before the newest record in the journal"
        yield warning("clock", text, "set the clock; until then newer history lies before older one")
    if synchronised():
        yield ok("clock", f"{shown}, kept by a time server")
    else:
        todo = "let it be kept by a time server: `timedatectl set-ntp true`, chrony, or ntpd"
        yield warning("clock", f"{shown}, not kept by a time server: times of values and certificates may drift off", todo)


def synchronised() -> bool:
    """What the kernel says of its clock."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = int(ctypes.CDLL(None).adjtimex(timex))
    return state not in (-1, _TIME_ERROR)


def time_zone(patient: Patient) -> Iterator[Finding]:
    """Whether the site's time zone is known here."""
    if patient.file is None:
        return
    name = patient.file.site.timezone
    there = datetime.now(ZoneInfo(name))
    data = _version("tzdata")
    yield ok("time zone", f"{name}, now {there:%H:%M} (UTC{there:%z}); rules of tzdata {data}")


def disk(patient: Patient) -> Iterator[Finding]:
    """Room for history and journal."""
    place = patient.place
    usage, inodes = shutil.disk_usage(place), os.statvfs(place)
    text = f"{usage.free / _MB:,.0f} MB free of {usage.total / _MB:,.0f} MB at {place.resolve()}"
    todo = "make room: the historian's retention (docs: settings), data/log, other programs' files"
    if patient.directory is not None and not os.access(place, os.W_OK):
        yield fault(
            "disk", f"{place} cannot be written by this user", "run it as the user who owns the site, or mount it writable"
        )
    if usage.free < DISK_FULL_BYTES:
        yield fault("disk", f"{text}: nothing more can be stored soon", todo)
    elif usage.free < DISK_LOW_BYTES:
        yield warning("disk", text, todo)
    else:
        yield ok("disk", text)
    if inodes.f_files and inodes.f_favail < inodes.f_files // 100:
        yield warning("disk", "there is hardly any room for another file (inodes)", "remove small files from this file system")


def memory(patient: Patient) -> Iterator[Finding]:
    """What is left of the machine's memory."""
    with open("/proc/meminfo") as file:
        table = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in file)}
    total, free = table["MemTotal"], table["MemAvailable"]
    text = f"{free / _MB:,.0f} MB available of {total / _MB:,.0f} MB"
    if free < MEMORY_LOW_BYTES:
        yield warning("memory", text, "end other programs, or leave services out of site.toml")
    else:
        yield ok("memory", text)


def real_time(patient: Patient) -> Iterator[Finding]:
    """Whether control may go before everybody else."""
    pid = _control(patient)
    if pid:
        granted, shown = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO, "control runs"
    else:
        granted, shown = may_be_real_time(), "control may run"
    if granted:
        yield ok("real time", f"{shown} with real-time priority")
        return
    ways = f"`LimitRTPRIO={FIFO_PRIORITY}` in systemd, rtprio in /etc/security/limits.conf, or CAP_SYS_NICE"
    text = f"{shown} without real-time priority: other programs may delay a cycle"
    yield note("real time", text, f"allow it: {ways}")


def may_be_real_time() -> bool:
    """Whether this user gets SCHED_FIFO at control's priority."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if hard == resource.RLIM_INFINITY or max(soft, hard) >= FIFO_PRIORITY:
        return True
    with open("/proc/self/status") as file:
        capabilities = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(capabilities & _CAP_SYS_NICE)


def _control(patient: Patient) -> int:
    rows = patient.status["processes"] if patient.status is not None else ()
    return next((int(row["pid"]) for row in rows if row["name"] == "control"), 0)
