"""What the history costs: storing what arrives each second, asking for the last minutes, averaging a year by day.

    flushes of all series (1 s of the site each) ─ append, seal, as the historian does ─▶ SQLite ─▶ reader ─▶ figures

Values are what meters give: steps of 1 W, source times a few ms apart. The year is one value a minute of one node, sealed; it is
asked for as HistoryRead does it, aggregate and status included, without the network. Run `ems bench history`.
"""

from __future__ import annotations

import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.core.ticks import TICKS
from server.history import AGGREGATES, HistoryReader, HistoryWriter, database_url, processed

BEGIN = 133_000_000_000_000_000
DAY = 86_400 * TICKS
YEAR_DAYS = 365
QUERIES = 200


def figures(series: int = 1000, seconds: int = 600, seal_each: int = 600) -> dict[str, float]:
    """Store, ask, measure. series: how many change each second, for so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        found = _ingest(directory, series, seconds, seal_each)
        found |= _queries(directory, series, seconds)
        found |= _year(directory)
    return found


def _ingest(directory: Path, series: int, seconds: int, seal_each: int) -> dict[str, float]:
    writer = HistoryWriter(database_url(directory))
    ids = writer.ensure([f"device{n}/ActivePower" for n in range(series)])
    dice = np.random.default_rng(1)
    powers = np.cumsum(dice.integers(-20, 20, (seconds, series)), 0).astype(np.float64)
    late = dice.integers(0, TICKS // 20, (seconds, series))
    good = np.zeros(series, np.uint32)
    cpu, written, begin, longest = _cpu_s(), _written(), time.perf_counter(), 0.0
    for second in range(seconds):
        started = time.perf_counter()
        writer.append(ids, BEGIN + second * TICKS + late[second], powers[second], good)
        longest = max(longest, time.perf_counter() - started)
        if second % seal_each == seal_each - 1:
            writer.seal()
    writer.seal()
    elapsed, count = time.perf_counter() - begin, seconds * series
    used = _cpu_s() - cpu
    writer.close()
    return {
        "history.ingest_values_per_s": count / elapsed,
        "history.ingest_cpu_us_per_value": used / count * 1e6,
        "history.append_max_ms": longest * 1e3,
        "history.disk_written_bytes_per_value": (_written() - written) / count,
        "history.stored_bytes_per_value": _stored(directory) / count,
    }


def _queries(directory: Path, series: int, seconds: int) -> dict[str, float]:
    """The last ten minutes of one node after another, raw, and their averages of 10 s."""
    reader = HistoryReader(database_url(directory))
    end = BEGIN + seconds * TICKS
    edges = end - np.arange(60, -1, -1) * 10 * TICKS
    raw, averaged = [], []
    for n in range(QUERIES):
        node = f"device{n * 7 % series}/ActivePower"
        raw.append(_timed(lambda node=node: reader.raw(node, end - 600 * TICKS, end, 10_000)))
        averaged.append(_timed(lambda node=node: processed(reader, node, edges, AGGREGATES["TimeAverage2"])))
    reader.close()
    return {
        "history.query_p50_ms": float(np.median(raw)),
        "history.query_p99_ms": float(np.percentile(raw, 99)),
        "history.query_averages_p50_ms": float(np.median(averaged)),
    }


def _year(directory: Path) -> dict[str, float]:
    """A year of values of one minute, stored at once and averaged by day."""
    writer = HistoryWriter(database_url(directory))
    times = BEGIN - BEGIN % DAY + np.arange(YEAR_DAYS * 1440) * 60 * TICKS
    ids = np.repeat(writer.ensure(["year/ActivePower"]), len(times))
    values = np.round(5000 * np.sin(np.arange(len(times)) / 700))
    begin = time.perf_counter()
    writer.append(ids, times, values, np.zeros(len(times), np.uint32), alive=int(times[-1]) + 60 * TICKS)
    writer.seal()
    stored = time.perf_counter() - begin
    writer.close()
    days = times[0] + np.arange(YEAR_DAYS + 1) * DAY
    return {
        "history.bulk_values_per_s": len(times) / stored,
        "history.year_by_day_ms": _by_day(directory, days),
        "history.year_by_odd_day_ms": _by_day(directory, days[:-1] + 12_345_678_901),
        "history.year_raw_ms": _raw_year(directory, times),
    }


def _by_day(directory: Path, edges: NDArray[np.int64]) -> float:
    """The best of some, each with a reader that has seen nothing before."""
    best = 1e9
    for _ in range(5):
        reader = HistoryReader(database_url(directory))
        best = min(best, _timed(lambda reader=reader: processed(reader, "year/ActivePower", edges, AGGREGATES["TimeAverage2"])))
        reader.close()
    return best


def _raw_year(directory: Path, times: NDArray[np.int64]) -> float:
    reader = HistoryReader(database_url(directory))
    taken = _timed(lambda: reader.raw("year/ActivePower", int(times[0]), int(times[-1]) + 1, len(times)))
    reader.close()
    return taken


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _written() -> int:
    """Bytes that this process has sent to the disk; 0 where the system does not count them."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _stored(directory: Path) -> int:
    """Bytes of the file that are in use; freed pages are given back by and by."""
    with sqlite3.connect(directory / "data" / "history.sqlite") as database:
        size, free, pages = (database.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_size", "freelist_count", "page_count"))
    database.close()
    return int(size * (pages - free))
