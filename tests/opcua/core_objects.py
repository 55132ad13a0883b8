"""A site with a storage, a meter and two controllers, one of them foreign, as the control engine knows it."""

from __future__ import annotations

from controllers.foreign_controller import ForeignController
from controllers.peak_shaving import PeakShaving
from server.core.channel import Spec
from server.core.controller import controller_object
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.nature import Nature
from server.core.natures import Device, Ess, ManagedEss, Meter
from server.core.site import SiteSettings, cycle_object, site_object


def control_objects() -> list[ObjectSpec]:
    """site, cycle, peak0, mpc0 (foreign, priority 30), ess0, meter0 at the grid."""
    settings = SiteSettings("site1", "Test site", grid_meter="meter0")
    peak = controller_object(PeakShaving, "peak0", {"grid": "grid", "import_max_w": 8000.0, "recharge_below_w": 5000.0})
    foreign = controller_object(ForeignController, "mpc0", {"priority": 30})
    ess = (Ess.Soc, Ess.ActivePower, ManagedEss.AllowedChargePower, ManagedEss.AllowedDischargePower, ManagedEss.SetActivePower)
    storage, meter = _device("ess0", ManagedEss, ess), _device("meter0", Meter, (Meter.ActivePower,))
    return [site_object(settings), cycle_object(), peak, foreign, storage, meter]


def _device(alias: str, nature: type[Nature], specs: tuple[Spec, ...]) -> ObjectSpec:
    uses = tuple(ChannelUse(spec, period_s=0.05) for spec in (Device.State, *specs))
    return ObjectSpec(alias, DEVICE, "plant", (Device, nature), uses, type_name="Test")
