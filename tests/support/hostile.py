"""Devices on the network that answer wrongly: each is a TCP server that does one kind of nonsense to whoever dials it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, int, bytes]]:
    """(transaction, unit, PDU) of each Modbus request."""
    while True:
        transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
        yield transaction, unit, await reader.readexactly(length - 1)


def frame(transaction: int, unit: int, pdu: bytes, protocol: int = 0, length: int | None = None) -> bytes:
    """A Modbus TCP frame, wrong on request."""
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


def answering(make: Callable[[int, int, bytes], bytes]) -> Behaviour:
    """A device that answers each request with what `make` gives."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for transaction, unit, pdu in requests(reader):
            writer.write(make(transaction, unit, pdu))
            await writer.drain()

    return behave


def registers(pdu: bytes, extra: int = 0) -> bytes:
    """A read answer with zeros, `extra` bytes more than asked for."""
    count = 2 * int.from_bytes(pdu[3:5]) + extra
    return bytes((pdu[0], count & 0xFF)) + bytes(max(count, 0))


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends without being asked, as fast as it is taken."""
    noise = random.Random(1).randbytes(4096)
    while not writer.is_closing():
        writer.write(noise)
        await writer.drain()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends one byte of an answer every half second."""
    async for transaction, unit, pdu in requests(reader):
        for byte in frame(transaction, unit, registers(pdu)):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.5)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes at once."""


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and says nothing."""
    while await reader.read(4096):
        pass


_DICE = random.Random(7)
NONSENSE: dict[str, Behaviour] = {
    "noise": answering(lambda transaction, unit, pdu: _DICE.randbytes(_DICE.randint(1, 300))),
    "half": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu))[:9]),
    "stranger": answering(lambda transaction, unit, pdu: frame(transaction ^ 0x5555, unit, registers(pdu))),
    "neighbour": answering(lambda transaction, unit, pdu: frame(transaction, unit ^ 3, registers(pdu))),
    "otherwise": answering(lambda transaction, unit, pdu: frame(transaction, unit, bytes((pdu[0] ^ 1,)) + registers(pdu)[1:])),
    "refuser": answering(lambda transaction, unit, pdu: frame(transaction, unit, bytes((pdu[0] | 0x80, 2)))),
    "riddler": answering(lambda transaction, unit, pdu: frame(transaction, unit, bytes((pdu[0] | 0x80, 99)))),
    "short": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu, -2))),
    "long": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu, 40))),
    "giant": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu), length=0xFFFF)),
    "empty": answering(lambda transaction, unit, pdu: frame(transaction, unit, b"", length=1)),
    "foreign": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu), protocol=7)),
    "zero": answering(lambda transaction, unit, pdu: frame(transaction, unit, registers(pdu))),
    "flood": flood,
    "drip": drip,
    "hang-up": hang_up,
    "mute": mute,
}
"""Every kind of nonsense by name. `zero` is well-formed and wrong: all registers are 0."""


@contextlib.contextmanager
def hostile_devices() -> Iterator[dict[str, int]]:
    """All of them on ports of this machine, by name, while the context lasts."""
    loop = asyncio.new_event_loop()
    ports = {name: loop.run_until_complete(_serve(behave)) for name, behave in NONSENSE.items()}
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield ports
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def _serve(behave: Behaviour) -> int:
    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, struct.error):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(attend, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])
