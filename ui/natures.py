"""What the declared natures say about an object's channels: their order, their group, who may set them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from server.core.channel import Access
from server.core.nature import Nature
from server.core.natures import MeterRole

from .catalogue import words

_TITLES = {
    "Ess": "Storage", "ManagedEss": "Storage", "HybridEss": "Hybrid storage", "MetaEss": "Storage cluster", "Pv": "Solar plant",
    "Evcs": "Charging station", "Bms": "Battery management", "Hvac": "Heating and air", "Device": "Health",
    "StartStoppable": "Start and stop", "DigitalIo": "Digital in and out", "AnalogIo": "Analogue in and out",
}  # fmt: skip
_CARRIERS = {
    "pv": {"Pv", "Wind", "Generator"}, "ess": {"Ess", "ManagedEss", "HybridEss", "MetaEss", "Battery", "Bms"}, "ev": {"Evcs"},
    "grid": {"Meter"}, "load": {"Load", "Hvac", "HeatPump"},
}  # fmt: skip
_METERS: dict[object, str] = {MeterRole.Grid: "grid", MeterRole.Production: "pv"}


def _subclasses(cls: type[Nature]) -> Iterator[type[Nature]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


@cache
def declared() -> dict[str, type[Nature]]:
    """All natures by name."""
    return {nature.__name__: nature for nature in _subclasses(Nature)}


@cache
def names(nature: str) -> dict[str, int]:
    """The channels of a nature, each with its place; empty for a nature unknown here."""
    found = declared().get(nature)
    return {name: place for place, name in enumerate(found.channels())} if found else {}


def title(nature: str) -> str:
    """What a nature is called on a page."""
    return _TITLES.get(nature) or words(nature)


def carrier(natures: Iterable[str], role: object = None) -> str:
    """The energy carrier a device stands for: `pv`, `ess`, `ev`, `grid`, `load`, or empty. role: of a meter (MeterRole)."""
    found = next((name for name, some in _CARRIERS.items() if some & set(natures)), "")
    return _METERS.get(role, "load") if found == "grid" and isinstance(role, int) else found


def is_setpoint(name: str, natures: Iterable[str]) -> bool:
    """Whether a channel is a wish that clients may write."""
    specs = (declared()[n].channels().get(name) for n in natures if n in declared())
    return any(spec is not None and spec.access is Access.PROPOSE for spec in specs)
