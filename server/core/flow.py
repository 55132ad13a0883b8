"""Power flow of a site: who supplies whom.

Sources are production, grid import and discharging storage; sinks are consumption, grid export and charging storage. What is
produced is used on site first, then stored, then exported; storage covers consumption before it exports; the grid covers what is
left. All six flows are not negative, and each source and each sink adds up, as long as consumption is not negative.
"""

from __future__ import annotations

from typing import NamedTuple


class Flow(NamedTuple):
    """The power-flow split [W]."""

    production_to_consumption: float
    production_to_grid: float
    production_to_ess: float
    grid_to_consumption: float
    grid_to_ess: float
    ess_to_consumption: float
    ess_to_grid: float


def consumption(grid: float, production: float, ess: float) -> float:
    """What the site consumes [W]: grid (+ import) + production + ess (+ discharge), AC sides."""
    return grid + production + ess


def split(grid: float, production: float, ess: float) -> Flow:
    """Split the flows. grid: + import; production >= 0; ess: + discharge, all W, measured at one moment."""
    demand = max(consumption(grid, production, ess), 0.0)
    charge, discharge = max(-ess, 0.0), max(ess, 0.0)
    used = min(production, demand)
    stored = min(production - used, charge)
    covered = min(discharge, demand - used)
    return Flow(
        production_to_consumption=used,
        production_to_grid=production - used - stored,
        production_to_ess=stored,
        grid_to_consumption=demand - used - covered,
        grid_to_ess=charge - stored,
        ess_to_consumption=covered,
        ess_to_grid=discharge - covered,
    )


def self_consumption(flow: Flow) -> float | None:
    """Share of production used or stored on site [%]; None while nothing is produced."""
    produced = flow.production_to_consumption + flow.production_to_ess + flow.production_to_grid
    return None if produced <= 0 else 100 * (produced - flow.production_to_grid) / produced


def autarky(flow: Flow) -> float:
    """Share of consumption not drawn from the grid [%]; 100 while nothing is consumed."""
    consumed = flow.production_to_consumption + flow.ess_to_consumption + flow.grid_to_consumption
    return 100.0 if consumed <= 0 else 100 * (consumed - flow.grid_to_consumption) / consumed
