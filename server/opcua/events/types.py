"""The event types of the address space, and which fields each of them declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from asyncua import ua

from ..nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_SUBTYPE, NS_UA, Node, NodeStore
from .event import Path

if TYPE_CHECKING:
    from .filter import EventFilter

_IDS: Final = ua.ObjectIds
BASE_EVENT_TYPE: Final = ua.NodeId(_IDS.BaseEventType, NS_UA)
CONDITION_TYPE: Final = ua.NodeId(_IDS.ConditionType, NS_UA)
_MEMBERS: Final = (HAS_PROPERTY, HAS_COMPONENT)
_DEPTH_MAX: Final = 4


class EventTypes:
    """What there is to know about event types. Everything is looked up once.

    filters: the compiled ones that are in use, by their keys.
    """

    def __init__(self, nodes: NodeStore) -> None:
        self._nodes = nodes
        self.filters: WeakValueDictionary[bytes, EventFilter] = WeakValueDictionary()
        self._members: dict[ua.NodeId, dict[Path, Node]] = {}
        self._paths: frozenset[Path] | None = None

    def is_event_type(self, type_id: ua.NodeId) -> bool:
        """True for BaseEventType and its subtypes."""
        return type_id in self._nodes.subtypes(BASE_EVENT_TYPE)

    def is_a(self, type_id: ua.NodeId, of: ua.NodeId) -> bool:
        """True when the type is `of` or derives from it."""
        return type_id in self._nodes.subtypes(of)

    def members(self, type_id: ua.NodeId) -> dict[Path, Node]:
        """All members that a type and its bases declare, by path; a subtype's declaration overrides."""
        found = self._members.get(type_id)
        if found is None:
            found = {}
            for base in reversed(list(self._lineage(type_id))):
                found |= dict(self._below(base, ()))
            self._members[type_id] = found
        return found

    def known_paths(self) -> frozenset[Path]:
        """Every path that some event type declares."""
        if self._paths is None:
            types = self._nodes.subtypes(BASE_EVENT_TYPE)
            own = (path for t in types if (node := self._nodes.get(t)) is not None for path, _ in self._below(node, ()))
            self._paths = frozenset(own)
        return self._paths

    def _lineage(self, type_id: ua.NodeId) -> Iterator[Node]:
        node = self._nodes.get(type_id)
        while node is not None:
            yield node
            bases = node.targets(HAS_SUBTYPE, forward=False)
            node = self._nodes.get(bases[0]) if bases else None

    def _below(self, node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
        """Instance declarations below a node; those of the type of a member are declared again below it (Part 3, 6.2)."""
        if len(path) >= _DEPTH_MAX:
            return
        for kind in _MEMBERS:
            for target in node.targets(kind):
                member = self._nodes.get(target)
                if member is not None and member.browse_name.Name is not None:
                    here = (*path, member.browse_name.Name)
                    yield here, member
                    yield from self._below(member, here)
