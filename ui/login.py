"""The login page: plain HTML without scripts, so that it is there at once and password managers know it."""

from __future__ import annotations

import html
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from server.client import ClientError, LoginRefused

from . import theme
from .person import People
from .settings import Settings

COOKIE_KEY = "token"

_WHY = {
    "out": "You are logged out.",
    "ended": "The server ended your session. Please log in again.",
    "idle": "You were away for a while. Please log in again.",
    "stopped": "The panel was restarted. Please log in again.",
    "gone": "The panel was restarted, or you were away for long. Please log in again.",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · {title}</title><link rel="icon" href="/favicon.ico">{head}</head>
<body class="login">{icons}
<main><div class="door">
  <span class="mark">{mark}</span>
  <h1>{title}</h1>
  <p class="sub">{said}</p>
  {refused}
  <form method="post" action="/login">
    <label>User
      <input name="user" value="{user}" autocomplete="username" autocapitalize="none" required {focus_user}></label>
    <label>Password
      <input name="password" type="password" autocomplete="current-password" required {focus_password}></label>
    <button class="primary">Log in</button>
  </form>
  <p class="foot">Who you are and what you may do is decided by the OPC UA server.<br><code>{endpoint}</code></p>
</div></main></body></html>"""


def install(app: FastAPI, settings: Settings, people: People) -> None:
    """Add the routes /login and /logout."""

    @app.get("/login", response_class=HTMLResponse)
    def show(why: str = "") -> Response:
        return _page(settings, said=_WHY.get(why, "Log in to see the site live."))

    @app.post("/login")
    async def enter(request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        if not _same_origin(request):
            return _page(settings, user, "The form came from another site.", 403)
        try:
            token = await people.login(user.strip(), password)
        except LoginRefused:
            return _page(settings, user, "User and password do not match, or the user is not known here.", 401)
        except ClientError as error:
            return _page(settings, user, _unreachable(error), 503)
        request.session[COOKIE_KEY] = token
        return RedirectResponse("/", 303)

    @app.post("/logout")
    async def leave(request: Request) -> Response:
        if _same_origin(request):
            await people.logout(request.session.pop(COOKIE_KEY, ""))
        return RedirectResponse("/login?why=out", 303)


def _unreachable(error: ClientError) -> str:
    if error.status == "BadNotConnected":
        return "The OPC UA server does not answer yet. It is started again by itself; try in a moment."
    return f"The OPC UA server could not be asked: {error}"


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _page(settings: Settings, user: str = "", refused: str = "", status: int = 200, said: str = "") -> HTMLResponse:
    values: dict[str, Any] = {
        "title": html.escape(settings.title),
        "head": theme.HEAD,
        "icons": (theme.STATIC / "icons.svg").read_text(),
        "mark": theme.icon("mark"),
        "said": said or "Log in to see the site live.",
        "refused": f'<p class="refused" role="alert">{html.escape(refused)}</p>' if refused else "",
        "user": html.escape(user),
        "focus_user": "" if user else "autofocus",
        "focus_password": "autofocus" if user else "",
        "endpoint": html.escape(settings.endpoint),
    }
    return HTMLResponse(_PAGE.format(**values), status)
