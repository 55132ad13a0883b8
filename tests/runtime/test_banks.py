"""The rule of the banks: which copies a reader may believe."""

from __future__ import annotations

import pytest

from server.runtime.banks import TRIES, Banks
from server.runtime.segment import LINE, Segment, open_pair


class Counter:
    """A published counter that moves between the reader's looks at it."""

    def __init__(self, *looks: int) -> None:
        self.looks = list(looks)

    def __getitem__(self, index: int) -> int:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def make_banks(count: int) -> Banks:
    writable, _ = open_pair("banks", LINE + Banks.room(count, 8))
    return Banks(Segment(writable, writable=True), count, 8)


@pytest.mark.parametrize(
    ("count", "looks", "number"),
    [
        (3, [5, 5], 5),
        (3, [5, 6], 5),  # the writer fills bank 7 mod 3 at most
        (3, [5, 7, 7, 7], 7),  # bank 5 mod 3 may have been overwritten: again
        (3, [5, 7, 8, 9], 8),
        (8, [5, 11], 5),
        (8, [5, 12, 12, 12], 12),
        (3, [1, 3, 3, 5, 5, 7, 7, 9], -1),  # a writer faster than TRIES copies
    ],
)
def test_a_copy_is_believed_only_if_its_bank_was_not_begun_anew(count: int, looks: list[int], number: int) -> None:
    banks = make_banks(count)
    banks.counter = Counter(*looks)
    assert banks.read(memoryview(bytearray(8))) == number
    assert TRIES == 4


def test_a_writer_killed_before_it_published_leaves_the_published_bank_untouched() -> None:
    banks = make_banks(3)
    banks.publish(memoryview(b"complete"))
    banks.views[banks.spare()][:4] = b"half"
    target = bytearray(8)
    assert banks.read(memoryview(target)) == 1
    assert target == b"complete"


def test_a_writer_never_touches_the_bank_a_reader_may_be_copying() -> None:
    banks = make_banks(3)
    for number in range(10):
        assert banks.spare() != banks.published % 3
        banks.publish(memoryview(number.to_bytes(8, "little")))
