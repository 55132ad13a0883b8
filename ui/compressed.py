"""Compressed answers, also to browsers that have gone meanwhile.

A browser that does not know the site's authority keeps no file of it: each page then asks for half a megabyte of scripts again.
They never change while the panel runs, so each is compressed once.
"""

from __future__ import annotations

from typing import Final

from fastapi.middleware.gzip import GZipMiddleware
from nicegui import __version__
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_GONE: Final = 499
"""The usual status in logs of a request whose client went away; nobody receives it."""
_FILES: Final = tuple(f"/_nicegui/{__version__}/{part}/" for part in ("static", "components", "libraries", "esm"))
"""Where NiceGUI serves files under addresses that change with what they hold."""


class Compressed(GZipMiddleware):
    """Compresses answers, keeps those of files, and ends requests of browsers that went away."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._kept: dict[str, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        key = _file(scope)
        for message in self._kept.get(key, ()):
            await send(message)
        if key not in self._kept:
            sent = await self._answer(scope, receive, send)
            if key and _is_whole(sent):
                self._kept[key] = sent
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> list[Message]:
        """What was sent.

        A file on its way to a browser that went away is given up without a body, perhaps without a status; the layers above
        would report that as an error of the panel. What is sent then reaches nobody.
        """
        sent: list[Message] = []

        async def sending(message: Message) -> None:
            await send(message)
            sent.append(message)

        await super().__call__(scope, receive, sending)
        if not sent:
            await sending({"type": "http.response.start", "status": CLIENT_GONE, "headers": []})
        if len(sent) == 1:
            await send({"type": "http.response.body", "body": b""})
        return sent


def _file(scope: Scope) -> str:
    """The file a request wants compressed and whole, or nothing."""
    headers = Headers(scope=scope)
    plain = scope["method"] == "GET" and "gzip" in headers.get("accept-encoding", "")
    wanted = plain and not {"range", "if-none-match", "if-modified-since"} & set(headers.keys())
    return str(scope["path"]) if wanted and scope["path"].startswith(_FILES) else ""


def _is_whole(sent: list[Message]) -> bool:
    return len(sent) > 1 and sent[0].get("status") == 200 and not sent[-1].get("more_body", False)
