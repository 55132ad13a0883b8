"""What a controller may ask for: bounds, wants, reserves and services, each at a named node, each with its reason.

A `Node` is a power somewhere in the site: what a unit gives or takes (`ess.power`), or what flows through a metered
connection (`grid.import_power`). Values are in the node's own sign: storage and PV positive out, chargers and loads positive in,
connections positive on import. The solver translates all of them into one sign, supply into the site.

A `why` is a text, or a template with its numbers, `("keeps import under {:W}", 8000.0)`. A template is only put into words when
somebody will read it; `{:W}` shows a power ("8 kW"), `{:%}` a percentage, `{:s}` a duration.
"""

from __future__ import annotations

from math import isfinite
from typing import Final, NamedTuple

from .errors import EmsError
from .words import Why, render

ACTIVE: Final = 0
REACTIVE: Final = 1


class ConstraintError(EmsError):
    """A constraint says nothing, contradicts itself, or holds a number that is not finite."""


class Node(NamedTuple):
    """A power that constraints can be about.

    label: what people call it ("ess0", "import"). plane: ACTIVE [W] or REACTIVE [var]. place: its index in the solver's tree.
    sign: +1 where the node's value is supply into the site, -1 where it is consumption or import.
    metered: the value is what a meter shows, so the demand behind the meter counts too. phase: 1 to 3 for one phase, 0 for all.
    dc: the value is what the battery of a hybrid gives, without the PV on its DC side.
    """

    label: str
    plane: int
    place: int
    sign: int
    metered: bool = False
    phase: int = 0
    dc: bool = False


class Calm(NamedTuple):
    """How calmly an answer moves. deadband: smaller changes are not followed [W].
    rise, fall: fastest change of supply [W/s], None for at once. For a bound only its easing is calmed, never its tightening."""

    deadband: float = 0.0
    rise: float | None = None
    fall: float | None = None


def _finite(name: str, value: float) -> None:
    if not isfinite(value):
        raise ConstraintError(f"{name}: {value} is not a finite number")


class _Range:
    """Common shape of Bound and Target: a node and the range its value shall be in."""

    __slots__ = ("calm", "high", "low", "node", "priority", "why")

    def __init__(
        self,
        node: Node,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        equals: float | None = None,
        why: Why = "",
        calm: Calm | None = None,
        priority: int | None = None,
    ) -> None:
        if equals is not None:
            if at_least is not None or at_most is not None:
                raise ConstraintError(f"{node.label}: equals excludes at_least and at_most")
            at_least = at_most = equals
        elif at_least is None and at_most is None:
            raise ConstraintError(f"{node.label}: one of at_least, at_most, equals is needed")
        if at_least is not None and not isfinite(at_least):
            raise ConstraintError(f"{node.label}: {at_least} is not a finite number")
        if at_most is not None and not isfinite(at_most):
            raise ConstraintError(f"{node.label}: {at_most} is not a finite number")
        if at_least is not None and at_most is not None and at_least > at_most:
            raise ConstraintError(f"{node.label}: at_least {at_least:g} is above at_most {at_most:g}")
        self.node = node
        self.low = at_least
        self.high = at_most
        self.why = why
        self.calm = calm
        self.priority = priority

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.node.label}, {self.low}..{self.high}, {render(self.why)!r})"


class Bound(_Range):
    """The node's value must be in the range. Bounds narrow the interval in order of priority; later ones are clamped into it."""

    __slots__ = ()


class Target(_Range):
    """The node's value should be in the range, as far as the bounds leave room. Storage moves for it; PV, chargers and loads
    move only for bounds, and for targets that name them."""

    __slots__ = ()


class Reserve:
    """Keep room at a node for a fast service: the base point stays `up` below the highest and `down` above the lowest [W]."""

    __slots__ = ("down", "node", "priority", "up", "why")

    def __init__(self, node: Node, *, up: float = 0.0, down: float = 0.0, why: Why = "", priority: int | None = None) -> None:
        _finite(node.label, up)
        _finite(node.label, down)
        if up < 0 or down < 0:
            raise ConstraintError(f"{node.label}: a reserve is not negative, up {up:g}, down {down:g}")
        self.node = node
        self.up = up
        self.down = down
        self.why = why
        self.priority = priority


class Add:
    """A service on top of the solved base point, in the node's own sign [W] (droop, fast reserve); may use reserved room."""

    __slots__ = ("node", "priority", "value", "why")

    def __init__(self, node: Node, value: float, *, why: Why = "", priority: int | None = None) -> None:
        _finite(node.label, value)
        self.node = node
        self.value = value
        self.why = why
        self.priority = priority


class Actuator(NamedTuple):
    """A set-point that is no power: a relay, an SG-ready state, a wanted temperature. slot: its place in the image.
    switches: it is on or off."""

    label: str
    slot: int
    low: float
    high: float
    switches: bool = False


class Set:
    """An actuator shall have a value. Nothing is shared here: the first in order of arbitration wins, a hand comes before all."""

    __slots__ = ("actuator", "value", "why")

    def __init__(self, actuator: Actuator, value: float, *, why: Why = "") -> None:
        _finite(actuator.label, value)
        if not actuator.low <= value <= actuator.high:
            raise ConstraintError(f"{actuator.label}: {value:g} is not in {actuator.low:g}..{actuator.high:g}")
        self.actuator = actuator
        self.value = float(value)
        self.why = why


class Setting(NamedTuple):
    """What became of a wish for an actuator. who: the controller. got: the value it has; None where nothing is asserted."""

    who: str
    wish: Set
    got: float | None


class Trip:
    """All outputs of the site shall be safe, outside arbitration, for as long as this is claimed. Only a controller that
    `protects` may claim it: these run in every mode, so that they can end what they began."""

    __slots__ = ("why",)

    def __init__(self, *, why: Why) -> None:
        self.why = why


Weighed = Bound | Target | Reserve | Add
"""What the solver weighs."""

Constraint = Weighed | Set | Trip
