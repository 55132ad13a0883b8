"""Who may log in: DIR/users.toml, with password hashes (argon2id) and certificate fingerprints, never a password.

    [[user]]
    name = "admin"
    index = 1
    roles = ["Observer", "Operator"]
    password = "$argon2id$v=19$..."

A service logs in with its certificate instead: `certificate_sha256 = "..."`. `index` is the number by which the process
image knows a user; it is never given to another. The file is read again when it changes, so a removed user is out at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from server.core.errors import ConfigError, EmsError
from server.core.roles import GRANTED

from .explain import InvalidFile, read_toml
from .files import write_atomically

USERS_FILE: Final = "users.toml"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_BYTES_MAX: Final = 1024
_HEADER: Final = "# Written by `ems users`; holds no passwords, only their argon2id hashes. Keep it readable by its owner only.\n"


class UserError(EmsError):
    """A user cannot be added, removed or changed."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user or service. Either `password` (an argon2id hash) or `certificate_sha256` (hex) proves who it is."""

    name: str
    index: int
    roles: frozenset[str]
    password: str = ""
    certificate_sha256: str = ""


class Users:
    """The users of a site. Logins may be verified from several threads."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / USERS_FILE
        self._hasher = PasswordHasher()
        self._nobodys_hash = self._hasher.hash(secrets.token_hex(16))
        self._stamp: tuple[int, int, int] | None = None
        self._accounts: dict[str, Account] = {}
        self._last_index = 0
        self._refresh()

    def __iter__(self) -> Any:
        self._refresh()
        return iter(sorted(self._accounts.values(), key=lambda account: account.index))

    def __contains__(self, name: object) -> bool:
        self._refresh()
        return name in self._accounts

    def verify(self, name: str, password: str) -> Account | None:
        """The account of a name and password, or None. Slow, and as slow for a name that does not exist."""
        self._refresh()
        account = self._accounts.get(name)
        known = account is not None and bool(account.password)
        matches = self._matches(account.password if account is not None and known else self._nobodys_hash, password)
        return account if known and matches else None

    def by_certificate(self, certificate: x509.Certificate) -> Account | None:
        """The account a certificate stands for, or None. Whether the certificate is trusted was decided before."""
        self._refresh()
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        found = (a for a in self._accounts.values() if a.certificate_sha256 == fingerprint)
        return next(found, None)

    def add(self, name: str, roles: Iterable[str], *, password: str = "", certificate: bytes = b"") -> Account:
        """Add a user with a password or a DER certificate, and write the file. Raises UserError saying what is wrong."""
        self._refresh()
        if not NAME.fullmatch(name):
            raise UserError(f"'{name}' is not a user name: letters, digits and . _ @ - (at most 64) are")
        if name in self._accounts:
            raise UserError(f"there is a user {name} already")
        account = Account(name, self._last_index + 1, check_roles(roles))
        self._accounts[name] = self._with_proof(account, password, certificate)
        self._last_index += 1
        self._save()
        return self._accounts[name]

    def change(self, name: str, *, password: str = "", certificate: bytes = b"", roles: Iterable[str] = ()) -> Account:
        """Give a user another password or certificate, or other roles. Raises UserError."""
        account = self._known(name)
        granted = check_roles(roles) if roles else account.roles
        account = replace(account, roles=granted)
        if password or certificate:
            account = self._with_proof(account, password, certificate)
        self._accounts[name] = account
        self._save()
        return account

    def remove(self, name: str) -> None:
        """Remove a user; open sessions end with their next activation. Raises UserError when there is none."""
        account = self._known(name)
        del self._accounts[account.name]
        self._save()

    def _known(self, name: str) -> Account:
        self._refresh()
        if name not in self._accounts:
            known = ", ".join(a.name for a in self)
            raise UserError(f"there is no user {name}; known: {known or 'none'}")
        return self._accounts[name]

    def _with_proof(self, account: Account, password: str, certificate: bytes) -> Account:
        if certificate and not password:
            return replace(account, password="", certificate_sha256=hashlib.sha256(certificate).hexdigest())
        if len(password) < PASSWORD_LENGTH_MIN or len(password.encode()) > PASSWORD_BYTES_MAX:
            raise UserError(f"a password has {PASSWORD_LENGTH_MIN} characters or more (at most {PASSWORD_BYTES_MAX} bytes)")
        return replace(account, password=self._hasher.hash(password), certificate_sha256="")

    def _matches(self, expected: str, password: str) -> bool:
        if len(password.encode(errors="replace")) > PASSWORD_BYTES_MAX:
            return False
        try:
            return self._hasher.verify(expected, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def _refresh(self) -> None:
        """Read the file again if it is another one than before. A file that cannot be used lets nobody in."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            stamp = None
        if stamp == self._stamp and stamp is not None:
            return
        accounts: dict[str, Account] = {}
        last_index = 0
        try:
            if stamp is not None:
                _check_private(self.path)
                accounts, last_index = _parse(read_toml(self.path, USERS_FILE))
        finally:
            self._accounts, self._last_index = accounts, last_index
        self._stamp = stamp

    def _save(self) -> None:
        ordered = sorted(self._accounts.values(), key=lambda account: account.index)
        tables = [_HEADER, f"last_index = {self._last_index}\n", *map(_table, ordered)]
        write_atomically(self.path, "\n".join(tables).encode(), 0o600)


def check_roles(roles: Iterable[str]) -> frozenset[str]:
    """Role names as a set. Raises UserError naming the unknown ones and what there is."""
    given = frozenset(map(str, roles))
    unknown = sorted(given - set(GRANTED))
    if unknown or not given:
        problem = f"unknown role {', '.join(unknown)}" if unknown else "a user needs a role"
        raise UserError(f"{problem}; known: {', '.join(GRANTED)}")
    return given


def _parse(data: dict[str, Any]) -> tuple[dict[str, Account], int]:
    """Accounts by name and the last index given. Raises InvalidFile."""
    try:
        accounts = [_account(fields) for fields in data.get("user", [])]
        indexes = [a.index for a in accounts]
        if len({a.name for a in accounts}) != len(accounts) or len(set(indexes)) != len(indexes):
            raise ValueError("a name or an index is there twice")
        return {a.name: a for a in accounts}, max([int(data.get("last_index", 0)), *indexes])
    except (TypeError, ValueError, AttributeError, UserError) as error:
        raise InvalidFile([ConfigError(USERS_FILE, "user", str(error))]) from error


def _account(fields: dict[str, Any]) -> Account:
    account = Account(**{**fields, "roles": check_roles(fields.get("roles", ()))})
    texts = (account.name, account.password, account.certificate_sha256)
    if not all(isinstance(t, str) for t in texts) or not isinstance(account.index, int) or not NAME.fullmatch(account.name):
        raise ValueError(f"{account.name}: a name, an index and roles are expected")
    return account


def _check_private(path: Path) -> None:
    """Refuse a users file that others can write: they could let themselves in."""
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InvalidFile([ConfigError(USERS_FILE, "", f"others may write it; `chmod 600 {path}`")])


def _table(account: Account) -> str:
    lines = ["[[user]]", f"name = {json.dumps(account.name)}", f"index = {account.index}"]
    lines.append(f"roles = {json.dumps(sorted(account.roles))}")
    lines += [f"{key} = {json.dumps(text)}" for key in ("password", "certificate_sha256") if (text := getattr(account, key))]
    return "\n".join(lines) + "\n"
