"""From a `[[controller]]` table to the object of a controller, or to what is wrong with the table or with the class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from server.core.controller import Controller, controller_object, validate
from server.core.errors import ConfigError, DeclarationError
from server.core.layout import ObjectSpec

from .config import SITE_FILE, check_alias
from .explain import unknown_setting


def alias_of(number: int, table: Mapping[str, Any]) -> str:
    """How a table is called: by its id, or by its place."""
    return str(table.get("id", f"controller[{number}]"))


def type_of(alias: str, table: Mapping[str, Any], known: Iterable[str]) -> str:
    """The type a table names. ConfigError when id or type is missing or wrong."""
    for key in ("id", "type"):
        if not isinstance(table.get(key), str):
            raise ConfigError(SITE_FILE, f"{alias}.{key}", "is missing" if key not in table else "is no text")
    try:
        check_alias(alias)
    except ValueError as error:
        raise ConfigError(SITE_FILE, f"{alias}.id", str(error)) from None
    kind: str = table["type"]
    names = sorted(known)
    if kind not in names:
        text = unknown_setting(kind, names).replace("unknown setting", "there is no such controller")
        raise ConfigError(SITE_FILE, f"{alias}.type", f"'{kind}': {text}")
    return kind


def object_of(alias: str, table: Mapping[str, Any], cls: type[Controller]) -> ObjectSpec:
    """The object of a table, with all settings. ConfigError for a wrong one, DeclarationError for a class declared wrongly."""
    check_declaration(cls)
    return controller_object(cls, alias, {**table, **validate(cls, alias, table)})


def check_declaration(cls: type[Controller]) -> None:
    """DeclarationError when a class does not declare what every controller must."""
    name = cls.__name__
    if not (cls.__doc__ or "").strip() or cls.__doc__ == Controller.__doc__:
        raise DeclarationError(f"{name}: a docstring is missing; its first line is what people read")
    if isinstance(cls.priority, bool) or not isinstance(cls.priority, int) or not 0 <= cls.priority <= 1000:
        raise DeclarationError(f"{name}.priority: {cls.priority!r} is not in 0..1000")
    declared: Any = cls.Params
    for field in fields(declared) if is_dataclass(declared) else ():
        if not str(field.metadata.get("doc") or "").strip():
            raise DeclarationError(f'{name}.{field.name}: its documentation is missing: param("what it is", ...)')
    if cls.State is not None:
        _check_state(name, cls.State)


def _check_state(name: str, state: type[Any]) -> None:
    if not is_dataclass(state):
        raise DeclarationError(f"{name}.State is no dataclass")
    for field in fields(state):
        if field.init and field.default is MISSING and field.default_factory is MISSING:
            raise DeclarationError(f"{name}.State.{field.name}: what it is at first is missing")
