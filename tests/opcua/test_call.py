"""The Call service: what each method writes into the image, and every way a call is refused."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from opcua_model import Server, at, session, site_layout

from server.core.layout import CONTROLLER, DEVICE, SITE
from server.core.natures import ControllerStatus, Site, StartStoppable
from server.opcua import call, limits, planning
from server.opcua.service import ServiceError

DOUBLE, INT32, UINT32 = ua.VariantType.Double, ua.VariantType.Int32, ua.VariantType.UInt32


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("site"), site_layout())


@pytest.fixture
def server(shared: Server) -> Server:
    shared.image.writes.clear()
    shared.audited.clear()
    return shared


def run(server: Server, target: str, method: str, *arguments: ua.Variant, role: str = "Engineer") -> ua.CallMethodResult:
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at(target), at(method), list(arguments))]
    return asyncio.run(call.call_service(server, session(role), request)).Results[0]  # type: ignore[arg-type]


def type_method(server: Server, type_name: str, method: str) -> str:
    from server.opcua.vocabulary import type_ids

    return f"ns=3;i={type_ids()[f'{type_name}/{method}']}"


@pytest.mark.parametrize(
    ("target", "method", "arguments", "written"),
    [
        ("site", "SetMode", [ua.Variant(1, INT32)], ("site/Mode", 1.0)),
        ("site", "SetMode", [ua.Variant(2, INT32)], ("site/Mode", 2.0)),
        ("site", "AcquireManualOverride", [ua.Variant(60.0, DOUBLE)], ("site/OverrideRemaining", 60.0)),
        ("site", "AcquireManualOverride", [ua.Variant(86_400.0, DOUBLE)], ("site/OverrideRemaining", 86_400.0)),
        ("site", "ReleaseManualOverride", [], ("site/OverrideRemaining", 0.0)),
        ("site", "EmergencyStop", [], ("site/EmergencyStopActive", 1.0)),
        ("site", "ResetEmergencyStop", [], ("site/EmergencyStopActive", 0.0)),
        ("peak0", "Enable", [], ("peak0/Enabled", 1.0)),
        ("peak0", "Disable", [], ("peak0/Enabled", 0.0)),
    ],
)
def test_a_method_is_a_write_that_control_takes(
    server: Server, target: str, method: str, arguments: list[ua.Variant], written: tuple[str, float]
) -> None:
    result = run(server, target, f"{target}/{method}", *arguments)
    assert result.StatusCode.is_good()
    assert result.OutputArguments == []
    node, value = written
    assert server.image.writes == [(server.layout.by_node[node].slot, value, 7)]


def test_every_method_of_the_model_has_an_effect() -> None:
    known = [*call.EFFECTS, *planning.METHODS]
    assert {m for kind, m in known if kind == SITE} == {m.name for m in Site.methods}
    assert {m for kind, m in known if kind == CONTROLLER} == {m.name for m in ControllerStatus.methods}
    assert {m for kind, m in call.EFFECTS if kind == DEVICE} == {m.name for m in StartStoppable.methods}


def test_a_method_may_be_named_by_the_declaration_in_the_type(server: Server) -> None:
    method = type_method(server, "EnergyManagerType", "ReleaseManualOverride")
    assert run(server, "site", method).StatusCode.is_good()
    assert len(server.image.writes) == 1


@pytest.mark.parametrize("role", ["Observer", "ConfigureAdmin", ""])
def test_the_declaration_opens_no_way_around_the_roles_of_the_method(server: Server, role: str) -> None:
    objects = {SITE: ("site", "EnergyManagerType"), CONTROLLER: ("peak0", "ControllerType")}
    tried = [(*objects[kind], method) for kind, method in call.EFFECTS if kind in objects]
    answers = [run(server, target, type_method(server, kind, method), role=role) for target, kind, method in tried]
    own = [run(server, target, f"{target}/{method}", role=role) for target, _, method in tried]
    assert [a.StatusCode.name for a in answers] == [a.StatusCode.name for a in own]
    assert {a.StatusCode.name for a in own} <= {"BadUserAccessDenied", "BadArgumentsMissing", "Good"}
    refused = [t for t, a in zip(tried, own, strict=True) if a.StatusCode.name == "BadUserAccessDenied"]
    assert ("site", "EnergyManagerType", "EmergencyStop") in refused


@pytest.mark.parametrize(
    ("target", "method", "arguments", "role", "status"),
    [
        ("nowhere", "site/SetMode", [ua.Variant(1, INT32)], "Operator", "BadNodeIdUnknown"),
        ("site", "site/Nothing", [], "Operator", "BadMethodInvalid"),
        ("site", "site/EmergencyStopActive", [], "Operator", "BadMethodInvalid"),
        ("site", "peak0/Enable", [], "Engineer", "BadMethodInvalid"),
        ("peak0", "site/EmergencyStop", [], "Operator", "BadMethodInvalid"),
        ("ess0", "site/EmergencyStop", [], "Operator", "BadMethodInvalid"),
        ("ess0", "ess0/ResetFaults", [], "Engineer", "BadMethodInvalid"),
        ("site", "i=11492", [ua.Variant(1, UINT32)], "Operator", "BadMethodInvalid"),
        ("ns=3;i=1026", "site/SetMode", [ua.Variant(1, INT32)], "Operator", "BadMethodInvalid"),
        ("site", "site/EmergencyStop", [], "Observer", "BadUserAccessDenied"),
        ("site", "site/EmergencyStop", [], "ConfigureAdmin", "BadUserAccessDenied"),
        ("site", "site/EmergencyStop", [], "", "BadUserAccessDenied"),
        ("peak0", "peak0/Enable", [], "Operator", "BadUserAccessDenied"),
        ("site", "site/SetMode", [], "Operator", "BadArgumentsMissing"),
        ("site", "site/SetMode", [ua.Variant(1, INT32)] * 2, "Operator", "BadTooManyArguments"),
        ("site", "site/ReleaseManualOverride", [ua.Variant(1, INT32)], "Operator", "BadTooManyArguments"),
    ],
)
def test_a_call_is_refused(server: Server, target: str, method: str, arguments: list[ua.Variant], role: str, status: str) -> None:
    assert run(server, target, method, *arguments, role=role).StatusCode.name == status
    assert server.image.writes == []


@pytest.mark.parametrize(
    ("method", "argument", "status"),
    [
        ("SetMode", ua.Variant(1.0, DOUBLE), "BadTypeMismatch"),
        ("SetMode", ua.Variant(1, UINT32), "BadTypeMismatch"),
        ("SetMode", ua.Variant([1], INT32), "BadTypeMismatch"),
        ("SetMode", ua.Variant(), "BadTypeMismatch"),
        ("SetMode", ua.Variant(0, INT32), "BadOutOfRange"),
        ("SetMode", ua.Variant(4, INT32), "BadOutOfRange"),
        ("AcquireManualOverride", ua.Variant(60, INT32), "BadTypeMismatch"),
        ("AcquireManualOverride", ua.Variant("60", ua.VariantType.String), "BadTypeMismatch"),
        ("AcquireManualOverride", ua.Variant(0.0, DOUBLE), "BadOutOfRange"),
        ("AcquireManualOverride", ua.Variant(86_400.5, DOUBLE), "BadOutOfRange"),
        ("AcquireManualOverride", ua.Variant(math.nan, DOUBLE), "BadOutOfRange"),
        ("AcquireManualOverride", ua.Variant(math.inf, DOUBLE), "BadOutOfRange"),
    ],
)
def test_a_wrong_argument_is_pointed_at(server: Server, method: str, argument: ua.Variant, status: str) -> None:
    result = run(server, "site", f"site/{method}", argument)
    assert result.StatusCode.name == "BadInvalidArgument"
    assert [s.name for s in result.InputArgumentResults] == [status]
    assert server.image.writes == []


def test_a_full_inbox_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.image, "put", lambda *_: False)
    assert run(server, "site", "site/EmergencyStop").StatusCode.name == "BadResourceUnavailable"


def test_the_monitored_items_of_a_subscription_are_told(server: Server) -> None:
    result = run(server, "i=2253", "i=11492", ua.Variant(5, UINT32), role="Observer")
    assert [v.Value for v in result.OutputArguments] == [[1, 2], [10, 20]]
    assert server.subscriptions.asked[1] == 5


def test_resend_data_is_passed_on(server: Server) -> None:
    assert run(server, "i=2253", "i=12873", ua.Variant(6, UINT32), role="Observer").StatusCode.is_good()
    assert server.subscriptions.asked[1] == 6


def test_somebody_elses_subscription_is_not_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadUserAccessDenied)

    monkeypatch.setattr(server.subscriptions, "monitored_items", refuse)
    result = run(server, "i=2253", "i=11492", ua.Variant(5, UINT32), role="Observer")
    assert result.StatusCode.name == "BadUserAccessDenied"


def test_one_refused_call_does_not_stop_the_next(server: Server) -> None:
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [
        ua.CallMethodRequest(at("site"), at("site/Nothing"), []),
        ua.CallMethodRequest(at("site"), at("site/ReleaseManualOverride"), []),
    ]
    response = asyncio.run(call.call_service(server, session("Operator"), request))  # type: ignore[arg-type]
    assert [r.StatusCode.name for r in response.Results] == ["BadMethodInvalid", "Good"]


def test_the_answer_comes_when_the_effect_shows_and_at_once_when_there_is_none(server: Server) -> None:
    waited = server.waited
    run(server, "site", "site/EmergencyStop", role="Observer")
    assert server.waited == waited
    run(server, "site", "site/EmergencyStop", role="Operator")
    assert server.waited == waited + 1


def test_every_call_is_audited(server: Server) -> None:
    run(server, "site", "site/EmergencyStop", role="Operator")
    run(server, "site", "site/EmergencyStop", role="Observer")
    assert [(e, f["method"], f["status"]) for e, f in server.audited] == [
        ("call", "ns=4;s=site/EmergencyStop", "Good"),
        ("call", "ns=4;s=site/EmergencyStop", "BadUserAccessDenied"),
    ]


# Large answers.

STRING = ua.VariantType.String


def calls(server: Server, wanted: list[tuple[str, list[ua.Variant]]], size_max: int = 0) -> ua.CallResponse:
    """A request that calls several methods of the site. size_max: bytes that the client takes, 0 for any."""
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at("site"), at(f"site/{name}"), values) for name, values in wanted]
    reply: Any = SimpleNamespace(max_message_size=size_max)
    return asyncio.run(call.call_service(server, session("Engineer"), request, reply))  # type: ignore[arg-type]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents that the supervisor was asked for; each is a megabyte long."""
    names: list[str] = []

    async def ask(server: Any, op: str, name: str = "", **_: Any) -> dict[str, Any]:
        names.append(name)
        return {"content": "x" * 1_000_000, "revision": 1}

    monkeypatch.setattr(planning, "_ask", ask)
    return names


def names_of(response: ua.CallResponse) -> list[str]:
    return [result.StatusCode.name for result in response.Results]


SET_MODE = ("SetMode", [ua.Variant(2, INT32)])
STOP = ("EmergencyStop", [])


def document(number: int = 0) -> tuple[str, list[ua.Variant]]:
    return "GetDocument", [ua.Variant(f"d{number}", STRING)]


def parameters(*names: str) -> tuple[str, list[ua.Variant]]:
    values = [5000.0] * len(names)
    return "SetParameters", [ua.Variant(list(names), STRING, is_array=True), ua.Variant(values, DOUBLE, is_array=True)]


@pytest.mark.parametrize("size_max", [0, 64 << 20, 2_500_000])
def test_methods_are_called_until_the_answer_is_full(server: Server, asked: list[str], size_max: int) -> None:
    response = calls(server, [document(n) for n in range(20)], size_max)
    full = names_of(response).index("BadResponseTooLarge")
    assert full == (2 if size_max == 2_500_000 else 4)
    assert names_of(response) == ["Good"] * full + ["BadResponseTooLarge"] * (20 - full)
    assert len(asked) <= full + 1, "what has no room is not even asked for"
    assert len(struct_to_binary(response)) <= min(size_max or limits.MESSAGE_SIZE_MAX, limits.MESSAGE_SIZE_MAX)


def test_what_cannot_be_answered_changes_nothing_and_what_needs_no_room_goes_on(server: Server, asked: list[str]) -> None:
    response = calls(server, [document(), document(1), parameters("peak0/import_max_w"), SET_MODE, STOP], 1_500_000)
    assert names_of(response) == ["Good", *["BadResponseTooLarge"] * 2, "Good", "Good"]
    written = {server.layout.by_node[f"site/{name}"].slot for name in ("Mode", "EmergencyStopActive")}
    assert {slot for slot, _, _ in server.image.writes} == written
    assert [f["status"] for e, f in server.audited if e == "call"] == names_of(response), "refused or not, it is audited"


def test_a_client_that_takes_not_even_the_statuscodes_changes_nothing(server: Server) -> None:
    with pytest.raises(ServiceError, match="BadResponseTooLarge"):
        calls(server, [SET_MODE] * 100, 1_000)
    assert not server.image.writes
    assert names_of(calls(server, [SET_MODE], 1_000)) == ["Good"]


def test_of_many_wrong_parameters_the_first_are_named_and_the_rest_is_counted(server: Server) -> None:
    response = calls(server, [parameters(*(f"peak0/{'x' * 5_000}{n}" for n in range(256)))])
    told = response.Results[0].OutputArguments[0].Value
    assert names_of(response) == ["BadInvalidArgument"]
    assert (len(told), told[-1], max(map(len, told))) == (17, "and 240 more", 1_000)
    audited = next(f for e, f in server.audited if e == "set-parameters")
    assert audited["refusals"] == told
