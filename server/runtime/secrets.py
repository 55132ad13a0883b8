"""Secrets of entries, encrypted where they lie: `password = "enc:3fa81f06:..."` in entries/<alias>.toml.

A field of a driver's Config that is typed `SecretStr` is a secret. Whoever writes one in plain text finds it encrypted when the
site is started next; the rest of the file stays as it is, comment by comment. Encrypted is AES-256-GCM under the site's key
(`keys`), bound to the entry and the field: a cipher text that is moved elsewhere, to a driver that would tell it, does not open.

In memory a secret is a `SecretStr`, which shows itself to nobody who does not ask for its value.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, SecretStr

from server.core.errors import ConfigError, EmsError

from .config import EntrySource
from .files import write_atomically
from .keys import SiteKey, key_id

MARK: Final = "enc:"
PURPOSE: Final = "secrets of entries"
NONCE_BYTES: Final = 12
DOT: Final = "."

_STRING: Final = r"""("(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""


class SecretError(EmsError):
    """A secret cannot be encrypted, decrypted or found."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a file. field: its place, `password` or `broker.password`; text: as it stands there."""

    field: str
    text: str

    @property
    def encrypted(self) -> bool:
        """True when it is not in plain text."""
        return self.text.startswith(MARK)


def secret_fields(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Places of the secrets a Config may hold, tables within it included."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        if SecretStr in kinds:
            yield before + name
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secret_fields(kind, f"{before}{name}{DOT}")


def find_secrets(model: type[BaseModel], settings: Mapping[str, Any]) -> Iterator[Secret]:
    """The secrets in the settings of an entry."""
    for field in secret_fields(model):
        value = _get(settings, field)
        if isinstance(value, str):
            yield Secret(field, value)


def revealed(directory: Path, source: EntrySource, model: type[BaseModel]) -> dict[str, Any]:
    """The settings of an entry with its secrets in plain text. Raises ConfigError saying which one does not open, and why."""
    assert source.content is not None
    settings = deepcopy(source.content.settings)
    for secret in find_secrets(model, settings):
        if secret.encrypted:
            try:
                _set(settings, secret.field, unseal(SiteKey.load(directory), source.alias, secret))
            except EmsError as error:
                raise ConfigError(source.shown, secret.field, f"is encrypted, and does not open: {error}") from error
    return settings


# Encryption.


def seal(key: SiteKey, alias: str, field: str, plain: str) -> str:
    """A secret as it is written."""
    derived, nonce = key.derived(PURPOSE)[0], os.urandom(NONCE_BYTES)
    sealed = AESGCM(derived).encrypt(nonce, plain.encode(), _bound_to(alias, field))
    return f"{MARK}{key_id(derived)}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"


def unseal(key: SiteKey, alias: str, secret: Secret) -> str:
    """The plain text of a secret. Raises SecretError."""
    name, _, data = secret.text.removeprefix(MARK).partition(":")
    derived = next((k for k in key.derived(PURPOSE) if key_id(k) == name), None)
    if derived is None:
        there = ", ".join(key_id(k) for k in key.derived(PURPOSE))
        raise SecretError(
            f"it needs the key {name}, the site has {there}; set it anew with `ems secrets set {alias} {secret.field}`"
        )
    try:
        raw = base64.urlsafe_b64decode(data.encode())
        plain = AESGCM(derived).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(alias, secret.field))
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise SecretError("it was changed, or belongs to another entry or field") from error
    return plain.decode()


def _bound_to(alias: str, field: str) -> bytes:
    return json.dumps([alias, field]).encode()


# Files.


def protect(directory: Path, source: EntrySource, model: type[BaseModel]) -> list[str]:
    """Encrypt what an entry's file has in plain text; the fields. Raises SecretError, OSError; then the file is as before."""
    assert source.content is not None
    plain = [s for s in find_secrets(model, source.content.settings) if not s.encrypted]
    if plain:
        key = SiteKey.load(directory)
        _rewrite(entry_file(source), {s.field: seal(key, source.alias, s.field, s.text) for s in plain})
    return [s.field for s in plain]


def reseal(source: EntrySource, model: type[BaseModel], key: SiteKey) -> list[str]:
    """Encrypt an entry's secrets under the first of the keys; the fields. Raises SecretError, OSError."""
    assert source.content is not None
    found = list(find_secrets(model, source.content.settings))
    texts = {s.field: unseal(key, source.alias, s) if s.encrypted else s.text for s in found}
    if texts:
        _rewrite(entry_file(source), {f: seal(key, source.alias, f, text) for f, text in texts.items()})
    return list(texts)


def put(directory: Path, source: EntrySource, field: str, plain: str) -> None:
    """Write a secret into an entry's file, encrypted, whether it has one there or not. Raises SecretError, OSError."""
    assert source.content is not None
    sealed = seal(SiteKey.load(directory), source.alias, field, plain)
    file = entry_file(source)
    if _get(source.content.settings, field) is None:
        _add(file, field, sealed)
    else:
        _rewrite(file, {field: sealed})


def entry_file(source: EntrySource) -> Path:
    """The file of an entry."""
    return source.directory / source.shown


def who() -> str:
    """Who works at the command line, for the audit trail."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return f"{os.getuid()} (command line)"


def _rewrite(file: Path, values: Mapping[str, str]) -> None:
    """Replace the texts at some places of a TOML file and nothing else."""
    text = file.read_text()
    for field, value in values.items():
        text = _replaced(file, text, field, value)
    write_atomically(file, text.encode(), file.stat().st_mode & 0o777)


def _replaced(file: Path, text: str, field: str, value: str) -> str:
    """The file's text with one value replaced: of all strings behind a key of that name, the one that changes just this field."""
    wanted = tomllib.loads(text)
    _set(wanted, field, value)
    name = re.escape(field.rpartition(DOT)[2])
    for match in re.finditer(rf"""(?<![\w-])["']?{name}["']?\s*=\s*{_STRING}""", text):
        changed = f"{text[: match.start(1)]}{json.dumps(value)}{text[match.end(1) :]}"
        if _parses_as(changed, wanted):
            return changed
    raise SecretError(f'{file}: {field}: write it as {field} = "..." on one line, so that it can be encrypted where it stands')


def _add(file: Path, field: str, value: str) -> None:
    """Put a field in, before the first table of the file."""
    text = file.read_text()
    wanted = tomllib.loads(text)
    if DOT in field and _get(wanted, field.rpartition(DOT)[0]) is not None:
        raise SecretError(f'{file}: write {field} = "" where it belongs first; then it can be set')
    _set(wanted, field, value)
    table = re.search(r"^\s*\[", text, re.MULTILINE)
    at = table.start() if table is not None else len(text)
    before = text[:at] + ("\n" if at and not text[:at].endswith("\n") else "")
    changed = f"{before}{field} = {json.dumps(value)}\n{text[at:]}"
    if not _parses_as(changed, wanted):
        raise SecretError(f'{file}: {field} cannot be put in; write {field} = "" where it belongs first')
    write_atomically(file, changed.encode(), file.stat().st_mode & 0o777)


def _parses_as(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _get(settings: Mapping[str, Any], field: str) -> Any:
    found: Any = settings
    for name in field.split(DOT):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _set(settings: dict[str, Any], field: str, value: str) -> None:
    *tables, name = field.split(DOT)
    for table in tables:
        settings = settings.setdefault(table, {})
    settings[name] = value
