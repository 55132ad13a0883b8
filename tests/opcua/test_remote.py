"""Control on another host, at the server: who may decide, what is refused whole, and what waits until it was heard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_objects import control_objects
from opcua_site import PASSWORD, FakeUsers, Site, running

from server.bridge import site_link
from server.bridge.portable import digest
from server.bridge.protocol import SETPOINT_ROW, VALUE_ROW, Heard, decided
from server.client import Client, ClientError, Identity
from server.core.commands import TOGETHER
from server.core.layout import build_layout
from server.core.site import SiteSettings
from server.opcua.session import User
from server.runtime.texts import TEXT_BYTES_MAX

SITE = SiteSettings("site1", "Test site", grid_meter="meter0")
NOTHING = Heard()


class Hosts(FakeUsers):
    """Two hosts that may decide, and a foreign controller, besides the people."""

    def __init__(self) -> None:
        super().__init__()
        roles = {"host": "Bridge", "spare": "Bridge", "mpc": "Controller"}
        self.people |= {name: User(name, frozenset({role}), i) for i, (name, role) in enumerate(roles.items(), 20)}


@contextlib.asynccontextmanager
async def site_at(directory: Path, *, remote: bool = True) -> AsyncIterator[Site]:
    layout = build_layout(control_objects())
    async with running(directory, layout, users=Hosts(), site=SITE, remote=remote) as site:
        yield site


@pytest.fixture
async def site(certificates: Path) -> AsyncIterator[Site]:
    async with site_at(certificates) as site:
        yield site


@contextlib.asynccontextmanager
async def logged_in(site: Site, user: str = "host") -> AsyncIterator[Client]:
    own = site.directory / "certs" / "own"
    ca = site.directory / "certs" / "ca" / "ca.pem"
    identity = Identity(site.url, own / "client.der", own / "client.key.pem", ca=ca, user=user, password=PASSWORD)
    async with Client(identity) as client:
        yield client


def number(site: Site, node: str) -> int:
    return next(i for i, (c, _) in enumerate(decided(site.server.layout)) if c.node == node)


def setpoint(site: Site, value: float, lease_ms: int = 3000, node: str = "ess0/SetActivePower") -> bytes:
    return np.array([(number(site, node), lease_ms, value)], SETPOINT_ROW).tobytes()


def shown(site: Site, node: str) -> bytes:
    return np.array([(number(site, node), 0, 1.0)], VALUE_ROW).tobytes()


async def exchange(
    site: Site, client: Client, setpoints: bytes = b"", values: bytes = b"", heard: Heard = NOTHING
) -> site_link.Answer:
    layout = digest(site.server.remote.description)
    return await site_link.exchange(client, layout, setpoints, values, {}, heard)


def rows(writes: Any) -> list[tuple[int, float]]:
    """Index and value of each."""
    return [(index, value) for _, index, _, value in writes.tolist()]


async def test_what_a_host_decides_reaches_the_receiver_and_who_decides_is_on_record(site: Site) -> None:
    async with logged_in(site) as host:
        assert await site_link.describe(host) == site.server.remote.description
        await exchange(site, host, setpoint(site, 700.0))
        await exchange(site, host, setpoint(site, 800.0))
    assert len(site.image.remote.records) == 2
    rows = [r for r in site.audited() if r["event"] in ("control", "call") and "Describe" not in str(r.get("method"))]
    assert [(r["event"], r["user"]) for r in rows] == [("control", "host")]


@pytest.mark.parametrize(
    ("setpoints", "values", "status"),
    [
        (lambda site: setpoint(site, nan), b"", "BadOutOfRange"),
        (lambda site: setpoint(site, 1.0, 10_001), b"", "BadOutOfRange"),
        (lambda site: setpoint(site, 1.0, node="site/GridPower"), b"", "BadOutOfRange"),
        (lambda site: np.array([(9_999, 3000, 1.0)], SETPOINT_ROW).tobytes(), b"", "BadOutOfRange"),
        (lambda site: b"\0" * 15, b"", "BadInvalidArgument"),
        (lambda site: b"", np.array([(9_999, 0, 1.0)], VALUE_ROW).tobytes(), "BadOutOfRange"),
        (lambda site: b"", b"\0" * 17, "BadInvalidArgument"),
        (lambda site: b"", lambda site: shown(site, "ess0/SetActivePower"), "BadOutOfRange"),
        (lambda site: b"", lambda site: shown(site, "site/Explanation"), "BadOutOfRange"),
        (lambda site: setpoint(site, 1.0) * 2, b"", "BadEntryExists"),
        (lambda site: b"", lambda site: shown(site, "site/GridPower") * 2, "BadEntryExists"),
        (lambda site: setpoint(site, 1.0) * 1_000, b"", "BadTooManyOperations"),
    ],
)
async def test_nonsense_is_refused_whole(site: Site, setpoints: Any, values: Any, status: str) -> None:
    async with logged_in(site) as host:
        with pytest.raises(ClientError, match=status):
            await exchange(site, host, setpoints(site), values if isinstance(values, bytes) else values(site))
    assert site.image.remote.records == []


@pytest.mark.parametrize(
    ("texts", "status"),
    [
        ([("site/Explanation", "")], ""),
        ([("site/Explanation", "ä" * (TEXT_BYTES_MAX // 2)), ("peak0/Explanation", "")], ""),
        ([("site/Explanation", "ä" * (TEXT_BYTES_MAX // 2) + "x")], "BadEncodingLimitsExceeded"),
        ([("site/Explanation", "a"), ("site/Explanation", "a")], "BadEntryExists"),
        ([("site/Explanation", "a")] * 2_000, "BadTooManyOperations"),
        ([("site/GridPower", "a")], "BadOutOfRange"),
    ],
)
async def test_each_text_is_said_once_and_is_no_longer_than_is_shown(site: Site, texts: Any, status: str) -> None:
    class Repeating(dict[int, str]):
        """Texts by row number that may repeat."""

        def __iter__(self) -> Any:
            return iter([number(site, node) for node, _ in texts])

        def values(self) -> Any:
            return [text for _, text in texts]

    layout = digest(site.server.remote.description)
    async with logged_in(site) as host:
        refused = pytest.raises(ClientError, match=status) if status else contextlib.nullcontext()
        with refused:
            await site_link.exchange(host, layout, b"", b"", Repeating(), NOTHING)
    assert len(site.image.remote.records) == (not status)


@pytest.mark.parametrize("user", ["otto", "anna", "emil", "mpc"])
async def test_nobody_decides_without_the_role(site: Site, user: str) -> None:
    async with logged_in(site, user) as client:
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await exchange(site, client, setpoint(site, 1.0))
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await site_link.describe(client)


async def test_a_site_that_controls_itself_takes_nothing(certificates: Path) -> None:
    async with site_at(certificates, remote=False) as site, logged_in(site) as host:
        with pytest.raises(ClientError, match="BadNotSupported"):
            await exchange(site, host, setpoint(site, 1.0))
        assert site.image.remote.records == []


async def test_numbers_of_another_layout_are_not_believed(site: Site) -> None:
    async with logged_in(site) as host:
        with pytest.raises(ClientError, match="BadConfigurationError"):
            await site_link.exchange(host, digest(b"another"), setpoint(site, 1.0), b"", {}, NOTHING)


async def test_one_host_decides_at_a_time(site: Site) -> None:
    async with logged_in(site) as host, logged_in(site, "spare") as spare:
        await exchange(site, host, setpoint(site, 1.0))
        with pytest.raises(ClientError, match="BadInvalidState"):
            await exchange(site, spare, setpoint(site, 2.0))
    assert len(site.image.remote.records) == 1


async def test_what_clients_write_waits_until_it_was_heard(site: Site) -> None:
    async with logged_in(site) as host, logged_in(site, "emil") as emil:
        await exchange(site, host)
        for value in (7000.0, 6000.0):
            await emil.write("peak0/import_max_w", value)
        limit = number(site, "peak0/import_max_w")
        for _ in range(2):  # an answer may be lost: it is said again
            answer = await exchange(site, host)
            assert rows(answer.writes) == [(limit, 7000.0), (limit, 6000.0)]
        first, last = answer.writes["number"].tolist()
        assert rows((await exchange(site, host, heard=Heard(writes=first))).writes) == [(limit, 6000.0)]
        assert rows((await exchange(site, host, heard=Heard(writes=last))).writes) == []
    assert site.image.writes == []  # not for the receiver


async def test_parameters_set_together_wait_together(site: Site) -> None:
    async with logged_in(site) as host, logged_in(site, "emil") as emil:
        with pytest.raises(ClientError, match="BadResourceUnavailable"):
            await emil.call("site", "SetParameters", ["peak0/import_max_w"], [7000.0])
        await exchange(site, host)
        await emil.call("site", "SetParameters", ["peak0/import_max_w", "peak0/recharge_below_w"], [7000.0, 3000.0])
        answer = await exchange(site, host)
    limits = [number(site, f"peak0/{name}") for name in ("import_max_w", "recharge_below_w")]
    assert rows(answer.writes) == [(TOGETHER, 2.0), (limits[0], 7000.0), (limits[1], 3000.0)]
    assert len({*answer.writes["number"].tolist()}) == 1


async def test_without_a_host_writes_are_refused_but_an_emergency_stop_is_not(site: Site) -> None:
    async with logged_in(site, "emil") as emil:
        with pytest.raises(ClientError, match="BadResourceUnavailable"):
            await emil.write("peak0/import_max_w", 7000.0)
        await emil.call("site", "EmergencyStop")
    stop = site.server.layout.by_node["site/EmergencyStopActive"].slot
    assert [write[:2] for write in site.image.writes] == [(stop, 1.0)]
    async with logged_in(site) as host:
        answer = await exchange(site, host)
        assert rows(answer.urgent) == [(number(site, "site/EmergencyStopActive"), 1.0)]


async def test_a_proposal_waits_until_it_was_heard(site: Site) -> None:
    async with logged_in(site) as host:
        await exchange(site, host)
        assert site.server.propose(b"[]")
        for _ in range(2):
            ((heard, record),) = (await exchange(site, host)).proposals
            assert record == b"[]"
        assert (await exchange(site, host, heard=Heard(proposals=heard))).proposals == ()


async def test_what_was_heard_of_another_server_is_nothing_here(site: Site) -> None:
    async with logged_in(site, "emil") as emil, logged_in(site) as host:
        await emil.call("site", "EmergencyStop")
        answer = await exchange(site, host, heard=Heard(500, 500, 500))
        assert rows(answer.urgent) == [(number(site, "site/EmergencyStopActive"), 1.0)]
