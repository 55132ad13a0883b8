"""Read requests of many nodes, resolved once and answered a block at a time.

Problem: a SCADA system polls the same thousand nodes for years. Decoding a thousand NodeIds, finding their nodes, asking
what the user may see and packing a thousand values one by one costs milliseconds, each time the same ones.

Idea: what a request asks for depends only on its bytes and its user. The first time it becomes a Plan: consecutive numbers
of the image are a Block, which copies its slots into records of the wire; what is not one number is read one by one. The
plan is remembered by those bytes, and the next answer is a look-up, a gather and a copy. Plans hold what the user may
see: one whose roles change is another user.

    request bytes, user -> Plan -> [ Block: slots 3 17 18 40 ... | site/Explanation | Block ... ] -> bytes of the results
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.core.channel import DataType
from server.core.image import Image
from server.core.layout import Channel

from . import cells
from .access import Permission, permits
from .nodes import Node, NodeStore
from .vocabulary import NUMBERS

if TYPE_CHECKING:
    from .session import User

BLOCK_MIN: Final = 4
"""Fewer numbers in a row are read one by one."""


class _Part(NamedTuple):
    """The numbers of one kind in a block.

    slots: of the image; at: byte positions in the block, a row for each, none when there is but one kind.
    """

    kind: DataType
    slots: slice | NDArray[np.int64]
    records: NDArray[Any]
    at: NDArray[np.int64]


_NOWHERE: Final = np.zeros(0, np.int64)


class Block:
    """Consecutive numbers of a request, whatever their kinds."""

    def __init__(self, channels: Sequence[Channel], timestamps: ua.TimestampsToReturn) -> None:
        kinds = [c.spec.data_type for c in channels]
        sizes = np.array([cells.cell_type(k, timestamps, keyed=False).itemsize for k in kinds])
        starts = np.cumsum(sizes) - sizes if len(set(kinds)) > 1 else None
        self._size = int(sizes.sum())
        self._parts = [self._part(kind, kinds, channels, starts, timestamps) for kind in dict.fromkeys(kinds)]

    @staticmethod
    def _part(
        kind: DataType,
        kinds: Sequence[DataType],
        channels: Sequence[Channel],
        starts: NDArray[np.int64] | None,
        timestamps: ua.TimestampsToReturn,
    ) -> _Part:
        rows = [i for i, k in enumerate(kinds) if k is kind]
        records = cells.blank((len(rows),), kind, timestamps, keyed=False)
        at = _NOWHERE if starts is None else starts[rows][:, None] + np.arange(records.itemsize)
        return _Part(kind, as_slice(np.array([channels[i].slot for i in rows])), records, at)

    def encode(self, frame: Image, now: int) -> bytes:
        """The DataValues of all numbers in a frame. now: server time, 100 ns since 1601."""
        for part in self._parts:
            value = frame.value[part.slots]
            status = cells.true_status(part.kind, value, frame.status[part.slots])
            cells.fill(part.records, slice(None), part.kind, value, status, frame.source[part.slots], now)
        if len(self._parts) == 1:
            return cells.encode(self._parts[0].records)
        return self._mixed()

    def _mixed(self) -> bytes:
        block, sent = np.empty(self._size, np.uint8), np.ones(self._size, np.bool_)
        whole = True
        for part in self._parts:
            rows, kept = cells.bytes_of(part.records)
            block[part.at] = rows
            if kept is not None:
                sent[part.at], whole = kept, False
        return block.tobytes() if whole else block[sent].tobytes()


def as_slice(slots: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same slots as a slice when they follow each other."""
    first = int(slots[0])
    return slice(first, first + len(slots)) if np.all(np.diff(slots) == 1) else slots


class Plan(NamedTuple):
    """A Read request as it is answered. parts: blocks, and nodes that are read one by one; results: how many there are."""

    timestamps: ua.TimestampsToReturn
    parts: tuple[Block | ua.ReadValueId, ...]
    results: int


def plan(nodes: NodeStore, user: User, parameters: ua.ReadParameters) -> Plan:
    """Resolve a request that is valid as a whole."""
    asked = [(item, _number(nodes, user, item)) for item in parameters.NodesToRead]
    parts: list[Block | ua.ReadValueId] = []
    for is_number, run in groupby(asked, key=lambda each: each[1] is not None):
        group = list(run)
        channels = [channel for _, channel in group if channel is not None]
        if is_number and len(channels) >= BLOCK_MIN:
            parts.append(Block(channels, parameters.TimestampsToReturn))
        else:
            parts += (item for item, _ in group)
    return Plan(parameters.TimestampsToReturn, tuple(parts), len(asked))


def _number(nodes: NodeStore, user: User, item: ua.ReadValueId) -> Channel | None:
    """The channel, when one number of the image is asked for as a whole by somebody who may read it."""
    node = nodes.get(item.NodeId)
    if node is None or not is_number(node, item) or not permits(user, node, Permission.READ):
        return None
    return node.channel if node.access_level & ua.AccessLevel.CurrentRead.mask else None


def is_number(node: Node, item: ua.ReadValueId) -> bool:
    """True when the item is the value of one number of the image, as a whole."""
    channel = node.channel
    if channel is None or item.AttributeId != ua.AttributeIds.Value or item.IndexRange:
        return False
    if item.DataEncoding is not None and item.DataEncoding.Name:
        return False
    return channel.length == 1 and not channel.spec.array and channel.spec.data_type in NUMBERS
