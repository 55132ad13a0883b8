"""Methods that hand in documents, and set several parameters at once.

    site.SetDocument(Name, ExpectedRevision, Content) -> Revision, Refusals        site.RemoveDocument(Name) -> Refusals
    site.GetDocument(Name) -> Revision, Content                                    site.ListDocuments() -> ...
    <controller>.SetParameters(Names, Values) -> Refusals                          site.SetParameters(Names, Values) -> Refusals

A document goes to the supervisor, which checks, numbers and keeps it; the answer comes when it is on the disk. Parameters are
checked here, and go to control together; the answer comes when they show. What is refused changes nothing: a Bad status, and
Refusals say where, what, and what was expected; of parameters the first few, and how many more there are. All of it is audited,
parameters with their values before and after.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.document import CONTENT_BYTES_MAX
from server.core.errors import ConfigError
from server.core.layout import CONTROLLER, SITE, ObjectSpec
from server.core.natures import ControllerStatus, Site
from server.core.setting import check_settings
from server.core.ticks import to_datetime
from server.runtime.bus import BusError, NotRunning, request

from .access import Kind, Permission, granted
from .metadata import Refused
from .vocabulary import argument_form

if TYPE_CHECKING:
    from .call import Outputs
    from .server import UaServer
    from .session import Session

_CODES: Final = ua.StatusCodes
_CALENDAR: Final = "calendar/"
_PARAMETERS_MAX: Final = 256
_REFUSALS_TOLD: Final = 16
_REFUSAL_LENGTH_MAX: Final = 1_000
_BUS_WITHIN_S: Final = 15.0
_REFUSALS: Final[Mapping[str, int]] = {
    "content": _CODES.BadInvalidArgument,
    "name": _CODES.BadInvalidArgument,
    "revision": _CODES.BadInvalidState,
    "unknown": _CODES.BadNotFound,
    "full": _CODES.BadResourceUnavailable,
}
PERMISSIONS: Final[Mapping[str, Kind]] = {
    "SetParameters": Kind.CONFIGURE,
    "SetDocument": Kind.PLAN,
    "RemoveDocument": Kind.PLAN,
    "GetDocument": Kind.STANDARD,
    "ListDocuments": Kind.STANDARD,
}
"""Who may call which method; a calendar switches controllers, and is handed in only by who may configure them."""

Method = Callable[["UaServer", "Session", ObjectSpec, list[Any]], Awaitable["Outputs"]]


def _outputs(kind: type[Site] | type[ControllerStatus], method: str, *values: Any) -> Outputs:
    """Values as the declaration of a method types them."""
    declared = next(m for m in kind.methods if m.name == method).results
    forms = [argument_form(kind_of) for _, kind_of, _ in declared]
    return [ua.Variant(v, ua.VariantType(form), is_array=is_array) for v, (form, is_array) in zip(values, forms, strict=True)]


# Parameters.


async def _set_parameters(server: UaServer, session: Session, obj: ObjectSpec, values: list[Any]) -> Outputs:
    names, numbers = (list(column or []) for column in values)
    wanted, refusals = _checked(server, obj, names, numbers)
    before = {node: server.frame.get(server.layout.by_node[node].slot) for node in wanted}
    audit = partial(server.audit, "set-parameters", session=session, object=obj.alias)
    kind = Site if obj.kind == SITE else ControllerStatus
    if refusals:
        refusals = _told(refusals)
        audit(values=dict(zip(names, numbers, strict=False)), status="BadInvalidArgument", refusals=refusals)
        raise Refused(_CODES.BadInvalidArgument, _outputs(kind, "SetParameters", refusals))
    slots = {server.layout.by_node[node].slot: value for node, value in wanted.items()}
    taken = server.inbox.put_together(slots, session.user.index)
    changes = {node: [before[node], value] for node, value in wanted.items()}
    audit(changes=changes, status="Good" if taken else "BadResourceUnavailable")
    if not taken:
        raise Refused(_CODES.BadResourceUnavailable)
    return _outputs(kind, "SetParameters", [])


def _told(refusals: Sequence[str]) -> list[str]:
    """The first refusals, in bounds, and how many more there are."""
    told = [text[:_REFUSAL_LENGTH_MAX] for text in refusals[:_REFUSALS_TOLD]]
    more = len(refusals) - len(told)
    return [*told, f"and {more} more"] if more else told


def _checked(
    server: UaServer, obj: ObjectSpec, names: Sequence[str | None], numbers: Sequence[float]
) -> tuple[dict[str, float], list[str]]:
    """Values by node, and what is wrong with them."""
    if len(names) != len(numbers) or not 0 < len(names) <= _PARAMETERS_MAX:
        return {}, [f"{len(names)} names and {len(numbers)} values; 1 to {_PARAMETERS_MAX} of each are expected"]
    if twice := [str(name) for name, count in Counter(names).items() if count > 1]:
        return {}, [f"{name}: is named more than once" for name in twice]
    found: dict[str, float] = {}
    refusals = []
    for name, number in zip(names, numbers, strict=True):
        alias, _, own = (name or "").rpartition("/") if obj.kind == SITE else (obj.alias, "", name or "")
        try:
            found[f"{alias}/{own}"] = check_settings(server.layout, alias, {own: number}, obj.alias)[own]
        except ConfigError as error:
            refusals.append(f"{error.field}: {error.problem}")
    return found, refusals


# Documents.


async def _ask(server: UaServer, op: str, **arguments: Any) -> dict[str, Any]:
    """Ask the supervisor. Refused when it is not there."""
    work = partial(request, server.settings.directory, op, timeout_s=_BUS_WITHIN_S, **arguments)
    try:
        return await server.identification.in_thread(work)
    except NotRunning as error:
        raise Refused(_CODES.BadNotConnected) from error
    except BusError as error:
        raise Refused(_CODES.BadResourceUnavailable) from error


async def _set_document(server: UaServer, session: Session, _: ObjectSpec, values: list[Any]) -> Outputs:
    name, expected, content = values[0] or "", values[1], values[2] or ""
    _check_calendar(session, name)
    audit = partial(server.audit, "set-document", session=session, name=name[:100], sha256=_digest(content))
    if len(content) > CONTENT_BYTES_MAX:
        answer = {"refused": "content", "text": f"the content is longer than {CONTENT_BYTES_MAX} bytes"}
    else:
        answer = await _ask(server, "set_document", name=name, expected=expected, content=content, user=session.user.name)
    if "refused" in answer:
        refusals = str(answer["text"]).split("\n")
        audit(status=ua.StatusCode(_REFUSALS[answer["refused"]]).name, refusals=refusals)
        raise Refused(_REFUSALS[answer["refused"]], _outputs(Site, "SetDocument", 0, refusals))
    audit(status="Good", revision=answer["revision"])
    server.remote.documents += 1
    return _outputs(Site, "SetDocument", answer["revision"], [])


async def _remove_document(server: UaServer, session: Session, _: ObjectSpec, values: list[Any]) -> Outputs:
    name = values[0] or ""
    _check_calendar(session, name)
    answer = await _ask(server, "remove_document", name=name, user=session.user.name)
    if "refused" in answer:
        raise Refused(_REFUSALS[answer["refused"]], _outputs(Site, "RemoveDocument", [answer["text"]]))
    server.remote.documents += 1
    return _outputs(Site, "RemoveDocument", [])


async def _get_document(server: UaServer, session: Session, _: ObjectSpec, values: list[Any]) -> Outputs:
    answer = await _ask(server, "document", name=values[0] or "")
    if "refused" in answer:
        raise Refused(_REFUSALS[answer["refused"]])
    return _outputs(Site, "GetDocument", answer["revision"], json.dumps(answer["content"], ensure_ascii=False))


async def _list_documents(server: UaServer, session: Session, _: ObjectSpec, values: list[Any]) -> Outputs:
    rows = (await _ask(server, "documents"))["documents"]
    columns = [[row[name] for row in rows] for name in ("name", "revision", "user")]
    times = [[_stamp(row[name]) for row in rows] for name in ("arrived", "end")]
    return _outputs(Site, "ListDocuments", *columns, *times)


def _check_calendar(session: Session, name: str) -> None:
    if name.startswith(_CALENDAR) and not granted(session.user.roles, Kind.CONFIGURE) & Permission.CALL:
        raise Refused(_CODES.BadUserAccessDenied)


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode(errors="replace")).hexdigest()


def _stamp(ticks: int) -> str:
    moment: datetime | None = to_datetime(ticks)
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


METHODS: Final[Mapping[tuple[str, str], Method]] = {
    (CONTROLLER, "SetParameters"): _set_parameters,
    (SITE, "SetParameters"): _set_parameters,
    (SITE, "SetDocument"): _set_document,
    (SITE, "RemoveDocument"): _remove_document,
    (SITE, "GetDocument"): _get_document,
    (SITE, "ListDocuments"): _list_documents,
}
"""By kind of object and name of method."""
