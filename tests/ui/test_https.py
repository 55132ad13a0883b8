"""The panel's HTTPS: a certificate of the site's own authority, renewed without a restart, and what browsers are told."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from panel_process import ask, running_panel

from certs import create_authority, issue, renew
from certs.certificate import parse
from ui.app import _is_local
from ui.https import use_certificate
from ui.settings import Settings


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("site")
    create_authority(found, "Test")
    for name in ("panel", "server"):
        issue(found, name, application_uri=f"urn:test:{name}", hosts=["127.0.0.1", "localhost"])
    return found


@pytest.fixture(scope="module")
def port(directory: Path) -> Iterator[int]:
    with running_panel(directory) as (port, _):
        yield port


def verified(directory: Path, port: int) -> http.client.HTTPSConnection:
    """A connection that trusts the site's authority only, and wants the host's name in the certificate."""
    context = ssl.create_default_context(cafile=str(directory / "certs" / "ca" / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    connection.connect()
    return connection


def answers(connection: http.client.HTTPSConnection) -> bool:
    connection.request("GET", "/login")
    reply = connection.getresponse()
    reply.read()
    return reply.status == 200


def fingerprint(connection: http.client.HTTPSConnection) -> str:
    assert connection.sock is not None
    return sha256(connection.sock.getpeercert(True)).hexdigest()  # type: ignore[union-attr]


def own(directory: Path) -> str:
    return sha256((directory / "certs" / "own" / "panel.der").read_bytes()).hexdigest()


def test_a_renewed_certificate_is_shown_to_new_connections_while_old_ones_go_on(directory: Path, port: int) -> None:
    before = verified(directory, port)
    assert fingerprint(before) == own(directory)
    assert answers(before)
    renew(directory, "panel")
    until = time.monotonic() + 30
    while fingerprint(verified(directory, port)) != own(directory):
        assert answers(before)
        assert time.monotonic() < until, "the renewed certificate is not taken up"
        time.sleep(0.5)
    assert answers(before), "nobody lost a connection"
    assert fingerprint(before) != own(directory)


def test_half_a_pair_is_not_taken_up(directory: Path, tmp_path: Path) -> None:
    settings = Settings(directory, "opc.tcp://127.0.0.1:9")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert use_certificate(settings, context)
    key = settings.own("panel.key.pem")
    whole = key.read_bytes()
    key.write_bytes((directory / "certs" / "own" / "server.key.pem").read_bytes())
    assert not use_certificate(settings, context)
    key.write_bytes(whole)
    assert use_certificate(settings, context)
    assert parse(settings.own("panel.der").read_bytes())


def test_nothing_older_than_tls_1_2_is_spoken(directory: Path, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    with pytest.raises(OSError):
        connection.connect()


def test_the_cookie_is_for_this_panel_over_https_only_and_out_of_reach_of_scripts(port: int) -> None:
    cookie = ask(port, "GET", "/login")[2]["set-cookie"].lower()
    assert cookie.startswith(f"ems_panel_{port}=")
    assert {"secure", "httponly", "samesite=strict"} <= {part.strip() for part in cookie.split(";")}


def test_a_host_with_a_name_is_told_to_use_https_only(port: int) -> None:
    assert "max-age=31536000" in ask(port, "GET", "/login", Host="ems.example:8443")[2]["strict-transport-security"]
    assert "strict-transport-security" not in ask(port, "GET", "/login", Host=f"localhost:{port}")[2]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost:8443", True),
        ("127.0.0.1", True),
        ("[::1]:8443", True),
        ("10.0.0.5:8443", True),
        ("", True),
        ("ems.lan", False),
    ],
)
def test_which_hosts_have_a_name_of_their_own(host: str, local: bool) -> None:
    assert _is_local(host) is local
