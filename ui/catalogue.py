"""What the panel looks for in the site's OPC UA model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from server.client import ChannelInfo, Model, ObjectInfo

_PERSON = re.compile(r"\buser \d+\b")
"""Somebody who wrote: the engine knows only the number of the account, which says nothing to a reader."""


_SHORT = {
    "Soc": "SoC", "Soh": "SoH", "Ess": "ESS", "Ev": "EV", "Pv": "PV", "Dc": "DC", "Ac": "AC", "Evcs": "EVCS", "Hvac": "HVAC",
}  # fmt: skip
"""Names of the field that are no words."""


def label(thing: ObjectInfo) -> str:
    """What a person calls the object: its own label or name, a controller's kind, else the name of the node."""
    given = _text(thing, "Label") or _text(thing, "Name")
    return given or words(_text(thing, "ControllerClass")) or thing.name


def kind(thing: ObjectInfo) -> str:
    """What sort of thing it is: model of a device, driver of an entry, else the type's name without `Type`."""
    return _text(thing, "Model") or _text(thing, "Driver") or words(thing.type_name.removesuffix("Type"))


def words(name: str) -> str:
    """`PeakShaving` as `Peak shaving`, `EssSoc` as `ESS SoC`, `Voltage.L1` as `Voltage L1`."""
    first, *rest = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\.", " ", name).split(" ")
    spoken = [_SHORT.get(first, first[:1].upper() + first[1:]), *(_SHORT.get(w, w if w.isupper() else w.lower()) for w in rest)]
    return " ".join(spoken)


def _text(thing: ObjectInfo, name: str) -> str:
    value = thing.properties.get(name)
    return str(getattr(value, "Text", value) or "")


@dataclass(frozen=True)
class Catalogue:
    """The model of the site with the questions the panel asks of it."""

    model: Model

    def __iter__(self) -> Iterator[ObjectInfo]:
        return iter(self.model.objects.values())

    @cached_property
    def channels(self) -> dict[str, ChannelInfo]:
        """All channels by node."""
        return {c.node: c for thing in self for c in thing.channels.values()}

    def called(self, alias: str) -> str:
        """What a person calls the thing of this alias; the alias itself when the site does not have it."""
        thing = self.model.objects.get(alias)
        return label(thing) if thing is not None else alias

    def speak(self, text: str) -> str:
        """A sentence of the engine as a person would say it, with a capital letter."""
        text = self.plain(text)
        return text[:1].upper() + text[1:]

    def plain(self, text: str) -> str:
        """A text of the engine with labels for aliases, words for ≥ and ≤, no numbers for people and typographic minus signs."""
        text = text.replace("≥", "at least").replace("≤", "at most")
        text = _PERSON.sub("an operator", text)
        text = self._aliases.sub(lambda found: label(self.model.objects[found[0]]), text)
        return re.sub(r"(?<![\w-])-(?=\d)", "−", text)

    @cached_property
    def _aliases(self) -> re.Pattern[str]:
        names = sorted((re.escape(t.alias) for t in self if t.kind in ("device", "controller")), key=len, reverse=True)
        return re.compile(rf"(?<![\w/])(?:{'|'.join(names) or '(?!)'})(?![\w/])")

    def known(self, *nodes: str) -> list[str]:
        """Those of `nodes` the site has, each once."""
        return [n for n in dict.fromkeys(nodes) if n in self.channels]

    def named(self, *names: str) -> list[str]:
        """The nodes of all channels called one of `names`."""
        return [c.node for c in self.channels.values() if c.name in names]

    def having(self, *names: str) -> list[ObjectInfo]:
        """The objects that carry all these channels."""
        return [t for t in self if all(n in t.channels for n in names)]

    def carriers(self) -> list[str]:
        """Which of `pv`, `grid`, `ess`, `ev` the energy flow has; the grid is always there."""
        natures = {n for t in self for n in t.natures}
        present = {"pv": natures & {"Pv", "Wind", "Generator"}, "ess": natures & {"Ess", "ManagedEss"}, "ev": natures & {"Evcs"}}
        return [name for name in ("pv", "grid", "ess", "ev") if name == "grid" or present[name]]
