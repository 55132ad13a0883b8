"""One theme: the head of every page, and the frame with header and navigation around it."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from nicegui import app, ui

from . import widgets
from .settings import Settings

STATIC = Path(__file__).parent / "static"
_ASSETS = ("panel.css", "inter.woff2")
VERSION = sha256(b"".join((STATIC / name).read_bytes() for name in _ASSETS)).hexdigest()[:10]
URL = f"/assets/{VERSION}"

PAGES = (("/", "Live", "live"), ("/devices", "Devices", "devices"))

_EARLY = """<script>
(() => {
  const chosen = localStorage.getItem("ems-theme");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
</script>"""

HEAD = f"""{_EARLY}
<link rel="preload" href="{URL}/inter.woff2" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="{URL}/panel.css">
<meta name="theme-color" content="#f5f4f1" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#0e1217" media="(prefers-color-scheme: dark)">"""

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="6.500" fill="#0f766e"/>'
    '<path d="M13 4L6.500 13h4.600L10.400 20 17.500 10.800h-5z" fill="#fff"/></svg>'
)


def icon(name: str) -> str:
    """Markup of an icon of the sprite."""
    return f'<svg class="icon" aria-hidden="true"><use href="#i-{name}"></use></svg>'


def install() -> None:
    """Serve the static files and put the theme into every page."""
    app.add_static_files(URL, STATIC, max_cache_age=31536000)
    ui.add_head_html(HEAD, shared=True)
    ui.add_body_html((STATIC / "icons.svg").read_text(), shared=True)


@contextmanager
def frame(settings: Settings, here: str, person: str) -> Iterator[None]:
    """Header and navigation; the page goes inside. here: path of the page; person: who is logged in."""
    ui.context.client.content.classes("shell")
    _navigation(here)
    with ui.element("header").classes("top"):
        ui.html(f"<h1>{html.escape(settings.title)}</h1>", sanitize=False)
        widgets.Mode()
        ui.element("span").classes("space")
        widgets.Connect(settings.endpoint)
        widgets.ThemeButton()
        ui.html(_who(person), sanitize=False)
    with ui.element("main").props('id="main" tabindex="-1"'):
        widgets.Banner()
        yield


def _navigation(here: str) -> None:
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == here else ""}>{icon(mark)}<span>{name}</span></a>'
        for path, name, mark in PAGES
    )
    ui.html(
        '<a class="skip" href="#main">Skip to content</a>'
        f'<nav aria-label="Pages"><span class="mark">{icon("mark")}</span>{links}</nav>',
        sanitize=False,
    ).classes("side")


def _who(person: str) -> str:
    return (
        f'<form class="who" method="post" action="/logout"><span>{html.escape(person)}</span>'
        f'<button class="round" aria-label="Log out {html.escape(person)}" title="Log out">{icon("out")}</button></form>'
    )
