"""The journal: what happened is on disk, a torn line costs one record, and the engine's last state is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.runtime.journal import KEPT_DAYS, Journal, last_state, read
from server.runtime.logs import cut_logs

DAY = 86_400.0


class Clock:
    """A clock that one sets."""

    def __init__(self) -> None:
        self.now = 20_000 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def state(number: int) -> bytes:
    return json.dumps({"kind": "state", "state": {"n": number}}).encode()


def records(folder: Path) -> list[dict[str, object]]:
    return [record for path in sorted(folder.glob("*.jsonl")) for record in read(path)]


def test_events_and_records_are_lines_with_kind_and_time(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock)
    journal.event("started", "here we go", pid=7)
    journal.take(b'{"kind": "trip", "text": "stop"}')
    journal.close()
    assert records(tmp_path) == [
        {"kind": "started", "time": "2024-10-04T00:00:00.000Z", "text": "here we go", "pid": 7},
        {"kind": "trip", "text": "stop", "time": "2024-10-04T00:00:00.000Z"},
    ]


def test_each_day_has_its_file_and_old_ones_go(tmp_path: Path, clock: Clock) -> None:
    for number in range(KEPT_DAYS + 5):
        (tmp_path / f"{1900 + number // 12:04d}-{number % 12 + 1:02d}-01.jsonl").write_text("{}\n")
    journal = Journal(tmp_path, clock)
    for _ in range(2):
        journal.event("tick", "")
        journal.write()
        clock.now += DAY
    journal.close()
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names[-2:] == ["2024-10-04.jsonl", "2024-10-05.jsonl"]
    assert len(names) == KEPT_DAYS


def test_the_newest_state_is_at_hand_and_reaches_the_disk_now_and_then(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock)
    for number in range(30):
        journal.take(state(number))
        journal.write()
        clock.now += 1.0
    assert journal.state == {"n": 29}
    assert [r["state"] for r in records(tmp_path)] == [{"n": 0}, {"n": 10}, {"n": 20}]
    journal.close()
    assert last_state(tmp_path) == {"n": 29}


def test_the_state_is_found_in_an_older_file_when_the_newest_has_none(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock)
    journal.take(state(1))
    journal.write()
    clock.now += DAY
    journal.event("tick", "")
    journal.close()
    assert Journal(tmp_path, clock).state == {"n": 1}


def test_without_a_journal_there_is_no_state(tmp_path: Path) -> None:
    assert last_state(tmp_path / "none") is None


@pytest.mark.parametrize(
    "damage", [b'{"kind": "state", "sta', b"\x00\x00\x00\n", b"\xff\xfe\n", b"[1, 2]\n", b'"text"\n', b"{}{}\n"]
)
def test_a_damaged_tail_costs_nothing_but_itself(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    first = Journal(tmp_path, clock)
    first.take(state(1))
    first.close()
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes() + damage)
    second = Journal(tmp_path, clock)
    assert second.state == {"n": 1}
    second.event("tick", "after the damage")
    second.close()
    assert [r["kind"] for r in records(tmp_path)] == ["state", "tick"]


@pytest.mark.parametrize("record", [b"", b"{", b"7", b"\xff"])
def test_a_record_of_control_that_is_no_object_is_noted_as_damaged(tmp_path: Path, clock: Clock, record: bytes) -> None:
    journal = Journal(tmp_path, clock)
    journal.take(record)
    journal.close()
    assert [(r["kind"], r["size"]) for r in records(tmp_path)] == [("damaged", len(record))]


def test_only_the_end_of_a_long_file_is_searched_for_the_state(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-01.jsonl"
    path.write_bytes(state(1) + b"\n" + b'{"kind": "x"}\n' * 400_000)
    assert last_state(tmp_path) is None
    path.write_bytes(path.read_bytes() + state(2) + b"\n")
    assert last_state(tmp_path) == {"n": 2}


def test_a_log_is_cut_without_disturbing_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "control.log"
    with path.open("a", buffering=1) as writer:
        for piece in ("first", "second", "third", "fourth"):
            writer.write(piece * 10 + "\n")
            assert cut_logs(tmp_path, bytes_max=10, kept=2) == [path]
        writer.write("last")
    assert {p.name: p.read_text()[:6] for p in tmp_path.iterdir()} == {
        "control.log": "last",
        "control.log.1": "fourth",
        "control.log.2": "thirdt",
    }
