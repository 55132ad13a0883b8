"""A small Modbus TCP server whose stations can misbehave on purpose.

Library servers answer from a store of registers and always answer. A simulated device must compute its registers at the
moment of the request, and must be able to stay silent or answer late without holding up its neighbours on the
same connection. The framing (Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1) is seven bytes of header:

    transaction 2 | protocol 2 = 0 | length 2 | unit 1 | function 1 | data

Pipelined requests are each answered, those of a late station later. A header that is no Modbus closes the connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from .registers import ILLEGAL_FUNCTION, ILLEGAL_VALUE, TARGET_FAILED, ModbusError

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
MAX_READ, MAX_WRITE = 125, 123
MAX_CONNECTIONS = 64
MAX_LATE = 32

_HEADER = struct.Struct(">HHHB")
_LENGTH_MIN, _LENGTH_MAX = 2, 254


class Station(Protocol):
    """A unit id's behaviour: registers, and how it answers."""

    @property
    def silent(self) -> bool:
        """Does not answer."""

    @property
    def delay_s(self) -> float:
        """Answers this much later."""

    def read(self, address: int, count: int) -> Sequence[int]:
        """Registers, or ModbusError."""

    def write(self, address: int, words: Sequence[int]) -> None:
        """Take registers, or ModbusError."""


def answer(station: Station, request: bytes) -> bytes:
    """The response PDU to a request PDU (function code and data, no header)."""
    function = request[0]
    try:
        return _FUNCTIONS.get(function, _unknown)(station, request)
    except ModbusError as error:
        return bytes((function | 0x80, error.code))


def _unknown(station: Station, request: bytes) -> bytes:
    raise ModbusError(ILLEGAL_FUNCTION)


def _read(station: Station, request: bytes) -> bytes:
    if len(request) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, count = struct.unpack_from(">HH", request, 1)
    if not 1 <= count <= MAX_READ:
        raise ModbusError(ILLEGAL_VALUE)
    words = station.read(address, count)
    return struct.pack(f">BB{count}H", request[0], 2 * count, *words)


def _write_one(station: Station, request: bytes) -> bytes:
    if len(request) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, word = struct.unpack_from(">HH", request, 1)
    station.write(address, [word])
    return request


def _write_many(station: Station, request: bytes) -> bytes:
    if len(request) < 6:
        raise ModbusError(ILLEGAL_VALUE)
    address, count, size = struct.unpack_from(">HHB", request, 1)
    if not 1 <= count <= MAX_WRITE or size != 2 * count or len(request) != 6 + size:
        raise ModbusError(ILLEGAL_VALUE)
    station.write(address, struct.unpack_from(f">{count}H", request, 6))
    return request[:5]


_FUNCTIONS: dict[int, Callable[[Station, bytes], bytes]] = {
    READ_HOLDING: _read,
    READ_INPUT: _read,
    WRITE_ONE: _write_one,
    WRITE_MANY: _write_many,
}


class _Connection(asyncio.Protocol):
    """One client. Each complete frame in the buffer is handled; the rest waits."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._buffer = b""
        self._late: set[asyncio.TimerHandle] = set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._server.connections) >= MAX_CONNECTIONS:
            transport.abort()
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        for handle in self._late:
            handle.cancel()

    def close(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while len(buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer)
            if protocol != 0 or not _LENGTH_MIN <= length <= _LENGTH_MAX:
                self.close()
                return
            if len(buffer) < 6 + length:
                break
            self._handle(transaction, unit, buffer[7 : 6 + length])
            buffer = buffer[6 + length :]
        self._buffer = buffer

    def _handle(self, transaction: int, unit: int, request: bytes) -> None:
        station = self._server.stations.get(unit)
        if station is None:
            self._send(transaction, unit, bytes((request[0] | 0x80, TARGET_FAILED)))
        elif station.silent:
            return
        elif station.delay_s:
            self._answer_late(transaction, unit, station, request)
        else:
            self._send(transaction, unit, answer(station, request))

    def _answer_late(self, transaction: int, unit: int, station: Station, request: bytes) -> None:
        if len(self._late) >= MAX_LATE:
            return

        def reply() -> None:
            self._late.discard(handle)
            self._send(transaction, unit, answer(station, request))

        handle = asyncio.get_running_loop().call_later(station.delay_s, reply)
        self._late.add(handle)

    def _send(self, transaction: int, unit: int, response: bytes) -> None:
        self._transport.write(_HEADER.pack(transaction, 0, len(response) + 1, unit) + response)


class ModbusServer:
    """Serves `stations` (by unit id) on one port."""

    def __init__(self, stations: Mapping[int, Station]) -> None:
        self.stations = stations
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (port 0 takes a free one). OSError when the address is in use."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop all clients."""
        self._server.close()
        for connection in list(self.connections):
            connection.close()
        await self._server.wait_closed()
