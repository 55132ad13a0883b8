"""A small site in shared memory for tests: a battery with set-points, a meter that is polled, a message that is pushed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from server.core.channel import channel
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.nature import Nature
from server.core.natures import ManagedEss, Meter
from server.core.site import SiteSettings, cycle_object, site_object
from server.runtime.memory import SharedImage

PERIOD_S = 1.0
SITE = SiteSettings("test", "Test site", cycle_s=0.02)


class Speaking(Nature):
    """Something that says words."""

    Message = channel(str, "What it says.")


def make_layout(*further: ObjectSpec) -> Layout:
    """Owners control, supervisor, `battery` (two outputs), `meters` (polled every PERIOD_S, and a pushed text), and `further`."""
    battery = (ManagedEss.ActivePower, ManagedEss.Soc, ManagedEss.SetActivePower, ManagedEss.SetReactivePower)
    uses = tuple(ChannelUse(spec) for spec in battery)
    polled = tuple(ChannelUse(spec, period_s=PERIOD_S) for spec in (Meter.ActivePower, Meter.Voltage))
    words = ChannelUse(Speaking.Message)
    return build_layout(
        [
            site_object(SITE),
            cycle_object(),
            ObjectSpec("ess0", DEVICE, "battery", (ManagedEss,), uses),
            ObjectSpec("meter0", DEVICE, "meters", (Meter, Speaking), (*polled, words)),
            *further,
        ]
    )


@dataclass
class ImageSite:
    """The supervisor's image and those of the other roles, all in this process."""

    layout: Layout
    image: SharedImage

    def attach(self, role: str) -> SharedImage:
        """The image as another role sees it."""
        return SharedImage.attach(self.layout, self.image.handles(role), role)

    def slot(self, node: str) -> int:
        """Slot of a channel."""
        return self.layout.by_node[node].slot


@contextlib.contextmanager
def image_site(*further: ObjectSpec) -> Iterator[ImageSite]:
    """A site for the length of a test."""
    layout = make_layout(*further)
    image = SharedImage.create(layout)
    try:
        yield ImageSite(layout, image)
    finally:
        image.close()
