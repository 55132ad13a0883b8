"""Hold a storage at a power."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, param
from server.core.units import Watt


class Relation(IntEnum):
    """How the power is meant."""

    Equals = 0
    AtLeast = 1
    AtMost = 2


class FixActivePower(Controller):
    """Want a constant power of a storage, a lowest, or a highest one.

        P = power_w,   P >= power_w   or   P <= power_w          as far as everybody before allows

    Source: commissioning practice; the step test of IEC 62933-2-1:2017, 6.2.1 (rated power), is run like this.
    """

    priority = 100

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("Power, + discharge.", low=-1e9, high=1e9)
        relation: Relation = param("How the power is meant.", default=Relation.Equals)

    params: Params

    def standing(self) -> Iterable[Constraint]:
        p = self.params
        low = None if p.relation is Relation.AtMost else p.power_w
        high = None if p.relation is Relation.AtLeast else p.power_w
        yield Target(p.ess.power, at_least=low, at_most=high, why=("holds {:W} by configuration", p.power_w))
