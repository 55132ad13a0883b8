"""A small site for tests of the OPC UA server: certificates, a process image that one ticks by hand, two users."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicy, SecurityPolicyBasic256Sha256

import certs
from server.core.image import Image, blank_records
from server.core.layout import Layout, build_layout
from server.opcua.channel import ServerSecurity
from server.opcua.policy import Offer
from server.opcua.server import Settings, UaServer
from server.opcua.session import User
from server.runtime.alarm_plan import plan_alarms
from server.runtime.audit import tail

CLIENT_URI = "urn:test:client"
PASSWORD = "open sesame"


class FakeUsers:
    """Three people, and the service behind the client certificate."""

    def __init__(self) -> None:
        roles = {"anna": "Operator", "otto": "Observer", "emil": "Engineer"}
        self.people = {name: User(name, frozenset({role}), i + 1) for i, (name, role) in enumerate(roles.items())}
        self.service = User("service", frozenset({"Observer"}), 9)

    def __iter__(self) -> Iterator[User]:
        return iter([*self.people.values(), self.service])

    def verify(self, name: str, password: str) -> User | None:
        return self.people.get(name) if password == PASSWORD else None

    def by_certificate(self, certificate: Any) -> User | None:
        return self.service if "client" in certificate.subject.rfc4514_string() else None


class FakeClock:
    cycle_ns = 20_000_000

    def next_freeze_ns(self) -> int:
        return 0


class FakeRing:
    """Records for control."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def put(self, record: bytes) -> bool:
        self.records.append(record)
        return True


class FakeBell:
    """Nobody waits for it."""

    def ring(self) -> None:
        pass


class FakeImage:
    """The shared image, frozen when the test says so."""

    def __init__(self, layout: Layout) -> None:
        self.records = blank_records(layout.slots)
        self.number = 0
        self.clock = FakeClock()
        self.writes: list[tuple[int, float, int]] = []
        self.inbox = self
        self.proposals, self.remote = FakeRing(), FakeRing()
        self.remote_bell = FakeBell()

    def frames(self) -> FakeImage:
        return self

    def cycle(self) -> int:
        return self.number

    def latest(self) -> Image:
        return Image(self.records.copy(), cycle=self.number, frozen_at=time.monotonic_ns(), time=0)

    def put(self, slot: int, value: float, user: int) -> bool:
        self.writes.append((slot, value, user))
        return True

    def put_all(self, slots: Any, values: Any, user: int) -> int:
        taken = [self.put(*each, user) for each in zip(slots.tolist(), values.tolist(), strict=True)]
        return taken.index(False) if False in taken else len(taken)

    def text(self, channel: Any, index: int = 0) -> str:
        return ""

    def close(self) -> None:
        pass


@dataclass
class Site:
    """A running server with everything a client needs."""

    directory: Path
    server: UaServer
    image: FakeImage
    audited_before: int

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/"

    def audited(self) -> list[dict[str, Any]]:
        """The rows of the audit trail since the server began; sites of other tests use the same directory."""
        self.server.audit_log.settle()
        return tail(self.directory, 10_000)[self.audited_before :]

    async def client(
        self,
        name: str = "client",
        user: str | None = "anna",
        password: str = PASSWORD,
        policy: type[SecurityPolicy] = SecurityPolicyBasic256Sha256,
        mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt,
    ) -> Client:
        """asyncua's client, not yet connected. No user: it logs in with its certificate."""
        client = Client(self.url, timeout=5)
        client.application_uri = CLIENT_URI if name == "client" else f"urn:test:{name}"
        own = self.directory / "certs" / "own"
        await client.set_security(
            policy,
            certificate=str(own / f"{name}.der"),
            private_key=str(own / f"{name}.key.pem"),
            server_certificate=str(own / "server.der"),
            mode=mode,
        )
        if user is None:
            await client.load_client_certificate(str(own / f"{name}.der"))
            await client.load_private_key(str(own / f"{name}.key.pem"))
        else:
            client.set_user(user)
            client.set_password(password)
        return client


def make_certificates(directory: Path) -> None:
    """An authority with a server and two clients, and a stranger that another authority issued."""
    certs.create_authority(directory, "Test")
    certs.issue(directory, "server", application_uri="urn:test:unified-ems:site1", hosts=["127.0.0.1", "localhost"])
    certs.issue(directory, "client", application_uri=CLIENT_URI, hosts=["localhost"])
    certs.issue(directory, "other", application_uri="urn:test:other", hosts=["localhost"])
    elsewhere = directory / "elsewhere"
    certs.create_authority(elsewhere, "Elsewhere")
    paths = certs.issue(elsewhere, "stranger", application_uri="urn:test:stranger", hosts=["localhost"])
    own = directory / "certs" / "own"
    for file in (paths.certificate, paths.key):
        (own / file.name).write_bytes(file.read_bytes())


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    layout: Layout | None = None,
    change: Callable[[UaServer], None] = lambda _: None,
    offer: Offer | None = None,
    users: Any = None,
    alarms: Sequence[Mapping[str, Any]] = (),
    certificates: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Site]:
    """A server on a free port of 127.0.0.1 over the certificates in `directory`. alarms: tables as in site.toml;
    certificates: names of those in certs/own that are watched; settings: further ones of the server.
    """
    layout = layout or build_layout([])
    image = FakeImage(layout)
    history, (planned, wrong) = f"sqlite:///{directory / 'history.sqlite'}", plan_alarms(alarms, layout, certificates)
    assert not wrong, wrong
    told = Settings(directory, "127.0.0.1", 0, "site1", "Test site", history, alarms=planned, **settings)
    server = UaServer(told, layout, image, ServerSecurity.load(directory, offer), users or FakeUsers())  # type: ignore[arg-type]
    change(server)
    before = len(tail(directory, 10_000))
    await server.start()
    try:
        yield Site(directory, server, image, before)
    finally:
        await server.stop()
