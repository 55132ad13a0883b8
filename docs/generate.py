"""Writes the pages of docs/reference that come from the code: natures, controllers, settings, commands.

python docs/generate.py           write them
python docs/generate.py --check   say which are stale, exit 1 if any
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from server.cli import build_parser
from server.core import natures
from server.core.channel import DataType, Spec
from server.core.controller import Controller, parameters
from server.core.nature import Nature
from server.runtime import config
from server.runtime.discovery import find_controllers, find_drivers, load_controller

FOLDER = Path(__file__).parent / "reference"
HEAD = "<!-- Written by docs/generate.py; change the code instead. -->\n"


def natures_page() -> str:
    """Every nature with its channels."""
    lines = [HEAD, "# Natures and their channels\n", "RO: read. RW: a client with the role may propose a value."]
    lines.append("`.L1-.L3`: the phases exist beside the sum.\n")
    for cls in (c for c in vars(natures).values() if _is_nature(c)):
        bases = ", ".join(b.__name__ for b in cls.__bases__ if b is not Nature)
        lines += [f"## {cls.__name__}{f' : {bases}' if bases else ''}\n", f"{cls.__doc__}\n"]
        if cls.declared:
            lines += ["| channel | unit | range | access | meaning |", "|---|---|---|---|---|"]
            lines += [_channel_row(spec) for spec in cls.declared.values()] + [""]
        own = cls.__dict__.get("methods", ())
        lines += [f"- `{m.name}({', '.join(a[0] for a in m.arguments)})`: {m.doc}" for m in own] + ([""] if own else [])
    return "\n".join(lines)


def _is_nature(item: Any) -> bool:
    return inspect.isclass(item) and issubclass(item, Nature) and item is not Nature


def _channel_row(spec: Spec) -> str:
    name = f"`{spec.name}`" + (" `.L1-.L3`" if spec.per_phase else "") + (" []" if spec.array else "")
    return f"| {name} | {_kind(spec)} | {_range(spec)} | {spec.access} | {spec.doc} |"


def _kind(spec: Spec) -> str:
    if spec.states is not None:
        return ", ".join(f"{s.value} {s.name}" for s in spec.states)
    if spec.unit is not None:
        return spec.unit.symbol
    return "" if spec.data_type is DataType.DOUBLE else spec.data_type.value


def _range(spec: Spec) -> str:
    if spec.low is None and spec.high is None:
        return ""
    low, high = ("" if v is None else f"{v:g}" for v in (spec.low, spec.high))
    return f"{low}..{high}"


def controllers_page() -> str:
    """Every controller with priority and parameters."""
    lines = [
        HEAD,
        "# Controllers\n",
        "Lower priority numbers are asked first. Every parameter is a node that an Engineer may write.\n",
    ]
    classes = [load_controller(target) for target in find_controllers().classes.values()]
    for cls in sorted(classes, key=lambda c: (c.priority, c.__name__)):
        lines += [f"## {cls.__name__} (priority {cls.priority})\n", inspect.cleandoc(cls.__doc__ or "") + "\n"]
        lines += ["| parameter | unit | range | default | meaning |", "|---|---|---|---|---|"]
        lines += [*_parameter_rows(cls), ""]
    return "\n".join(lines)


def _parameter_rows(cls: type[Controller]) -> Iterator[str]:
    specs = parameters(cls)
    for field in cls.Params.__dataclass_fields__.values():  # type: ignore[attr-defined]
        spec = specs.get(field.name)
        kind, span = (_kind(spec), _range(spec)) if spec else ("alias", "")
        default = "required" if _is_missing(field.default) else f"`{field.default}`"
        yield f"| `{field.name}` | {kind} | {span} | {default} | {field.metadata['doc']} |"


def _is_missing(value: Any) -> bool:
    return type(value).__name__ == "_MISSING_TYPE"


def settings_page() -> str:
    """Every table of site.toml and of entries, and the settings of each driver."""
    lines = [HEAD, "# Settings\n", "`site.toml` describes the site, `entries/<alias>.toml` one integration each.\n"]
    for cls in (config.SiteTable, config.GridTable, config.OpcUaTable, config.ServiceTable, config.EntryFile):
        lines += _model(cls, (inspect.cleandoc(cls.__doc__ or "")).replace("\n", " "))
    for driver in find_drivers().values():
        lines += [f"## Driver `{driver.domain}`\n"]
        lines += _model(driver.load("config").Config, "")
    return "\n".join(lines)


def _model(cls: type[BaseModel], text: str) -> list[str]:
    rows = [f"| `{n}` | {_annotation(f)} | {_default(f)} | {f.description or ''} |" for n, f in cls.model_fields.items()]
    return [f"{text}\n", "| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""]


_MODULES = re.compile(r"(?:[a-z_]+\.)+")


def _annotation(field: Any) -> str:
    """Type and range of a setting, without module names."""
    shown = str(field.annotation) if "[" in str(field.annotation) else getattr(field.annotation, "__name__", "")
    limits = {k: getattr(m, k) for m in field.metadata for k in ("ge", "le") if getattr(m, k, None) is not None}
    span = f" {limits.get('ge', '')}..{limits.get('le', '')}" if limits else ""
    return f"`{_MODULES.sub('', shown)}`{span}"


def _default(field: Any) -> str:
    return "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"


def cli_page() -> str:
    """`--help` of every command."""
    lines = [HEAD, "# Commands\n"]
    for name, command in _commands(build_parser(), "ems"):
        lines += [f"## {name}\n", "```", command.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _commands(command: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from _commands(child, f"{name} {word}")


PAGES: dict[str, Callable[[], str]] = {
    "natures.md": natures_page,
    "controllers.md": controllers_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
}


def stale() -> list[str]:
    """Names of the pages that differ from what the code says."""
    return [name for name, page in PAGES.items() if not _same(FOLDER / name, page().rstrip() + "\n")]


def _same(file: Path, text: str) -> bool:
    return file.exists() and file.read_text() == text


def main() -> int:
    if "--check" in sys.argv:
        old = stale()
        print(f"stale: {', '.join(old)}; run python docs/generate.py" if old else "all pages are current")
        return int(bool(old))
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page().rstrip() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
