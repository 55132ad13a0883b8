"""A soak: the demo runs for long while random things are done to it, and its memory, descriptors and slips are watched."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from demo_site import DemoSite
from drill import Drill
from footprint import footprints
from ports import free_port
from pymodbus.exceptions import ModbusException
from witness import Witness

from server.client import ClientError

from .crowd import Crowd, counts
from .curve import Record, Sample
from .trouble import TROUBLES, kill_control

CALM_WITHIN_S = 60.0
LEFT_WITHIN_S = 300.0
"""Sessions of clients that were killed end by their timeout, their subscriptions by their lifetime after it."""
OWN_SESSIONS = 2
"""Those of the historian and the panel."""
REST_S = (1.0, 4.0)
WORST_AWAY_S = 1.0


def soak(minutes: float, seed: int, clients: int = 20, tell: Callable[[str], None] = print, keep: Path | None = None) -> Record:
    """Run for so long beside a crowd of so many clients; what was found. tell: is given a line for each drill; keep: where logs
    and journal go after a failure."""
    record = Record(seed, minutes)
    with (
        tempfile.TemporaryDirectory() as folder,
        Witness() as witness,
        DemoSite(Path(folder) / "site", free_port(), free_port()) as site,
    ):
        drill = Drill(site, witness)
        soaking = _Soak(drill, random.Random(seed), record, tell)
        with Crowd(drill.identity, clients, seed) as crowd:
            soaking.run(minutes * 60)
        record.lives = crowd.lives
        if clients:
            soaking.judge_what_is_left()
        if record.verdict() and keep is not None:
            shutil.copytree(site.directory / "data", keep, ignore=shutil.ignore_patterns("history*"), dirs_exist_ok=True)
    return record


class _Soak:
    def __init__(self, drill: Drill, dice: random.Random, record: Record, tell: Callable[[str], None]) -> None:
        self._drill = drill
        self._dice = dice
        self._record = record
        self._tell = tell
        self._begun = time.monotonic()

    def run(self, seconds: float) -> None:
        """Trouble, calm, a sample, again and again."""
        self._become_calm()
        while time.monotonic() - self._begun < seconds and not self._record.failures:
            try:
                self._once()
            except (AssertionError, OSError, ModbusException, ClientError) as error:
                reasons = {row["name"]: row["reason"] for row in self._drill.site.status().get("processes", ()) if row["reason"]}
                self._record.failures.append(f"{str(error).splitlines()[0]} {reasons or ''}".rstrip())

    def _once(self) -> None:
        trouble = self._dice.choice(TROUBLES)
        begun, before = time.monotonic_ns(), self._drill.site.status()["cycle"]
        moment = time.monotonic()
        what = trouble(self._drill, self._dice)
        away_s = time.monotonic() - moment if trouble is kill_control else 0.0
        self._record.worst_away_s = max(self._record.worst_away_s, away_s)
        self._become_calm()
        time.sleep(self._dice.uniform(*REST_S))
        self._judge_slips(before, self._drill.site.status()["cycle"], begun, killed=trouble is kill_control)
        sample = self._sample()
        self._record.samples.append(sample)
        kind = trouble.__name__
        self._record.deeds[kind] = self._record.deeds.get(kind, 0) + 1
        self._tell(
            f"{sample.at_s:7.0f} s  {sample.pss_mb:6.1f} MB  {sample.descriptors} fds  {sample.threads} threads"
            f"  {sample.sessions} sessions  {what}"
        )

    def judge_what_is_left(self) -> None:
        """When everybody has gone, so have their sessions and subscriptions."""
        if self._record.failures:
            return
        try:
            self._drill.wait(lambda: max(self._counts()) <= OWN_SESSIONS, "all sessions of the crowd have ended", LEFT_WITHIN_S)
        except AssertionError as error:
            self._record.failures.append(f"{str(error).splitlines()[0]}: {self._counts()} sessions and subscriptions are left")

    def _counts(self) -> tuple[int, int]:
        return asyncio.run(counts(self._drill.identity))

    def _become_calm(self) -> None:
        self._drill.wait(self._drill.running, "the site runs as if nothing had been", CALM_WITHIN_S)

    def _judge_slips(self, before: dict[str, int], after: dict[str, int], since_ns: int, *, killed: bool) -> None:
        """Slips while control lived. What a control that was killed did not serve is no slip of its own."""
        if after["restarts"] != before["restarts"]:
            assert killed, f"control was started again although nobody had killed it: {before} {after}"
            return
        slips = after["slips"] - before["slips"]
        excused = min(slips, self._drill.witness.excused(since_ns, round(before["period_ms"] * 1e6)))
        self._record.excused += excused
        self._record.slips += slips - excused

    def _sample(self) -> Sample:
        status = self._drill.site.status()
        taken = footprints(status["processes"]).values()
        return Sample(
            round(time.monotonic() - self._begun, 1),
            round(sum(f.pss_mb for f in taken), 1),
            round(sum(f.rss_mb for f in taken), 1),
            sum(f.descriptors for f in taken),
            sum(f.threads for f in taken),
            status["cycle"]["slips"],
            *self._counts(),
        )
