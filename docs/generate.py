"""Writes the pages of docs/reference that come from the code: natures, controllers, alarms, settings, commands, requirements.

python docs/generate.py           write them
python docs/generate.py --check   say which are stale, exit 1 if any
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, time
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from server.cli import build_parser
from server.core import natures
from server.core.alarms import SEVERITY, STANDING, STANDSTILL_NODE
from server.core.blocks import Polyline
from server.core.channel import DataType, Spec
from server.core.controller import Controller, outputs, parameters
from server.core.document import COLUMNS_MAX, CONTENT_BYTES_MAX, ROWS_MAX
from server.core.nature import Nature
from server.core.state_machine import number_of
from server.opcua import limits
from server.opcua.access import GRANTS, METHODS, Permission
from server.opcua.capabilities import LIMITS, PROFILE, PROFILES
from server.opcua.conditions.methods import IMPLEMENTED
from server.opcua.dispatch import NAMES as SERVICE_NAMES
from server.opcua.dispatch import TABLE as SERVICES
from server.opcua.events.filter import FILTER_OPERANDS_MAX
from server.opcua.planning import PERMISSIONS
from server.opcua.service import Scope, Service
from server.opcua.state_machines import MACHINES
from server.opcua.vocabulary import type_ids
from server.runtime import calendar, config
from server.runtime.alarm_plan import AlarmTable
from server.runtime.cluster_plan import ClusterTable
from server.runtime.discovery import find_controllers, find_drivers, load_controller
from server.runtime.documents import DOCUMENTS_MAX
from server.runtime.planner import AHEAD, SPANS_MAX
from server.runtime.series_document import KINDS

sys.path.insert(0, str(Path(__file__).parent))
import requirements  # it lies beside this file

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


CONTROLLERS_INTRODUCTION = """\
Lower priority numbers are asked first. Every number, switch and choice is a node that an Engineer may write while the
site runs; aliases and points are set in site.toml. What a controller *shows* is a node to be read. Signs are those of
the [glossary](glossary.md): storage and plants positive out, chargers and loads positive in, connections positive on
import.

In site.toml a controller is a table `[[controller]]` with `id`, `type`, and its parameters. An alias names a device,
`grid` the connection of the site; `"io0/Input[0]"` names one value of a channel; several aliases are a list, `["evcs0",
"evcs1"]`, and points are pairs, `[[45, 1], [60, 0.5]]`.

Schedules, forecasts, prices and events are documents: `schedule/<alias>`, `plan/<alias>`, `event/<alias>` (column
power_w and what the controller names), `forecast/consumption`, `forecast/production` (power_w), `price/buy` (buy,
currency per kWh).
"""


def controllers_page() -> str:
    """Every controller with priority and parameters."""
    lines = [
        HEAD,
        "# Controllers\n",
        CONTROLLERS_INTRODUCTION,
    ]
    classes = [load_controller(target) for target in find_controllers().classes.values()]
    for cls in sorted(classes, key=lambda c: (c.priority, c.__name__)):
        lines += [f"## {cls.__name__} (priority {cls.priority})\n", inspect.cleandoc(cls.__doc__ or "") + "\n"]
        if rows := list(_parameter_rows(cls)):
            lines += ["| parameter | unit | range | default | meaning |", "|---|---|---|---|---|", *rows, ""]
        if shown := outputs(cls).values():
            lines += ["| shows | unit | range | meaning |", "|---|---|---|---|"]
            lines += [f"| `{s.name}` | {_kind(s)} | {_range(s)} | {s.doc} |" for s in shown] + [""]
    return "\n".join(lines)


def _parameter_rows(cls: type[Controller]) -> Iterator[str]:
    specs = parameters(cls)
    for field in getattr(cls.Params, "__dataclass_fields__", {}).values():
        spec = specs.get(field.name)
        kind, span = (_kind(spec), _range(spec)) if spec else (_fixed_kind(field.type, field.default), "")
        span += f", above `{field.metadata['above']}`" if field.metadata["above"] else ""
        yield f"| `{field.name}` | {kind} | {span} | {_default_of(field.default)} | {field.metadata['doc']} |"


def _fixed_kind(annotation: Any, default: Any) -> str:
    """Kind of a parameter that only the configuration sets."""
    if isinstance(default, Polyline):
        return "points"
    return "aliases" if str(annotation).startswith("tuple") else "alias"


def _default_of(value: Any) -> str:
    if _is_missing(value):
        return "required"
    if isinstance(value, Polyline):
        return " ".join(f"`[{x:g}, {y:g}]`" for x, y in value.points)
    if isinstance(value, IntEnum):
        return f"`{value.name}`"
    return "none" if value is None or value == () else f"`{value}`"


def _is_missing(value: Any) -> bool:
    return type(value).__name__ == "_MISSING_TYPE"


def settings_page() -> str:
    """Every table of site.toml and of entries, and the settings of each driver."""
    lines = [HEAD, "# Settings\n", "`site.toml` describes the site, `entries/<alias>.toml` one integration each.\n"]
    for cls in (
        config.SiteTable,
        config.GridTable,
        config.EmergencyStopTable,
        config.OpcUaTable,
        config.HistoryTable,
        ClusterTable,
        AlarmTable,
        calendar.Daily,
        calendar.Event,
        calendar.RecurrenceRule,
        calendar.Override,
        config.ServiceTable,
        config.EntryFile,
    ):
        title, _, text = inspect.cleandoc(cls.__doc__ or "").partition(": ")
        lines += [f"## `{title}`\n", *_model(cls, text[:1].upper() + text[1:])]
    for driver in find_drivers().values():
        lines += [f"## Driver `{driver.domain}`\n"]
        lines += _model(driver.load("config").Config, "")
    return "\n".join(lines)


def _model(cls: type[BaseModel], text: str) -> list[str]:
    fields = {f.alias or n: f for n, f in cls.model_fields.items() if f.alias != "@type"}
    rows = [f"| `{n}` | {_annotation(f)} | {_default(f)} | {f.description or ''} |" for n, f in fields.items()]
    head = [f"{text}\n"] if text else []
    return [*head, "| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""]


def _annotation(field: Any) -> str:
    """Type and range of a setting, without module names and None."""
    parts = [a for a in get_args(field.annotation) if a is not type(None)]
    limited = get_origin(parts[0]) is Annotated if len(parts) == 1 else False
    kind, *metadata = get_args(parts[0]) if limited else (field.annotation, *field.metadata)
    metadata = [m for item in metadata for m in getattr(item, "metadata", [item])]
    limits = {k: getattr(m, k) for m in metadata for k in ("ge", "le") if getattr(m, k, None) is not None}
    span = f" {limits.get('ge', '')}..{limits.get('le', '')}" if limits else ""
    return f"{_shown(kind)}{span}"


def _shown(kind: Any) -> str:
    """A type for people."""
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) is Annotated:
        return _shown(get_args(kind)[0])
    inner = ", ".join(_shown(a) for a in get_args(kind) if a not in (type(None), ...))
    outer = {tuple: "list of ", dict: "table of "}.get(get_origin(kind), "")
    return f"{outer}{inner}" if inner else getattr(kind, "__name__", str(kind))


_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", datetime: "local time", time: "time of day"}


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


def alarms_page() -> str:
    """Every alarm that needs no configuration, and the methods of conditions with the roles that may call them."""
    lines = [HEAD, "# Alarms and conditions\n", "Alarms that a site raises by itself; limits on numbers are `[[alarm]]` tables:"]
    lines += ["[settings](settings.md), [how to define an alarm](../how-to/define-an-alarm.md).\n"]
    lines += ["| alarm | of every | channel | comes when | severity |", "|---|---|---|---|---|"]
    lines += [*_standing_rows(), *_flag_rows(), ""]
    lines += [f"`{STANDSTILL_NODE}`: no frame for 3 s."]
    lines += ["`site/<Name>CertificateAlarm`: each certificate of the site; `site/CertificatesAlarm`: whatever else is wrong."]
    lines += ["\n## Methods\n", "| method | node | roles |", "|---|---|---|", *_method_rows()]
    return "\n".join(lines)


def _standing_rows() -> Iterator[str]:
    for rule in STANDING:
        delay = f" for {rule.on_delay_s:g} s" if rule.on_delay_s else ""
        for zone, (severity, text) in rule.zones.items():
            state = getattr(zone, "name", str(zone))
            yield f"| `{rule.name}Alarm` | {rule.kind} | `{rule.channel}` | {state}{delay}: {text} | {severity} |"


def _flag_rows() -> Iterator[str]:
    for cls in (c for c in vars(natures).values() if _is_nature(c)):
        for spec in cls.declared.values():
            if spec.level:
                yield f"| `{spec.name}Alarm` | {cls.__name__} | `{spec.name}` | true: {spec.doc} | {SEVERITY[spec.level]} |"


def _method_rows() -> Iterator[str]:
    for node, method in IMPLEMENTED.items():
        kind = METHODS[int(node.Identifier)]
        roles = [role for role, grants in GRANTS.items() if grants.get(kind, Permission(0)) & Permission.CALL]
        yield f"| {method.name} | `i={node.Identifier}` | {', '.join(roles)} |"


DOCUMENTS = """\
Schedules, forecasts, prices and calendars are handed in by `site.SetDocument`; [how to plan](../how-to/plan-by-calendar.md) shows
them. A document has at least one of its columns; `schedule/ess0` is the document of kind `schedule` for `ess0`.
"""


def documents_page() -> str:
    """Kinds of documents, what reads them, limits, and the methods with the roles that may call them."""
    lines = [HEAD, "# Documents and parameters\n", DOCUMENTS, "| name | columns | what it says |", "|---|---|---|"]
    for name, kind in KINDS.items():
        of = " or ".join(f"`{name}/{last}`" for last in kind.of) if kind.of else f"`{name}/<device>`, `{name}/grid`"
        lines.append(f"| {of} | {', '.join(f'`{c}`' for c in kind.columns)} | {kind.doc} |")
    lines.append("| `calendar/<name>` | entries | Events that switch controllers and set their parameters. |\n")
    size = f"{ROWS_MAX} rows of {COLUMNS_MAX} columns, {CONTENT_BYTES_MAX >> 10} KiB of JSON"
    lines.append(f"At most {size}, {DOCUMENTS_MAX} documents.")
    lines.append(f"Calendars are worked out {AHEAD.days} days ahead, with at most {SPANS_MAX} settings in that time.\n")
    lines += ["## Methods\n", "| method | takes | gives | roles |", "|---|---|---|---|"]
    return "\n".join([*lines, *_planning_rows()])


def _planning_rows() -> Iterator[str]:
    for owner, nature in (("site", natures.Site), ("peak0", natures.ControllerStatus)):
        for method in (m for m in nature.methods if m.name in PERMISSIONS):
            kind = PERMISSIONS[method.name]
            roles = [role for role, grants in GRANTS.items() if grants.get(kind, Permission(0)) & Permission.CALL]
            takes, gives = (", ".join(name for name, *_ in rows) for rows in (method.arguments, method.results))
            yield f"| `{owner}.{method.name}` {method.doc} | {takes} | {gives} | {', '.join(roles)} |"


OPCUA_INTRODUCTION = """\
What a client may expect, from the tables that the server itself works from. All of it is checked in the test suite by an
independent client; how to connect is told in [how-to/connect-a-client.md](../how-to/connect-a-client.md), how values are
published in [explanations/process-image.md](../explanations/process-image.md).
"""
OPCUA_REFUSED = """\
QueryFirst, QueryNext, AddNodes, AddReferences, DeleteNodes, DeleteReferences, RegisterServer and RegisterServer2 are refused with
BadServiceUnsupported: the address space follows the site's configuration, and nobody announces servers through this one.
There are no views: a Browse with a ViewId is BadViewIdUnknown. Names and descriptions are English whatever locale is asked for.
"""
EVENT_LIMITS = """\
No node tells what event filters may cost: {limits.EVENT_ITEMS_PER_SESSION_MAX} event items of a session; {filter_max:,} select
clauses and operands of the where clause in one filter (BadTooManyOperations); {limits.EVENT_FILTERS_PER_SESSION_MAX:,} in all
different filters of a session, {limits.EVENT_FILTERS_PER_USER_MAX:,} in those of a user (BadTooManyMonitoredItems). Equal filters
count once.
"""
_SCOPES = {Scope.DISCOVERY: "nothing", Scope.CHANNEL: "a secured channel", Scope.SESSION: "a session"}


def opcua_page() -> str:
    """Profiles, services with their limits, and what ServerCapabilities tells."""
    lines = [HEAD, "# The OPC UA server\n", OPCUA_INTRODUCTION, "## Profiles\n", "| profile | in short |", "|---|---|"]
    lines += [f"| `{uri.removeprefix(PROFILE)}` | {meaning} |" for uri, meaning in PROFILES.items()]
    lines += ["\n## Services\n", "| service | needs | operations in one request | behaviour |", "|---|---|---|---|"]
    lines += [_service_row(request, service) for request, service in SERVICES.items()]
    lines += ["", OPCUA_REFUSED, *_state_machines(), "## Limits\n"]
    lines += ["What a request, session or server may not exceed; each is told under Server.ServerCapabilities and enforced.\n"]
    lines += ["| limit | |", "|---|---|", *(f"| {name.replace('_', '.')} | {value:,} |" for name, (value, _) in LIMITS.items())]
    lines += ["", EVENT_LIMITS.format(limits=limits, filter_max=FILTER_OPERANDS_MAX)]
    return "\n".join(lines)


def _state_machines() -> Iterator[str]:
    """States and transitions of each type of state machines, with their numbers and nodes."""
    yield "## State machines\n"
    yield STATE_MACHINES
    for machine in MACHINES:
        yield f"### {machine.name}\n"
        yield f"{machine.doc} Type `ns=3;i={type_ids()[machine.name]}`.\n"
        yield from ("| state | number | node |", "|---|---|---|")
        yield from (f"| {s.name} | {int(s)} | `{machine.state_id(s).to_string()}` |" for s in machine.states)
        yield from ("", "| transition | number | node | when |", "|---|---|---|---|")
        for source, target in machine.edges:
            number = number_of(int(source), int(target))
            rows = (r for r in machine.table if r.target is target and r.source in (None, source))
            whys = dict.fromkeys(r.why for r in rows)
            node = machine.transition_id(number).to_string()
            yield f"| {source.name} to {target.name} | {number} | `{node}` | {'; '.join(whys)} |"
        yield ""


STATE_MACHINES = """The site (`ns=4;s=site/StateMachine`) and every device that is started and stopped
(`ns=4;s=ess0/StateMachine`) have a state machine of Part 16. `CurrentState/Id` and `LastTransition/Id` are the nodes below,
`Number` their numbers; namespaces 3 and 4 are `urn:unified-ems:types` and the site's own. Each transition is told as a
TransitionEvent of the site or the device, and kept in the history of events. The methods `Start`, `Stop` and `Acknowledge` of a
device need the role Operator, Supervisor or Engineer; `Acknowledge` is refused with BadInvalidState where nothing failed.
"""


def _service_row(request: type, service: Service) -> str:
    does = (inspect.getdoc(service.handler) or "").split("\n\n")[0].replace("\n", " ")
    return f"| {SERVICE_NAMES[request]} | {_SCOPES[service.scope]} | {f'{service.most:,}' if service.most else ''} | {does} |"


PAGES: dict[str, Callable[[], str]] = {
    "natures.md": natures_page,
    "controllers.md": controllers_page,
    "alarms.md": alarms_page,
    "documents.md": documents_page,
    "opcua.md": opcua_page,
    "settings.md": settings_page,
    "safety-requirements.md": lambda: requirements.page(HEAD),
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
