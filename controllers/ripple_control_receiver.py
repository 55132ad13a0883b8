"""Obey the feed-in steps of a ripple control receiver."""

from __future__ import annotations

from collections.abc import Iterable

from server.core.constraint import Bound, Constraint
from server.core.controller import ChannelRef, Controller, ControllerOutputs, ControllerParams, GridRef, Now, param, shown
from server.core.image import Image
from server.core.units import Percent, Watt

STEPS = (0.0, 30.0, 60.0)


class RippleControlReceiver(Controller):
    """Bound the export of a connection to the step that the network operator's relays show.

        relay0 -> 0 %,  relay1 -> 30 %,  relay2 -> 60 %,  none -> 100 %          export <= step · rated_w

    The lowest step that is active counts. A relay that is not known counts as active when `fail_safe`. Source: § 9 EEG 2021
    (technical requirements for feed-in management); steps of the TR "Funkrundsteuerempfänger".
    """

    priority = 10

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        relay0: ChannelRef = param("Relay of 0 %, such as `io0/Input[0]`.")
        relay1: ChannelRef = param("Relay of 30 %.")
        relay2: ChannelRef = param("Relay of 60 %.")
        rated_w: Watt = param("Rated power of all plants.", low=0, high=1e9)
        invert: bool = param("Relays open to ask.", default=False)
        fail_safe: bool = param("A relay that is not known asks.", default=False)

    class Outputs(ControllerOutputs):
        step: Percent = shown("Feed-in that is allowed.", low=0, high=100)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        relays = (p.relay0, p.relay1, p.relay2)
        active = [step for step, relay in zip(STEPS, relays, strict=True) if self._asks(relay.is_on(image))]
        self.out.step = step = min(active, default=100.0)
        if active:
            limit = step / 100 * p.rated_w
            yield Bound(p.grid.import_power, at_least=-limit, why=("the network operator allows {:%} feed-in", step))

    def _asks(self, relay: bool | None) -> bool:
        return self.params.fail_safe if relay is None else relay is not self.params.invert
