"""The panel's process: it serves, survives without an OPC UA server, refuses foreign forms, and ends when told."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from nicegui import __version__ as VERSION
from panel_process import ask, running_panel

from certs import create_authority, issue
from ui.compressed import CLIENT_GONE, Compressed


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("site")
    create_authority(found, "Test")
    for name in ("panel", "server"):
        issue(found, name, application_uri=f"urn:test:{name}", hosts=["127.0.0.1"])
    return found


def test_it_ends_well_on_sigterm_and_leaves_only_its_secret(directory: Path) -> None:
    with running_panel(directory) as (_, process):
        secret = directory / "run" / "panel.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        first = secret.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert len(first) >= 32
    assert [f.name for f in (directory / "run").iterdir()] == ["panel.secret"]
    assert not (directory / ".nicegui").exists()
    with running_panel(directory):
        assert secret.read_text() == first


def test_it_ends_when_its_supervisor_is_gone(directory: Path) -> None:
    with running_panel(directory, 2**22 + 1) as (_, process):
        assert process.wait(30) == 0


def test_without_an_opc_ua_server_it_says_so_and_refuses_foreign_forms(directory: Path) -> None:
    form = {"user": "a<b", "password": "secret"}
    with running_panel(directory, os.getpid()) as (port, _):
        status, page, headers = ask(port, "POST", "/login", form)
        assert (status, "does not answer yet" in page, "a&lt;b" in page) == (503, True, True)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert ask(port, "POST", "/login", form, Origin="https://evil.example")[0] == 403
        assert ask(port, "GET", "/")[::2][0] == 307
        assert ask(port, "GET", "/devices", Cookie=f"ems_panel_{port}=forged")[0] == 307


def _scope(path: str, **headers: str) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}


async def _answered(app: Any, scope: dict[str, Any]) -> list[Any]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, None, send)
    return messages


@pytest.mark.parametrize("sent", [[], [200]])
async def test_a_browser_that_goes_away_is_no_error(sent: list[int]) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        for code in sent:
            await send({"type": "http.response.start", "status": code, "headers": []})

    messages = await _answered(Compressed(inner), _scope("/"))
    assert [m["type"] for m in messages] == ["http.response.start", "http.response.body"]
    assert messages[0]["status"] == CLIENT_GONE


@pytest.mark.parametrize(
    ("path", "headers", "status", "times"),
    [
        (f"/_nicegui/{VERSION}/static/a.js", {"accept-encoding": "gzip"}, 200, 1),
        (f"/_nicegui/{VERSION}/static/a.js", {"accept-encoding": "gzip"}, 404, 2),
        (f"/_nicegui/{VERSION}/static/a.js", {"accept-encoding": "gzip", "range": "bytes=0-9"}, 200, 2),
        (f"/_nicegui/{VERSION}/static/a.js", {}, 200, 2),
        ("/devices", {"accept-encoding": "gzip"}, 200, 2),
    ],
)
async def test_a_file_is_compressed_once(path: str, headers: dict[str, str], status: int, times: int) -> None:
    asked = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 9000, "more_body": True})
        await send({"type": "http.response.body", "body": b"y" * 9000})

    app = Compressed(inner)
    first, second = await _answered(app, _scope(path, **headers)), await _answered(app, _scope(path, **headers))
    assert len(asked) == times
    assert b"".join(m.get("body", b"") for m in first) == b"".join(m.get("body", b"") for m in second)
