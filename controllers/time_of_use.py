"""Buy cheap, use dear: charge and hold back by the price."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Calm, Constraint, Target
from server.core.controller import Controller, ControllerOutputs, ControllerParams, EssRef, GridRef, Now, param, shown
from server.core.document import Document
from server.core.image import Image
from server.core.ticks import TICKS
from server.core.units import Hour, Percent, Second, Watt


class PriceMode(IntEnum):
    """What the storage does in a price period."""

    Balancing = 0
    DelayDischarge = 1
    ChargeGrid = 2
    DischargeGrid = 3


class TimeOfUse(Controller):
    """Choose for each price period whether a storage balances, waits, charges from the grid, or feeds in.

        mode of the row that holds now in `schedule/<alias of the storage>`, while fresh, else by price p of `price/buy`:
        p <= least + charge_below · spread, and spread >= losses   ChargeGrid      charge_w of import, and all surplus
        p <  what waits for a dearer hour                          DelayDischarge  P_battery <= 0, surplus is still stored
        else                                                       Balancing       import = 0

    spread: highest less least price in the horizon. Waiting is worth it while the energy that is left would be used up in dearer
    hours. Source: arbitrage of storage under real-time prices, R. Sioshansi et al., Energy Economics 31 (2009),
    doi:10.1016/j.eneco.2008.10.005.
    """

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        grid: GridRef = param("The connection where energy is bought.")
        charge_w: Watt = param("Power of charging from the grid.", low=0, high=1e9, default=3000.0)
        discharge_w: Watt = param("DischargeGrid: power of feeding in.", low=0, high=1e9, default=3000.0)
        import_max_w: Watt = param("Charging keeps import under this.", low=0, high=1e9, default=20000.0)
        charge_below: Percent = param("Charge in this lowest part of the spread.", low=0, high=100, default=20.0)
        wait_below: Percent = param("Do not discharge in this lower part of the spread.", low=0, high=100, default=50.0)
        losses: float = param("Least spread worth a cycle, currency per kWh.", low=0, high=10, default=0.05)
        charge_to: Percent = param("Charge from the grid up to this.", low=0, high=100, default=90.0)
        horizon_h: Hour = param("Prices are compared so far ahead.", low=1, high=48, default=24.0)
        max_age_s: Second = param("An older schedule is not followed.", low=60, high=172800, default=86400.0)
        deadband_w: Watt = param("Balancing: smaller changes are not followed.", low=0, high=1e6, default=50.0)

    @dataclass
    class State:
        """looked_at: row of prices the mode was chosen in [ticks]. mode: a PriceMode."""

        looked_at: int = -1
        mode: int = PriceMode.Balancing

    class Outputs(ControllerOutputs):
        mode: PriceMode = shown("What the storage does in this price period.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p = self.params
        mode = self._mode(image, now)
        soc = p.ess.soc(image)
        if mode is PriceMode.ChargeGrid and soc is not None and soc >= p.charge_to:
            mode = PriceMode.DelayDischarge
        self.out.mode = mode
        if mode is PriceMode.ChargeGrid:
            yield Target(p.grid.import_power, at_most=p.import_max_w, why=("charges with import under {:W}", p.import_max_w))
            yield Target(p.ess.power, at_most=-p.charge_w, why=("energy is cheap: charges {:W}", p.charge_w))
            why = ("energy is cheap: charges {:W} besides the surplus", p.charge_w)
            yield Target(p.grid.import_power, at_least=p.charge_w, why=why)
        elif mode is PriceMode.DischargeGrid:
            yield Target(p.ess.power, at_least=p.discharge_w, why=("energy is dear: gives {:W}", p.discharge_w))
        else:
            if mode is PriceMode.DelayDischarge:
                yield Target(p.ess.dc_power, at_most=0, why="waits for a dearer hour")
            yield Target(p.grid.import_power, equals=0, why="balances import", calm=Calm(p.deadband_w, 5000.0, 20000.0))

    def _mode(self, image: Image, now: Now) -> PriceMode:
        p, state = self.params, self.state
        plan = image.document(f"schedule/{p.ess.alias}")
        planned = None if plan is None or plan.age_s(now.time) > p.max_age_s else plan.at(now.time, "mode")
        if planned is not None and int(planned) in (*map(int, PriceMode),):
            return PriceMode(int(planned))
        prices = image.document("price/buy")
        row = None if prices is None else prices.row(now.time)
        if prices is None or row is None:
            return PriceMode.Balancing
        if state.looked_at != prices.starts[row]:
            state.looked_at = prices.starts[row]
            state.mode = self._by_price(prices, now.time)
        return PriceMode(state.mode)

    def _by_price(self, prices: Document, time: int) -> PriceMode:
        p = self.params
        ahead = [s.value for s in prices.spans(time, time + round(p.horizon_h * 3600 * TICKS), "buy")]
        least, spread = min(ahead), max(ahead) - min(ahead)
        if spread < p.losses:
            return PriceMode.Balancing
        share = 100 * (ahead[0] - least) / spread
        if share <= p.charge_below:
            return PriceMode.ChargeGrid
        return PriceMode.DelayDischarge if share < p.wait_below else PriceMode.Balancing
