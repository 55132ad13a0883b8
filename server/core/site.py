"""The site as configured, and the objects every site has: the site itself and the control cycle."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import CONTROL, CYCLE, SITE, ChannelUse, ObjectSpec
from .nature import Nature
from .natures import Cycle, Site

SITE_ALIAS = "site"
CYCLE_ALIAS = "cycle"
ENTRY_PREFIX = "entry."
"""What the alias of a configuration entry's own object begins with."""
PROCESS_PREFIX = "process."
"""What the alias of a process of the site begins with."""
GRID_ALIAS = "grid"
"""What controllers call the connection to the public grid, whatever its meter is called."""


@dataclass(frozen=True, slots=True)
class StopInput:
    """A digital input that stops the site. channel: such as `io0/Input[1]`; bad_after_s: Bad for longer counts as pressed."""

    channel: str
    normally_closed: bool = True
    bad_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """What the engine knows of the site.

    cycle_s: period of the control cycle. grid_meter: alias of the meter at the grid connection, "" for none.
    import_max_w, export_max_w: fuse of the connection, both positive; None where nothing is to be protected.
    distribution: how storages share what the site asks of them, a name in `solver.DISTRIBUTIONS`.
    emergency_stops: the digital inputs that stop the site.
    """

    id: str
    name: str
    timezone: str = "UTC"
    cycle_s: float = 0.05
    grid_meter: str = ""
    import_max_w: float | None = None
    export_max_w: float | None = None
    distribution: str = "proportional"
    emergency_stops: tuple[StopInput, ...] = ()


def _uses(nature: type[Nature], period_s: float) -> tuple[ChannelUse, ...]:
    return tuple(ChannelUse(spec, period_s=period_s) for spec in nature.channels().values())


def site_object(settings: SiteSettings) -> ObjectSpec:
    """The site's sums, mode and operator's hand, written by the engine every cycle."""
    properties = {"Name": settings.name, "Id": settings.id, "TimeZone": settings.timezone}
    return ObjectSpec(SITE_ALIAS, SITE, CONTROL, (Site,), _uses(Site, settings.cycle_s), "Site", settings.name, properties)


def cycle_object() -> ObjectSpec:
    """The control cycle's own figures, written by the control process."""
    return ObjectSpec(CYCLE_ALIAS, CYCLE, CONTROL, (Cycle,), _uses(Cycle, 0.0), "Cycle", "How the control cycle runs.")
