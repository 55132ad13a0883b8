"""What protection against an abnormal grid has in common: elements that time out, a trip, and the return to service.

    beyond a threshold for its clearing time   ->  trip: all outputs are safe
    tripped, grid inside the window of return  ->  wait delay_s without a break, then return
    returned                                   ->  |P| <= rated · t / ramp_s

A controller of this kind says what it measures (`measure`) and which elements watch it (`elements`). IEEE 1547-2018, 4.10 (enter
service) and 6.4, 6.5 (trips); EN 50549-1, 4.9 and 4.10, is of the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from .constraint import Bound, Constraint, Trip
from .controller import Controller, ControllerParams, EssRef, MeterRef, Now, UnitRef, param
from .gridcodes import Element
from .image import Image
from .units import Hertz, Second, Volt


class ProtectionParams(ControllerParams):
    """The window of return; a controller adds its elements."""

    meter: MeterRef = param("Where the grid is measured.")
    units: tuple[UnitRef, ...] = param("Units that ramp up after a return.", default=())
    ess: EssRef | None = param("A storage that may form an island; while it does, nothing trips.", default=None)
    nominal_v: Volt = param("Nominal voltage, phase to neutral.", low=1, high=1e6, default=230.0)
    permit: bool = param("Service is permitted; false trips.", default=True)
    return_low_v: float = param("Return only above this voltage [pu].", low=0, high=1, default=0.917)
    return_high_v: float = param("Return only below this voltage [pu].", low=1, high=2, default=1.05)
    return_low_hz: Hertz = param("Return only above this frequency.", low=0, high=100, default=49.5)
    return_high_hz: Hertz = param("Return only below this frequency.", low=0, high=100, default=50.1)
    delay_s: Second = param("The grid is inside the window for so long before the return.", low=0, high=3600, default=300.0)
    random_s: Second = param("Further delay, a share of this that differs from site to site.", low=0, high=3600, default=0.0)
    ramp_s: Second = param(
        "Power grows to rated over this time after the return; 0 for at once.", low=0, high=3600, default=300.0
    )


@dataclass
class ProtectionState:
    """beyond_s: by element, how long its threshold is exceeded. why: cause of the trip, empty without. waited_s: how long the
    grid is inside the window. ramped_s: time since the return, None when there was none or the ramp is over."""

    beyond_s: list[float] = field(default_factory=list)
    why: str = ""
    waited_s: float = 0.0
    ramped_s: float | None = None


class GridProtection(Controller):
    """Base of protections against an abnormal grid."""

    priority = 1
    protects = True
    Params = ProtectionParams
    State = ProtectionState
    params: ProtectionParams
    state: ProtectionState

    def measure(self, image: Image, now: Now) -> tuple[float, float] | None:
        """Lowest and highest value that the elements watch; None while it is not measured."""
        raise NotImplementedError

    def elements(self) -> Sequence[Element]:
        """What is watched."""
        raise NotImplementedError

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        state = self.state
        if self.params.ess is not None and self.params.ess.islanded(image):
            self.begin()
            return
        cause = self._cause(image, now)
        if cause:
            state.why, state.waited_s = cause, 0.0
        if state.why:
            self._wait(image, now)
        if state.why:
            yield Trip(why=state.why)
        elif state.ramped_s is not None:
            yield from self._ramp(image, now)

    def _cause(self, image: Image, now: Now) -> str:
        """Why to trip now; nothing when there is no reason."""
        if not self.params.permit:
            return "service is not permitted"
        watched, found = self.elements(), self.measure(image, now)
        beyond = self.state.beyond_s
        if len(beyond) != len(watched):
            beyond[:] = [0.0] * len(watched)
        if found is None:
            return ""
        low, high = found
        cause = ""
        for i, element in enumerate(watched):
            beyond[i] = beyond[i] + now.dt_s if element.beyond(low, high) else 0.0
            if beyond[i] >= element.clear_s - 1e-9 and beyond[i] > 0 and not cause:
                value = high if element.over else low
                cause = f"tripped: {value:.4g} is {element.name.split()[0]} {element.threshold:g} for {element.clear_s:g} s"
        return cause

    def _wait(self, image: Image, now: Now) -> None:
        """Let the time run while the grid is inside the window of return, and return."""
        p, state = self.params, self.state
        volts, hertz = p.meter.phase_voltages(image), p.meter.frequency(image)
        inside = bool(volts) and p.return_low_v * p.nominal_v <= min(volts) and max(volts) <= p.return_high_v * p.nominal_v
        inside = inside and (hertz is None or p.return_low_hz <= hertz <= p.return_high_hz) and p.permit
        state.waited_s = state.waited_s + now.dt_s if inside else 0.0
        share = crc32(self.alias.encode()) / 2**32
        if inside and state.waited_s >= p.delay_s + share * p.random_s:
            state.why, state.waited_s, state.ramped_s = "", 0.0, 0.0

    def _ramp(self, image: Image, now: Now) -> Iterable[Constraint]:
        p, state = self.params, self.state
        state.ramped_s = (state.ramped_s or 0.0) + now.dt_s
        if state.ramped_s >= p.ramp_s:
            state.ramped_s = None
            return
        for unit in p.units:
            limit = (unit.rating(image) or 0.0) * state.ramped_s / p.ramp_s
            low = -limit if unit.unit.is_storage else None
            yield Bound(unit.power, at_least=low, at_most=limit, why=("ramps up to {:W} after a trip", limit))
