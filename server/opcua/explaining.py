"""Who decided on a set-point, for clients: the object `decisions` of the site.

    decisions.List(At) -> SetPoints, By, Texts, Since                               every set-point, a line each
    decisions.Explain(SetPoint, At) -> Value, By, Why, Text, Since, Who, Kinds, ...   one, with all that was asked

At: a time in the past, or the null time (1601-01-01) for now. Both read the journal as `ems explain` does, so they answer for any
time that it goes back to, a second or two late. They are for users who see the whole site: a decision names what others own. One
answer is made at a time, beside the loop, because the past may take a while to be found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.ask import NOWHERE, Ask, Range
from server.core.ticks import from_datetime, to_datetime
from server.runtime.journaled import Record, decisions_at, ticks
from server.runtime.memory import utc_now

from .access import Kind
from .metadata import Refused
from .method_object import Argument, Method, MethodObject

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

DECISIONS: Final = "decisions"
_CODES: Final = ua.StatusCodes
_TYPE: Final = ua.VariantType
_THREAD: Final = ThreadPoolExecutor(1, "decisions")
"""One: however many ask, a single thread looks."""


async def _found(server: UaServer, session: Session, at: Any) -> dict[str, Record]:
    """The decisions at a time. Refused for a user who does not see the whole site, and where the journal has none."""
    if session.user.scope is not None:
        raise Refused(int(_CODES.BadUserAccessDenied))
    time = from_datetime(at) or utc_now()
    journal = server.settings.directory / "data" / "journal"
    found = await asyncio.get_running_loop().run_in_executor(_THREAD, decisions_at, journal, time)
    if not found:
        raise Refused(int(_CODES.BadNoData))
    return found


async def _list(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    found = await _found(server, session, values[0])
    columns = ([str(record.get(name, "")) for record in found.values()] for name in ("by", "text"))
    return _packed("List", list(found), *columns, [_since(record) for record in found.values()])


async def _explain(server: UaServer, session: Session, values: list[Any]) -> list[ua.Variant]:
    setpoint, at = str(values[0] or ""), values[1]
    channel = server.layout.by_node.get(setpoint.partition("[")[0])
    if channel is None or channel.output < 0:
        raise Refused(int(_CODES.BadNodeIdUnknown))
    record = (await _found(server, session, at)).get(setpoint)
    if record is None:
        raise Refused(int(_CODES.BadNoData))
    asks = _asks(record)
    value = record.get("value")
    return _packed(
        "Explain",
        float(value) if isinstance(value, (int, float)) else nan,
        *(str(record.get(name, "")) for name in ("by", "why", "text")),
        _since(record),
        *([getattr(ask, name) for ask in asks] for name in ("who", "kind", "node", "why")),
        *_columns([ask.asked for ask in asks]),
        *_columns([ask.granted or ask.asked for ask in asks]),
        [ask.limit_words for ask in asks],
        [ask.unit for ask in asks],
    )


def _asks(record: Mapping[str, Any]) -> list[Ask]:
    """What was asked; Refused where the journal was written by another version."""
    try:
        return [Ask.of(told) for told in record.get("asks", [])]
    except (KeyError, TypeError, ValueError):
        raise Refused(int(_CODES.BadDecodingError)) from None


def _columns(ranges: Sequence[Range | None]) -> tuple[list[float], list[float]]:
    """Lower and upper ends; NaN where open, or not known."""
    ends = [r or NOWHERE for r in ranges]
    return [nan if low is None else low for low, _ in ends], [nan if high is None else high for _, high in ends]


def _since(record: Record) -> Any:
    return to_datetime(ticks(str(record["since"])))


_AT: Final = Argument("At", "A time in the past; the null time, 1601-01-01, for now.", _TYPE.DateTime)


def _texts(name: str, doc: str) -> Argument:
    return Argument(name, doc, array=True)


def _numbers(name: str, doc: str) -> Argument:
    return Argument(name, doc, _TYPE.Double, array=True)


METHODS: Final[dict[str, Method]] = {
    "List": Method(
        "Who decided on every set-point at a time.",
        _list,
        (_AT,),
        (
            _texts("SetPoints", "Of every device, by name."),
            _texts("By", "Who holds each where it is; empty where nobody limits it."),
            _texts("Texts", "The decision in words."),
            Argument("Since", "Since when somebody holds each.", _TYPE.DateTime, array=True),
        ),
        Kind.STANDARD,
    ),
    "Explain": Method(
        "Who decided on a set-point at a time, and what everybody asked.",
        _explain,
        (Argument("SetPoint", "Such as ess0/SetActivePower."), _AT),
        (
            Argument("Value", "Of the set-point; NaN where nothing was asserted.", _TYPE.Double),
            Argument("By", "Who holds it where it is; empty where nobody limits it."),
            Argument("Why", "The reason of who holds it."),
            Argument("Text", "The decision in words."),
            Argument("Since", "Since when.", _TYPE.DateTime),
            _texts("Who", "Who asked, in order of arbitration; the columns that follow belong to it."),
            _texts("Kinds", "bound, target, add, reserve or set."),
            _texts("Nodes", "What each is about."),
            _texts("Whys", "Why each was asked."),
            _numbers("AskedLow", "At least; NaN where open, or not measured."),
            _numbers("AskedHigh", "At most."),
            _numbers("GrantedLow", "What was granted of it."),
            _numbers("GrantedHigh", "As GrantedLow."),
            _texts("Limits", "Who allowed no more; empty where all was granted."),
            _texts("Units", "W, var, or empty for what is no power."),
        ),
        Kind.STANDARD,
    ),
}


def _packed(method: str, *values: Any) -> list[ua.Variant]:
    return [a.variant(v) for a, v in zip(METHODS[method].gives, values, strict=True)]


OBJECT: Final = MethodObject(DECISIONS, "Who decided on each set-point, now and in the past.", METHODS, Kind.STANDARD)
