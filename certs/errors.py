"""Errors of the certificate store."""

from __future__ import annotations


class CertificateError(Exception):
    """A certificate is refused or cannot be made; the text says which and why.

    reason: a short stable word (`untrusted`, `expired`, `not-yet-valid`, `weak-key`, `revoked`, `damaged`, `usage`, `exists`).
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
