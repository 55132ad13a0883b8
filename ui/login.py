"""Logging in and out."""

from __future__ import annotations

import html
import time
from typing import Annotated

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from server.client import ClientError, LoginRefused
from server.core.pace import Failures, Pace

from . import door
from .person import People
from .settings import Settings

COOKIE_KEY = "token"
PACE = Pace(after=10, first_s=1.0, most_s=300.0)
BROWSERS_KEPT = 1000

_WHY = {
    "out": "You are logged out.",
    "ended": "The server ended your session. Please log in again.",
    "idle": "You were away for a while. Please log in again.",
    "stopped": "The panel was restarted. Please log in again.",
    "gone": "The panel was restarted, or you were away for long. Please log in again.",
}

_SAID = "Log in to see the site live."

_FORM = """<form method="post" action="/login">
    <label>User
      <input name="user" value="{user}" autocomplete="username" autocapitalize="none" required {focus_user}></label>
    <label>Password
      <input name="password" type="password" autocomplete="current-password" required {focus_password}></label>
    <button class="primary">Log in</button>
  </form>"""


def install(app: FastAPI, settings: Settings, people: People) -> None:
    """Add the routes /login and /logout.

    The server sees all of us at one address, and counts failed logins by user; by browser's address we count ourselves.
    """
    refused = Failures(PACE, BROWSERS_KEPT)

    @app.get("/login", response_class=HTMLResponse)
    def show(why: str = "") -> Response:
        return _page(settings, said=_WHY.get(why, _SAID))

    @app.post("/login")
    async def enter(request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        if not door.same_origin(request):
            return _page(settings, user, "The form came from another site.", 403)
        address = request.client.host if request.client is not None else ""
        wait_s = refused.wait_s(address, time.monotonic())
        if wait_s > 0.0:
            return _page(settings, user, f"Too many failed logins from here. Try again in {wait_s:.0f} s.", 429)
        try:
            token = await people.login(user.strip(), password)
        except LoginRefused:
            refused.failed(address, time.monotonic())
            return _page(settings, user, "User and password do not match, or the user is not known here.", 401)
        except ClientError as error:
            return _page(settings, user, _unreachable(error), 503)
        request.session[COOKIE_KEY] = token
        return RedirectResponse("/", 303)

    @app.post("/logout")
    async def leave(request: Request) -> Response:
        if door.same_origin(request):
            await people.logout(request.session.pop(COOKIE_KEY, ""))
        return RedirectResponse("/login?why=out", 303)


def _unreachable(error: ClientError) -> str:
    if error.status == "BadNotConnected":
        return "The OPC UA server does not answer yet. It is started again by itself; try in a moment."
    return f"The OPC UA server could not be asked: {error}"


def _page(settings: Settings, user: str = "", refused: str = "", status: int = 200, said: str = "") -> HTMLResponse:
    form = _FORM.format(
        user=html.escape(user), focus_user="" if user else "autofocus", focus_password="autofocus" if user else ""
    )
    return door.page(settings, "Log in", said or _SAID, form, refused, status)
