"""The pages before the panel: plain HTML without scripts, so that they are there at once and password managers know them."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse

from . import theme
from .settings import Settings

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} · {title}</title><link rel="icon" href="/favicon.ico">{head}</head>
<body class="login">{icons}
<main><div class="door">
  <span class="mark">{mark}</span>
  <h1>{title}</h1>
  <p class="sub">{said}</p>
  {refused}
  {form}
  <p class="foot">Who you are and what you may do is decided by the OPC UA server.<br><code>{endpoint}</code></p>
</div></main></body></html>"""


def page(settings: Settings, name: str, said: str, form: str, refused: str = "", status: int = 200) -> HTMLResponse:
    """A page with one form. name: in the browser's tab; said: above the form; form: markup; refused: what was wrong with it."""
    text = _PAGE.format(
        name=name,
        title=html.escape(settings.title),
        head=theme.HEAD,
        icons=(theme.STATIC / "icons.svg").read_text(),
        mark=theme.icon("mark"),
        said=html.escape(said),
        refused=f'<p class="refused" role="alert">{html.escape(refused)}</p>' if refused else "",
        form=form,
        endpoint=html.escape(settings.endpoint),
    )
    return HTMLResponse(text, status)


def same_origin(request: Request) -> bool:
    """Whether a form came from a page of this panel."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
