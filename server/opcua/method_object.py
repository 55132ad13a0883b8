"""An object of the site that has methods and nothing else, as a table: name, arguments, who may call, what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.site import SITE_ALIAS

from .access import WHOLE_SITE, Kind
from .nodes import HAS_COMPONENT, HAS_PROPERTY, HAS_TYPE_DEFINITION, NO_EVENTS, NS_TYPES, NS_UA, Node, Reference
from .properties import ARGUMENTS, Property, property_node, site_id

if TYPE_CHECKING:
    from .call import Implementation, Outputs
    from .server import UaServer
    from .session import Session

_TYPE: Final = ua.VariantType
_IDS: Final = ua.ObjectIds

Run = Callable[["UaServer", "Session", list[Any]], Awaitable[list[ua.Variant]]]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a method of ours."""

    name: str
    doc: str
    kind: ua.VariantType = _TYPE.String
    array: bool = False

    @property
    def declared(self) -> ua.Argument:
        """As clients see it."""
        dimensions = [0] if self.array else []
        rank = 1 if self.array else -1
        return ua.Argument(self.name, ua.NodeId(self.kind.value, NS_UA), rank, dimensions, ua.LocalizedText(self.doc, "en"))

    def variant(self, value: Any) -> ua.Variant:
        """A value of this argument."""
        return ua.Variant(value, self.kind, is_array=self.array)


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what it takes and gives, who sees it, what it does."""

    doc: str
    run: Run
    takes: tuple[Argument, ...] = ()
    gives: tuple[Argument, ...] = ()
    kind: Kind = Kind.SECURITY

    def arguments(self, name: str) -> Sequence[Argument]:
        """Those of the property of this name."""
        return self.takes if name == "InputArguments" else self.gives


@dataclass(frozen=True, slots=True)
class MethodObject:
    """The object `alias` of the site's namespace, with its methods.

    kind: who sees the object itself. tenant: what it tells is of the whole site, unless it is said to be everybody's.
    """

    alias: str
    doc: str
    methods: Mapping[str, Method]
    kind: Kind
    tenant: str = WHOLE_SITE

    def implementations(self) -> dict[ua.NodeId, Implementation]:
        """What is called for each method node."""
        return {site_id(f"{self.alias}/{name}"): _implementation(method) for name, method in self.methods.items()}

    def make(self, identifier: Any) -> Node | None:
        """The node of an identifier of the object and below, or None."""
        if not isinstance(identifier, str):
            return None
        first, _, rest = identifier.partition("/")
        name, _, property_name = rest.partition("/")
        if first != self.alias or (rest and name not in self.methods):
            return None
        node = self._node(name, property_name)
        if node is not None:
            node.tenant = self.tenant
        return node

    def _node(self, name: str, property_name: str) -> Node | None:
        if not name:
            return self._object()
        return self._arguments(name, property_name) if property_name else self._method(name)

    def _object(self) -> Node:
        return Node(
            site_id(self.alias),
            ua.NodeClass.Object,
            ua.QualifiedName(self.alias.capitalize(), NS_TYPES),
            ua.LocalizedText(self.alias.capitalize()),
            ua.LocalizedText(self.doc, "en"),
            references=lambda: (
                Reference(HAS_TYPE_DEFINITION, True, ua.NodeId(_IDS.BaseObjectType, NS_UA)),
                Reference(HAS_COMPONENT, False, site_id(SITE_ALIAS)),
                *(Reference(HAS_COMPONENT, True, site_id(f"{self.alias}/{name}")) for name in self.methods),
            ),
            permissions=self.kind,
            attributes={ua.AttributeIds.EventNotifier: NO_EVENTS},
        )

    def _method(self, name: str) -> Node:
        identifier, method = f"{self.alias}/{name}", self.methods[name]

        def references() -> Iterator[Reference]:
            yield Reference(HAS_COMPONENT, False, site_id(self.alias))
            for property_name in ARGUMENTS:
                if method.arguments(property_name):
                    yield Reference(HAS_PROPERTY, True, site_id(f"{identifier}/{property_name}"))

        return Node(
            site_id(identifier),
            ua.NodeClass.Method,
            ua.QualifiedName(name, NS_TYPES),
            ua.LocalizedText(name),
            ua.LocalizedText(method.doc, "en"),
            references=references,
            permissions=method.kind,
            attributes={ua.AttributeIds.Executable: ua.Variant(True, _TYPE.Boolean)},
        )

    def _arguments(self, name: str, property_name: str) -> Node | None:
        method = self.methods[name]
        declared = [a.declared for a in method.arguments(property_name)] if property_name in ARGUMENTS else []
        if not declared:
            return None
        value = ua.Variant(declared, _TYPE.ExtensionObject)
        found = Property(ua.QualifiedName(property_name, NS_UA), ua.NodeId(_IDS.Argument, NS_UA), value)
        node = property_node(f"{self.alias}/{name}", found)
        node.permissions = method.kind
        return node


def _implementation(method: Method) -> Implementation:
    async def run(server: UaServer, session: Session, _: Node, values: list[Any]) -> Outputs:
        return await method.run(server, session, values)

    return run
