"""Choosing a password: where somebody with a one-time password comes to, and who chose one leaves for good.

The server gives no roles until then, so there is nothing else to see.
"""

from __future__ import annotations

import html
from typing import Annotated, Final

from fastapi import FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response

from server.client import ClientError

from . import door, refusal
from .login import COOKIE_KEY
from .person import People
from .settings import Settings

ROUTE: Final = "/password"
LENGTH_MIN: Final = 10
"""Shortest password the server takes."""

OTHERS_FORM: Final = "The form came from another site."
_SAID: Final = "Welcome, {name}. Choose a password of your own; the one-time password is void afterwards."
_REFUSALS: Final = {
    "BadUserAccessDenied": "The one-time password is not right.",
    "BadIdentityTokenRejected": "The one-time password is not right.",
    "BadOutOfRange": f"A password has {LENGTH_MIN} characters or more.",
    "BadAlreadyExists": "Choose another than the one-time password.",
}
_FORM: Final = f"""<form method="post" action="{ROUTE}">
    <input type="hidden" name="user" value="{{user}}" autocomplete="username">
    <label>One-time password
      <input name="old" type="password" autocomplete="current-password" required autofocus></label>
    <label>New password
      <input name="new" type="password" autocomplete="new-password" minlength="{LENGTH_MIN}" required></label>
    <label>New password again
      <input name="again" type="password" autocomplete="new-password" minlength="{LENGTH_MIN}" required></label>
    <button class="primary">Set password</button>
  </form>"""


def install(app: FastAPI, settings: Settings, people: People) -> None:
    """Add the route /password."""

    def shown(name: str, refused: str = "", status: int = 200) -> Response:
        form = _FORM.format(user=html.escape(name))
        return door.page(settings, "Choose a password", _SAID.format(name=name), form, refused, status)

    @app.get(ROUTE)
    def show(request: Request) -> Response:
        person = people.find(request.session.get(COOKIE_KEY, ""))
        return RedirectResponse("/login") if person is None else shown(person.name)

    @app.post(ROUTE)
    async def choose(
        request: Request, old: Annotated[str, Form()], new: Annotated[str, Form()], again: Annotated[str, Form()]
    ) -> Response:
        person = people.find(request.session.get(COOKIE_KEY, ""))
        if person is None:
            return RedirectResponse("/login", 303)
        if not door.same_origin(request):
            return shown(person.name, OTHERS_FORM, 403)
        if new != again:
            return shown(person.name, "The two new passwords are not the same.", 400)
        try:
            await person.client.call("security", "ChangeOwnPassword", old, new)
            person.client.use_password(new)
            await person.learn()
        except ClientError as error:
            return shown(person.name, _REFUSALS.get(error.status, refusal.words(error)), 400)
        return RedirectResponse("/", 303)
