"""The panel's process: it serves, survives without an OPC UA server, refuses foreign forms, and ends when told."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from ports import free_port

from certs import create_authority, issue

ROOT = Path(__file__).parents[2]
START = """
import sys
from pathlib import Path
from server.runtime.context import ProcessContext
from ui import run
parents = tuple(int(p) for p in sys.argv[3:])
settings = {"host": "127.0.0.1", "port": int(sys.argv[2])}
run(ProcessContext("ui", Path(sys.argv[1]), settings=settings, endpoint="opc.tcp://127.0.0.1:9", parent_pids=parents))
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("site")
    create_authority(found, "Test")
    for name in ("panel", "server"):
        issue(found, name, application_uri=f"urn:test:{name}", hosts=["127.0.0.1"])
    return found


def _ask(
    port: int, method: str, path: str, form: dict[str, str] | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    try:
        connection.request(method, path, urlencode(form) if form else None, headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), {k.lower(): v for k, v in reply.getheaders()}
    finally:
        connection.close()


def _listens(port: int) -> bool:
    try:
        return _ask(port, "GET", "/login")[0] == 200
    except OSError:
        return False


@contextmanager
def _running(directory: Path, *parents: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    arguments = [sys.executable, "-c", START, str(directory), str(port), *map(str, parents)]
    with subprocess.Popen(arguments, cwd=directory, env={"PYTHONPATH": str(ROOT)}) as process:
        until = time.monotonic() + 60
        while not _listens(port) and process.poll() is None:
            assert time.monotonic() < until, "the panel does not answer"
            time.sleep(0.1)
        try:
            yield port, process
        finally:
            process.terminate()


def test_it_ends_well_on_sigterm_and_leaves_only_its_secret(directory: Path) -> None:
    with _running(directory) as (_, process):
        secret = directory / "run" / "panel.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        first = secret.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert len(first) >= 32
    assert [f.name for f in (directory / "run").iterdir()] == ["panel.secret"]
    assert not (directory / ".nicegui").exists()
    with _running(directory):
        assert secret.read_text() == first


def test_it_ends_when_its_supervisor_is_gone(directory: Path) -> None:
    with _running(directory, 2**22 + 1) as (_, process):
        assert process.wait(30) == 0


def test_without_an_opc_ua_server_it_says_so_and_refuses_foreign_forms(directory: Path) -> None:
    form = {"user": "a<b", "password": "secret"}
    with _running(directory, os.getpid()) as (port, _):
        status, page, headers = _ask(port, "POST", "/login", form)
        assert (status, "does not answer yet" in page, "a&lt;b" in page) == (503, True, True)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert _ask(port, "POST", "/login", form, Origin="https://evil.example")[0] == 403
        assert _ask(port, "GET", "/")[::2][0] == 307
        assert _ask(port, "GET", "/devices", Cookie=f"ems_panel_{port}=forged")[0] == 307


@pytest.mark.parametrize(("sent", "status"), [([], 499), ([200], 200)])
async def test_a_browser_that_goes_away_is_no_error(sent: list[int], status: int) -> None:
    from ui.app import GoneBrowsers

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        for code in sent:
            await send({"type": "http.response.start", "status": code, "headers": []})

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await GoneBrowsers(inner)({"type": "http"}, None, send)  # type: ignore[arg-type]
    assert [m["type"] for m in messages] == ["http.response.start", "http.response.body"]
    assert messages[0]["status"] == status
