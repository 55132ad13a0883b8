"""Texts of an owner: one cell per String channel, each behind its own sequence number.

    cell (1024 bytes):  sequence | length | up to 1000 bytes UTF-8

The sequence is odd while the cell is written and goes up by two per text, so half of it is the revision that the
channel's slot holds. A writer killed half-way leaves it odd; its successor's next text makes it even again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .banks import TRIES
from .fence import fence
from .segment import Segment

CELL: Final = 1024
TEXT_BYTES_MAX: Final = 1000
"""Longest text in UTF-8 bytes; longer ones are cut at a character."""

_HEADER: Final = 16


def cut(text: str) -> bytes:
    """The text as UTF-8, at most TEXT_BYTES_MAX bytes, never half a character."""
    data = text.encode(errors="replace")
    return data if len(data) <= TEXT_BYTES_MAX else data[:TEXT_BYTES_MAX].decode(errors="ignore").encode()


class TextCells:
    """The cells of one owner, `offset` bytes into its segment. slots: those that hold texts, in the order of their cells."""

    def __init__(self, segment: Segment, slots: Sequence[int], offset: int) -> None:
        self._segment = segment
        self._offset = offset
        self._words: dict[int, memoryview] = {}
        self._bytes: dict[int, memoryview] = {}
        self._last: dict[int, tuple[int, str]] = {}
        self.extend(slots)

    def extend(self, slots: Sequence[int]) -> None:
        """Take more slots; `slots` begins with those that are known."""
        for i, slot in enumerate(slots[len(self._words) :], len(self._words)):
            at = self._offset + i * CELL
            self._words[slot] = self._segment.words(at, 2)
            self._bytes[slot] = self._segment.bytes(at + _HEADER, TEXT_BYTES_MAX)

    def write(self, slot: int, text: str) -> int:
        """Writer: store a text and return its revision; an unchanged text keeps its revision. KeyError if no text slot."""
        words, cell, data = self._words[slot], self._bytes[slot], cut(text)
        sequence = words[0]
        if not sequence & 1 and sequence and cell[: words[1]] == data:
            return int(sequence // 2)
        words[0] = sequence | 1
        fence()
        cell[: len(data)] = data
        words[1] = len(data)
        fence()
        words[0] = (sequence | 1) + 1
        return int(words[0] // 2)

    def read(self, slot: int) -> str:
        """Reader: the text of a slot; while its writer is in the middle of it, the text before. KeyError if no text slot."""
        words = self._words[slot]
        known, text = self._last.get(slot, (0, ""))
        for _ in range(TRIES):
            sequence: int = words[0]
            if sequence == known:
                return text
            fence()
            data = bytes(self._bytes[slot][: words[1]])
            fence()
            if not sequence & 1 and words[0] == sequence:
                text = data.decode(errors="replace")
                self._last[slot] = (sequence, text)
                return text
        return text
