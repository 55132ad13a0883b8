"""The transport under attack: what is refused on its header, what is bounded, and that others are served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from opcua_peer import Peer, Refused
from opcua_site import Site

from server.opcua import limits

HELLO = b"HELF" + struct.pack("<IIIIIIi", 32, 0, 65536, 65536, 0, 0, -1)

FIRST_BYTES = {
    "2 GB announced": (b"HELF" + struct.pack("<I", 2**31), "BadTcpMessageTooLarge"),
    "4 GB announced": (b"HELF" + struct.pack("<I", 2**32 - 1), "BadTcpMessageTooLarge"),
    "nothing announced": (b"HELF" + struct.pack("<I", 0), "BadDecodingError"),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "BadTcpMessageTypeInvalid"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01", "BadTcpMessageTypeInvalid"),
    "message before Hello": (b"MSGF" + struct.pack("<I", 64) + bytes(56), "BadTcpMessageTypeInvalid"),
    "unfinished Hello": (b"HELC" + HELLO[4:], "BadTcpMessageTypeInvalid"),
    "buffer of one byte": (b"HELF" + struct.pack("<IIIIIIi", 32, 0, 1, 65536, 0, 0, -1), "BadConnectionRejected"),
    "URL longer than the message": (HELLO[:-4] + struct.pack("<i", 4000), "BadTcpEndpointUrlInvalid"),
    "URL over the limit": (HELLO[:-4] + struct.pack("<i", 2**31 - 1), "BadTcpEndpointUrlInvalid"),
    "message without a channel": (HELLO + b"MSGF" + struct.pack("<I", 64) + bytes(56), "BadTcpMessageTypeInvalid"),
    "2 GB message": (HELLO + b"OPNF" + struct.pack("<I", 2**31), "BadTcpMessageTooLarge"),
    "OPN in parts": (HELLO + b"OPNC" + struct.pack("<I", 64) + bytes(56), "BadTcpMessageTypeInvalid"),
    "second Hello": (HELLO + HELLO, "BadTcpMessageTypeInvalid"),
    "OPN of noise": (HELLO + b"OPNF" + struct.pack("<I", 64) + b"\xff" * 56, "BadTcpSecureChannelUnknown"),
}


@pytest.mark.parametrize(("data", "status"), FIRST_BYTES.values(), ids=FIRST_BYTES)
async def test_bytes_that_cannot_be_right_are_refused_with_a_reason(site: Site, data: bytes, status: str) -> None:
    async with Peer(site.port) as peer:
        peer.send(data)
        if data.startswith(HELLO):
            assert (await peer.chunk())[:3] == b"ACK"
        with pytest.raises(Refused, match=status):
            await peer.chunk()
        with pytest.raises(Refused, match="closed"):
            await peer.chunk()


async def test_sizes_are_agreed_within_ours(site: Site) -> None:
    async with Peer(site.port) as peer:
        acknowledge = await peer.hello(receive=2**31, send=10_000)
    version, receive, send, message, chunks = struct.unpack_from("<5I", acknowledge, 8)
    assert (version, receive, send) == (0, 10_000, limits.CHUNK_SIZE_MAX)
    assert (message, chunks) == (limits.MESSAGE_SIZE_MAX, limits.CHUNKS_PER_MESSAGE_MAX)


async def test_a_chunk_may_arrive_byte_by_byte(site: Site) -> None:
    async with Peer(site.port) as peer:
        for i in range(len(HELLO)):
            peer.send(HELLO[i : i + 1])
            await asyncio.sleep(0)
        assert (await peer.chunk())[:3] == b"ACK"


async def test_chunks_without_end_are_cut_off(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        (connection,) = site.server.connections
        for _ in range(limits.MESSAGE_SIZE_UNPROVEN_MAX // 8000 + 1):
            peer.send(peer.body(bytes(8000), ua.ChunkType.Intermediate))
        with pytest.raises(Refused, match="BadRequestTooLarge"):
            await peer.chunk()
        assert not connection._parts


async def test_after_login_a_message_may_be_larger_but_not_endless(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        response = await peer.read(4000)
        assert len(response.Results) == 4000
        for _ in range(limits.CHUNKS_PER_MESSAGE_MAX + 1):
            peer.send(peer.body(b"x", ua.ChunkType.Intermediate))
        with pytest.raises(Refused, match="BadRequestTooLarge"):
            await peer.chunk()


async def test_an_aborted_message_is_forgotten_and_the_channel_goes_on(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        peer.send(peer.body(b"half a message", ua.ChunkType.Intermediate, request_id=90))
        peer.send(peer.body(struct.pack("<Ii", 0x80000000, -1), ua.ChunkType.Abort, request_id=90))
        assert (await peer.read()).Results[0].StatusCode.is_good()


async def test_parts_of_two_messages_may_not_be_mixed(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        peer.send(peer.body(b"one", ua.ChunkType.Intermediate, request_id=90))
        peer.send(peer.body(b"two", ua.ChunkType.Single, request_id=91))
        with pytest.raises(Refused, match="BadTcpMessageTypeInvalid"):
            await peer.chunk()


async def test_a_body_of_noise_is_a_fault_and_the_channel_goes_on(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        peer.send(peer.body(b"\xff" * 50, request_id=7))
        with pytest.raises(Refused, match="BadDecodingError"):
            await peer.response()
        assert (await peer.read()).Results[0].StatusCode.is_good()


async def test_an_unknown_service_is_unsupported(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        with pytest.raises(Refused, match="BadServiceUnsupported"):
            await peer.call(ua.QueryFirstRequest())
        with pytest.raises(Refused, match="BadServiceUnsupported"):
            await peer.call(ua.AddNodesRequest())


async def test_an_error_in_a_service_is_that_requests_answer_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        nodes, site.server.nodes = site.server.nodes, None  # type: ignore[assignment]
        with pytest.raises(Refused, match="BadInternalError"):
            await peer.read()
        site.server.nodes = nodes
        assert "ReadRequest failed" in caplog.text
        assert (await peer.read()).Results[0].StatusCode.is_good()


@pytest.mark.parametrize(("count", "status"), [(0, "BadNothingToDo"), (limits.NODES_PER_READ + 1, "BadTooManyOperations")])
async def test_operations_are_counted_before_any_is_done(site: Site, count: int, status: str) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        with pytest.raises(Refused, match=status):
            await peer.read(count)


async def test_a_client_gets_no_message_larger_than_it_takes(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello(message=20_000)
        await peer.open()
        await peer.create_session()
        await peer.activate()
        assert len((await peer.read(10)).Results) == 10
        with pytest.raises(Refused, match="BadResponseTooLarge"):
            await peer.read(1000)


async def test_a_client_gets_no_more_chunks_than_it_takes(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.secure(site.directory)
        await peer.hello(receive=8192, chunks=2)
        await peer.open()
        await peer.create_session()
        await peer.activate()
        assert len((await peer.read(50)).Results) == 50
        with pytest.raises(Refused, match="BadResponseTooLarge"):
            await peer.read(1000)


async def test_who_reads_too_slowly_is_dropped_and_others_are_served(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WRITE_STALL_S", 0.3)
    async with Peer(site.port) as slow, Peer(site.port) as other:
        await slow.log_in(site.directory)
        await other.log_in(site.directory, user="otto")
        slow.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
        request = ua.ReadRequest()
        request.RequestHeader.AuthenticationToken = slow.token
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(2255), AttributeId=13)] * 2000
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        for _ in range(30):
            slow.send(slow.message(request))
        connection = next(c for c in site.server.connections if any(s.user.name == "anna" for s in c.sessions))
        for _ in range(100):
            assert (await other.read()).Results[0].StatusCode.is_good()
            assert connection._transport.get_write_buffer_size() < 8 * limits.WRITE_HIGH_WATER
            if connection.closed:
                break
            await asyncio.sleep(0.02)
        assert connection.closed


async def test_who_proves_nothing_is_dropped_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROVE_WITHIN_S", 0.1)
    async with Peer(site.port) as idle, Peer(site.port) as discovering:
        await discovering.hello()
        await discovering.open()
        for peer in (idle, discovering):
            with pytest.raises(Refused, match="BadTimeout"):
                await peer.chunk()


async def test_sessions_that_are_never_activated_prove_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROVE_WITHIN_S", 60.0)
    monkeypatch.setattr(limits, "PROVE_LONGEST_S", 2.0)
    async with Peer(site.port) as peer:
        await peer.ready(site.directory)
        monkeypatch.setattr(limits, "PROVE_WITHIN_S", 0.5)
        (connection,) = site.server.connections
        connection.watch()  # its time begins when the channel is there, however long that took
        with pytest.raises(Refused, match="BadTimeout"):
            await create_and_close_for_ever(peer)


@pytest.mark.parametrize(("longest_s", "let_in"), [(60.0, True), (1.0, False)])
async def test_a_login_that_keeps_the_server_busy_is_not_the_client_s_delay(
    site: Site, monkeypatch: pytest.MonkeyPatch, longest_s: float, let_in: bool
) -> None:
    monkeypatch.setattr(limits, "PROVE_WITHIN_S", 2.5)
    monkeypatch.setattr(limits, "SESSION_ACTIVATE_WITHIN_S", 2.5)
    monkeypatch.setattr(limits, "PROVE_LONGEST_S", longest_s)
    users = site.server.identification._users
    verify = users.verify
    monkeypatch.setattr(users, "verify", lambda *who: (time.sleep(3.0), verify(*who))[1])
    async with Peer(site.port) as peer:
        if let_in:
            await peer.log_in(site.directory)
            assert (await peer.read()).Results[0].StatusCode.is_good()
        else:
            with pytest.raises(Refused, match="BadTimeout"):
                await peer.log_in(site.directory)


async def create_and_close_for_ever(peer: Peer) -> None:
    while True:
        await peer.create_session()
        await peer.call(ua.CloseSessionRequest())
        await asyncio.sleep(0.05)


async def test_a_client_that_logs_out_may_log_in_again_on_its_channel(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        await peer.call(ua.CloseSessionRequest())
        await peer.create_session()
        await peer.activate()
        assert (await peer.read()).Results


async def test_one_address_may_have_few_unproven_connections(site: Site) -> None:
    peers = [Peer(site.port) for _ in range(limits.CONNECTIONS_UNPROVEN_PER_IP_MAX)]
    for peer in peers:
        await peer.__aenter__()
    await peers[-1].hello()
    async with Peer(site.port) as one_more:
        with pytest.raises(Refused, match="BadTcpNotEnoughResources"):
            await one_more.hello()
    await peers[0].log_in(site.directory)
    async with Peer(site.port) as again:
        await again.hello()
    for peer in peers:
        await peer.__aexit__()


async def test_a_full_server_makes_room_for_who_comes_new(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 2)
    async with Peer(site.port) as user, Peer(site.port) as idle:
        await user.log_in(site.directory)
        await idle.hello()
        async with Peer(site.port) as new:
            await new.hello()
            with pytest.raises(Refused, match="closed"):
                await idle.chunk()
            await new.secure(site.directory)
            await new.open()
            await new.create_session()
            await new.activate()
            async with Peer(site.port) as late:
                with pytest.raises(Refused, match="BadTcpNotEnoughResources"):
                    await late.hello()
            assert (await user.read()).Results


async def test_a_null_variant_bomb_before_login_costs_nothing(site: Site) -> None:
    header = struct_to_binary(ua.ReadRequest())[: 4 + len(struct_to_binary(ua.ReadRequest().RequestHeader)) - 3]
    argument = b"\x01\x00\x2a\x01" + b"\x01" + struct.pack("<i", 5) + b"\x80" + struct.pack("<i", 2**31 - 1)
    async with Peer(site.port) as peer:
        await peer.hello()
        await peer.open()
        peer.send(peer.body(header + argument))
        with pytest.raises(Refused, match="BadDecodingError"):
            await peer.response()


async def test_requests_of_one_read_are_answered_in_order(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.log_in(site.directory)
        for handle in range(100, 200):
            request = ua.ReadRequest()
            request.RequestHeader.AuthenticationToken = peer.token
            request.RequestHeader.RequestHandle = handle
            request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(2255), AttributeId=13)]
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
            peer.send(peer.message(request))
        handles = [(await peer.response()).ResponseHeader.RequestHandle for _ in range(100)]
        assert handles == list(range(100, 200))
