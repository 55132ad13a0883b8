"""The panel's HTTPS certificate, taken up anew when it is renewed: connections that are open stay as they are."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from nicegui.server import Server

from .settings import Settings

LOOK_EVERY_S: Final = 5.0

log = logging.getLogger("ems.ui")


async def follow_certificate(settings: Settings) -> None:
    """Give new connections the certificate that lies in the site's folder now; for as long as the panel runs."""
    seen = _stamp(settings)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        found = _stamp(settings)
        if found != seen and use_certificate(settings, Server.instance.config.ssl):
            seen = found


def use_certificate(settings: Settings, context: ssl.SSLContext | None) -> bool:
    """Load the certificate into the context of a running server; False when it cannot be used yet.

    It is tried on another context first: half of a pair that does not match would stay in the one in use.
    """
    if context is None:
        return True
    files = (settings.own("panel.pem"), settings.own("panel.key.pem"))
    try:
        for one in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            one.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        log.warning("the new certificate is not used yet: %s", error)
        return False
    log.warning("the panel's certificate was renewed")
    return True


def _stamp(settings: Settings) -> tuple[int, ...]:
    files: list[Path] = [settings.own("panel.pem"), settings.own("panel.key.pem")]
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())
