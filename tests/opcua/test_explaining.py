"""Who decided on a set-point, asked over OPC UA: now, in the past, and by whom it may be asked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_model import Server, at, session, site_layout

from server.opcua import call, explaining
from server.opcua.call import declared_arguments

POWER, OTHER = "ess0/SetActivePower", "pv0/ActivePowerLimit"
EARLY, LATE = "2026-11-22T12:00:00.000Z", "2026-11-22T12:30:00.000Z"
ASKS = [
    {"who": "peak0", "kind": "bound", "node": "import", "why": "keeps import under 8 kW", "asked": [3200, None], "unit": "W"},
    {"who": "self0", "kind": "target", "node": "import", "why": "balances", "asked": [9, 9], "granted": [5, 5], "by": "floor0"},
    {"who": "lost0", "kind": "target", "node": "import", "why": "balances", "asked": None},
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("site")
    server = Server(folder, site_layout())
    server.methods = dict(explaining.OBJECT.implementations())
    journal = Path(server.settings.directory) / "data" / "journal"
    journal.mkdir(parents=True)
    records = [
        {"time": EARLY, "node": POWER, "value": 0.0, "by": "", "why": "", "asks": [], "text": "ess0 rests"},
        {
            "time": LATE,
            "node": POWER,
            "value": 3200.0,
            "by": "peak0",
            "why": "keeps import under 8 kW",
            "asks": ASKS,
            "text": "t",
        },
        {"time": LATE, "node": OTHER, "value": None, "by": "site", "why": "Init", "asks": [], "text": "u"},
    ]
    lines = (json.dumps(r | {"kind": "decision", "since": r["time"]}, separators=(",", ":")) for r in records)
    (journal / f"{EARLY[:10]}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return server


def ask(server: Server, method: str, *arguments: ua.Variant, user: Any = None) -> ua.CallMethodResult:
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at("decisions"), at(f"decisions/{method}"), list(arguments))]
    return asyncio.run(call.call_service(server, user or session("Observer"), request)).Results[0]  # type: ignore[arg-type]


def explained(server: Server, setpoint: str, moment: datetime | None = None, user: Any = None) -> ua.CallMethodResult:
    node = ua.Variant(setpoint, ua.VariantType.String)
    return ask(server, "Explain", node, ua.Variant(moment, ua.VariantType.DateTime), user=user)


def named(result: ua.CallMethodResult) -> dict[str, Any]:
    names = [a.name for a in explaining.METHODS["Explain"].gives]
    return {name: v.Value for name, v in zip(names, result.OutputArguments, strict=True)}


def test_a_decision_is_told_with_all_that_was_asked(server: Server) -> None:
    told = named(explained(server, POWER))
    assert (told["Value"], told["By"], told["Why"], told["Text"]) == (3200.0, "peak0", "keeps import under 8 kW", "t")
    assert told["Since"] == datetime.fromisoformat(LATE)
    assert (told["Who"], told["Kinds"]) == (["peak0", "self0", "lost0"], ["bound", "target", "target"])
    assert [None if isnan(x) else x for x in told["AskedLow"]] == [3200, 9, None]
    assert [None if isnan(x) else x for x in told["AskedHigh"]] == [None, 9, None]
    assert [None if isnan(x) else x for x in told["GrantedLow"]] == [3200, 5, None]
    assert told["Limits"] == ["", "floor0 allows no more", ""]
    assert told["Units"] == ["W"] * 3


def test_the_past_is_told_too(server: Server) -> None:
    told = named(explained(server, POWER, datetime(2026, 11, 22, 12, 10, tzinfo=UTC)))
    assert (told["By"], told["Text"], told["Who"]) == ("", "ess0 rests", [])
    assert isnan(named(explained(server, OTHER))["Value"])


def test_every_set_point_in_a_line(server: Server) -> None:
    result = ask(server, "List", ua.Variant(None, ua.VariantType.DateTime))
    nodes, by, texts, since = (v.Value for v in result.OutputArguments)
    assert (nodes, by, texts) == ([POWER, OTHER], ["peak0", "site"], ["t", "u"])
    assert since == [datetime.fromisoformat(LATE)] * 2


@pytest.mark.parametrize(
    ("setpoint", "moment", "status"),
    [
        ("ess0/Soc", None, "BadNodeIdUnknown"),
        ("nobody/SetActivePower", None, "BadNodeIdUnknown"),
        ("", None, "BadNodeIdUnknown"),
        ("ess0/SetReactivePower", None, "BadNoData"),
        (POWER, datetime(2020, 1, 1, tzinfo=UTC), "BadNoData"),
    ],
)
def test_what_cannot_be_explained_is_told(server: Server, setpoint: str, moment: datetime | None, status: str) -> None:
    assert explained(server, setpoint, moment).StatusCode.name == status


def test_who_does_not_see_the_whole_site_is_refused(server: Server) -> None:
    confined = session("Engineer")
    confined.user = replace(confined.user, scope=frozenset({"tenant-a"}))
    assert explained(server, POWER, user=confined).StatusCode.name == "BadUserAccessDenied"
    assert explained(server, POWER, user=session("Anonymous")).StatusCode.name == "BadUserAccessDenied"


def test_methods_say_what_they_take_and_give(server: Server) -> None:
    method = server.nodes.get(at("decisions/Explain"))
    assert method is not None
    assert [a.Name for a in declared_arguments(server.nodes, method)] == ["SetPoint", "At"]
    assert server.nodes.get(at("decisions/Explain/OutputArguments")) is not None
