"""Natures: what a device can do, as classes whose attributes are channels.

    class Ess(Nature):
        "An energy storage system seen from its AC side."
        Soc = channel(Percent, "State of charge.", low=0, high=100)

`Ess.Soc` is then the `Spec` itself, and `Ess.channels()` lists all of them, inherited ones first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .channel import PHASES, Spec
from .units import Unit


@dataclass(frozen=True, slots=True)
class Method:
    """A method of an object: name, one line, what it takes and what it gives.

    Each argument is (name, kind, doc). kind: the unit of a number, None for a number without one, or a type such as `list[str]`.
    """

    name: str
    doc: str
    arguments: tuple[tuple[str, Unit | type | None, str], ...] = ()
    results: tuple[tuple[str, Unit | type | None, str], ...] = ()


class Nature:
    """Base of all natures. Subclasses declare channels; they are never instantiated."""

    declared: ClassVar[dict[str, Spec]] = {}
    _channels: ClassVar[dict[str, Spec]] = {}
    methods: ClassVar[tuple[Method, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.declared = {}
        for name, value in list(vars(cls).items()):
            if isinstance(value, Spec):
                cls.declared[name] = replace(value, name=name)
                setattr(cls, name, cls.declared[name])
        cls._channels = cls._collect()

    @classmethod
    def channels(cls) -> dict[str, Spec]:
        """All channels by name, those of base natures first, phase variants included after their sum."""
        return dict(cls._channels)

    @classmethod
    def _collect(cls) -> dict[str, Spec]:
        found: dict[str, Spec] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Nature):
                for name, spec in base.declared.items():
                    found[name] = spec
                    if spec.per_phase:
                        found |= {f"{name}.{p}": replace(spec, name=f"{name}.{p}", per_phase=False) for p in PHASES}
        return found
