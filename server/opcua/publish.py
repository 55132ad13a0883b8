"""Bytes of what is published: notification messages, PublishResponses, and the messages kept for Republish."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from asyncua import ua

from . import limits

_HEADER: Final = struct.Struct("<BBHqIIBi3s")
"""TypeId (four bytes), Timestamp, RequestHandle, ServiceResult, no diagnostics, no strings, no additional header."""
_PUBLISH_RESPONSE: Final = ua.ObjectIds.PublishResponse_Encoding_DefaultBinary
_REPUBLISH_RESPONSE: Final = ua.ObjectIds.RepublishResponse_Encoding_DefaultBinary
_DATA_CHANGE: Final = b"\x01\x00\x2b\x03\x01"
_EVENTS: Final = b"\x01\x00\x94\x03\x01"
_STATUS_CHANGE: Final = b"\x01\x00\x34\x03\x01"
_NONE: Final = struct.pack("<i", -1)

RESPONSE_OVERHEAD: Final = 256
"""Bytes of a PublishResponse beside its notifications, sequence numbers and results."""


def header(type_id: int, time: int, request_handle: int) -> bytes:
    """Type id and ResponseHeader of a Good response. time: 100 ns since 1601."""
    return _HEADER.pack(1, 0, type_id, time, request_handle, 0, 0, 0, b"\0\0\0")


def data_change(count: int, blocks: Sequence[bytes]) -> list[bytes]:
    """A DataChangeNotification as ExtensionObject: `count` encoded MonitoredItemNotifications in `blocks`."""
    size = 4 + sum(map(len, blocks)) + 4
    return [_DATA_CHANGE, struct.pack("<ii", size, count), *blocks, _NONE]


def event_list(count: int, blocks: Sequence[bytes]) -> list[bytes]:
    """An EventNotificationList as ExtensionObject: `count` encoded EventFieldLists in `blocks`."""
    return [_EVENTS, struct.pack("<ii", 4 + sum(map(len, blocks)), count), *blocks]


def status_change(status: int) -> list[bytes]:
    """A StatusChangeNotification as ExtensionObject."""
    return [_STATUS_CHANGE, struct.pack("<iIB", 5, status, 0)]


def message(sequence: int, time: int, *notifications: Sequence[bytes]) -> bytes:
    """A NotificationMessage with its notifications, without any for a keep-alive. time: 100 ns since 1601."""
    return b"".join([struct.pack("<Iqi", sequence, time, len(notifications)), *chain.from_iterable(notifications)])


def publish_response(
    request_handle: int, time: int, subscription: int, available: Sequence[int], more: bool, body: bytes, results: Sequence[int]
) -> bytes:
    """A PublishResponse around an encoded NotificationMessage."""
    return b"".join(
        [
            header(_PUBLISH_RESPONSE, time, request_handle),
            struct.pack(f"<Ii{len(available)}IB", subscription, len(available), *available, more),
            body,
            struct.pack(f"<i{len(results)}I", len(results) or -1, *results),
            _NONE,
        ]
    )


def republish_response(request_handle: int, time: int, body: bytes) -> bytes:
    """A RepublishResponse around an encoded NotificationMessage."""
    return header(_REPUBLISH_RESPONSE, time, request_handle) + body


class Store:
    """Messages sent but not acknowledged, oldest first, bounded in number and bytes."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self.discarded = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[int]:
        return iter(self._messages)

    def put(self, sequence: int, body: bytes, bytes_max: int) -> None:
        """Keep a message, giving up the oldest ones beyond the bounds."""
        self._messages[sequence] = body
        self._bytes += len(body)
        while len(self._messages) > limits.STORED_MESSAGES_MAX or self._bytes > bytes_max:
            _, lost = self._messages.popitem(last=False)
            self._bytes -= len(lost)
            self.discarded += 1

    def get(self, sequence: int) -> bytes | None:
        """A message kept, or None."""
        return self._messages.get(sequence)

    def acknowledge(self, sequence: int) -> bool:
        """Forget a message; False when it is not kept."""
        body = self._messages.pop(sequence, None)
        self._bytes -= len(body or b"")
        return body is not None
