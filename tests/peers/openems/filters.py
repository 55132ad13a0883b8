"""Building blocks: PID, first-order lag, ramp, characteristic."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case, number
from .family import Answer, Family
from .world import CYCLE_S

from server.core.blocks import LowPass, Pid, PidState, Polyline, Ramp  # isort: skip


def pid(case: Case) -> Iterator[Answer]:
    """A PID that is stepped once a cycle."""
    state, gains = PidState(), case.config
    for step in case.steps:
        limits = step.inputs["lowLimit"], step.inputs["highLimit"]
        block = Pid(gains["p"], gains["i"], gains["d"], *limits)
        state, output = block.step(state, step.inputs["target"], step.inputs["input"], CYCLE_S)
        yield {"output": output}


def pt1(case: Case) -> Iterator[Answer]:
    """A first-order lag."""
    state, before = None, 0.0
    block = LowPass(case.config["timeConstant_ms"] / 1000)
    for step in case.steps:
        state, before = block.step(state, step.inputs["target"], step.t_s - before), step.t_s
        yield {"output": state}


def ramp(case: Case) -> Iterator[Answer]:
    """A ramp by so much each call."""
    state: float | None = None
    block = Ramp(case.config["maxChangePerCall"], case.config["maxChangePerCall"])
    for step in case.steps:
        target = step.inputs["target"]
        if target is None:
            yield {"output": None}
            continue
        state = block.step(state, target, 1.0)
        yield {"output": state}


def polyline(case: Case) -> Iterator[Answer]:
    """A characteristic."""
    curve = Polyline(tuple((number(x), float(y)) for x, y in case.fixture(case.config["points"])))
    for step in case.steps:
        yield {"y": curve.at(number(step.inputs["x"]))}


FAMILIES = {
    "filter.PID": Family(pid),
    "filter.PT1": Family(pt1),
    "filter.Ramp": Family(ramp),
    "util.PolyLine": Family(polyline),
}
