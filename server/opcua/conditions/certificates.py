"""Certificates of the site as conditions: each of our own that will expire, and whatever else is wrong with the trust list.

The rules are those of the supervisor's watch; here they get a life. A renewed certificate ends its alarm at the next look.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asyncua import ua

from certs import CertificateInfo, list_certificates
from server.core.alarms import CERTIFICATE_SOON, CERTIFICATE_URGENT, CERTIFICATES_NODE, NORMAL
from server.runtime.certificate_watch import LOOK_EVERY_S, WARN_DAYS, certificate_problems, expiry_text

from ..events.event import Path
from ..nodes import NS_UA

if TYPE_CHECKING:
    from ..server import UaServer
    from .live import Live

_log = logging.getLogger("ems.opcua")
_TYPE: Final = ua.VariantType
_DAY_MS: Final = 86_400_000.0
URGENT_DAYS: Final = 7


async def watch_certificates(server: UaServer) -> None:
    """Look now and then, until cancelled."""
    while True:
        try:
            await look(server)
        except OSError as error:
            _log.warning("certificates cannot be looked at: %s", error)
        await asyncio.sleep(LOOK_EVERY_S)


async def look(server: UaServer) -> None:
    """Look once and report."""
    watched = {live.spec.certificate: live for live in server.conditions if live.spec.certificate}
    if not watched:
        return
    directory, now = server.settings.directory, datetime.now(UTC)
    found = await asyncio.to_thread(list_certificates, directory)
    problems = await asyncio.to_thread(lambda: [problem.text for problem in certificate_problems(directory, now)])
    own = [info for info in found if info.state == "own" and info.file.stem in watched]
    for info in own:
        _report(server, watched[info.file.stem], info, now)
    told = {expiry_text(info, now) for info in own}
    others = [text for text in problems if text not in told]
    zone = CERTIFICATE_SOON if others else NORMAL
    before = server.conditions.live(CERTIFICATES_NODE)
    message = "; ".join(others) or before.spec.message(NORMAL, 0.0, before=before.condition.message)
    server.conditions.report(CERTIFICATES_NODE, zone, message)


def _report(server: UaServer, live: Live, info: CertificateInfo, now: datetime) -> None:
    days = info.days_left(now)
    zone = CERTIFICATE_URGENT if days < URGENT_DAYS else CERTIFICATE_SOON if days < WARN_DAYS else NORMAL
    message = expiry_text(info, now) if zone != NORMAL else f"The certificate is valid until {info.not_after:%Y-%m-%d}"
    server.conditions.report(live.spec.node, zone, message[:1].upper() + message[1:], _fields(info))


def _fields(info: CertificateInfo) -> dict[Path, ua.Variant]:
    """What a CertificateExpirationAlarmType has of its own."""
    kind = ua.NodeId(ua.ObjectIds.RsaSha256ApplicationCertificateType, NS_UA)
    return {
        ("ExpirationDate",): ua.Variant(info.not_after, _TYPE.DateTime),
        ("ExpirationLimit",): ua.Variant(WARN_DAYS * _DAY_MS, _TYPE.Double),
        ("CertificateType",): ua.Variant(kind, _TYPE.NodeId),
        ("Certificate",): ua.Variant(info.file.read_bytes(), _TYPE.ByteString),
    }
