"""Who may log in: DIR/users.toml, with password hashes (argon2id) and certificate fingerprints, never a password.

    [[user]]
    name = "admin"
    index = 1
    roles = ["Observer", "Operator"]
    password = "$argon2id$v=19$..."

A service logs in with its certificate instead: `certificate_sha256 = "..."`. `index` is the number by which the process
image knows a user; it is never given to another. `scope = ["tenant-a"]` shows a user nothing but what belongs to these
tenants; without it a user sees the whole site. `one_time = true` marks a password that only lets its user choose another.

The file is read again when it changes, so a removed user is out at once. Changes are made under a lock and replace the file
as a whole: the command line and the running server may both make them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from server.core.errors import ConfigError, EmsError
from server.core.roles import GRANTED, Role

from .explain import InvalidFile, read_toml
from .files import write_atomically

USERS_FILE: Final = "users.toml"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_BYTES_MAX: Final = 1024
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_HEADER: Final = "# Written by `ems users`; holds no passwords, only their argon2id hashes. Keep it readable by its owner only.\n"


class UserError(EmsError):
    """A user cannot be added, removed or changed.

    reason: a short stable word (`invalid`, `exists`, `unknown`, `weak-password`, `last-admin`).
    """

    def __init__(self, text: str, reason: str = "invalid") -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Account:
    """A user or service. Either `password` (an argon2id hash) or `certificate_sha256` (hex) proves who it is.

    scope: the tenants whose nodes the user sees; None for the whole site.
    """

    name: str
    index: int
    roles: frozenset[str]
    password: str = ""
    certificate_sha256: str = ""
    scope: frozenset[str] | None = None
    one_time: bool = False


class Users:
    """The users of a site. Every method may be called from any thread."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / USERS_FILE
        self._hasher = PasswordHasher()
        self._nobodys_hash = self._hasher.hash(secrets.token_hex(16))
        self._stamp: tuple[int, int, int] | None = None
        self._accounts: dict[str, Account] = {}
        self._last_index = 0
        self._lock = threading.RLock()
        self._refresh()

    def __iter__(self) -> Iterator[Account]:
        return iter(sorted(self._refresh().values(), key=lambda account: account.index))

    def __contains__(self, name: object) -> bool:
        return name in self._refresh()

    def verify(self, name: str, password: str) -> Account | None:
        """The account of a name and password, or None. Slow, and as slow for a name that does not exist."""
        account = self._refresh().get(name)
        known = account is not None and bool(account.password)
        matches = self._matches(account.password if account is not None and known else self._nobodys_hash, password)
        return account if known and matches else None

    def by_certificate(self, certificate: x509.Certificate) -> Account | None:
        """The account a certificate stands for, or None. Whether the certificate is trusted was decided before."""
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        found = (a for a in self._refresh().values() if a.certificate_sha256 == fingerprint)
        return next(found, None)

    def add(
        self,
        name: str,
        roles: Iterable[str],
        *,
        password: str = "",
        certificate: bytes = b"",
        scope: Iterable[str] | None = None,
        one_time: bool = False,
    ) -> Account:
        """Add a user with a password or a DER certificate, and write the file. Raises UserError saying what is wrong."""
        if not NAME.fullmatch(name):
            raise UserError(f"'{name}' is not a user name: letters, digits and . _ @ - (at most 64) are")
        with self._changing():
            if name in self._accounts:
                raise UserError(f"there is a user {name} already", "exists")
            account = Account(name, self._last_index + 1, check_roles(roles), scope=check_scope(scope))
            account = self._with_proof(account, password, certificate, one_time)
            self._accounts[name] = account
            self._last_index += 1
        return account

    def change(
        self, name: str, *, password: str = "", certificate: bytes = b"", roles: Iterable[str] = (), one_time: bool = False
    ) -> Account:
        """Give a user another password or certificate, or other roles. Raises UserError."""
        with self._changing():
            account = self._known(name)
            if roles:
                account = replace(account, roles=check_roles(roles))
            if password or certificate:
                account = self._with_proof(account, password, certificate, one_time)
            self._replace(account)
        return account

    def confine(self, name: str, scope: Iterable[str] | None) -> Account:
        """Let a user see only what belongs to these tenants; None lets him see the whole site. Raises UserError."""
        with self._changing():
            account = replace(self._known(name), scope=check_scope(scope))
            self._replace(account)
        return account

    def remove(self, name: str) -> None:
        """Remove a user; a running server ends his sessions. Raises UserError when there is none."""
        with self._changing():
            account = self._known(name)
            self._keep_an_admin(account.name, None)
            del self._accounts[account.name]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone with the file as it is now; written when the body succeeds, forgotten when it fails."""
        with self._lock, _locked(self.path.with_name(f".{self.path.name}.lock")):
            self._refresh()
            self._accounts = dict(self._accounts)
            try:
                yield
                self._save()
            finally:
                self._stamp = None

    def _replace(self, account: Account) -> None:
        self._keep_an_admin(account.name, account)
        self._accounts[account.name] = account

    def _keep_an_admin(self, name: str, account: Account | None) -> None:
        """UserError when nobody could manage users any more. A service is no admin: it cannot be asked."""
        after = [a for a in self._accounts.values() if a.name != name] + ([account] if account is not None else [])
        if _has_admin(self._accounts.values()) and not _has_admin(after):
            raise UserError(
                f"{name} is the last {Role.SECURITY_ADMIN} of the whole site; give the role to another first", "last-admin"
            )

    def _known(self, name: str) -> Account:
        if name not in self._accounts:
            known = ", ".join(self._accounts)
            raise UserError(f"there is no user {name}; known: {known or 'none'}", "unknown")
        return self._accounts[name]

    def _with_proof(self, account: Account, password: str, certificate: bytes, one_time: bool) -> Account:
        if certificate and not password:
            fingerprint = hashlib.sha256(certificate).hexdigest()
            return replace(account, password="", certificate_sha256=fingerprint, one_time=False)
        if len(password) < PASSWORD_LENGTH_MIN or len(password.encode()) > PASSWORD_BYTES_MAX:
            text = f"a password has {PASSWORD_LENGTH_MIN} characters or more (at most {PASSWORD_BYTES_MAX} bytes)"
            raise UserError(text, "weak-password")
        return replace(account, password=self._hasher.hash(password), certificate_sha256="", one_time=one_time)

    def _matches(self, expected: str, password: str) -> bool:
        if len(password.encode(errors="replace")) > PASSWORD_BYTES_MAX:
            return False
        try:
            return self._hasher.verify(expected, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def _refresh(self) -> dict[str, Account]:
        """The accounts; read again when the file is another one than before. A file that cannot be used lets nobody in."""
        with self._lock:
            stamp = self._present_stamp()
            if stamp == self._stamp and stamp is not None:
                return self._accounts
            accounts: dict[str, Account] = {}
            last_index = 0
            try:
                if stamp is not None:
                    _check_private(self.path)
                    accounts, last_index = _parse(read_toml(self.path, USERS_FILE))
            finally:
                self._accounts, self._last_index = accounts, last_index
            self._stamp = stamp
            return accounts

    def _present_stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _save(self) -> None:
        ordered = sorted(self._accounts.values(), key=lambda account: account.index)
        tables = [_HEADER, f"last_index = {self._last_index}\n", *map(_table, ordered)]
        write_atomically(self.path, "\n".join(tables).encode(), 0o600)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the processes that change the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _has_admin(accounts: Iterable[Account]) -> bool:
    return any(Role.SECURITY_ADMIN in a.roles and a.password and a.scope is None for a in accounts)


def check_scope(scope: Iterable[str] | None) -> frozenset[str] | None:
    """Names of tenants as a set, None for the whole site. Raises UserError on what is no name, or none at all."""
    if scope is None:
        return None
    if isinstance(scope, str):
        raise UserError("scope: a list of tenants is expected")
    given = frozenset(map(str, scope))
    wrong = sorted(t for t in given if not NAME.fullmatch(t))
    if wrong or not given:
        raise UserError(f"'{', '.join(wrong)}': names of tenants are expected" if wrong else "a scope names a tenant or more")
    return given


def new_password() -> str:
    """A password one can read out and type: 20 letters and digits, 99 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


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
    account = Account(**{**fields, "roles": check_roles(fields.get("roles", ())), "scope": check_scope(fields.get("scope"))})
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
    if account.scope is not None:
        lines.append(f"scope = {json.dumps(sorted(account.scope))}")
    if account.one_time:
        lines.append("one_time = true")
    return "\n".join(lines) + "\n"
