"""Controllers: small strategies that propose, with a reason, and decide nothing.

    class PeakShaving(Controller):
        "Hold the import of a grid connection under a limit."

        priority = 10

        class Params(ControllerParams):
            grid: GridRef = param("The connection to protect.")
            import_max_w: Watt = param("Highest import.", low=0)

        params: Params

        def run(self, image: Image, now: Now) -> Iterable[Constraint]:
            yield Bound(self.params.grid.import_power, at_most=self.params.import_max_w, why="...")

A controller sees a frozen image and the time, and returns constraints. What follows from its parameters alone, like the limit
of a contract, it returns from `standing` instead, and is not asked again every cycle. It keeps what it must remember in `State`,
a dataclass that survives restarts; `memory` says what else it survives. It has no clock, no I/O, and knows no other controller:
its steps are rehearsed with a second instance (rehearsal.py), so what a `run` did beyond `self` would be done twice. Each number
of `Params` becomes a node that an engineer may write while the site runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import Enum, IntEnum, auto
from functools import wraps
from math import isfinite, nan
from types import UnionType
from typing import Any, ClassVar, Final, Self, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .blocks import Polyline
from .channel import Access, Spec, channel
from .constraint import Constraint, Node
from .errors import ConfigError, DeclarationError
from .image import Image
from .layout import CONTROL, CONTROLLER, ChannelUse, ObjectSpec
from .nature import Nature
from .natures import ControllerStatus
from .proposal import InForce
from .reference import (
    ActuatorRef,
    ChannelRef,
    EssRef,
    EvcsRef,
    GridRef,
    LoadRef,
    MeterRef,
    PhasedGridRef,
    PvRef,
    Reference,
    TariffRef,
    UnitRef,
)
from .scheduler import PRIORITY_MAX
from .ticks import hour_of_day, local_time
from .topology import Topology

__all__ = [
    "ActuatorRef",
    "ChannelRef",
    "Controller",
    "ControllerOutputs",
    "ControllerParams",
    "EssRef",
    "EvcsRef",
    "GridRef",
    "LoadRef",
    "Memory",
    "MeterRef",
    "Now",
    "PhasedGridRef",
    "PvRef",
    "Reference",
    "TariffRef",
    "UnitRef",
    "controller_object",
    "param",
    "shown",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Wish:
    """A set-point written by hand under the manual override: its node, the value in the node's sign, the user's index."""

    node: Node
    value: float
    user: int


@dataclass(frozen=True, slots=True)
class Now:
    """The moment a cycle is about.

    cycle: its number. monotonic_ns: CLOCK_MONOTONIC of the freeze. time: the same moment, 100 ns since 1601 UTC.
    dt_s: time since the cycle before. override_s: what is left of the manual override, 0 when nobody holds it.
    wishes: the set-points written by hand under that override. proposals: what clients propose, by foreign controller.
    """

    cycle: int
    monotonic_ns: int
    time: int
    dt_s: float
    override_s: float = 0.0
    wishes: tuple[Wish, ...] = ()
    proposals: Mapping[str, InForce] = field(default_factory=dict)


def param(doc: str, *, low: float | None = None, high: float | None = None, above: str = "", default: Any = MISSING) -> Any:
    """Declare a parameter: its documentation, its inclusive range in the unit of its annotation, the parameter that it is greater
    than, its default (none: required)."""
    metadata = {"doc": doc, "low": low, "high": high, "above": above}
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(param,))
class ControllerParams:
    """Base of every controller's parameters. A subclass becomes a frozen dataclass with keyword fields, each made by `param`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)


def shown(doc: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare an output: its documentation, and the range it is expected in. It is unknown until the controller sets it."""
    return field(default=nan, metadata={"doc": doc, "low": low, "high": high})


@dataclass_transform(kw_only_default=True, field_specifiers=(shown,))
class ControllerOutputs:
    """Base of what a controller shows beside its constraints. A subclass becomes a dataclass with fields made by `shown`; each is
    a node that is read only. Set them in `run`; NaN shows as unknown."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(kw_only=True)(cls)


class Memory(Enum):
    """How long a controller's `State` holds. All of it survives a restart that takes no longer than BRIEF_S.

    Brief: no longer than that, and no longer than BRIEF_S while the site does not run; for phases that are about seconds.
    Run: any restart and any stop of the site, until it is disabled: enabled again, it begins anew.
    Lasting: also the time while it is disabled; for limits and counts that switching off and on must not undo.
    """

    Brief = auto()
    Run = auto()
    Lasting = auto()


BRIEF_S: Final = 5.0
"""What is remembered for a moment is too old after this [s]."""


class Controller:
    """Base of all controllers. `priority` orders arbitration, 0-1000, lower first; a configuration may set another.
    `memory`: how long its State holds. `protects`: it runs in every mode of the site, may claim trips, and its State lasts.
    `nature`: its object's, ControllerStatus or more."""

    priority: ClassVar[int] = 100
    memory: ClassVar[Memory] = Memory.Run
    nature: ClassVar[type[Nature]] = ControllerStatus
    protects: ClassVar[bool] = False
    Params: ClassVar[type[ControllerParams]] = ControllerParams
    State: ClassVar[type[Any] | None] = None
    Outputs: ClassVar[type[ControllerOutputs] | None] = None

    params: Any
    state: Any
    out: Any

    def __init__(self, alias: str, params: ControllerParams) -> None:
        self.alias = alias
        self.params = params
        self.zone: tzinfo = UTC
        self.begin()

    def begin(self) -> None:
        """Remember nothing, and show nothing yet."""
        self.state = None if self.State is None else self.State()
        self.out = None if self.Outputs is None else self.Outputs()

    def standing(self) -> Iterable[Constraint]:
        """Constraints that follow from the parameters alone. Asked for once, and again after a parameter changed."""
        return ()

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        """Constraints for this cycle. Called once a cycle while the controller is enabled and the site runs."""
        return ()

    @classmethod
    def bind(cls, alias: str, settings: Mapping[str, Any], topology: Topology) -> Self:
        """Make the controller of a configuration. ConfigError when a value is wrong or a reference leads nowhere."""
        values = validate(cls, alias, settings)
        for name, hint in _hints(cls.Params).items():
            kind = reference_type(hint)
            if kind is not None and values[name] is not None:
                where, found = f"{alias}.{name}", values[name]
                several = tuple(kind.bind(a, topology, where) for a in found) if isinstance(found, tuple) else None
                values[name] = kind.bind(found, topology, where) if several is None else several
        controller = cls(alias, cls.Params(**values))
        controller.zone = _zone(topology.site.timezone)
        return controller

    def local(self, now: Now) -> datetime:
        """The site's local time of a moment."""
        return local_time(now.time, self.zone)

    def hour(self, now: Now) -> float:
        """Local time of day in hours, 0 to 24."""
        return hour_of_day(now.time, self.zone)


RESERVED = ("id", "type", "enabled", "priority")
"""Keys of a `[[controller]]` table that are no parameters."""


Declaring = TypeVar("Declaring", bound=type)
Declared = TypeVar("Declared")


def _once(find: Callable[[Declaring], Declared]) -> Callable[[Declaring], Declared]:
    """Ask once for each class: resolving annotations takes a millisecond, and a client may write thousands of parameters."""
    known: WeakKeyDictionary[Declaring, Declared] = WeakKeyDictionary()

    @wraps(find)
    def ask(cls: Declaring) -> Declared:
        if cls not in known:
            known[cls] = find(cls)
        return known[cls]

    return ask


@_once
def _hints(params: type[ControllerParams]) -> Mapping[str, Any]:
    """Annotation of each field. DeclarationError for a field not made by `param`, so that none goes without documentation."""
    hints = get_type_hints(params, include_extras=True)
    for f in _fields(params):
        if "doc" not in f.metadata:
            raise DeclarationError(f"{params.__qualname__}.{f.name}: declare it with param(...)")
    return {f.name: hints[f.name] for f in _fields(params)}


def _fields(params: type[ControllerParams]) -> tuple[Field[Any], ...]:
    return fields(params) if is_dataclass(params) else ()


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError("site.toml", "site.timezone", f"{name!r} is no IANA time zone: {error}") from error


def reference_type(hint: Any) -> type[Reference] | None:
    """The reference of an annotation `EssRef`, `EssRef | None` or `tuple[EssRef, ...]`; None for a value."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint if issubclass(hint, Reference) else None
    if get_origin(hint) in (UnionType, Union, tuple):
        return next((kind for kind in map(reference_type, get_args(hint)) if kind is not None), None)
    return None


def _is_fixed(hint: Any) -> bool:
    """Set by the configuration only: references and characteristics."""
    return reference_type(hint) is not None or hint is Polyline


def _named(specs: Mapping[str, Spec]) -> dict[str, Spec]:
    return {name: replace(spec, name=name) for name, spec in specs.items()}


@_once
def outputs(cls: type[Controller]) -> Mapping[str, Spec]:
    """The Spec of each output, by name."""
    if cls.Outputs is None:
        return {}
    hints = get_type_hints(cls.Outputs, include_extras=True)
    found = fields(cls.Outputs)  # type: ignore[arg-type]  # a dataclass by its base
    return _named({f.name: channel(hints[f.name], **f.metadata) for f in found})


@_once
def parameters(cls: type[Controller]) -> Mapping[str, Spec]:
    """The Spec of each parameter that is a number, a switch or an enumeration; references are not written at run time."""
    hints = _hints(cls.Params)
    found = [f for f in _fields(cls.Params) if not _is_fixed(hints[f.name])]
    return _named({f.name: channel(hints[f.name], **_said(f), access=Access.PROPOSE, persistent=True) for f in found})


def _said(parameter: Field[Any]) -> dict[str, Any]:
    """What a channel tells of a parameter."""
    return {key: parameter.metadata[key] for key in ("doc", "low", "high")}


def validate(cls: type[Controller], alias: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Checked parameter values by name, references still as aliases. ConfigError names the field and what was expected."""
    known = _hints(cls.Params)
    for name in settings:
        if name not in known and name not in RESERVED:
            names = ", ".join(known) or "it has none"
            raise ConfigError("site.toml", f"{alias}.{name}", f"is no parameter of {cls.__name__} ({names})")
    values: dict[str, Any] = {}
    for f in _fields(cls.Params):
        if f.name in settings:
            values[f.name] = check(cls, alias, f.name, settings[f.name])
        elif f.default is MISSING:
            raise ConfigError("site.toml", f"{alias}.{f.name}", "is missing")
        else:
            values[f.name] = f.default
    check_together(cls, alias, values)
    return values


def check_together(cls: type[Controller], alias: str, values: Mapping[str, Any]) -> None:
    """ConfigError for a value that is not greater than the one it must be greater than. values: all parameters."""
    for f in _fields(cls.Params):
        below = f.metadata["above"]
        if below and values[f.name] <= values[below]:
            problem = f"{values[f.name]:g} is not above {below}, which is {values[below]:g}"
            raise ConfigError("site.toml", f"{alias}.{f.name}", problem)


def check(cls: type[Controller], alias: str, name: str, value: Any) -> Any:
    """One parameter value in its own type. ConfigError `alias.name: -5 is not in 0..100`."""
    where = f"{alias}.{name}"
    hint = _hints(cls.Params)[name]
    if reference_type(hint) is not None:
        return _aliases(where, value) if get_origin(hint) is tuple else _alias(where, value)
    if hint is Polyline:
        return _polyline(where, value)
    kind = (get_args(hint) or (hint,))[0]
    if kind is bool:
        if value in (0, 1):
            return bool(value)
        raise ConfigError("site.toml", where, f"{value!r} is neither true nor false")
    return _number(parameters(cls)[name], kind, where, value)


def _alias(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError("site.toml", where, f"{value!r} is no alias")
    return value


def _aliases(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError("site.toml", where, f"{value!r} is no list of aliases")
    return tuple(_alias(where, alias) for alias in value)


def _polyline(where: str, value: Any) -> Polyline:
    if isinstance(value, Polyline):
        return value
    try:
        return Polyline(tuple((float(x), float(y)) for x, y in value))
    except (TypeError, ValueError) as error:
        raise ConfigError("site.toml", where, f"{value!r} is no list of points [x, y] with rising x") from error


def _number(spec: Spec, kind: type[Any], where: str, value: Any) -> Any:
    if isinstance(value, str) and spec.states is not None and value in spec.states.__members__:
        return spec.states[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ConfigError("site.toml", where, f"{value!r} is not a number")
    if issubclass(kind, IntEnum):
        return _member(kind, where, value)
    if (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high):
        raise ConfigError("site.toml", where, f"{value:g} is not in {_limit(spec.low)}..{_limit(spec.high)}")
    if kind is int and value != int(value):
        raise ConfigError("site.toml", where, f"{value:g} is not a whole number")
    return kind(value)


def _member(kind: type[IntEnum], where: str, value: float) -> IntEnum:
    try:
        return kind(int(value))
    except ValueError:
        names = ", ".join(f"{m.value} {m.name}" for m in kind)
        raise ConfigError("site.toml", where, f"{value:g} is none of {names}") from None


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def controller_object(cls: type[Controller], alias: str, settings: Mapping[str, Any]) -> ObjectSpec:
    """The object of a configured controller: its status, then one channel for each parameter. ConfigError on a wrong setting."""
    validate(cls, alias, settings)
    priority(cls, alias, settings)
    specs = [*cls.nature.channels().values(), *parameters(cls).values(), *outputs(cls).values()]
    doc = (cls.__doc__ or "").strip().split("\n")[0]
    uses = tuple(ChannelUse(spec) for spec in specs)
    return ObjectSpec(alias, CONTROLLER, CONTROL, (cls.nature,), uses, cls.__name__, doc, settings=dict(settings))


def priority(cls: type[Controller], alias: str, settings: Mapping[str, Any]) -> int:
    """The configured priority, or the class's own. ConfigError outside 0..1000."""
    value = settings.get("priority", cls.priority)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX:
        raise ConfigError("site.toml", f"{alias}.priority", f"{value!r} is not in 0..{PRIORITY_MAX}")
    return value
