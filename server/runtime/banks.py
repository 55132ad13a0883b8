"""Values that change while others read them: several banks, one counter, nobody waits.

        word 0: published = p          bank 0   bank 1   bank 2        (3 banks)
                     │                             ▲        ▲
                     └── p mod 3 = 1 ──────────────┘        └── the writer fills p + 1 next

The writer fills the bank after the published one, then publishes p + 1. A reader takes p, copies bank p mod n, and looks at the
counter again. The writer begins to overwrite bank p mod n only after it has published p + n - 1, so the copy is whole
if the counter is still at most p + n - 2. With three banks a reader is disturbed only by a writer that publishes twice
during one copy; it then tries again, a bounded number of times, and gives up rather than wait.

The counter is the only state. A writer killed between two stores leaves the published bank untouched, and its successor
continues from the counter. There must never be two writers at a time: the supervisor reaps one before it starts the next.
"""

from __future__ import annotations

from typing import Final

from .fence import fence
from .segment import LINE, Segment, aligned

TRIES: Final = 4
"""Copies a reader attempts before it keeps what it had."""


class Banks:
    """`count` banks of `size` bytes, `offset` bytes into a segment. The first word of the segment's header is the counter."""

    def __init__(self, segment: Segment, count: int, size: int, offset: int = LINE) -> None:
        stride = aligned(size)
        self.count = count
        self.offsets = [offset + i * stride for i in range(count)]
        self.views = [segment.bytes(o, size) for o in self.offsets]
        self.counter = segment.words(0, 1)

    @staticmethod
    def room(count: int, size: int) -> int:
        """Bytes that `count` banks take behind their header."""
        return count * aligned(size)

    @property
    def published(self) -> int:
        """How often the writer has published; 0 before the first time."""
        return self.counter[0]

    def spare(self) -> int:
        """Writer: the bank to fill next. Nobody may trust its bytes until `commit`."""
        fence()
        return (self.counter[0] + 1) % self.count

    def commit(self) -> None:
        """Writer: publish the bank that `spare` named."""
        fence()
        self.counter[0] += 1

    def publish(self, source: memoryview) -> None:
        """Writer: copy `source` into the spare bank and publish it."""
        self.fill(source)
        self.commit()

    def fill(self, source: memoryview) -> None:
        """Writer: copy `source` into the spare bank and leave it at that: nobody sees it."""
        self.views[self.spare()][:] = source

    def read(self, target: memoryview) -> int:
        """Reader: copy the published bank into `target`; its number, or -1 with torn bytes in `target` after TRIES attempts."""
        for _ in range(TRIES):
            number: int = self.counter[0]
            fence()
            target[:] = self.views[number % self.count]
            fence()
            if self.counter[0] - number <= self.count - 2:
                return number
        return -1
