"""The journal: what happened is on disk, a torn line costs one record, and the engine's last state is found."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.runtime.journal import KEPT_DAYS, NOTHING, WAITING_BYTES_MAX, Journal, last_state, read
from server.runtime.logs import cut_logs
from server.runtime.moment import Moment

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


def line(number: int) -> bytes:
    """A state as a line of the file."""
    return (
        json.dumps({"kind": "state", "number": number, "taken": Moment.now().record(), "state": {"n": number}}).encode() + b"\n"
    )


def records(folder: Path) -> list[dict[str, object]]:
    return [record for path in sorted(folder.glob("*.jsonl")) for record in read(path)]


def test_events_and_records_are_lines_with_kind_and_time(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, clock)
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
    journal = Journal(tmp_path, clock, clock)
    for _ in range(2):
        journal.event("tick", "")
        journal.write()
        clock.now += DAY
    journal.close()
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names[-2:] == ["2024-10-04.jsonl", "2024-10-05.jsonl"]
    assert len(names) == KEPT_DAYS


def test_the_newest_state_is_at_hand_and_reaches_the_disk_now_and_then(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, clock)
    for number in range(30):
        journal.take(state(number))
        journal.write()
        clock.now += 1.0
    assert journal.saved.state == {"n": 29}
    assert [r["state"] for r in records(tmp_path)] == [{"n": 0}, {"n": 10}, {"n": 20}]
    journal.close()
    assert last_state(tmp_path).state == {"n": 29}


def test_the_state_is_found_in_an_older_file_when_the_newest_has_none(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, clock)
    journal.take(state(1))
    journal.write()
    clock.now += DAY
    journal.event("tick", "")
    journal.close()
    assert Journal(tmp_path, clock, clock).saved.state == {"n": 1}


@pytest.mark.parametrize(
    ("moment", "age_s"),
    [
        (lambda now: now._replace(monotonic_s=now.monotonic_s - 5, unix_s=now.unix_s - 3600), 5),
        (lambda now: now._replace(monotonic_s=now.monotonic_s - 5, unix_s=now.unix_s + 3600), 5),
        (lambda now: now._replace(boot="before", monotonic_s=now.monotonic_s + 1e6, unix_s=now.unix_s - 90), 90),
        (lambda now: now._replace(boot="before", monotonic_s=0, unix_s=now.unix_s + 90), 0),
    ],
    ids=["clock set forth", "clock set back", "another boot", "another boot, clock set back"],
)
def test_the_age_of_a_state_does_not_depend_on_the_wall_clock_within_a_boot(
    moment: Callable[[Moment], Moment], age_s: float
) -> None:
    assert moment(Moment.now()).age_s() == pytest.approx(age_s, abs=1)
    assert Moment.parse(json.loads(json.dumps(moment(Moment.now()).record()))) is not None


@pytest.mark.parametrize(
    "damaged", [None, 7, {}, {"boot": 1, "monotonic_s": 1, "unix_s": 1}, {"boot": "x", "monotonic_s": "1", "unix_s": 1}]
)
def test_a_damaged_moment_is_none(damaged: object) -> None:
    assert Moment.parse(damaged) is None


def test_without_a_journal_there_is_no_state(tmp_path: Path) -> None:
    assert last_state(tmp_path / "none") == NOTHING


@pytest.mark.parametrize(
    "damage", [b'{"kind": "state", "sta', b"\x00\x00\x00\n", b"\xff\xfe\n", b"[1, 2]\n", b'"text"\n', b"{}{}\n"]
)
def test_a_damaged_tail_costs_nothing_but_itself(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    first = Journal(tmp_path, clock, clock)
    first.take(state(1))
    first.close()
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes() + damage)
    second = Journal(tmp_path, clock, clock)
    assert second.saved.state == {"n": 1}
    second.event("tick", "after the damage")
    second.close()
    assert [r["kind"] for r in records(tmp_path)] == ["state", "tick"]


@pytest.mark.parametrize("record", [b"", b"{", b"7", b"\xff"])
def test_a_record_of_control_that_is_no_object_is_noted_as_damaged(tmp_path: Path, clock: Clock, record: bytes) -> None:
    journal = Journal(tmp_path, clock, clock)
    journal.take(record)
    journal.close()
    assert [(r["kind"], r["size"]) for r in records(tmp_path)] == [("damaged", len(record))]


def test_only_the_end_of_a_long_file_is_searched_for_the_state(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-01.jsonl"
    path.write_bytes(line(1) + b'{"kind": "x"}\n' * 400_000)
    assert last_state(tmp_path) == NOTHING
    path.write_bytes(path.read_bytes() + line(2))
    assert last_state(tmp_path).state == {"n": 2}


def test_the_newest_state_is_found_whatever_the_clock_said_when_it_was_written(tmp_path: Path, clock: Clock) -> None:
    elapsed = Clock()
    journal = Journal(tmp_path, clock, elapsed)
    for number, step in ((1, DAY), (2, -2 * DAY), (3, 0.0)):
        journal.take(state(number))
        journal.write()
        clock.now += step
        elapsed.now += 11.0
    journal.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2024-10-03.jsonl", "2024-10-04.jsonl", "2024-10-05.jsonl"]
    assert Journal(tmp_path, clock).saved.state == {"n": 3}


def test_what_a_client_asked_for_reaches_the_disk_at_once(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, clock)
    journal.take(state(1))
    journal.write()
    journal.take(json.dumps({"kind": "state", "state": {"n": 2}, "commanded": True}).encode())
    journal.write()
    assert last_state(tmp_path).state == {"n": 2}


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """A function that lets no file of this process grow over so many bytes; 0 lets them grow again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def allow(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size or before[0], before[1]))

    yield allow
    allow(0)


def test_what_a_full_disk_does_not_take_is_written_when_there_is_room(
    tmp_path: Path, clock: Clock, full_disk: Callable[[int], None]
) -> None:
    journal = Journal(tmp_path, clock, clock)
    journal.event("before", "")
    journal.write()
    (path,) = tmp_path.iterdir()
    size = path.stat().st_size
    full_disk(size + 20)
    for number in range(3):
        journal.event("during", str(number))
        with pytest.raises(OSError, match="File too large"):
            journal.write()
        assert path.stat().st_size == size
    full_disk(0)
    journal.close()
    assert [(r["kind"], r["text"]) for r in records(tmp_path)] == [("before", ""), *(("during", str(n)) for n in range(3))]


def test_what_waits_for_a_full_disk_is_bounded_and_the_loss_is_told(
    tmp_path: Path, clock: Clock, full_disk: Callable[[int], None]
) -> None:
    journal = Journal(tmp_path, clock, clock)
    full_disk(1)
    for number in range(WAITING_BYTES_MAX // 100_000 + 20):
        journal.event("huge", "x" * 100_000, n=number)
    with pytest.raises(OSError, match="File too large"):
        journal.write()
    full_disk(0)
    journal.close()
    kept = records(tmp_path)
    assert sum(len(json.dumps(r)) for r in kept) < WAITING_BYTES_MAX * 1.1
    assert kept[-1]["kind"] == "lost"
    assert kept[0]["n"] == kept[-1]["count"] > 10


def test_a_journal_that_somebody_removed_is_begun_anew(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, clock)
    journal.event("before", "")
    journal.write()
    next(tmp_path.iterdir()).unlink()
    journal.event("after", "")
    journal.close()
    assert [r["kind"] for r in records(tmp_path)] == ["after"]


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
