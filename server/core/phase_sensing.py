"""The demand on each phase of a connection: what its meter would show there without the units below.

Like the balance of all phases (balance.py), from measurements of one moment. A three-phase unit is on all phases alike; an
asymmetric one tells each phase by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .balance import Balance, History
from .channel import PHASES
from .gather import Gather
from .image import Image
from .natures import Ess, Meter
from .topology import Topology, Unit, legs_of


class PhaseSensing:
    """Reads the demand on single phases for the groups of a topology that constraints on phases name."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._groups = [g for g in topology.groups if g.index in topology.phased]
        self._parts = [part for unit in topology.units for part in self._measured(unit)]
        self._members = [[self._below(g.index, phase) for phase in range(len(PHASES))] for g in self._groups]
        self._balances = [[Balance() for _ in PHASES] for _ in self._groups]
        self._histories = [[History() for _ in PHASES] for _ in self._parts]
        self._periods = [unit.power_period_s for unit, _, _ in self._parts]
        meters = [topology.layout.by_node[f"{g.alias}/{Meter.ActivePower.name}.{p}"].slot for g in self._groups for p in PHASES]
        self._slots = Gather([slot for _, slot, _ in self._parts] + meters)

    def read(self, image: Image, doubted: Sequence[bool]) -> Mapping[int, list[float | None]]:
        """By tree node: the demand on L1, L2, L3 [W], None where it is not measured. doubted: of each unit, its power is not
        believed."""
        numbers, source = self._slots.read(image), self._slots.source(image)
        count = len(self._parts)
        measured = [n is not None and not doubted[u.index] for n, (u, _, _) in zip(numbers, self._parts, strict=False)]
        for (unit, _, shares), histories, power, moment in zip(
            self._parts, self._histories, numbers[:count], source[:count], strict=True
        ):
            if power is not None:
                for share, history in zip(shares, histories, strict=True):
                    history.push(moment, power * unit.sign * share)
        for i, balances in enumerate(self._balances):
            for phase, balance in enumerate(balances):
                place = count + i * len(PHASES) + phase
                self._update(balance, phase, numbers[place], source[place], [m for m in self._members[i][phase] if measured[m]])
        return {g.index: [b.demand for b in balances] for g, balances in zip(self._groups, self._balances, strict=True)}

    def _update(self, balance: Balance, phase: int, power: float | None, moment: int, members: list[int]) -> None:
        if power is None:
            balance.clear()
        else:
            balance.update(power, moment, tuple(members), [h[phase] for h in self._histories], self._periods)

    def _measured(self, unit: Unit) -> list[tuple[Unit, int, tuple[float, ...]]]:
        """The measured powers of a unit, each with its share on every phase."""
        legs = legs_of(unit)
        if len(legs) == 1:
            return [(unit, unit.power, legs[0].shares)]
        nodes = self._topology.layout.by_node
        found = [nodes.get(f"{unit.alias}/{Ess.ActivePower.name}.{p}") for p in PHASES]
        slots = [c.slot for c in found if c is not None]
        if len(slots) < len(legs):
            return [(unit, unit.power, (1 / len(PHASES),) * len(PHASES))]
        return [(unit, slot, leg.shares) for slot, leg in zip(slots, legs, strict=True)]

    def _below(self, group: int, phase: int) -> list[int]:
        """Measured powers below a group that are on a phase."""
        found = []
        for i, (unit, _, shares) in enumerate(self._parts):
            node = unit.index
            while node >= 0 and node != group:
                node = self._topology.parents[node]
            if node == group and shares[phase]:
                found.append(i)
        return found
