"""Power flow of a site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.flow import Flow, autarky, consumption, self_consumption, split


@pytest.mark.parametrize(
    ("grid", "production", "ess", "expected"),
    [
        (3000, 6666, 0, Flow(6666, 0, 0, 3000, 0, 0, 0)),
        (-1000, 5555, 0, Flow(4555, 1000, 0, 0, 0, 0, 0)),
        (0, 5000, -2000, Flow(3000, 0, 2000, 0, 0, 0, 0)),
        (1000, 0, -1000, Flow(0, 0, 0, 0, 1000, 0, 0)),
        (500, 1000, -1000, Flow(500, 0, 500, 0, 500, 0, 0)),
        (-2000, 0, 3000, Flow(0, 0, 0, 0, 0, 1000, 2000)),
        (0, 0, 0, Flow(0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_split(grid, production, ess, expected):
    assert split(grid, production, ess) == expected


@given(st.floats(-1e5, 1e5), st.floats(0, 1e5), st.floats(-1e5, 1e5))
def test_every_source_and_sink_adds_up(grid, production, ess):
    demand = consumption(grid, production, ess)
    flow = split(grid, production, ess)
    if demand < 0:
        return
    assert min(flow) >= -1e-6
    assert flow.production_to_consumption + flow.production_to_grid + flow.production_to_ess == pytest.approx(
        production, abs=1e-6
    )
    assert flow.production_to_consumption + flow.ess_to_consumption + flow.grid_to_consumption == pytest.approx(demand, abs=1e-6)
    assert flow.production_to_ess + flow.grid_to_ess == pytest.approx(max(-ess, 0), abs=1e-6)
    assert flow.ess_to_consumption + flow.ess_to_grid == pytest.approx(max(ess, 0), abs=1e-6)
    assert flow.grid_to_consumption + flow.grid_to_ess - flow.production_to_grid - flow.ess_to_grid == pytest.approx(
        grid, abs=1e-6
    )


@pytest.mark.parametrize(
    ("grid", "production", "ess", "own_use", "independence"),
    [
        (-1000, 4000, 0, 75, 100),
        (1000, 3000, 0, 100, 75),
        (0, 0, 0, None, 100),
        (2000, 0, 0, None, 0),
        (-1000, 3000, -1000, 66.667, 100),
    ],
)
def test_self_consumption_and_autarky(grid, production, ess, own_use, independence):
    flow = split(grid, production, ess)
    assert self_consumption(flow) == (None if own_use is None else pytest.approx(own_use, abs=0.01))
    assert autarky(flow) == pytest.approx(independence)
