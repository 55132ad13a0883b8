"""The panel's process: routes, the people who are logged in, and the HTTPS server around them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app, background_tasks, ui
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.utilities import LocalProtocolError

from server.client import Client, ClientError, Identity

from . import first_password, history, login, shell, theme
from .alarm_watch import Looking
from .compressed import Compressed
from .https import follow_certificate
from .link import Watch
from .page import Page
from .pages import pages
from .person import People
from .settings import Settings
from .visit import Visit

COOKIE_DAYS = 7
SWEEP_S = 5.0

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}
_HTTPS_ONLY = {"strict-transport-security": "max-age=31536000"}
"""For hosts that have a name of their own: on localhost other servers would be concerned."""

Connect = Callable[[str, str], Awaitable[Client]]


def serve(context: Any) -> None:
    """Serve the panel until SIGTERM or until the supervisor is gone."""
    settings = Settings.from_context(context)
    people = build(settings, _connector(settings))
    app.on_startup(lambda: background_tasks.create(_sweep(people, context.orphaned), name="panel sweep"))
    app.on_startup(lambda: background_tasks.create(follow_certificate(settings), name="panel certificate"))
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends on it, and raises it again when it has ended
    listen(settings)


def build(settings: Settings, connect: Connect) -> People:
    """Add pages and routes; returns the people of this panel. connect: opens an OPC UA session of a user and password."""
    people = People(connect)
    watch = Watch(settings.directory)
    theme.install()
    login.install(app, settings, people)
    first_password.install(app, settings, people)
    history.install(app, people)
    for page in pages():
        _serve(page, settings, people, watch)
    app.add_middleware(SecurityHeaders)
    app.on_startup(lambda: background_tasks.create(watch.run(people.away), name="panel watch"))
    app.on_shutdown(people.close)
    return people


def listen(settings: Settings) -> None:
    """Run the HTTPS server; returns when it has ended."""
    WSProtocol.shutdown = _end_websocket  # type: ignore[assignment]
    ui.run(
        host=settings.host,
        port=settings.port,
        title=settings.title,
        favicon=theme.FAVICON,
        dark=None,
        show=False,
        reload=False,
        tailwind=False,
        binding_refresh_interval=None,
        message_history_length=200,
        show_welcome_message=False,
        gzip_middleware_factory=Compressed,
        storage_secret=settings.secret(),
        session_middleware_kwargs={
            "session_cookie": f"ems_panel_{settings.port}",
            "https_only": True,
            "same_site": "strict",
            "max_age": COOKIE_DAYS * 86400,
        },
        ssl_certfile=str(settings.own("panel.pem")),
        ssl_keyfile=str(settings.own("panel.key.pem")),
        timeout_graceful_shutdown=2,
    )


def _end_websocket(connection: WSProtocol, say_goodbye: Callable[[WSProtocol], None] = WSProtocol.shutdown) -> None:
    """As uvicorn does it, but a browser that has just hung up does not keep the rest of the server from ending."""
    try:
        say_goodbye(connection)
    except LocalProtocolError:
        connection.transport.close()


def _connector(settings: Settings) -> Connect:
    async def connect(user: str, password: str) -> Client:
        client = Client(
            Identity(
                settings.endpoint,
                certificate=settings.own("panel.der"),
                key=settings.own("panel.key.pem"),
                server_certificate=settings.own("server.der"),
                user=user,
                password=password,
            )
        )
        await client.connect()
        return client

    return connect


def _serve(page: Page, settings: Settings, people: People, watch: Watch) -> None:
    @ui.page(page.route, title=f"{page.title} · {settings.title}")
    async def build(request: Request) -> Response | None:
        token = request.session.get(login.COOKIE_KEY, "")
        person = people.find(token)
        if person is None:
            return RedirectResponse("/login?why=gone" if token else "/login")
        with suppress(ClientError):  # while the server is away, what was known before holds
            await person.learn()
        if not person.roles:
            return RedirectResponse(first_password.ROUTE)
        visit = Visit(settings, person, token, dict(request.query_params), ui.context.client)
        visit.values(lambda: watch.link(person))
        await visit.follow(shell.NODES)
        visit.attach(Looking(person.alarms, visit.changed))
        visit.values(lambda: {"mode": shell.mode(visit.readings), "alarm.count": person.alarms.waiting})
        with shell.frame(visit, page):
            await page.show(visit)
        visit.open()
        return None


async def _sweep(people: People, orphaned: Callable[[], bool]) -> None:
    while not orphaned():
        await people.sweep()
        await asyncio.sleep(SWEEP_S)
    app.shutdown()


class SecurityHeaders:
    """Sets the security headers of every answer."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if not _is_local(Headers(scope=scope).get("host", "")):
                    headers.update(_HTTPS_ONLY)
            await send(message)

        await self._inner(scope, receive, sending if scope["type"] == "http" else send)


def _is_local(host: str) -> bool:
    """True for this machine under its general names, and for plain addresses, to which HSTS does not apply."""
    name = urlsplit(f"//{host}").hostname or "localhost"
    return name == "localhost" or name.replace(".", "").isdecimal() or ":" in name
