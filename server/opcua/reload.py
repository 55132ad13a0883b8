"""The method `Controllers/Reload`: new and changed controllers, asked for by an engineer.

It hands nothing in: what is loaded lies in the files of the site already, where only its owner can write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.layout import CONTROLLER
from server.core.site import SITE_ALIAS
from server.runtime.bus import BusError, request

from .access import WHOLE_SITE, Kind
from .metadata import Refused
from .method_object import Argument
from .nodes import HAS_COMPONENT, HAS_PROPERTY, NS_TYPES, NS_UA, Node, Reference
from .properties import Property, property_node, site_id

if TYPE_CHECKING:
    from .call import Implementation, Outputs
    from .server import UaServer
    from .session import Session

FOLDER: Final = f"{SITE_ALIAS}/{CONTROLLER.capitalize()}s"
NAME: Final = f"{FOLDER}/Reload"
METHOD: Final = site_id(NAME)
WITHIN_S: Final = 60.0
_OUTPUTS: Final = "OutputArguments"
_GIVES: Final = (
    Argument("Loaded", "What is another than before.", array=True),
    Argument("Refused", "What was not loaded, and why; the one before runs on.", array=True),
    Argument("Notes", "What else there is to say.", array=True),
)


async def _reload(server: UaServer, session: Session, target: Node, values: list[Any]) -> Outputs:
    try:
        told = await asyncio.to_thread(request, server.settings.directory, "reload", timeout_s=WITHIN_S)
    except BusError as error:
        raise Refused(int(ua.StatusCodes.BadInvalidState)) from error
    refused = [f"{what}: {why}" for what, why in told["refused"].items()]
    return [a.variant(v) for a, v in zip(_GIVES, (told["loaded"], refused, told["notes"]), strict=True)]


def implementations() -> dict[ua.NodeId, Implementation]:
    """What is called for the method."""
    return {METHOD: _reload}


def make(identifier: Any) -> Node | None:
    """The node of the method or of its outputs, or None."""
    if identifier == NAME:
        return _method()
    return _outputs() if identifier == f"{NAME}/{_OUTPUTS}" else None


def _method() -> Node:
    def references() -> Iterator[Reference]:
        yield Reference(HAS_COMPONENT, False, site_id(FOLDER))
        yield Reference(HAS_PROPERTY, True, site_id(f"{NAME}/{_OUTPUTS}"))

    doc = "Loads new and changed controllers: their files in the site's folder, and its [[controller]] tables."
    node = Node(
        METHOD,
        ua.NodeClass.Method,
        ua.QualifiedName("Reload", NS_TYPES),
        ua.LocalizedText("Reload"),
        ua.LocalizedText(doc, "en"),
        references=references,
        permissions=Kind.CONFIGURE,
        attributes={ua.AttributeIds.Executable: ua.Variant(True, ua.VariantType.Boolean)},
    )
    node.tenant = WHOLE_SITE
    return node


def _outputs() -> Node:
    value = ua.Variant([a.declared for a in _GIVES], ua.VariantType.ExtensionObject)
    found = Property(ua.QualifiedName(_OUTPUTS, NS_UA), ua.NodeId(ua.ObjectIds.Argument, NS_UA), value)
    node = property_node(NAME, found)
    node.permissions, node.tenant = Kind.CONFIGURE, WHOLE_SITE
    return node
