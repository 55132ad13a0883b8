"""Certificates that change while the server runs: our own, and those of the people we trust.

A renewed certificate of ours is what new channels are opened with. A channel that is open goes on with the one it was opened
with, renewals included, so that nobody loses his session. Whom nobody trusts any more loses his channel at once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncua import ua

from certs import CertificateError

from .channel import ServerSecurity
from .identity import application_uris

if TYPE_CHECKING:
    from .server import UaServer

NAME: Final = "server"

_log = logging.getLogger("ems.opcua")


class CertificateWatch:
    """Looks at the site's certificate folders for one server."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._own = self._own_stamp()
        self._trust = server.security.trust.stamp()

    def look(self) -> None:
        """Take up what changed since the last look."""
        own = self._own_stamp()
        if own != self._own and self._use_own():
            self._own = own
        trust = self._server.security.trust.stamp()
        if trust != self._trust:
            self._trust = trust
            self._drop_distrusted()

    def _own_stamp(self) -> tuple[int, ...]:
        own: Path = self._server.settings.directory / "certs" / "own"
        files = (own / f"{NAME}.der", own / f"{NAME}.key.pem")
        return tuple(number for file in files if file.exists() for number in (file.stat().st_mtime_ns, file.stat().st_size))

    def _use_own(self) -> bool:
        """Open new channels with our new certificate; False when it cannot be used yet."""
        server = self._server
        try:
            renewed = ServerSecurity.load(server.settings.directory, server.security.offer, NAME, trust=server.security.trust)
        except (CertificateError, OSError) as error:
            _log.warning("the new certificate is not used yet: %s", error)
            return False
        if renewed.certificate == server.security.certificate:
            return True
        if application_uris(renewed.parsed)[0] != server.application_uri:
            _log.error(
                "the new certificate is of another application, %s: not used before a restart", application_uris(renewed.parsed)
            )
            return True
        server.security = renewed
        server.audit(
            "certificate-renewed", thumbprint=renewed.thumbprint.hex(), until=renewed.parsed.not_valid_after_utc.isoformat()
        )
        _log.warning("new channels are opened with the new certificate, valid until %s", renewed.parsed.not_valid_after_utc)
        return True

    def _drop_distrusted(self) -> None:
        for connection in list(self._server.connections):
            refusal = connection.channel.distrusted() if connection.channel is not None else ""
            if refusal:
                self._server.audit("channel-ended", address=connection.address, reason=refusal)
                connection.fail(ua.StatusCodes.BadSecurityChecksFailed, refusal)
