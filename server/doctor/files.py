"""Checks of a site's files: configuration, entries, modes, certificates, history, journal."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from certs import damaged_files, list_certificates, outdated_crls
from server.core.errors import EmsError
from server.runtime.certificate_watch import WARN_DAYS, expiry_text
from server.runtime.config import SITE_FILE
from server.runtime.journal import last_state

from .finding import Finding, fault, note, ok, warning
from .patient import Patient

CHECK_WITHIN_S: Final = 3.0
_PRIVATE: Final = ("users.toml", "certs", "run", "data/audit.jsonl")
_PROGRESS_STEPS: Final = 10_000


def configuration(patient: Patient) -> Iterator[Finding]:
    """site.toml and what it asks for."""
    if patient.directory is None:
        return
    if patient.file is None:
        for line in patient.problem.splitlines():
            yield fault("configuration", line, f"correct it in {patient.directory / SITE_FILE}")
        return
    plan = patient.plan
    assert plan is not None, "there is a plan whenever site.toml is right"
    for problem in plan.problems:
        yield fault("configuration", f"left out: {problem.text}", f"correct it, then start the site again ({problem.source})")
    if not plan.problems:
        yield ok(
            "configuration", f"site.toml is right: {len(plan.file.controller)} controllers, {len(plan.file.services)} services"
        )


def entries(patient: Patient) -> Iterator[Finding]:
    """Each entry's file, and its state while the site runs."""
    if patient.directory is None or patient.plan is None:
        return
    planned = patient.plan.entries
    wrong = [e for e in planned if e.problem]
    for entry in wrong:
        yield fault("entries", entry.problem, "correct the file, then start the site again; the other entries run meanwhile")
    waiting = {row["alias"]: row for row in patient.status["entries"]} if patient.status is not None else {}
    for alias, row in waiting.items():
        if row["state"] == "SetupRetry":
            todo = "look after the device, its power and its cable; it is tried again by itself"
            yield warning("entries", f"{alias}: {row['reason'] or row['state']}", todo)
    if not wrong:
        yield (
            ok("entries", f"{len(planned)} entries, every file is right")
            if planned
            else note(
                "entries", "there are none: nothing is measured or steered", f"add files to {patient.directory / 'entries'}"
            )
        )


def modes(patient: Patient) -> Iterator[Finding]:
    """Whether only the owner reads keys, passwords and sockets."""
    if patient.directory is None:
        return
    private = [patient.directory / name for name in _PRIVATE]
    private += sorted((patient.directory / "certs").rglob("*.key.pem"))
    open_ones = [path for path in private if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in open_ones:
        mode = "700" if path.is_dir() else "600"
        yield fault("file modes", f"others may read {path.relative_to(patient.directory)}", f"chmod {mode} {path}")
    strangers = [path for path in private if path.exists() and path.stat().st_uid != patient.directory.stat().st_uid]
    for path in strangers:
        owner = patient.directory.owner()
        yield fault("file modes", f"{path.relative_to(patient.directory)} belongs to {path.owner()}", f"chown {owner} {path}")
    if not open_ones and not strangers:
        yield ok("file modes", "keys, passwords and sockets are the owner's only")


def certificates(patient: Patient) -> Iterator[Finding]:
    """How long certificates are valid, what cannot be used, and who waits to be trusted."""
    if patient.directory is None:
        return
    now, found = datetime.now(UTC), list_certificates(patient.directory)
    for info in (c for c in found if c.state != "rejected" and c.days_left(now) < WARN_DAYS):
        text, _, todo = expiry_text(info, now).partition("; ")
        yield (fault if info.days_left(now) < 0 else warning)("certificates", text, todo)
    for file in damaged_files(patient.directory):
        text = f"{file.relative_to(patient.directory)} is no certificate"
        yield fault("certificates", text, "put the right file there, or `ems certs create NAME` for one of our own")
    for file in outdated_crls(patient.directory, now):
        yield warning("certificates", f"{file.relative_to(patient.directory)} is not current", "fetch a newer revocation list")
    rejected = sum(c.state == "rejected" for c in found)
    if rejected:
        todo = "`ems certs list`, then `ems certs trust THUMBPRINT`"
        yield note("certificates", f"{rejected} were refused and wait for a decision", todo)
    yield from _own_certificates([c.not_after for c in found if c.state == "own"], now)


def _own_certificates(ends: Sequence[datetime], now: datetime) -> Iterator[Finding]:
    if not ends:
        todo = "`ems certs create server`, and the same for panel and historian"
        yield fault("certificates", "the site has none of its own", todo)
    elif min(ends) > now:
        yield ok("certificates", f"{len(ends)} of its own, the first ends on {min(ends):%Y-%m-%d}")


def history(patient: Patient) -> Iterator[Finding]:
    """Whether the embedded database is sound, as far as CHECK_WITHIN_S goes."""
    if patient.directory is None or not (path := patient.directory / "data" / "history.sqlite").exists():
        return
    size_mb = path.stat().st_size / 1e6
    until = time.monotonic() + CHECK_WITHIN_S
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.set_progress_handler(lambda: time.monotonic() > until, _PROGRESS_STEPS)
        try:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        checked = "too large to be checked in passing" if "interrupted" in str(error) else f"not checked: {error}"
        yield note("history", f"{size_mb:,.1f} MB, {checked}")
        return
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict == "ok":
        yield ok("history", f"{size_mb:,.1f} MB, sound")
    else:
        todo = "restart the historian: it sets the file aside and begins a new one; restore data/history.sqlite from a backup"
        yield fault("history", f"data/history.sqlite is damaged: {verdict}", todo)


def journal(patient: Patient) -> Iterator[Finding]:
    """Whether control would find its state."""
    if patient.directory is None:
        return
    folder = patient.directory / "data" / "journal"
    try:
        saved = last_state(folder)
        size_mb = sum(f.stat().st_size for f in folder.glob("*.jsonl")) / 1e6
    except (OSError, EmsError) as error:
        yield fault("journal", f"cannot be read: {error}", f"see to the owner and modes of {folder} (user {os.geteuid()})")
        return
    if saved.state is None:
        yield note("journal", "it holds no state of control yet; the site was not run")
    else:
        yield ok("journal", f"{size_mb:,.1f} MB, the state of control is {saved.age_s:,.0f} s old")
