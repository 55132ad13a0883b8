"""What a soak measures, and its judgement: is memory flat, does anything pile up, did control miss a cycle it should not have.

Memory is judged by what each process sees in memory (RSS). The proportional share (PSS) is shown, too, but it jumps by some
ten MB when a zygote is replaced: what its old children shared with it is then theirs alone, until they are started again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

GROWTH_MAX = 0.05
"""How much more the last quarter may take than the second."""
GROWTH_MB_FREE = 8.0
"""Growth below this says nothing, however short the soak."""
BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72


@dataclass(frozen=True)
class Sample:
    """The whole site at a moment of calm. at_s: since the beginning; sessions, subscriptions: at the OPC UA server; the rest are
    sums over the site's processes."""

    at_s: float
    pss_mb: float
    rss_mb: float
    descriptors: int
    threads: int
    slips: int
    sessions: int
    subscriptions: int


@dataclass
class Record:
    """Everything a soak found out. excused: slips while the machine stood still; slips: all others. lives: clients of the crowd
    that came and went."""

    seed: int
    minutes: float
    samples: list[Sample] = field(default_factory=list)
    deeds: dict[str, int] = field(default_factory=dict)
    slips: int = 0
    excused: int = 0
    worst_away_s: float = 0.0
    lives: int = 0
    failures: list[str] = field(default_factory=list)

    def verdict(self) -> list[str]:
        """What speaks against the site; nothing when all is well."""
        found = list(self.failures)
        if self.slips:
            found.append(f"control missed {self.slips} cycles while it ran and the machine did not stand still")
        for name, free in (
            ("rss_mb", GROWTH_MB_FREE),
            ("descriptors", 10),
            ("threads", 5),
            ("sessions", 20),
            ("subscriptions", 50),
        ):
            before, after = self.growth(name)
            if after > before * (1 + GROWTH_MAX) and after - before > free:
                found.append(f"{name} grew from {before:.0f} to {after:.0f}")
        return found

    def growth(self, name: str) -> tuple[float, float]:
        """Medians of the second and of the last quarter of the samples; the first quarter is warm-up."""
        values = [float(getattr(sample, name)) for sample in self.samples]
        quarter = max(1, len(values) // 4)
        return median(values[quarter : 2 * quarter] or values), median(values[-quarter:])

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self) | {"verdict": self.verdict()}, indent=1))


def drawn(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as one line of bars, from zero to their maximum."""
    step = max(1.0, len(values) / width)
    picked = [max(values[int(i * step) : max(int((i + 1) * step), int(i * step) + 1)]) for i in range(int(len(values) / step))]
    top = max(picked, default=0) or 1
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in picked)


def report(record: Record) -> str:
    """The curves, what was done, and the verdict."""
    lines = [f"seed {record.seed}, {record.minutes:g} min, {sum(record.deeds.values())} drills: "]
    lines[0] += ", ".join(f"{count} {what}" for what, count in sorted(record.deeds.items()))
    for name, unit in (
        ("rss_mb", "MB"),
        ("pss_mb", "MB"),
        ("descriptors", ""),
        ("threads", ""),
        ("sessions", ""),
        ("subscriptions", ""),
    ):
        values = [float(getattr(sample, name)) for sample in record.samples]
        before, after = record.growth(name)
        lines.append(f"{name:13} {drawn(values)} {before:.0f} → {after:.0f} {unit}".rstrip())
    lines.append(f"slips         {record.slips}, and {record.excused} while the machine stood still")
    lines.append(f"clients       {record.lives} came and went")
    lines.append(f"control away  {record.worst_away_s:.2f} s at most after a kill")
    wrong = record.verdict()
    return "\n".join([*lines, *(f"WRONG: {text}" for text in wrong), "verdict: " + ("failed" if wrong else "flat, no slip")])
