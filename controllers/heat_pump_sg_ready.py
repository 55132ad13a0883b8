"""Use a heat pump as a sink of surplus, by its SG-ready inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from server.core.constraint import Constraint
from server.core.controller import (
    ActuatorRef,
    Controller,
    ControllerOutputs,
    ControllerParams,
    EssRef,
    GridRef,
    Now,
    param,
    shown,
)
from server.core.image import Image
from server.core.natures import SgReady
from server.core.units import Percent, Second, Watt


class HeatMode(IntEnum):
    """Who chooses the state."""

    Automatic = 0
    Manual = 1


RELAYS = {SgReady.Lock: (1, 0), SgReady.Regular: (0, 0), SgReady.Recommend: (0, 1), SgReady.ForceOn: (1, 1)}
"""Contacts of the two inputs by state (SG-ready label 1.1)."""


class HeatPumpSgReady(Controller):
    """Choose the SG-ready state of a heat pump by import, surplus and state of charge.

        import > lock_import_w and SoC < lock_soc                    Lock
        surplus > force_surplus_w and SoC >= force_soc               ForceOn
        surplus > recommend_surplus_w                                Recommend
        else                                                         Regular         each for min_s at least

        surplus = export + charge + what the pump takes now          recommend_surplus_w in Recommend, force_surplus_w in ForceOn

    A pump that was told to run takes the surplus for which it was told so, and does not switch itself off by that. Source:
    Bundesverband Wärmepumpe, "SG Ready" regulations for the label, version 1.1.
    """

    priority = 50

    class Params(ControllerParams):
        grid: GridRef = param("The connection.")
        ess: EssRef | None = param("A storage whose charge counts as surplus.", default=None)
        state: ActuatorRef | None = param("The heat pump's state, such as `heat0/SgReady`.", default=None)
        relay0: ActuatorRef | None = param("Relay of the first input, where the pump is wired.", default=None)
        relay1: ActuatorRef | None = param("Relay of the second input.", default=None)
        mode: HeatMode = param("Who chooses the state.", default=HeatMode.Automatic)
        manual: SgReady = param("Manual: the state.", default=SgReady.Regular)
        recommend_surplus_w: Watt = param("Surplus for Recommend.", low=0, high=1e6, default=3000.0)
        force_surplus_w: Watt = param("Surplus for ForceOn.", low=0, high=1e6, default=5000.0)
        force_soc: Percent = param("Least state of charge for ForceOn.", low=0, high=100, default=10.0)
        lock_import_w: Watt = param("Import for Lock; 0 never locks.", low=0, high=1e6, default=5000.0)
        lock_soc: Percent = param("Lock only below this state of charge.", low=0, high=100, default=20.0)
        min_s: Second = param("A state lasts at least so long.", low=0, high=7200, default=60.0)

    @dataclass
    class State:
        """sg: the state. here_s: time in it."""

        sg: int = SgReady.Regular
        here_s: float = 1e9

    class Outputs(ControllerOutputs):
        sg: SgReady = shown("State that the heat pump is told.")

    params: Params
    state: State

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        wanted = p.manual if p.mode is HeatMode.Manual else self._automatic(image)
        state.here_s += now.dt_s
        if wanted != state.sg and (state.here_s >= p.min_s or p.mode is HeatMode.Manual):
            state.sg, state.here_s = wanted, 0.0
        self.out.sg = sg = SgReady(state.sg)
        why = f"the heat pump is told {sg.name}"
        if p.state is not None:
            yield p.state.set(sg, why=why)
        for relay, contact in zip((p.relay0, p.relay1), RELAYS[sg], strict=True):
            if relay is not None:
                yield relay.set(contact, why=why)

    def _automatic(self, image: Image) -> SgReady:
        p = self.params
        power = p.grid.power(image)
        if power is None:
            return SgReady.Regular
        stored, soc = (p.ess.active_power(image) or 0.0, p.ess.soc(image)) if p.ess is not None else (0.0, None)
        surplus = -power - stored + self._taken()
        if p.lock_import_w and power > p.lock_import_w and (soc is None or soc < p.lock_soc):
            return SgReady.Lock
        if surplus > p.force_surplus_w and (soc is None or soc >= p.force_soc):
            return SgReady.ForceOn
        return SgReady.Recommend if surplus > p.recommend_surplus_w else SgReady.Regular

    def _taken(self) -> float:
        """What the pump is believed to take of the surplus in its present state [W]."""
        taken = {SgReady.Recommend: self.params.recommend_surplus_w, SgReady.ForceOn: self.params.force_surplus_w}
        return taken.get(SgReady(self.state.sg), 0.0)
