"""The four protection layers and what each promises; code and tests name these ids, docs/reference maps them to each other.

1. Device limits
    REQ-SAFE-001  No set-point leaves what the device allows now, or is anything but a finite number.
    REQ-SAFE-002  A device whose limits are Bad or missing, or that is in fault, has none to give: zero, with the reason.
    REQ-SAFE-003  A device that is started and stopped has no ability and a safe set-point unless it runs.

2. Software limits
    REQ-SAFE-011  The fuse of the connection is bound before every controller, also when there is none.
    REQ-SAFE-012  Controllers are heard in Run and Island only; in Init and Shutdown no set-point is asserted.
    REQ-SAFE-013  A storage is not discharged below its floor nor charged above its ceiling, whatever comes after.

3. Watchdog
    REQ-SAFE-021  A cycle strokes the watchdog last: after all its outputs were written and had passed these layers.
    REQ-SAFE-022  A set-point is a lease; when it is not renewed, the driver takes the device to its fail-safe value.
    REQ-SAFE-023  A device's own watchdog is armed before the first set-point is written to it.
    REQ-SAFE-024  The service manager's watchdog is fed by cycles of control only.

4. Emergency stop
    REQ-SAFE-031  An emergency stop puts every unit at its safe value in the cycle that hears it, whatever controllers ask or
                  fail at, and stops the devices that can be stopped.
    REQ-SAFE-032  A trip holds until it is reset, also when the engine is restarted meanwhile.
    REQ-SAFE-033  A pressed input stops the site in the cycle that sees it; the stop is not reset while the input is pressed.
    REQ-SAFE-034  An input that is Bad for longer than it may be counts as pressed; one never heard keeps the site in Init.
    REQ-SAFE-035  An emergency stop of a client is taken by the next cycle, whatever else clients write, and how much.

The functions here are the last layer between an answer and a device: each checks what the layers before should have made sure.
"""

from __future__ import annotations

from math import hypot, isfinite

from .constraint import Bound
from .errors import ConfigError
from .site import GRID_ALIAS, SiteSettings
from .solver import Claim
from .topology import Topology
from .trips import SAFE_W

FUSE = "fuse"
"""Who the built-in limits of the connection are claimed by."""
ISLAND = "island"
"""Who claims that an island feeds itself."""


def fuse_claims(topology: Topology) -> list[Claim]:
    """REQ-SAFE-011: the connection's fuse as claims that come before all others. ConfigError when it has limits but no meter."""
    site: SiteSettings = topology.site
    if site.import_max_w is None and site.export_max_w is None:
        return []
    if not site.grid_meter:
        raise ConfigError("site.toml", "grid.meter", "limits need the meter that they protect")
    node = topology.import_node(GRID_ALIAS)
    claims = []
    if site.import_max_w is not None:
        bound = Bound(node, at_most=site.import_max_w, why=("keeps import under {:W}", site.import_max_w))
        claims.append(Claim(FUSE, bound))
    if site.export_max_w is not None:
        bound = Bound(node, at_least=-site.export_max_w, why=("keeps export under {:W}", site.export_max_w))
        claims.append(Claim(FUSE, bound))
    return claims


def island_claims(topology: Topology) -> list[Claim]:
    """What holds in an island before all else: nothing comes from the grid. None for a site without a grid meter."""
    if not topology.site.grid_meter:
        return []
    node = topology.import_node(GRID_ALIAS)
    return [Claim(ISLAND, Bound(node, equals=0.0, why="feeds the island, which has no grid"))]


def within_device(active_w: float, reactive_var: float, low_w: float, high_w: float, apparent_va: float) -> tuple[float, float]:
    """REQ-SAFE-001: a storage's set-points inside its allowed powers and its circle; not finite means the safe value."""
    if not (isfinite(active_w) and isfinite(reactive_var)):
        return SAFE_W, SAFE_W
    active = min(max(active_w, low_w), high_w)
    if reactive_var and hypot(active, reactive_var) > apparent_va:
        room = max(apparent_va**2 - active**2, 0.0) ** 0.5
        reactive_var = min(max(reactive_var, -room), room)
    return active, reactive_var


def within_rating(ceiling_w: float, rated_w: float) -> float:
    """REQ-SAFE-001: a follower's ceiling inside 0..rating; not finite means the safe value."""
    return min(max(ceiling_w, 0.0), rated_w) if isfinite(ceiling_w) else SAFE_W
