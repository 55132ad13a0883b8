"""One theme: its style sheet, font and icons, in the head of every page."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from fastapi import Response
from nicegui import app, ui

STATIC = Path(__file__).parent / "static"
CACHE = "public, max-age=31536000, immutable"
"""Addresses carry a hash of what they serve, so a browser asks once."""


def _sheet() -> str:
    """All of `static/styles` as one sheet, `base.css` first."""
    files = sorted((STATIC / "styles").glob("*.css"), key=lambda file: (file.stem != "base", file.stem))
    return "\n".join(file.read_text() for file in files)


SHEET = _sheet()
VERSION = sha256(SHEET.encode() + (STATIC / "inter.woff2").read_bytes()).hexdigest()[:10]
URL = f"/assets/{VERSION}"

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
<meta name="theme-color" content="#f4f3f0" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#0c1015" media="(prefers-color-scheme: dark)">"""

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="6.500" fill="#0f766e"/>'
    '<path d="M13 4L6.500 13h4.600L10.400 20 17.500 10.800h-5z" fill="#fff"/></svg>'
)


def icon(name: str) -> str:
    """Markup of an icon of the sprite."""
    return f'<svg class="icon" aria-hidden="true"><use href="#i-{name}"></use></svg>'


def install() -> None:
    """Serve the static files and put the theme into every page."""

    @app.get(f"{URL}/panel.css")
    def sheet() -> Response:
        return Response(SHEET, media_type="text/css", headers={"cache-control": CACHE})

    app.add_static_file(local_file=STATIC / "inter.woff2", url_path=f"{URL}/inter.woff2", max_cache_age=31536000)
    ui.add_head_html(HEAD, shared=True)
    ui.add_body_html((STATIC / "icons.svg").read_text(), shared=True)
