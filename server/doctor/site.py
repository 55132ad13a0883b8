"""Checks of a site as it runs: ports, processes, cycle, alarms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from server.runtime.plan import panel_address
from server.runtime.ports import is_free

from .finding import Finding, fault, note, ok, warning
from .patient import Patient

_LISTENING: Final = "0A"


def ports(patient: Patient) -> Iterator[Finding]:
    """Whether the servers listen while the site runs, or could."""
    if patient.file is None:
        return
    wanted = [("OPC UA", patient.file.opcua.host, patient.file.opcua.port)]
    if panel_address(patient.file):
        panel = patient.file.services["ui"].settings
        wanted.append(("panel", str(panel.get("host", "")), int(panel["port"])))
    ours = {int(row["pid"]) for row in patient.status["processes"]} if patient.status is not None else set()
    for what, host, port in wanted:
        yield _port(what, host or "0.0.0.0", port, ours)


def _port(what: str, host: str, port: int, ours: set[int]) -> Finding:
    free = is_free(port, host)
    if not ours:
        todo = f"end it, or give the {what} another port in site.toml"
        taken = fault("ports", f"{what}: {host}:{port} is taken by {holder(port) or 'another program'}", todo)
        return ok("ports", f"{what}: {host}:{port} is free") if free else taken
    if free:
        return fault("ports", f"{what}: nobody listens on {host}:{port}", "see `ems status` and data/log for the reason")
    pid = holder_pid(port)
    if pid and pid not in ours:
        todo = f"end it, or give the {what} another port in site.toml"
        return fault("ports", f"{what}: {host}:{port} is taken by {holder(port)}", todo)
    return ok("ports", f"{what} listens on {host}:{port}")


def holder(port: int) -> str:
    """Who listens on a TCP port, in words; empty when that cannot be told."""
    pid = holder_pid(port)
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})" if pid else ""
    except OSError:
        return ""


def holder_pid(port: int) -> int:
    """Pid of the process that listens on a TCP port; 0 when that cannot be told."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    for folder in Path("/proc").glob("[0-9]*/fd") if sockets else ():
        try:
            if any(os.readlink(folder / name) in sockets for name in os.listdir(folder)):
                return int(folder.parent.name)
        except OSError:
            continue
    return 0


def _listeners(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on a port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                yield fields[9]


def processes(patient: Patient) -> Iterator[Finding]:
    """Whether every part runs, and what it takes."""
    if patient.directory is None:
        yield note("site", "no site was looked at", "name one: `ems doctor DIR`")
        return
    if patient.silence:
        yield fault("site", patient.silence, "look at its terminal or `journalctl -u ems@NAME`; end it if nothing helps")
    if patient.status is None:
        yield note("site", "it is not running", f"`ems run {patient.directory}` starts it")
        return
    rows = patient.status["processes"]
    for row in rows:
        if row["reason"]:
            todo = f"read {patient.directory / 'data' / 'log' / row['name']}.log"
            yield fault("processes", f"{row['name']} ({row['state']}, {row['restarts']} restarts): {row['reason']}", todo)
    sizes = {row["name"]: row["memory_mb"] for row in rows if row["memory_mb"] is not None}
    shares = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items(), key=lambda item: -item[1]))
    yield ok("processes", f"{len(sizes)} take {sum(sizes.values()):.0f} MB (proportional set size): {shares}")


def cycle(patient: Patient) -> Iterator[Finding]:
    """How well control keeps its time."""
    if patient.status is None:
        return
    figures = patient.status["cycle"]
    counter, slips = figures["counter"], figures["slips"]
    text = f"{counter} cycles of {figures['period_ms']:g} ms, {slips} slips, worst {figures['worst_ms'] or 0:.1f} ms"
    if not counter:
        yield fault("cycle", "control has not ended a cycle", "see `ems status` and data/log/control.log for the reason")
    elif slips * 1000 > counter:
        yield warning("cycle", text, "see `real time` above; lengthen cycle_ms, or take load off the machine")
    else:
        yield ok("cycle", text)


def alarms(patient: Patient) -> Iterator[Finding]:
    """What the site itself complains about, beside its processes."""
    if patient.status is None:
        return
    parts = {row["name"] for row in patient.status["processes"] if row["reason"]}
    for alarm in (a for a in patient.status["alarms"] if a["source"] not in parts):
        make = fault if alarm["level"] == "Fault" else warning
        yield make("alarms", f"{alarm['source']}: {alarm['text']}", f"since {alarm['since']}; see the panel's Alarms page")
