"""One Modbus TCP connection, shared by all units behind one address.

Wraps pymodbus: no retries and no reconnecting of its own, so that the poller alone decides when to try what. Every outcome
is one of three: registers, `NoAnswer` (nobody there, silence, garbage) or `Refused` (the device answered with an exception).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from .profile import Table

_GATEWAY_CODES = (10, 11)
"""Exceptions of a gateway that did not reach the device behind it."""

_EXCEPTIONS = {
    1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 5: "acknowledge",
    6: "device busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target did not answer",
}  # fmt: skip
_CONNECT_PAUSE_S = 0.2


class NoAnswer(Exception):
    """The device did not answer, or not in Modbus."""


class Refused(Exception):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code} ({_EXCEPTIONS.get(code, 'unknown')})")
        self.code = code


def silence_library() -> None:
    """pymodbus dumps frames to the log on every error; what matters is reported as events."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class Client:
    """A connection that opens when needed. One request at a time: the caller awaits each before the next."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._client: AsyncModbusTcpClient | None = None
        self._no_connect_before = 0.0
        self._silent_in_a_row = 0

    async def read(self, unit: int, table: Table, address: int, count: int, timeout_s: float) -> list[int]:
        """`count` registers."""
        client = await self._connected(timeout_s)
        method, function = (client.read_holding_registers, 3) if table == "holding" else (client.read_input_registers, 4)
        response = await self._answer(method(address, count=count, device_id=unit), function)
        registers: list[int] = response.registers
        if len(registers) != count:
            raise NoAnswer(f"{len(registers)} registers instead of {count}")
        return registers

    async def write(self, unit: int, address: int, registers: Sequence[int], function: int, timeout_s: float) -> None:
        """Write registers with function 6 or 16."""
        client = await self._connected(timeout_s)
        if function == 6:
            await self._answer(client.write_register(address, registers[0], device_id=unit), function)
        else:
            await self._answer(client.write_registers(address, list(registers), device_id=unit), function)

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def connected(self) -> bool:
        """The connection is open."""
        return self._client is not None and self._client.connected

    async def _connected(self, timeout_s: float) -> AsyncModbusTcpClient:
        client = self._client
        if client is not None and client.connected:
            client.comm_params.timeout_connect = timeout_s
            return client
        self.close()
        host, port = self._address
        if time.monotonic() < self._no_connect_before:
            raise NoAnswer(f"no connection to {host}:{port}")
        client = AsyncModbusTcpClient(host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0)
        if not await _opened(client):
            self._no_connect_before = time.monotonic() + _CONNECT_PAUSE_S
            client.close()
            raise NoAnswer(f"no connection to {host}:{port}")
        self._client, self._silent_in_a_row = client, 0
        return client

    async def _answer(self, request: object, function: int) -> ModbusPDU:
        try:
            response: ModbusPDU = await request  # type: ignore[misc]
        except (ModbusException, AttributeError, OSError) as error:  # AttributeError: the transport went away meanwhile
            self._silence()
            raise NoAnswer("no answer in time") from error
        self._silent_in_a_row = 0
        if response.isError():
            if response.exception_code in _GATEWAY_CODES:
                raise NoAnswer(str(Refused(response.exception_code)))
            raise Refused(response.exception_code)
        if response.function_code != function:
            raise NoAnswer(f"function {function} is answered with function {response.function_code}")
        return response

    def _silence(self) -> None:
        """A connection on which nobody answers twice in a row is given up: the peer may have forgotten it."""
        self._silent_in_a_row += 1
        if self._silent_in_a_row >= 2:
            self.close()


async def _opened(client: AsyncModbusTcpClient) -> bool:
    try:
        opened: bool = await client.connect()
    except (OSError, ValueError):  # ValueError: a name that no host can have
        return False
    return opened
