"""Texts of an owner: one cell per String channel, each behind its own sequence number.

    cell (1024 bytes):  sequence | length | up to 1000 bytes UTF-8

The sequence is odd while the cell is written and goes up by two per text, so half of it is the revision that the
channel's slot holds. A writer killed half-way leaves it odd; its successor's next text makes it even again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from server.core.channel import DataType
from server.core.layout import Channel

from .banks import TRIES
from .fence import fence
from .segment import Segment

CELL: Final = 1024
TEXT_BYTES_MAX: Final = 1000
"""Longest text in UTF-8 bytes; longer ones are cut at a character."""

_HEADER: Final = 16


def text_slots(channels: Iterable[Channel], owner: str) -> list[int]:
    """Slots of an owner that hold texts, in cell order."""
    of_owner = (c for c in channels if c.owner == owner and c.spec.data_type is DataType.STRING)
    return [slot for c in of_owner for slot in range(c.slot, c.slot + c.length)]


def cut(text: str) -> bytes:
    """The text as UTF-8, at most TEXT_BYTES_MAX bytes, never half a character."""
    data = text.encode(errors="replace")
    return data if len(data) <= TEXT_BYTES_MAX else data[:TEXT_BYTES_MAX].decode(errors="ignore").encode()


class TextCells:
    """The cells of one owner, `offset` bytes into its segment."""

    def __init__(self, segment: Segment, slots: list[int], offset: int) -> None:
        self._words = {slot: segment.words(offset + i * CELL, 2) for i, slot in enumerate(slots)}
        self._bytes = {slot: segment.bytes(offset + i * CELL + _HEADER, TEXT_BYTES_MAX) for i, slot in enumerate(slots)}
        self._last: dict[int, tuple[int, str]] = {}

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
