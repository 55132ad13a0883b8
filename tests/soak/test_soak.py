"""A short soak, and the judgement itself on curves that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .curve import Record, Sample, drawn, report
from .soak import soak

SECONDS = 30


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_half_a_minute_of_random_drills_leaves_the_site_as_it_was(tmp_path: Path) -> None:
    told: list[str] = []
    record = soak(SECONDS / 60, seed=3, clients=0, tell=told.append)
    record.save(tmp_path / "record.json")
    assert record.verdict() == [], "\n".join([*told, report(record)])
    assert sum(record.deeds.values()) == len(told) == len(record.samples) >= 2
    assert json.loads((tmp_path / "record.json").read_text())["verdict"] == []


def record(rss_mb: list[float], slips: int = 0, failures: tuple[str, ...] = ()) -> Record:
    samples = [Sample(float(n), 300.0, value, 100, 20, 0, 22, 22) for n, value in enumerate(rss_mb)]
    return Record(1, 30.0, samples, {"kill_part": len(samples)}, slips=slips, failures=list(failures))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (record([300.0] * 40), ""),
        (record([200.0] * 10 + [300.0] * 30), ""),
        (record([300.0 + 40 * (n % 2) for n in range(40)]), ""),
        (record([300.0 + 2 * n for n in range(40)]), "rss_mb grew from 329 to 369"),
        (record([300.0 + 0.1 * n for n in range(40)]), ""),
        (record([300.0] * 40, slips=2), "control missed 2 cycles"),
        (record([300.0] * 3, failures=("opcua is not back",)), "opcua is not back"),
    ],
    ids=["flat", "warm-up", "restless", "leak", "noise", "slips", "failure"],
)
def test_the_verdict(found: Record, words: str) -> None:
    assert [words in text for text in found.verdict()] == ([True] if words else [])
    assert ("verdict: failed" in report(found)) is bool(words)


def test_a_curve_is_drawn_from_zero() -> None:
    assert drawn([0, 50, 100]) == " ▄█"
    assert len(drawn([1.0] * 1000)) <= 73
