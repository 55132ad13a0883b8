"""The secrets of all entries of a site: found, encrypted when the site starts, encrypted anew under another key."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel

from server.core.errors import EmsError

from . import audit
from .config import EntrySource, entry_files, read_entries
from .discovery import find_drivers, use_custom
from .entry_plan import config_model
from .files import read_file
from .keys import CREDENTIAL, KEY_BYTES, SiteKey, create_key, key_setting
from .secrets import MARK, SecretError, find_secrets, protect, reseal, secret_fields, unseal, who

EVENT: Final = "secrets"


class Held(NamedTuple):
    """A secret of an entry, and how it is kept: encrypted, plain text, not set, or why it does not open."""

    alias: str
    field: str
    state: str


def keepers(directory: Path) -> Iterator[tuple[EntrySource, type[BaseModel]]]:
    """Every entry whose driver has secrets, with the driver's Config. Entries that cannot be read are left out."""
    use_custom(directory)
    drivers = find_drivers()
    for source in read_entries(directory):
        if source.content is None or source.content.driver not in drivers:
            continue
        try:
            model = config_model(source, drivers[source.content.driver])
        except EmsError:
            continue
        if any(secret_fields(model)):
            yield source, model


def keeper(directory: Path, alias: str, field: str) -> EntrySource:
    """The entry that has, or may have, this secret. Raises SecretError saying what there is."""
    known = [(s.alias, f) for s, model in keepers(directory) for f in secret_fields(model)]
    if (alias, field) not in known:
        there = ", ".join(f"{a} {f}" for a, f in known)
        raise SecretError(f"{alias} {field}: there is no such secret; known: {there or 'none'}")
    return next(source for source, _ in keepers(directory) if source.alias == alias)


def held(directory: Path) -> list[Held]:
    """Every secret of every entry."""
    return [
        Held(source.alias, field, _state(directory, source, model, field))
        for source, model in keepers(directory)
        for field in secret_fields(model)
    ]


def _state(directory: Path, source: EntrySource, model: type[BaseModel], field: str) -> str:
    assert source.content is not None
    secret = next((s for s in find_secrets(model, source.content.settings) if s.field == field), None)
    if secret is None:
        return "not set"
    if not secret.encrypted:
        return "plain text: encrypted at the next start of the site"
    try:
        unseal(SiteKey.load(directory), source.alias, secret)
    except EmsError as error:
        return f"does not open: {error}"
    return "encrypted"


def protect_entries(directory: Path) -> list[tuple[str, str]]:
    """Encrypt all secrets that lie in plain text. Returns (entry's file, why) of those that stay as they are."""
    if not any(_is_marked(file) for file in entry_files(directory)):
        create_key(directory)
    left: list[tuple[str, str]] = []
    for source, model in keepers(directory):
        try:
            fields = protect(directory, source, model)
        except (EmsError, OSError) as error:
            left.append((source.shown, f"a secret stays in plain text: {error}"))
            continue
        if fields:
            audit.append(directory, EVENT, action="encrypted", entry=source.alias, fields=fields)
    return left


def _is_marked(file: Path) -> bool:
    """True for an entry that holds something encrypted."""
    try:
        return MARK.encode() in read_file(file)
    except OSError:
        return False


def rotate(directory: Path) -> list[str]:
    """Make a new key and encrypt everything under it; the aliases of the entries. Raises EmsError, OSError.

    The old key stays in the key file until all is done, so that a rotation that is cut off is just done again. A credential of
    systemd is changed by who manages it, with the new key as its first line; then this encrypts everything under that.
    """
    key = SiteKey.load(directory)
    ours = not key_setting(directory).startswith(CREDENTIAL)
    if ours:
        key = SiteKey((secrets.token_bytes(KEY_BYTES), *key.keys))
        key.save(directory)
    done = [source.alias for source, model in keepers(directory) if reseal(source, model, key)]
    audit.append(directory, EVENT, action="rotated", entries=done, user=who())
    if ours:
        SiteKey(key.keys[:1]).save(directory)
    return done
