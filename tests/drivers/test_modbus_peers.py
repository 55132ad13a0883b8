"""Independent programs at the other end: pyModbusTCP and pymodbus as devices, mbpoll and raw sockets as clients of the plant."""

from __future__ import annotations

import asyncio
import shutil
import struct

import pytest
from driver_rig import Rig, Site, served_plant, until
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from pyModbusTCP.server import DataBank, ModbusServer

from drivers.modbus.config import Config
from server.core.natures import CommState
from server.core.status import GOOD

PROFILE = """
title = "Peer"
natures = ["ManagedEss"]
source = "test"
verified = true
writes_per_minute = 6000
[watchdog]
address = 30
type = "uint16"
value = 20
timeout_s = 20
[[block]]
name = "b"
table = "TABLE"
address = 10
count = 6
channels = [
  { channel = "ActivePower", address = 10, type = "int32" },
  { channel = "Soc", address = 12, type = "uint16", scale = 0.1 },
  { channel = "AllowedDischargePower", address = 14, type = "float32" },
]
[[setpoint]]
channel = "SetActivePower"
address = 40
type = "int16"
scale = 10
fail_safe = 0
function = FUNCTION
"""
REGISTERS = [0xFFFF, 0xFC18, 555, 0, 0x461C, 0x4000]


def profile(tmp_path, table: str, function: int) -> str:
    path = tmp_path / "peer.toml"
    path.write_text(PROFILE.replace("TABLE", table).replace("FUNCTION", str(function)))
    return str(path)


async def drive(rig: Rig) -> None:
    await until(lambda: rig.value("ess/ActivePower") == -1000.0, "power is read")
    assert rig.value("ess/Soc") == pytest.approx(55.5)
    assert rig.value("ess/AllowedDischargePower") == 10000.0
    assert rig.status("ess/ActivePower") == GOOD
    rig.assert_setpoint("ess/SetActivePower", -2500.0)


@pytest.mark.parametrize(("table", "function"), [("holding", 6), ("holding", 16), ("input", 16)])
async def test_a_pymodbustcp_server_is_read_and_written(tmp_path, table, function):
    bank = DataBank()
    bank.set_holding_registers(10, REGISTERS)
    bank.set_input_registers(10, REGISTERS)
    server = ModbusServer("127.0.0.1", 0, no_block=True, data_bank=bank)
    await asyncio.to_thread(server.start)
    try:
        port = server._service.server_address[1]
        rig = Rig({"ess": Config(profile=profile(tmp_path, table, function), host="127.0.0.1", port=port)})
        async with rig.running():
            await drive(rig)
            await until(lambda: bank.get_holding_registers(40, 1) == [0xFF06], "the set-point is written")
            assert bank.get_holding_registers(30, 1) == [20]
        assert bank.get_holding_registers(40, 1) == [0]
        rig.close()
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("thinks_s", [0.0, 0.1], ids=["at once", "stopped before the answer"])
async def test_a_pymodbus_server_is_read_and_written(tmp_path, thinks_s):
    store = SimData(address=0, values=[0] * 10 + REGISTERS + [0] * 40, datatype=DataType.REGISTERS)
    written = []

    async def watch(function, start, address, count, registers, values):
        if values is not None:
            written.append((address, list(values)))
            await asyncio.sleep(thinks_s)

    server = ModbusTcpServer(SimDevice(id=7, simdata=[store], action=watch), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        port = server.transport.sockets[0].getsockname()[1]
        rig = Rig({"ess": Config(profile=profile(tmp_path, "holding", 16), host="127.0.0.1", port=port, unit_id=7)})
        async with rig.running():
            await drive(rig)
            await until(lambda: (40, [0xFF06]) in written, "the set-point is written")
            assert written[:2] == [(30, [20]), (40, [0])]
        assert written[-1] == (40, [0])
        rig.close()
    finally:
        await server.shutdown()


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll (Debian package) is not installed")
async def test_mbpoll_reads_and_writes_the_plant():
    async with served_plant() as site:
        port = str(site.server.ports[0])

        async def mbpoll(*arguments: str) -> str:
            command = ["mbpoll", "-m", "tcp", "-p", port, "-B", "-0", "-1", *arguments]
            process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2)
            output, _ = await process.communicate()
            return output.decode()

        assert "written" in (await mbpoll("-a", "1", "-t", "4:int", "-r", "40", "127.0.0.1", "--", "-1500")).lower()
        assert site.plant.battery.set_power == -1500.0
        assert "[40]: \t-1500" in await mbpoll("-a", "1", "-t", "4:int", "-r", "40", "127.0.0.1")
        assert "[22]: \t1" in (await mbpoll("-a", "4", "-t", "4:int", "-r", "22", "127.0.0.1"))
        assert "illegal data address" in (await mbpoll("-a", "1", "-t", "4", "-r", "150", "127.0.0.1")).lower()


@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("a web server", lambda request: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("zeros", lambda request: b"\0" * 40),
        ("an echo", lambda request: request),
        ("a frame cut short", lambda request: request[:4] + b"\0\x0b" + request[6:8] + b"\x0c"),
        ("fewer registers than asked", lambda request: request[:4] + b"\0\x05" + request[6:8] + b"\x02\0\x01"),
        ("an odd byte count", lambda request: request[:4] + b"\0\x04" + request[6:8] + b"\x01\xff"),
        ("another function", lambda request: request[:4] + b"\0\x06" + request[6:7] + b"\x06\0\x01\0\x02"),
        ("another transaction", lambda request: b"\x7f\x7f" + request[2:4] + b"\0\x05" + request[6:8] + b"\x02\0\x01"),
        ("hanging up", lambda request: b""),
    ],
)
async def test_a_peer_that_speaks_no_proper_modbus_is_down_and_harmless(tmp_path, what, reply):
    async def talk(reader, writer):
        while request := await reader.read(300):
            if not (answer := reply(request)):
                break
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rig = Rig({"ess": Config(profile=profile(tmp_path, "holding", 16), host="127.0.0.1", port=port, timeout_s=0.1)})
    async with rig.running() as task:
        await until(lambda: len(rig.kinds("down")) == 1, what)
        await asyncio.sleep(0.8)
        assert not task.done()
        assert rig.status("ess/ActivePower") >= 0x80000000
        assert rig.value("ess/CommState") == CommState.Down
        assert len(rig.kinds("down")) == 1
    rig.close()
    server.close()


def frame(transaction: int, unit: int, pdu: bytes, protocol: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


async def exchange(site: Site, data: bytes, size: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.ports[0])
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.readexactly(size) if size else reader.read(), 3.0)
    finally:
        writer.close()


READ_1 = struct.pack(">BHH", 3, 20, 1)


@pytest.mark.parametrize(
    ("what", "pdu", "code"),
    [
        ("an unknown function", b"\x2b\x0e\x01\x00", 1),
        ("an address outside", struct.pack(">BHH", 3, 199, 1), 2),
        ("a read past the end", struct.pack(">BHH", 3, 40, 50), 2),
        ("a write to a reading", struct.pack(">BHH", 6, 20, 1), 2),
        ("half of a 32-bit set-point", struct.pack(">BHH", 6, 40, 1), 2),
        ("no register", struct.pack(">BHH", 3, 20, 0), 3),
        ("too many registers", struct.pack(">BHH", 3, 0, 126), 3),
        ("a short read", b"\x03\x00", 3),
        ("a short write", b"\x10\x00\x28\x00", 3),
        ("a byte count that lies", struct.pack(">BHHBH", 16, 44, 1, 4, 5), 3),
    ],
)
async def test_the_plant_answers_a_bad_request_with_an_exception(what, pdu, code):
    async with served_plant() as site:
        answer = await exchange(site, frame(7, 1, pdu), 9)
    assert answer == frame(7, 1, bytes((pdu[0] | 0x80, code))), what


async def test_the_plant_answers_each_of_several_pipelined_requests_even_in_pieces():
    async with served_plant() as site:
        data = b"".join(frame(n, 1, READ_1) for n in range(1, 6))
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.ports[0])
        for at in range(0, len(data), 5):
            writer.write(data[at : at + 5])
            await asyncio.sleep(0.001)
        answers = [await asyncio.wait_for(reader.readexactly(11), 3.0) for _ in range(5)]
        writer.close()
    assert [int.from_bytes(a[:2], "big") for a in answers] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("another protocol", frame(1, 1, READ_1, protocol=9)),
        ("a length too small", frame(1, 1, READ_1, length=1)),
        ("a length too large", frame(1, 1, READ_1, length=300)),
        ("text", b"GET / HTTP/1.1\r\n\r\n"),
    ],
)
async def test_the_plant_hangs_up_on_what_is_no_modbus(what, data):
    async with served_plant() as site:
        try:
            assert await exchange(site, data, 0) == b"", what
        except ConnectionResetError:
            pass
        assert len(await exchange(site, frame(1, 1, READ_1), 11)) == 11, "others are served on"


async def test_a_late_unit_does_not_hold_up_its_neighbours_on_the_same_connection():
    async with served_plant() as site:
        site.fault("ess", 4)
        data = frame(1, 1, READ_1) + frame(2, 2, struct.pack(">BHH", 3, 0, 1)) + frame(3, 77, READ_1)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.ports[0])
        writer.write(data)
        answers = [await asyncio.wait_for(reader.readexactly(size), 3.0) for size in (11, 9, 11)]
        writer.close()
    assert [int.from_bytes(a[:2], "big") for a in answers] == [2, 3, 1]
