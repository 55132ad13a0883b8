"""The time before a deadline: what fits into it is rehearsed, what does not is left out and tried again."""

from __future__ import annotations

import pytest

from server.runtime import lead
from server.runtime.lead import WAKE_NS, Lead

MS = 1_000_000
PERIOD_NS = 50 * MS
LIMIT_NS = PERIOD_NS // lead.DIVISOR


class Stage:
    """A clock, and parts that take as long as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *takes_ns: int) -> None:
        self.now_ns = 0
        self.takes_ns = list(takes_ns)
        self.played: list[int] = []
        monkeypatch.setattr(lead.time, "monotonic_ns", lambda: self.now_ns)
        self.lead = Lead([self._part(i) for i in range(len(takes_ns))], PERIOD_NS)

    def _part(self, index: int) -> lead.Part:
        def play(deadline_ns: int) -> None:
            self.played.append(index)
            self.now_ns += self.takes_ns[index]

        return play

    def cycle(self, late_ns: int = 0) -> tuple[int, list[int]]:
        """One cycle; how early control was woken, and the parts that were played."""
        self.played = []
        early_ns = self.lead.plan()
        self.lead.use(self.now_ns + early_ns - late_ns)
        return early_ns, self.played


def test_the_lead_grows_to_what_the_parts_take_and_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, MS, 2 * MS)
    assert stage.cycle()[0] == WAKE_NS
    for _ in range(60):
        early_ns, played = stage.cycle()
    assert played == [0, 1]
    assert WAKE_NS + 3 * MS < early_ns < WAKE_NS + 4 * MS


def test_the_lead_never_exceeds_its_share_and_leaves_out_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, MS, 20 * MS, MS)
    cycles = [stage.cycle() for _ in range(400)]
    assert max(early_ns for early_ns, _ in cycles) <= LIMIT_NS
    late = [played for _, played in cycles[60:]]
    assert sum(1 in played for played in late) < len(late) / 50
    assert sum(played == [0, 2] for played in late) > len(late) * 0.9


def test_a_part_that_once_took_too_long_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 20 * MS)
    for _ in range(100):
        stage.cycle()
    stage.takes_ns[0] = MS
    for _ in range(6000):
        played = stage.cycle()[1]
    assert played == [0]


def test_a_part_that_would_end_after_the_deadline_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, MS, MS)
    for _ in range(60):
        stage.cycle()
    assert stage.cycle(late_ns=MS)[1] == [0]
