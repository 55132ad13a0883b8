"""State machines of the site and of devices: nodes, values, methods, events, and what node-opcua makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_live import Live
from opcua_model import Server, at, device, session, site_objects
from opcua_site import CLIENT_URI, PASSWORD, running

from server.core.layout import Layout, build_layout
from server.core.natures import Battery, ManagedEss, OperatingState, SiteMode, StartStoppable
from server.core.state_machine import DEVICE, SITE, edges, number_of
from server.opcua import call, write
from server.opcua.attribute import value_of
from server.opcua.properties import type_id
from server.opcua.state_machines import DEVICE_MACHINE, MACHINES, SITE_MACHINE

PEERS = Path(__file__).parents[1] / "peers"
MACHINE = "ess0/StateMachine"


def layout() -> Layout:
    """The site of the other tests, whose storage has a state machine."""
    others = [o for o in site_objects() if o.alias not in ("ess0", "bat0")]
    label = {"Label": "Battery"}
    return build_layout([*others, device("ess0", (ManagedEss, StartStoppable), properties=label), device("bat0", (Battery,))])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("site"), layout())


def value(server: Server, node: str) -> Any:
    found = server.nodes.get(at(node))
    assert found is not None, node
    read = value_of(server, found)  # type: ignore[arg-type]
    return read.Value.Value if read.StatusCode.is_good() else read.StatusCode.name


# Values.


@pytest.mark.parametrize("state", list(OperatingState))
def test_the_current_state_is_a_node_of_the_type(server: Server, state: OperatingState) -> None:
    server.set("ess0/OperatingState", state)
    assert value(server, f"{MACHINE}/CurrentState").Text == state.name
    assert value(server, f"{MACHINE}/CurrentState/Id") == type_id(f"OperatingStateMachineType/{state.name}")
    assert value(server, f"{MACHINE}/CurrentState/Number") == int(state)


@pytest.mark.parametrize("edge", edges(DEVICE), ids=lambda edge: f"{edge[0].name}-{edge[1].name}")
def test_the_last_transition_is_a_node_of_the_type(server: Server, edge: tuple[OperatingState, OperatingState]) -> None:
    number = number_of(*edge)
    server.set("ess0/LastTransition", number, source=133_000_000_050_000_000)
    name = f"{edge[0].name}To{edge[1].name}"
    assert value(server, f"{MACHINE}/LastTransition").Text == name
    assert value(server, f"{MACHINE}/LastTransition/Id") == type_id(f"OperatingStateMachineType/{name}")
    assert value(server, f"{MACHINE}/LastTransition/Number") == number
    assert value(server, f"{MACHINE}/LastTransition/TransitionTime").second == 45


def test_every_state_and_transition_of_the_tables_is_in_the_nodeset(server: Server) -> None:
    for machine in MACHINES:
        ids = [machine.state_id(s) for s in machine.states] + [machine.transition_id(number_of(*e)) for e in machine.edges]
        assert all(server.nodes.get(node) is not None for node in ids)
        assert len(set(ids)) == len(ids)
    assert SITE_MACHINE.edges == tuple(edges(SITE))


def test_before_the_first_transition_there_is_none(tmp_path: Path) -> None:
    fresh = Server(tmp_path, layout())
    assert value(fresh, f"{MACHINE}/CurrentState") == "BadWaitingForInitialData"
    assert value(fresh, f"{MACHINE}/LastTransition/TransitionTime") == "BadWaitingForInitialData"
    assert len(value(fresh, f"{MACHINE}/AvailableStates")) == len(OperatingState)


@pytest.mark.parametrize("node", ["bat0/StateMachine", "ess0/StateMachine/Nothing", "nobody/StateMachine", "bat0/Start"])
def test_there_is_no_such_node(server: Server, node: str) -> None:
    assert server.nodes.get(at(node)) is None


# Methods and writes.


def run(server: Server, target: str, method: str, role: str) -> str:
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(at(target), at(method), [])]
    result = asyncio.run(call.call_service(server, session(role), request)).Results[0]  # type: ignore[arg-type]
    return result.StatusCode.name


@pytest.mark.parametrize("target", ["ess0", MACHINE])
@pytest.mark.parametrize(
    ("method", "node", "wanted"),
    [("Start", "ess0/StartStop", 1.0), ("Stop", "ess0/StartStop", 2.0), ("Acknowledge", "ess0/StartStopFailed", 0.0)],
)
def test_an_operator_calls_what_an_observer_may_not(server: Server, target: str, method: str, node: str, wanted: float) -> None:
    server.image.writes.clear()
    server.audited.clear()
    server.set("ess0/StartStopFailed", 1.0)
    assert run(server, target, f"ess0/{method}", "Observer") == "BadUserAccessDenied"
    assert server.image.writes == []
    assert run(server, target, f"ess0/{method}", "Operator") == "Good"
    assert server.image.writes == [(server.layout.by_node[node].slot, wanted, 7)]
    assert [(event, facts["status"]) for event, facts in server.audited] == [("call", "BadUserAccessDenied"), ("call", "Good")]


def test_what_did_not_fail_is_not_acknowledged(server: Server) -> None:
    server.set("ess0/StartStopFailed", 0.0)
    assert run(server, "ess0", "ess0/Acknowledge", "Operator") == "BadInvalidState"


def test_another_device_does_not_take_the_method(server: Server) -> None:
    assert run(server, "bat0", "ess0/Start", "Operator") == "BadMethodInvalid"


def test_a_start_is_wished_without_the_manual_override_and_other_set_points_are_not(server: Server) -> None:
    def written(node: str, variant: ua.Variant, role: str = "Operator") -> str:
        item = ua.WriteValue(NodeId=at(node), AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(variant))
        return ua.StatusCode(write.write(server, session(role), item)).name  # type: ignore[arg-type]

    assert written("ess0/StartStop", ua.Variant(1, ua.VariantType.Int32)) == "Good"
    assert written("ess0/StartStop", ua.Variant(3, ua.VariantType.Int32)) == "BadOutOfRange"
    assert written("ess0/StartStop", ua.Variant(1, ua.VariantType.Int32), "Observer") == "BadUserAccessDenied"
    assert written("ess0/SetActivePower", ua.Variant(1.0, ua.VariantType.Double)) == "BadInvalidState"
    assert written("ess0/OperatingState", ua.Variant(1, ua.VariantType.Int32)) == "BadNotWritable"


# Over the wire.


@contextlib.asynccontextmanager
async def live_machines(directory: Path) -> AsyncIterator[Live]:
    async with running(directory, layout()) as site:
        live = Live(site)
        live.set("site/Mode", SiteMode.Run)
        live.set("site/LastTransition", number_of(SiteMode.Init, SiteMode.Run))
        live.set("ess0/OperatingState", OperatingState.Running)
        live.set("ess0/LastTransition", number_of(OperatingState.Starting, OperatingState.Running))
        yield live


class Seen:
    """What asyncua's subscription hands over."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()

    def event_notification(self, event: Any) -> None:
        self.events.put_nowait(event)


async def test_a_transition_is_told_once_and_kept_in_the_history_of_events(directory: Path) -> None:
    async with live_machines(directory) as live, await live.site.client() as client:
        seen = Seen()
        subscription = await client.create_subscription(50, seen)
        await subscription.subscribe_events(client.get_node(at("ess0")), ua.NodeId(ua.ObjectIds.TransitionEventType))
        live.set("site/LastTransition", number_of(SiteMode.Run, SiteMode.Standby))
        live.set("ess0/LastTransition", number_of(OperatingState.Running, OperatingState.Stopping))
        event = await asyncio.wait_for(seen.events.get(), 10)
        assert (event.SourceName, event.Message.Text, event.FromState.Text) == ("Battery", "Running to Stopping", "Running")
        live.freeze()
        live.set("ess0/LastTransition", number_of(OperatingState.Stopping, OperatingState.Stopped))
        event = await asyncio.wait_for(seen.events.get(), 10)
        assert (event.ToState.Text, event.Severity) == ("Stopped", 100)
        assert seen.events.empty()


EXPECTED: dict[str, Any] = {
    "device": {
        "type": "OperatingStateMachineType",
        "bases": ["FiniteStateMachineType", "StateMachineType", "BaseObjectType"],
        "initial": "Stopped",
        "states": ["Starting", "Running", "Stopping", "Failed"],
        "transitions": sorted(f"{a.name} -> {b.name}" for a, b in DEVICE_MACHINE.edges),
    },
    "site": {
        "type": "SiteStateMachineType",
        "bases": ["FiniteStateMachineType", "StateMachineType", "BaseObjectType"],
        "initial": "Init",
        "states": ["Standby", "Run", "Island", "Fault", "Shutdown"],
        "transitions": sorted(f"{a.name} -> {b.name}" for a, b in SITE_MACHINE.edges),
    },
    "device_now": {
        "kind": "FiniteStateVariableType",
        "text": "Running",
        "node": "Running",
        "number": 2,
        "last": "StartingToRunning",
        "lastNode": "StartingToRunning",
        "lastNumber": 12,
        "states": 5,
        "transitions": 13,
    },
    "site_now": {
        "kind": "FiniteStateVariableType",
        "text": "Run",
        "node": "Run",
        "number": 2,
        "last": "InitToRun",
        "lastNode": "InitToRun",
        "lastNumber": 2,
        "states": 6,
        "transitions": len(SITE_MACHINE.edges),
    },
    "calls": ["Good", "Good", "BadInvalidState", "BadMethodInvalid"],
    "event": ["Battery", "Running to Failed", "Running", "Failed", "RunningToFailed"],
}


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
    reason="node-opcua is not installed: npm ci --prefix tests/peers",
)
async def test_node_opcua_draws_the_machines_and_follows_them(directory: Path) -> None:
    own = directory / "certs" / "own"
    async with live_machines(directory) as live:
        files = str(own / "client.pem"), str(own / "client.key.pem")
        process = await asyncio.create_subprocess_exec(
            *("node", "state_machines.cjs", live.site.url, *files, CLIENT_URI, "anna", PASSWORD),
            cwd=PEERS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        answer = asyncio.create_task(process.communicate())
        try:
            while not answer.done():
                if any(s.items.events.items for s in live.site.server.subscriptions):
                    live.set("ess0/LastTransition", number_of(OperatingState.Running, OperatingState.Failed))
                await asyncio.sleep(0.1)
            said, complained = await answer
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, complained.decode()
    assert json.loads(said.decode().splitlines()[-1]) == EXPECTED
