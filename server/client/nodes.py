"""Names of nodes: `ess0/ActivePower` in the instance namespace, or any NodeId in OPC UA's notation."""

from __future__ import annotations

import re
from typing import Final

from asyncua import ua

from .errors import ClientError

INSTANCES: Final = 4
"""Index of the namespace that holds the site's objects; fixed for ever."""

_NOTATION: Final = re.compile(r"(ns=\d+;)?[isgb]=")


def node_id(node: str) -> ua.NodeId:
    """The NodeId of a node's name. ClientError (BadNodeIdInvalid) on a malformed one."""
    if not _NOTATION.match(node):
        return ua.NodeId(node, INSTANCES, ua.NodeIdType.String)
    try:
        return ua.NodeId.from_string(node)
    except (ua.UaError, ValueError) as error:
        raise ClientError("BadNodeIdInvalid", f"{node!r} is no NodeId") from error


def node_name(node: ua.NodeId) -> str:
    """The name of a node, the inverse of `node_id`."""
    if node.NamespaceIndex == INSTANCES and isinstance(node.Identifier, str):
        return node.Identifier
    return str(ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType).to_string())
