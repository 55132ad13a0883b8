"""Obey the network operator's dimming of controllable consumption."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Constraint
from server.core.controller import ChannelRef, Controller, ControllerParams, Now, UnitRef, param
from server.core.image import Image
from server.core.units import Watt


class Limiter14a(Controller):
    """Bound what controllable devices draw from the grid while the control box asks for it.

        contact closed       P_unit <= e,  storage: P >= -e,        e = guaranteed_w · (1 + (n - 1) · g) / n for n units

    The law guarantees 4.2 kW for each device, or for several a sum with a factor of simultaneity, shared here equally. An input
    that is not known counts as open only when `fail_closed` is off. Source: § 14a EnWG and decision BK6-22-300 of the
    Bundesnetzagentur (27 November 2023), annex 1, 4.5.
    """

    priority = 10

    class Params(ControllerParams):
        dim: ChannelRef = param("Contact of the control box, such as `io0/Input[0]`.")
        units: tuple[UnitRef, ...] = param("Chargers, loads and storages under the rule.")
        guaranteed_w: Watt = param("Guaranteed power of one device.", low=0, high=1e6, default=4200.0)
        simultaneity: float = param("Factor g for each further device; 1 guarantees each its own.", low=0.1, high=1, default=1.0)
        invert: bool = param("The contact opens to dim.", default=False)
        fail_closed: bool = param("Dim while the contact is not known.", default=True)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        contact = p.dim.is_on(image)
        dimmed = p.fail_closed if contact is None else contact is not p.invert
        if not dimmed or not p.units:
            return
        each = p.guaranteed_w * (1 + (len(p.units) - 1) * p.simultaneity) / len(p.units)
        why = ("the network operator dims to {:W}", each)
        for unit in p.units:
            yield unit.draw(each, why=why)
