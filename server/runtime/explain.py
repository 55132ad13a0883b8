"""Validation errors in the words of the person who wrote the file: where, what, and what was expected.

entries/meter0.toml: unit_id: 300 is not in 1..247
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.core.errors import ConfigError, EmsError

from .files import read_file

Model = TypeVar("Model", bound=BaseModel)
Location = Sequence[int | str]

TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a table",
    "mapping": "a table",
    "model": "a table",
    "datetime": "a date and time",
    "datetime_from_date": "a date and time",
    "date": "a date",
    "time": "a time",
}
PROBLEMS_MAX = 20
"""So many problems of a file are told one by one."""
RANGE_ERRORS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


class InvalidFile(EmsError):
    """A configuration file is wrong; its text has one line per problem, `errors` has them one by one."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)


def read_toml(path: Path, shown: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises InvalidFile naming the file as `shown`, with line and column on bad syntax."""
    try:
        return tomllib.loads(read_file(path).decode())
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile([ConfigError(shown, *_syntax(str(error)))]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidFile([ConfigError(shown, f"line {line}", "is not UTF-8 text")]) from error
    except RecursionError as error:
        raise InvalidFile([ConfigError(shown, "", "is too deeply nested")]) from error
    except OSError as error:
        raise InvalidFile([ConfigError(shown, "", error.strerror or str(error))]) from error


def validate(model: type[Model], data: Mapping[str, Any], file: str, context: Mapping[str, Any] | None = None) -> Model:
    """`data` as an instance of `model`. Raises InvalidFile with every problem found, unknown settings included.

    context: what the model's validators may know besides.
    """
    errors = [ConfigError(file, field, problem) for field, problem in _unknown(model, data)]
    try:
        instance = model.model_validate(data, context=context)
    except ValidationError as error:
        found = [
            d for d in error.errors(include_url=False) if not (errors and d["type"] == "extra_forbidden" and len(d["loc"]) == 1)
        ]
        errors += [ConfigError(file, _field(d["loc"]), _problem(model, d)) for d in found[:PROBLEMS_MAX]]
        if len(found) > PROBLEMS_MAX:
            errors.append(ConfigError(file, "", f"{len(found) - PROBLEMS_MAX} more like these"))
        raise InvalidFile(errors) from error
    if errors:
        raise InvalidFile(errors)
    return instance


def unknown_setting(key: str, known: Sequence[str]) -> str:
    """What to say about a key nobody knows."""
    close = difflib.get_close_matches(key, known, 1)
    hint = f", did you mean {close[0]}?" if close else ";"
    return f"unknown setting{hint} known: {', '.join(known)}"


def _unknown(model: type[BaseModel], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if model.model_config.get("extra") == "allow":
        return
    known = [info.alias or name for name, info in model.model_fields.items()]
    for key in data:
        if key not in known and key not in model.model_fields:
            yield key, unknown_setting(key, known)


def _problem(model: type[BaseModel], error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown_nested(model, error["loc"])
    schema = _schema(model, error["loc"])
    shown = "the secret" if schema.get("writeOnly") else _shown(error["input"])
    if kind in RANGE_ERRORS:
        return f"{shown} {_range(schema, error)}"
    if kind in ("literal_error", "enum"):
        return f"{shown} is not one of {error['ctx']['expected'].replace(chr(39), '')}"
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    if kind == "int_from_float":
        return f"{shown} is not a whole number"
    if kind == "finite_number":
        return f"{shown} is not a finite number"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not match {error['ctx']['pattern']}"
    expected = TYPE_NAMES.get(kind.rsplit("_", 1)[0])
    if kind.endswith(("_type", "_parsing")) and expected:
        return f"{shown} is not {expected}"
    message = error["msg"]
    return f"{shown}: {message[:1].lower()}{message[1:]}"


def _range(schema: Mapping[str, Any], error: ErrorDetails) -> str:
    """`is not in 1..247` where both ends are known and included, else the end that was passed."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"is not in {_number(low)}..{_number(high)}"
    limit = next(iter(error["ctx"].values()))
    words = {
        "greater_than": "is not above",
        "greater_than_equal": "is below",
        "less_than": "is not below",
        "less_than_equal": "is above",
    }
    return f"{words[error['type']]} {_number(limit)}"


def _unknown_nested(model: type[BaseModel], location: Location) -> str:
    known = list(_schema(model, location[:-1]).get("properties", ()))
    return unknown_setting(str(location[-1]), known)


def _schema(model: type[BaseModel], location: Location) -> Mapping[str, Any]:
    """The JSON schema of the field at `location`, {} when it cannot be followed."""
    root = model.model_json_schema()
    node: Mapping[str, Any] = root
    for step in location:
        node = _resolve(root, node)
        node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
    return _resolve(root, node)


def _resolve(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and look through `X or None`."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            node = option
            break
    name = node.get("$ref", "").rsplit("/", 1)[-1]
    found: Mapping[str, Any] = root.get("$defs", {}).get(name, node) if name else node
    return found


def _field(location: Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "the table"
    text = f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else _number(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else str(value)


def _syntax(message: str) -> tuple[str, str]:
    """`Expected '=' after a key (at line 3, column 5)` as field `line 3` and problem."""
    problem, _, place = message.rpartition(" (at ")
    line = place.rstrip(")").split(",")[0] if place.startswith("line") else "end of file"
    return line, f"{problem[:1].lower()}{problem[1:]}"
