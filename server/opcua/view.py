"""The View services (Part 4, 5.8): Browse, BrowseNext, TranslateBrowsePathsToNodeIds, RegisterNodes.

A browse result is bounded three ways: by what the client asks for, by REFERENCES_PER_NODE_MAX, and by a budget for the
whole response. What is left of a node waits behind a continuation point of the session: a random token, used once.
Large requests give way to other clients every few milliseconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from . import limits, packed
from .access import Permission, permits
from .metadata import Refused
from .nodes import NULL_ID, Glance, Node, NodeStore, Reference
from .service import Service, ServiceError
from .turns import Turn, Work, in_turns

if TYPE_CHECKING:
    from .server import UaServer
    from .session import Session

REFERENCES_PER_NODE_MAX: Final = 1_000
REFERENCES_PER_RESPONSE_MAX: Final = 10_000
PATH_LENGTH_MAX: Final = 100
PATH_TARGETS_MAX: Final = 1_000

Rights = dict[tuple[str, str], bool]
"""Whether the user may browse nodes of a class and a tenant."""
_DIRECTIONS: Final = {ua.BrowseDirection.Forward: False, ua.BrowseDirection.Inverse: True, ua.BrowseDirection.Both: None}
"""Directions, and which references they leave out: with False the inverse ones."""
_CODES: Final = ua.StatusCodes
_FIELD: Final = ua.BrowseResultMask
_BROWSE_RESPONSE: Final = int(ua.ObjectIds.BrowseResponse_Encoding_DefaultBinary)
_BROWSE_NEXT_RESPONSE: Final = int(ua.ObjectIds.BrowseNextResponse_Encoding_DefaultBinary)
_ALL_CLASSES: Final = 0xFF
_REFERENCE_TYPE: Final = int(_FIELD.ReferenceTypeId)
_IS_FORWARD: Final = int(_FIELD.IsForward)
_OF_TARGET: Final = int(_FIELD.NodeClass | _FIELD.BrowseName | _FIELD.DisplayName | _FIELD.TypeDefinition)
"""Fields that do not depend on the reference."""
_WITH_TYPE: Final = (ua.NodeClass.Object, ua.NodeClass.Variable)


@dataclass(slots=True)
class Rest:
    """What is left of a browsed node behind a continuation point: the next reference and those after it."""

    ahead: list[bytes]
    others: Iterator[bytes | None]
    most: int


# Browse.


def browse(server: UaServer, session: Session, request: ua.BrowseRequest) -> bytes | Coroutine[Any, Any, bytes]:
    """The Browse service. There are no views: a ViewId is BadViewIdUnknown."""
    view = request.Parameters.View
    if view is not None and not view.ViewId.is_null():
        raise ServiceError(_CODES.BadViewIdUnknown)
    return in_turns(_browse(server, session, request))


def _browse(server: UaServer, session: Session, request: ua.BrowseRequest) -> Work[bytes]:
    turn, budget, results = Turn(), REFERENCES_PER_RESPONSE_MAX, []
    rights: Rights = {}
    most = min(request.Parameters.RequestedMaxReferencesPerNode or REFERENCES_PER_NODE_MAX, REFERENCES_PER_NODE_MAX)
    for description in request.Parameters.NodesToBrowse:
        try:
            found = iter(_Browse(server.nodes, session, description, rights))
            result, used = yield from _page(session, Rest([], found, most), budget, turn)
        except Refused as refused:
            result, used = _result(refused.status), 0
        results.append(result)
        budget -= used
    return packed.response(_BROWSE_RESPONSE, request.RequestHeader.RequestHandle, results)


def browse_next(server: UaServer, session: Session, request: ua.BrowseNextRequest) -> bytes | Coroutine[Any, Any, bytes]:
    """The BrowseNext service: goes on, or releases continuation points."""
    return in_turns(_browse_next(session, request))


def _browse_next(session: Session, request: ua.BrowseNextRequest) -> Work[bytes]:
    turn, budget, results = Turn(), REFERENCES_PER_RESPONSE_MAX, []
    for token in request.Parameters.ContinuationPoints:
        rest = session.continuations.get(token)
        if not isinstance(rest, Rest):
            results.append(_result(_CODES.BadContinuationPointInvalid))
            continue
        del session.continuations[token]
        if request.Parameters.ReleaseContinuationPoints:
            results.append(_result(_CODES.Good))
            continue
        result, used = yield from _page(session, rest, budget, turn)
        results.append(result)
        budget -= used
    return packed.response(_BROWSE_NEXT_RESPONSE, request.RequestHeader.RequestHandle, results)


def _result(status: int, token: bytes = b"", references: Sequence[bytes] = ()) -> bytes:
    """An encoded BrowseResult."""
    point = packed.count(len(token)) + token if token else packed.NULL_STRING
    return b"".join((packed.status(status), point, packed.count(len(references)), *references))


def _page(session: Session, rest: Rest, budget: int, turn: Turn) -> Work[tuple[bytes, int]]:
    """The next references of a node, and how many; the others wait behind a new continuation point."""
    room = max(min(rest.most, budget), 0)
    page: list[bytes] = []
    for reference in chain(rest.ahead, rest.others):
        if reference is not None:
            page.append(reference)
        if len(page) > room:
            break
        if turn.over():
            yield
            turn.begin()
    page, left = page[:room], page[room:]
    if not left:
        return _result(_CODES.Good, references=page), len(page)
    kept = sum(isinstance(c, Rest) for c in session.continuations.values())
    if kept >= limits.BROWSE_CONTINUATION_POINTS:
        return _result(_CODES.BadNoContinuationPoints), 0
    token = secrets.token_bytes(16)
    session.continuations[token] = Rest(left, rest.others, rest.most)
    return _result(_CODES.Good, token, page), len(page)


class _Browse:
    """The encoded references of one BrowseDescription, None for each that is not wanted.

    Iterating raises Refused when it asks for what there is not. rights: of the user, by class and tenant, as far as known.
    """

    def __init__(self, nodes: NodeStore, session: Session, description: ua.BrowseDescription, rights: Rights) -> None:
        self._nodes = nodes
        self._user = session.user
        self._wanted = description
        self._rights = rights
        self._mask = int(description.ResultMask)
        self._classes = int(description.NodeClassMask) or _ALL_CLASSES

    def __iter__(self) -> Iterator[bytes | None]:
        wanted = self._wanted
        node = self._nodes.get(wanted.NodeId)
        if node is None or not permits(self._user, node, Permission.BROWSE):
            raise Refused(_CODES.BadNodeIdUnknown)
        if wanted.BrowseDirection not in _DIRECTIONS:
            raise Refused(_CODES.BadBrowseDirectionInvalid)
        is_wanted = reference_filter(self._nodes, wanted.ReferenceTypeId, wanted.IncludeSubtypes)
        skipped = _DIRECTIONS[wanted.BrowseDirection]
        for reference in node.references:
            if reference.forward is skipped or not is_wanted(reference.type):
                yield None
            elif reference.glance is not None and self._mask & _OF_TARGET == _OF_TARGET:
                yield self._glanced(reference, reference.glance, node.tenant)
            else:
                yield self._looked_at(reference)

    def _glanced(self, reference: Reference, glance: Glance, tenant: str) -> bytes | None:
        """A reference whose target need not be made, unless it is the first of its class."""
        if not self._classes & glance.node_class:
            return None
        allowed = self._rights.get((glance.permissions, tenant))
        if allowed is None:
            return self._looked_at(reference)
        return self._lead(reference) + packed.node_id(reference.target) + glance.told if allowed else None

    def _looked_at(self, reference: Reference) -> bytes | None:
        target = self._nodes.get(reference.target)
        if target is None or not self._classes & target.node_class or not self._may_browse(target):
            return None
        return self._lead(reference) + self._described(target)

    def _may_browse(self, target: Node) -> bool:
        key = (target.permissions, target.tenant)
        known = self._rights.get(key)
        if known is None:
            known = self._rights[key] = permits(self._user, target, Permission.BROWSE)
        return known

    def _lead(self, reference: Reference) -> bytes:
        """What a ReferenceDescription tells of the reference itself."""
        kind = packed.node_id(reference.type) if self._mask & _REFERENCE_TYPE else packed.NULL_NODE_ID
        return kind + (b"\x01" if self._mask & _IS_FORWARD and reference.forward else b"\x00")

    def _described(self, target: Node) -> bytes:
        """What it tells of the target, with the fields of the result mask, the others null."""
        if self._mask & _OF_TARGET != _OF_TARGET:
            return _described_in_part(target, self._mask)
        if not target.described:
            told = packed.described(target.browse_name, target.display_name, int(target.node_class), _type_of(target))
            target.described = packed.node_id(target.node_id) + told
        return target.described


def _type_of(node: Node) -> ua.NodeId:
    return node.type_definition if node.node_class in _WITH_TYPE else NULL_ID


def _described_in_part(target: Node, mask: int) -> bytes:
    return b"".join(
        (
            packed.node_id(target.node_id),
            packed.qualified_name(target.browse_name) if mask & _FIELD.BrowseName else packed.NULL_QUALIFIED_NAME,
            packed.localized_text(target.display_name) if mask & _FIELD.DisplayName else packed.NULL_TEXT,
            packed.count(int(target.node_class) if mask & _FIELD.NodeClass else 0),
            packed.node_id(_type_of(target) if mask & _FIELD.TypeDefinition else NULL_ID),
        )
    )


def reference_filter(nodes: NodeStore, wanted: ua.NodeId, with_subtypes: bool) -> Callable[[ua.NodeId], bool]:
    """Whether a reference type is wanted; a null NodeId wants all. Raises Refused when it is no reference type."""
    if wanted.is_null():
        return lambda kind: True
    node = nodes.get(wanted)
    if node is None or node.node_class is not ua.NodeClass.ReferenceType:
        raise Refused(_CODES.BadReferenceTypeIdInvalid)
    accepted = nodes.subtypes(wanted) if with_subtypes else frozenset([wanted])
    return accepted.__contains__


# TranslateBrowsePathsToNodeIds.


def translate(server: UaServer, session: Session, request: ua.TranslateBrowsePathsToNodeIdsRequest) -> Any:
    """The TranslateBrowsePathsToNodeIds service: every distinct node at the end of a path, BadNoMatch when there is none."""
    return in_turns(_translate(server, session, request))


def _translate(
    server: UaServer, session: Session, request: ua.TranslateBrowsePathsToNodeIdsRequest
) -> Work[ua.TranslateBrowsePathsToNodeIdsResponse]:
    response, turn = ua.TranslateBrowsePathsToNodeIdsResponse(), Turn()
    for path in request.Parameters.BrowsePaths:
        result = ua.BrowsePathResult()
        try:
            result.Targets = yield from _follow(server.nodes, session, path, turn)
        except Refused as refused:
            result.StatusCode = ua.StatusCode(refused.status)
        response.Results.append(result)
        if turn.over():
            yield
            turn.begin()
    return response


def _follow(nodes: NodeStore, session: Session, path: ua.BrowsePath, turn: Turn) -> Work[list[ua.BrowsePathTarget]]:
    """The distinct nodes at the end of a path. Raises Refused."""
    elements = path.RelativePath.Elements if path.RelativePath is not None else []
    start = nodes.get(path.StartingNode)
    if start is None or not permits(session.user, start, Permission.BROWSE):
        raise Refused(_CODES.BadNodeIdUnknown)
    if not elements:
        raise Refused(_CODES.BadNothingToDo)
    if len(elements) > PATH_LENGTH_MAX:
        raise Refused(_CODES.BadQueryTooComplex)
    if any(e.TargetName is None or not e.TargetName.Name for e in elements):
        raise Refused(_CODES.BadBrowseNameInvalid)
    here = {start.node_id: start}
    for element in elements:
        here = yield from _step(nodes, session, list(here.values()), element, turn)
    if not here:
        raise Refused(_CODES.BadNoMatch)
    return [ua.BrowsePathTarget(ua.ExpandedNodeId(n.Identifier, n.NamespaceIndex, n.NodeIdType), 0xFFFFFFFF) for n in here]


def _step(
    nodes: NodeStore, session: Session, here: Sequence[Node], element: ua.RelativePathElement, turn: Turn
) -> Work[dict[ua.NodeId, Node]]:
    """The nodes one element further on. What is no reference type leads nowhere (Part 4, 7.30). Raises Refused for too many."""
    found: dict[ua.NodeId, Node] = {}
    try:
        is_wanted = reference_filter(nodes, element.ReferenceTypeId, element.IncludeSubtypes)
    except Refused:
        return found
    for reference in chain.from_iterable(node.references for node in here):
        if turn.over():
            yield
            turn.begin()
        if reference.forward == element.IsInverse or not is_wanted(reference.type):
            continue
        target = nodes.get(reference.target)
        named = target is not None and target.browse_name == element.TargetName
        if target is not None and named and permits(session.user, target, Permission.BROWSE):
            found[target.node_id] = target
            if len(found) > PATH_TARGETS_MAX:
                raise Refused(_CODES.BadTooManyMatches)
    return found


# RegisterNodes.


def register(server: UaServer, session: Session, request: ua.RegisterNodesRequest) -> ua.RegisterNodesResponse:
    """The RegisterNodes service: NodeIds are as fast as any alias, so each one is its own."""
    response = ua.RegisterNodesResponse()
    response.Parameters.RegisteredNodeIds = list(request.Parameters.NodesToRegister)
    return response


def unregister(server: UaServer, session: Session, request: ua.UnregisterNodesRequest) -> ua.UnregisterNodesResponse:
    """The UnregisterNodes service: nothing was kept."""
    return ua.UnregisterNodesResponse()


SERVICES: Final[dict[type, Service]] = {
    ua.BrowseRequest: Service(browse, operations="NodesToBrowse", most=limits.NODES_PER_BROWSE),
    ua.BrowseNextRequest: Service(browse_next, operations="ContinuationPoints", most=limits.NODES_PER_BROWSE),
    ua.TranslateBrowsePathsToNodeIdsRequest: Service(translate, operations="BrowsePaths", most=limits.NODES_PER_TRANSLATE),
    ua.RegisterNodesRequest: Service(register, operations="NodesToRegister", most=limits.NODES_PER_REGISTER),
    ua.UnregisterNodesRequest: Service(unregister, operations="NodesToUnregister", most=limits.NODES_PER_REGISTER),
}
