"""Browse, BrowseNext, TranslateBrowsePathsToNodeIds and RegisterNodes, called as the dispatcher calls them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from opcua_model import Server, Session, at, session, site_layout

from server.opcua import limits, view
from server.opcua.service import ServiceError

HIERARCHICAL, ORGANIZES, HAS_COMPONENT, HAS_PROPERTY = (ua.NodeId(n, 0) for n in (33, 35, 47, 46))
FORWARD, INVERSE, BOTH = ua.BrowseDirection.Forward, ua.BrowseDirection.Inverse, ua.BrowseDirection.Both
EVERYTHING = 63
ALL_OF_SOC = ["AnalogUnitRangeType", "ess0", "EURange", "EngineeringUnits", "HA Configuration"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("site"), site_layout())


@pytest.fixture
def observer() -> Session:
    return session("Observer")


def wanted(node: str, **fields: Any) -> ua.BrowseDescription:
    defaults: dict[str, Any] = {
        "NodeId": at(node),
        "BrowseDirection": FORWARD,
        "ReferenceTypeId": HIERARCHICAL,
        "IncludeSubtypes": True,
        "NodeClassMask": 0,
        "ResultMask": EVERYTHING,
    }
    return ua.BrowseDescription(**(defaults | fields))


async def browse(server: Server, who: Session, *descriptions: ua.BrowseDescription, most: int = 0) -> list[ua.BrowseResult]:
    request = ua.BrowseRequest()
    request.RequestHeader.RequestHandle = 17
    request.Parameters.NodesToBrowse = list(descriptions)
    request.Parameters.RequestedMaxReferencesPerNode = most
    return decoded(ua.BrowseResponse, await answer(view.browse(server, who, request)))  # type: ignore[arg-type]


async def browse_next(server: Server, who: Session, *points: bytes, release: bool = False) -> list[ua.BrowseResult]:
    request = ua.BrowseNextRequest()
    request.RequestHeader.RequestHandle = 17
    request.Parameters.ContinuationPoints = list(points)
    request.Parameters.ReleaseContinuationPoints = release
    return decoded(ua.BrowseNextResponse, await answer(view.browse_next(server, who, request)))  # type: ignore[arg-type]


async def answer(result: Any) -> Any:
    """What the dispatcher makes of a handler's result."""
    return await result if inspect.iscoroutine(result) else result


def decoded(kind: type, body: bytes) -> list[ua.BrowseResult]:
    """The results of a packed response, which must be what asyncua's decoder reads from the last byte to the first."""
    buffer = Buffer(body)
    response = struct_from_binary(kind, buffer)
    assert len(buffer) == 0
    assert response.ResponseHeader.RequestHandle == 17
    return list(response.Results if kind is ua.BrowseResponse else response.Parameters.Results)


def names(result: ua.BrowseResult) -> list[str]:
    return [r.BrowseName.Name for r in result.References]


async def test_a_reference_is_described_whole(server: Server, observer: Session) -> None:
    (result,) = await browse(server, observer, wanted("ess0/Soc", ReferenceTypeId=HAS_PROPERTY))
    first = result.References[0]
    assert first.NodeId == at("ess0/Soc/EURange")
    assert (first.ReferenceTypeId, first.IsForward, first.NodeClass) == (HAS_PROPERTY, True, ua.NodeClass.Variable)
    assert (first.BrowseName, first.DisplayName) == (ua.QualifiedName("EURange", 0), ua.LocalizedText("EURange"))
    assert first.TypeDefinition == ua.NodeId(68, 0)


@pytest.mark.parametrize(
    ("mask", "field", "blank"),
    [
        (ua.BrowseResultMask.ReferenceTypeId, "ReferenceTypeId", ua.NodeId(0, 0)),
        (ua.BrowseResultMask.IsForward, "IsForward", False),
        (ua.BrowseResultMask.NodeClass, "NodeClass", ua.NodeClass.Unspecified),
        (ua.BrowseResultMask.BrowseName, "BrowseName", ua.QualifiedName(None, 0)),
        (ua.BrowseResultMask.DisplayName, "DisplayName", ua.LocalizedText()),
        (ua.BrowseResultMask.TypeDefinition, "TypeDefinition", ua.NodeId(0, 0)),
    ],
)
async def test_the_result_mask_selects_fields(
    server: Server, observer: Session, mask: ua.BrowseResultMask, field: str, blank: object
) -> None:
    only, without = await browse(
        server,
        observer,
        wanted("site", ReferenceTypeId=HAS_COMPONENT, ResultMask=int(mask)),
        wanted("site", ReferenceTypeId=HAS_COMPONENT, ResultMask=EVERYTHING & ~int(mask)),
    )
    assert getattr(only.References[0], field) != blank
    assert getattr(without.References[0], field) == blank
    assert only.References[0].NodeId == without.References[0].NodeId == at("site/Overview")


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (wanted("site/Devices"), ["ess0", "bat0", "meter0", "pv0", "io0", "tariff0"]),
        (wanted("site/Devices", ReferenceTypeId=HAS_COMPONENT), []),
        (wanted("site/Devices", BrowseDirection=INVERSE), ["EMS"]),
        (wanted("i=85", ReferenceTypeId=ORGANIZES), ["Server", "DeviceSet", "EMS"]),
        (wanted("cycle", BrowseDirection=INVERSE), ["EMS"]),
        (wanted("ess0", BrowseDirection=INVERSE), ["Devices", "DeviceSet", "EMS"]),
        (wanted("ess0/Soc", ReferenceTypeId=HIERARCHICAL, IncludeSubtypes=False), []),
        (wanted("ess0/Soc", ReferenceTypeId=ua.NodeId(), BrowseDirection=BOTH), ALL_OF_SOC),
        (wanted("ess0/Soc", ReferenceTypeId=ua.NodeId(31), BrowseDirection=BOTH), ALL_OF_SOC),
        (wanted("peak0", NodeClassMask=int(ua.NodeClass.Method)), ["Enable", "Disable", "SetParameters"]),
        (
            wanted("peak0", NodeClassMask=int(ua.NodeClass.Method | ua.NodeClass.Object)),
            ["Parameters", "Enable", "Disable", "SetParameters"],
        ),
        (wanted("ess0/Soc", ReferenceTypeId=ua.NodeId(40), NodeClassMask=16), ["AnalogUnitRangeType"]),
    ],
)
async def test_a_browse_finds_exactly(server: Server, observer: Session, description: Any, expected: list[str]) -> None:
    (result,) = await browse(server, observer, description)
    assert result.StatusCode.is_good()
    assert result.ContinuationPoint is None
    assert names(result) == expected


@pytest.mark.parametrize(
    ("description", "status"),
    [
        (wanted("ess9"), "BadNodeIdUnknown"),
        (wanted("i=0"), "BadNodeIdUnknown"),
        (wanted("site", BrowseDirection=ua.BrowseDirection.Invalid), "BadBrowseDirectionInvalid"),
        (wanted("site", ReferenceTypeId=ua.NodeId(99999)), "BadReferenceTypeIdInvalid"),
        (wanted("site", ReferenceTypeId=ua.NodeId(85)), "BadReferenceTypeIdInvalid"),
    ],
)
async def test_a_browse_is_refused(server: Server, observer: Session, description: Any, status: str) -> None:
    bad, good = await browse(server, observer, description, wanted("site"))
    assert bad.StatusCode.name == status
    assert not bad.References
    assert good.StatusCode.is_good()


async def test_somebody_without_a_role_sees_no_node(server: Server) -> None:
    for node in ("site", "i=85", "i=2253"):
        (result,) = await browse(server, session(), wanted(node))
        assert result.StatusCode.name == "BadNodeIdUnknown"


async def test_a_view_is_unknown(server: Server, observer: Session) -> None:
    request = ua.BrowseRequest()
    request.Parameters.View.ViewId = ua.NodeId(87, 0)
    request.Parameters.NodesToBrowse = [wanted("site")]
    with pytest.raises(ServiceError, match="BadViewIdUnknown"):
        view.browse(server, observer, request)  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [1, 3, 7, 100])
async def test_continuation_points_lead_through_all_references_once(server: Server, observer: Session, most: int) -> None:
    (whole,) = await browse(server, observer, wanted("site"))
    (result,) = await browse(server, observer, wanted("site"), most=most)
    found = names(result)
    while result.ContinuationPoint:
        assert len(result.References) == most
        (result,) = await browse_next(server, observer, result.ContinuationPoint)
        found += names(result)
    assert found == names(whole)
    assert observer.continuations == {}


async def test_exactly_as_many_references_as_allowed_need_no_continuation_point(server: Server, observer: Session) -> None:
    (result,) = await browse(server, observer, wanted("site/Devices"), most=6)
    assert (len(result.References), result.ContinuationPoint) == (6, None)


async def test_a_continuation_point_is_used_once(server: Server, observer: Session) -> None:
    (first,) = await browse(server, observer, wanted("site"), most=2)
    await browse_next(server, observer, first.ContinuationPoint)
    (again,) = await browse_next(server, observer, first.ContinuationPoint)
    assert again.StatusCode.name == "BadContinuationPointInvalid"


async def test_a_released_continuation_point_is_gone(server: Server, observer: Session) -> None:
    (first,) = await browse(server, observer, wanted("site"), most=2)
    (released,) = await browse_next(server, observer, first.ContinuationPoint, release=True)
    assert released.StatusCode.is_good()
    assert not released.References
    (again,) = await browse_next(server, observer, first.ContinuationPoint)
    assert again.StatusCode.name == "BadContinuationPointInvalid"


async def test_a_continuation_point_belongs_to_its_session(server: Server, observer: Session) -> None:
    (first,) = await browse(server, observer, wanted("site"), most=2)
    for point in (first.ContinuationPoint, b"", b"forged"):
        (stolen,) = await browse_next(server, session("Operator"), point)
        assert stolen.StatusCode.name == "BadContinuationPointInvalid"


async def test_a_session_has_a_bounded_number_of_continuation_points(server: Server, observer: Session) -> None:
    results = await browse(server, observer, *[wanted("site")] * (limits.BROWSE_CONTINUATION_POINTS + 5), most=1)
    statuses = [r.StatusCode.name for r in results]
    assert statuses[: limits.BROWSE_CONTINUATION_POINTS] == ["Good"] * limits.BROWSE_CONTINUATION_POINTS
    assert statuses[limits.BROWSE_CONTINUATION_POINTS :] == ["BadNoContinuationPoints"] * 5
    assert len(observer.continuations) == limits.BROWSE_CONTINUATION_POINTS


async def test_one_response_has_a_bounded_number_of_references(
    server: Server, observer: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "REFERENCES_PER_RESPONSE_MAX", 10)
    results = await browse(server, observer, *[wanted("site/Devices")] * 4)
    assert [len(r.References) for r in results] == [6, 4, 0, 0]
    points = [r.ContinuationPoint for r in results if r.ContinuationPoint]
    assert sum([len(r.References) for r in await browse_next(server, observer, *points[:2])]) == 8


async def test_a_large_browse_gives_way_to_others(server: Server, observer: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ua.BrowseRequest()
    request.Parameters.NodesToBrowse = [wanted("site"), wanted("ess0/Soc", NodeClassMask=128)]
    monkeypatch.setattr("server.opcua.turns.TURN_S", 60.0)
    at_once = view.browse(server, observer, request)  # type: ignore[arg-type]
    assert isinstance(at_once, bytes)
    monkeypatch.setattr("server.opcua.turns.TURN_S", 0.0)
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr("server.opcua.turns.asyncio.sleep", sleep)
    slowly = await answer(view.browse(server, observer, request))  # type: ignore[arg-type]
    assert slowly[12:] == at_once[12:], "the same but for the time"
    assert turns > 40


# TranslateBrowsePathsToNodeIds.


def step(name: str, kind: ua.NodeId = HIERARCHICAL, *, inverse: bool = False, subtypes: bool = True) -> ua.RelativePathElement:
    qualified = ua.QualifiedName.from_string(name) if name else ua.QualifiedName(None, 0)
    return ua.RelativePathElement(ReferenceTypeId=kind, IsInverse=inverse, IncludeSubtypes=subtypes, TargetName=qualified)


async def translate(server: Server, who: Session, start: str, *steps: ua.RelativePathElement) -> ua.BrowsePathResult:
    request = ua.TranslateBrowsePathsToNodeIdsRequest()
    path = ua.BrowsePath(StartingNode=at(start), RelativePath=ua.RelativePath(Elements=list(steps)))
    request.Parameters.BrowsePaths = [path]
    return (await answer(view.translate(server, who, request))).Results[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "steps", "expected"),
    [
        ("i=85", [step("3:EMS"), step("3:Devices"), step("4:ess0"), step("3:Soc"), step("0:EURange")], "ess0/Soc/EURange"),
        ("i=85", [step("3:EMS", ORGANIZES)], "site"),
        ("i=84", [step("0:Objects"), step("0:Server"), step("0:ServerStatus"), step("0:CurrentTime")], "i=2258"),
        ("ess0/Soc", [step("0:AnalogUnitRangeType", ua.NodeId(40))], "i=17570"),
        ("ess0/Soc", [step("4:ess0", inverse=True), step("3:Soh")], "ess0/Soh"),
        ("ess0", [step("3:Soc", ua.NodeId())], "ess0/Soc"),
        ("ess0", [step("3:ActivePower.L1")], "ess0/ActivePower.L1"),
    ],
)
async def test_a_browse_path_leads_to(server: Server, observer: Session, start: str, steps: list[Any], expected: str) -> None:
    result = await translate(server, observer, start, *steps)
    assert result.StatusCode.is_good()
    assert [t.TargetId for t in result.Targets] == [at(expected)]
    assert result.Targets[0].RemainingPathIndex == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("start", "steps", "status"),
    [
        ("i=85", [], "BadNothingToDo"),
        ("ess9", [step("3:Soc")], "BadNodeIdUnknown"),
        ("ess0", [step("4:Soc")], "BadNoMatch"),
        ("ess0", [step("3:Soc", HAS_PROPERTY)], "BadNoMatch"),
        ("ess0", [step("3:Soc", HIERARCHICAL, subtypes=False)], "BadNoMatch"),
        ("ess0", [step("3:Soc", ua.NodeId(85))], "BadNoMatch"),
        ("ess0", [step("3:Soc"), step("")], "BadBrowseNameInvalid"),
        ("ess0", [step("")], "BadBrowseNameInvalid"),
        ("ess0", [step("3:Soc"), step("4:ess0", inverse=True)] * 51, "BadQueryTooComplex"),
    ],
)
async def test_a_browse_path_leads_nowhere(server: Server, observer: Session, start: str, steps: list[Any], status: str) -> None:
    result = await translate(server, observer, start, *steps)
    assert result.StatusCode.name == status
    assert not result.Targets


async def test_two_ways_to_one_node_are_one_target(server: Server, observer: Session) -> None:
    result = await translate(server, observer, "ess0", step("2:Manufacturer", HAS_PROPERTY))
    both = await translate(server, observer, "site", step("3:Overview"), step("3:EssSoc"), step("3:EMS", inverse=True))
    assert [t.TargetId for t in result.Targets] == [at("ess0/Manufacturer")]
    assert [t.TargetId for t in both.Targets] == [at("site")]


def test_registered_nodes_are_themselves(server: Server, observer: Session) -> None:
    request = ua.RegisterNodesRequest()
    request.Parameters.NodesToRegister = [at("ess0/Soc"), at("nowhere")]
    response = view.register(server, observer, request)  # type: ignore[arg-type]
    assert response.Parameters.RegisteredNodeIds == [at("ess0/Soc"), at("nowhere")]
    view.unregister(server, observer, ua.UnregisterNodesRequest())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "request_type", [ua.BrowseRequest, ua.BrowseNextRequest, ua.RegisterNodesRequest, ua.UnregisterNodesRequest]
)
def test_nothing_to_do_and_too_much_are_refused_before_any_work(request_type: Any) -> None:
    service = view.SERVICES[request_type]
    request = request_type()
    for count, status in ((0, "BadNothingToDo"), (service.most + 1, "BadTooManyOperations")):
        setattr(request.Parameters, service.operations, [None] * count)
        with pytest.raises(ServiceError, match=status):
            service.check_operations(request)
