"""`ems replay`: a recorded period through today's controllers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from server.core.errors import EmsError
from server.core.ticks import stamp

from . import OK, command, moment, site_folder, table

if TYPE_CHECKING:
    from server.runtime.replay import Replay
    from server.runtime.replay_report import CsvFile, Report

TOLERANCE: Final = 50.0
TOLD_EACH_S: Final = 1.0


def add(commands: Any) -> None:
    """The subcommand `ems replay`."""
    parser = command(
        commands,
        "replay",
        "play a recorded period through today's controllers and show the difference",
        "ems replay site --from 2026-11-22T06:00 --to 2026-11-22T18:00",
        "ems replay site --from 2026-11-22 --to 2026-11-23 --set peak0/import_max_w=6000 --step 1",
        "ems replay site --from 2026-11-22 --to 2026-11-23 --config new-site --csv steps.csv",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the site whose history is played")
    parser.add_argument("--from", dest="start", required=True, metavar="TIME", help="such as 2026-11-22T06:00; local to the site")
    parser.add_argument("--to", dest="end", required=True, metavar="TIME", help="the end; `now` for now")
    parser.add_argument("--config", type=Path, metavar="DIR", help="a site whose controllers play; default: the same")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="CONTROLLER/NAME=VALUE", help="another value of a parameter"
    )
    parser.add_argument("--fresh", action="store_true", help="without what the journal has of that time: state and writes")
    parser.add_argument(
        "--step", type=_positive, metavar="S", help="virtual seconds from step to step; default: the site's cycle"
    )
    parser.add_argument("--warm-up", type=_positive, metavar="S", help="played before, not compared; default 300 s or 30 steps")
    parser.add_argument(
        "--tolerance", type=_positive, default=TOLERANCE, metavar="W", help=f"what is the same (default {TOLERANCE:g})"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every step as a row")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(do=_replay)


def _replay(options: argparse.Namespace) -> int:
    from server.history import HistoryReader, database_url
    from server.runtime.config import read_site

    directory = site_folder(options.directory)
    reader = HistoryReader(database_url(directory, read_site(directory).history.database))
    try:
        report = _played(options, directory, reader)
    finally:
        reader.close()
    print(report.json() if options.json else report.text(table))
    return OK


def _played(options: argparse.Namespace, directory: Path, reader: Any) -> Report:
    """Play the period, showing how far it is."""
    from server.runtime.comparison import Comparison
    from server.runtime.journaled import Decided, state_at, written
    from server.runtime.plan import plan_of
    from server.runtime.recorded_documents import tables
    from server.runtime.recording import Recording
    from server.runtime.replay import Replay
    from server.runtime.replay_report import Report

    plan = plan_of(directory if options.config is None else site_folder(options.config))
    period = _period(options, plan)
    recording = Recording(reader, plan.layout)
    recording.check(period.start, period.end)
    journal = directory / "data" / "journal"
    state = None if options.fresh else state_at(journal, period.begin)
    writes = [] if options.fresh else written(journal, period.begin, period.end)
    documents = tables(directory, plan.layout, period.begin, period.end)
    replay = Replay(plan, recording, period, state=state, writes=writes, documents=documents, settings=dict(options.set))
    comparison = Comparison(replay.compared, period.step_s, period.tolerance)
    with _csv(options.csv, comparison) as file:
        for played in _with_progress(replay):
            comparison.add(played)
            if file is not None:
                file.add(played)
    return Report(
        site=plan.settings.name,
        period=period,
        comparison=comparison,
        decided=Decided(journal, period.start, period.end),
        inputs=len(recording.inputs),
        silent=replay.silent,
        unrecorded=recording.unrecorded,
        problems=[*(f"{p.source}: {p.text}" for p in plan.problems), *replay.problems],
        notes=replay.notes,
    )


def _period(options: argparse.Namespace, plan: Any) -> Any:
    from server.runtime.replay import WARM_UP_S, WARM_UP_STEPS, Period

    start, end = moment(options.start, plan.settings.timezone), moment(options.end, plan.settings.timezone)
    if start >= end:
        raise EmsError(f"--from {options.start} is not before --to {options.end}")
    step_s = options.step or plan.settings.cycle_s
    warm_up_s = max(WARM_UP_S, WARM_UP_STEPS * step_s) if options.warm_up is None else options.warm_up
    return Period(start, end, step_s, warm_up_s, plan.file.history.interval_s, options.tolerance)


@contextmanager
def _csv(path: Path | None, comparison: Any) -> Iterator[CsvFile | None]:
    """The table of steps; it appears whole or not at all."""
    from server.runtime.replay_report import CsvFile

    if path is None:
        yield None
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", newline="") as file:
            yield CsvFile(file, comparison.rows)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _with_progress(replay: Replay) -> Iterator[Any]:
    """What is played; on a terminal it is told how far it is, and how fast."""
    begun, told, done = time.monotonic(), 0.0, 0
    for played in replay.run():
        yield played
        done, now = done + len(played.times), time.monotonic()
        if sys.stderr.isatty() and now - told >= TOLD_EACH_S:
            share = min(100.0, 100 * done / max(replay.period.steps, 1))
            where = stamp(int(played.times[-1]))[:19]
            print(f"\r{where}  {share:.0f} %  {done / (now - begun):,.0f} steps/s ", end="", file=sys.stderr, flush=True)
            told = now
    if told:
        print(file=sys.stderr)


def _setting(text: str) -> tuple[str, float]:
    node, equals, value = text.partition("=")
    try:
        return node.strip(), float(value if equals else "")
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form peak0/import_max_w=6000") from None


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..86400")
    return value
