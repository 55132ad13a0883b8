"""Counters of the server and of each session; `diagnostics` tells them in the structures of the standard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from asyncua import ua

_CODES: Final = ua.StatusCodes
_SECURITY: Final = frozenset(
    {
        *(_CODES.BadSecurityChecksFailed, _CODES.BadSecurityPolicyRejected, _CODES.BadSecurityModeInsufficient),
        *(_CODES.BadCertificateInvalid, _CODES.BadCertificateUriInvalid, _CODES.BadNonceInvalid, _CODES.BadUserAccessDenied),
        *(_CODES.BadIdentityTokenInvalid, _CODES.BadIdentityTokenRejected, _CODES.BadApplicationSignatureInvalid),
        *(_CODES.BadUserSignatureInvalid, _CODES.BadSecureChannelIdInvalid, _CODES.BadSessionIdInvalid),
        *(_CODES.BadSessionNotActivated, _CODES.BadIdentityChangeNotSupported),
    }
)
"""Refusals for reasons of security."""
USERS_REMEMBERED: Final = 16
"""Users a session had before, in SessionSecurityDiagnostics."""


@dataclass(slots=True)
class ServerCounts:
    """What the server has counted since it started."""

    rejected_sessions: int = 0
    security_rejected_sessions: int = 0
    timed_out_sessions: int = 0
    aborted_sessions: int = 0
    rejected_requests: int = 0
    security_rejected_requests: int = 0

    def refused(self, opening: bool, status: int) -> None:
        """A request was answered with a ServiceFault. opening: it would have opened a session."""
        security = status in _SECURITY
        self.rejected_requests += 1
        self.security_rejected_requests += security
        self.rejected_sessions += opening
        self.security_rejected_sessions += opening and security


@dataclass(slots=True)
class SessionCounts:
    """What one session asked for, by name of the service."""

    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unauthorized: int = 0
    users: list[str] = field(default_factory=list)
    """Who used the session, newest last."""

    def refused(self, service: str, status: int) -> None:
        """A request of the session was answered with a ServiceFault."""
        self.failed[service] += 1
        self.unauthorized += status == _CODES.BadUserAccessDenied

    def activated(self, user: str) -> None:
        """Somebody proved who he is."""
        self.users = [*self.users, user][-USERS_REMEMBERED:]
