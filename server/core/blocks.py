"""Building blocks of control: each a frozen dataclass of settings with a pure `step(state, input, dt) -> output`.

Where the output is all a block must remember, it is its own state (None before the first step, when the input passes through).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise


def ramped(state: float, target: float, rise: float | None, fall: float | None, dt_s: float) -> float:
    """The target, at most rise·dt above and fall·dt below the state; None for at once."""
    if target > state:
        return target if rise is None else min(target, state + rise * dt_s)
    return target if fall is None else max(target, state - fall * dt_s)


def lagged(state: float | None, value: float, tau_s: float, dt_s: float) -> float:
    """First-order lag (PT1), implicit Euler: y = (x + f·y') / (1 + f), f = tau / dt; stable for every dt."""
    if state is None or tau_s <= 0 or dt_s <= 0:
        return value
    factor = tau_s / dt_s
    return (value + factor * state) / (1 + factor)


def switched_above(state: bool, value: float, on: float, off: float) -> bool:
    """A switch for what is too high: on at and above `on`, else off at and below `off`. Between them it stays."""
    return value >= on or (state and value > off)


def switched_below(state: bool, value: float, on: float, off: float) -> bool:
    """A switch for what is too low: on at and below `on`, else off at and above `off`. Between them it stays."""
    return value <= on or (state and value < off)


def switched(state: bool, value: float, on: float, off: float) -> bool:
    """A switch whose thresholds say what it is for: as `switched_below` where on is below off, else as `switched_above`."""
    return switched_below(state, value, on, off) if on < off else switched_above(state, value, on, off)


def within_hours(hour: float, start: float, end: float) -> bool:
    """A time of day is in start..end, end excluded; over midnight when end is before start; always when both are equal."""
    if start == end:
        return True
    return start <= hour < end if start < end else hour >= start or hour < end


def hours_until(hour: float, target: float) -> float:
    """Hours from a time of day to the next time it is `target`."""
    return (target - hour) % 24


@dataclass(frozen=True, slots=True)
class Ramp:
    """Follow the input with limited slope. rise, fall: fastest change per second, both positive; None for at once."""

    rise: float | None = None
    fall: float | None = None

    def step(self, state: float | None, target: float, dt_s: float) -> float:
        """The output after dt_s, at most rise·dt above and fall·dt below the state."""
        return target if state is None else ramped(state, target, self.rise, self.fall, dt_s)


@dataclass(frozen=True, slots=True)
class Deadband:
    """Keep the output until the input is more than `width` away from it."""

    width: float

    def step(self, state: float | None, value: float) -> float:
        """The input, or the state while the input is near it."""
        return value if state is None or abs(value - state) > self.width else state


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """A switch with two thresholds, see `switched`."""

    on: float
    off: float

    def step(self, state: bool, value: float) -> bool:
        """Whether it is on now."""
        return switched(state, value, self.on, self.off)


@dataclass(frozen=True, slots=True)
class LowPass:
    """First-order lag, see `lagged`."""

    tau_s: float

    def step(self, state: float | None, value: float, dt_s: float) -> float:
        """The filtered input."""
        return lagged(state, value, self.tau_s, dt_s)


@dataclass(frozen=True, slots=True)
class PidState:
    """Memory of a Pid: the integral of the error, and the measurement before (None at first)."""

    integral: float = 0.0
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class Pid:
    """Parallel PID: u = kp·e + ki·∫e dt - kd·d(measured)/dt, limited to low..high.

    The derivative acts on the measurement, so a step of the wanted value does not kick. Anti-windup by conditional integration:
    while the output is at a limit, errors that push further into it are not integrated (Åström, Hägglund, "PID Controllers",
    ISA 1995, section 3.5). As in a digital loop the integral holds the errors before this step.
    """

    kp: float
    ki: float = 0.0
    kd: float = 0.0
    low: float = float("-inf")
    high: float = float("inf")

    def step(self, state: PidState, wanted: float, measured: float, dt_s: float) -> tuple[PidState, float]:
        """The new state and the output."""
        error = min(max(wanted, self.low), self.high) - measured
        slope = 0.0 if state.measured is None or dt_s <= 0 else (measured - state.measured) / dt_s
        raw = self.kp * error + self.ki * state.integral - self.kd * slope
        output = min(max(raw, self.low), self.high)
        winding = (raw > self.high and error > 0) or (raw < self.low and error < 0)
        integral = state.integral if winding else state.integral + error * dt_s
        return PidState(integral, measured), output


@dataclass(frozen=True, slots=True)
class Polyline:
    """A piecewise linear characteristic, flat outside its points. Two points at one x are a step; the right one holds there."""

    points: tuple[tuple[float, float], ...]
    _xs: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        xs = tuple(x for x, _ in self.points)
        if not xs or any(a > b for a, b in pairwise(xs)):
            raise ValueError(f"a polyline needs points with rising x, not {self.points}")
        object.__setattr__(self, "_xs", xs)

    def at(self, x: float) -> float:
        """The value of the characteristic at x."""
        right = bisect_right(self._xs, x)
        if right == 0:
            return self.points[0][1]
        if right == len(self.points):
            return self.points[-1][1]
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
