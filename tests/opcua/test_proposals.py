"""Foreign controllers over OPC UA: who may propose, what is refused and why, and what ends a proposal."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from core_objects import control_objects
from opcua_site import PASSWORD, FakeUsers, Site, running

from server.client import Client, ClientError, Identity
from server.core.layout import build_layout
from server.core.site import SiteSettings
from server.opcua.session import User


class Programs(FakeUsers):
    """Two programs that may propose, besides the people."""

    def __init__(self) -> None:
        super().__init__()
        self.people |= {name: User(name, frozenset({"Controller"}), i) for i, name in enumerate(("mpc", "dso"), 20)}


@pytest.fixture
async def site(tmp_path: Path, certificates: Path) -> AsyncIterator[Site]:
    """A site with a foreign controller of priority 30, in its first cycle."""
    layout = build_layout(control_objects())
    settings = SiteSettings("site1", "Test site", grid_meter="meter0")
    async with running(certificates, layout, users=Programs(), site=settings) as site:
        for node, value in (("mpc0/Enabled", 1.0), ("mpc0/Priority", 30.0)):
            site.image.records[layout.by_node[node].slot] = (value, 0, 0, 0, 0)
        site.image.number = 1
        async with asyncio.timeout(5):
            while site.server.frame.cycle == 0:
                await asyncio.sleep(0.01)
        yield site


@contextlib.asynccontextmanager
async def program(site: Site, user: str = "mpc") -> AsyncIterator[Client]:
    own = site.directory / "certs" / "own"
    ca = site.directory / "certs" / "ca" / "ca.pem"
    identity = Identity(site.url, own / "client.der", own / "client.key.pem", ca=ca, user=user, password=PASSWORD)
    async with Client(identity) as client:
        yield client


def constraints(*rows: tuple[str, str, float, float], lease_s: float = 5.0, priorities: Any = (), reasons: Any = ()) -> list[Any]:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    return [*columns, list(priorities), list(reasons), lease_s]


WANT = ("target", "ess0/ActivePower", 700.0, 700.0)


def proposed(site: Site) -> list[Any]:
    return [json.loads(record) for record in site.image.proposals.records]


async def ask(client: Client, arguments: list[Any]) -> ua.CallMethodResult:
    """The whole result of a call, refusals and all."""
    kinds = [ua.VariantType.String] * 2 + [ua.VariantType.Double] * 2 + [ua.VariantType.Int32, ua.VariantType.String]
    given = [ua.Variant(v, k, is_array=True) for v, k in zip(arguments, kinds, strict=False)]
    given.append(ua.Variant(arguments[-1], ua.VariantType.Double))
    request = ua.CallRequest()
    target, method = (ua.NodeId(i, 4, ua.NodeIdType.String) for i in ("mpc0", "mpc0/ProposeConstraints"))
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(target, method, given)]
    return (await client.ask(request, ua.CallResponse)).Results[0]


async def test_a_program_with_the_role_proposes_and_it_is_on_record(site: Site) -> None:
    async with program(site) as client:
        rows = (WANT, ("bound", "grid", -inf, 4000.0))
        arguments = constraints(*rows, priorities=[40, 30], reasons=["cheap hour", "fuse of the street"])
        assert await client.call("mpc0", "ProposeConstraints", *arguments) == [[]]
        ((alias, who, _, lease_ns, taken),) = proposed(site)
        assert (alias, who, lease_ns) == ("mpc0", "mpc", 5_000_000_000)
        assert taken[1][2] == -inf
        assert [row[4:] for row in taken] == [[40, "cheap hour"], [30, "fuse of the street"]]
    row = next(r for r in site.audited() if r.get("method", "").endswith("ProposeConstraints"))
    assert (row["user"], row["status"]) == ("mpc", "Good")


@pytest.mark.parametrize(
    ("arguments", "status", "refusal"),
    [
        (constraints(WANT, ("bound", "ess9", 0.0, 1.0)), "BadInvalidArgument", "1: 'ess9' is not in this site"),
        (constraints(("target", "ess0", nan, 1.0)), "BadInvalidArgument", "0: ess0: NaN is no power"),
        (constraints(WANT, priorities=[10]), "BadInvalidArgument", "priority 10 is not in 30..1000"),
        (constraints(*[WANT] * 65), "BadTooManyOperations", "65 constraints, at most 64 are expected"),
        (constraints(WANT, reasons=["one", "two"]), "BadInvalidArgument", "the arrays are not of one length"),
        (constraints(WANT, lease_s=0.0), "BadOutOfRange", "a lease of 0 s is not in 0.1..3600 s"),
        (constraints(WANT, lease_s=nan), "BadOutOfRange", "a lease of nan s"),
    ],
)
async def test_nonsense_is_refused_with_the_reason_and_nothing_is_taken(
    site: Site, arguments: list[Any], status: str, refusal: str
) -> None:
    async with program(site) as client:
        result = await ask(client, arguments)
        assert result.StatusCode.name == status
        assert refusal in result.OutputArguments[0].Value[0]
        assert proposed(site) == []


@pytest.mark.parametrize("user", ["otto", "anna", "emil"])
async def test_people_may_not_propose(site: Site, user: str) -> None:
    async with program(site, user) as client:
        with pytest.raises(ClientError, match="BadUserAccessDenied"):
            await client.call("mpc0", "ProposeConstraints", *constraints(WANT))
    assert proposed(site) == []


async def test_only_a_foreign_controller_has_the_method(site: Site) -> None:
    async with program(site) as client:
        with pytest.raises(ClientError, match="BadMethodInvalid"):
            await client.call("peak0", "mpc0/ProposeConstraints", *constraints(WANT))


async def test_a_disabled_foreign_controller_takes_nothing(site: Site) -> None:
    site.image.records[site.server.layout.by_node["mpc0/Enabled"].slot] = (0.0, 0, 0, 0, 0)
    site.image.number += 1
    async with program(site) as client:
        with pytest.raises(ClientError, match="BadInvalidState"):
            await client.call("mpc0", "ProposeConstraints", *constraints(WANT))


async def test_a_proposal_ends_with_its_session(site: Site) -> None:
    async with program(site) as client:
        await client.call("mpc0", "ProposeConstraints", *constraints(WANT))
    last = proposed(site)[-1]
    assert (last[0], last[1], last[4]) == ("mpc0", "mpc", [])


async def test_it_is_withdrawn_by_a_call(site: Site) -> None:
    async with program(site) as client:
        await client.call("mpc0", "ProposeConstraints", *constraints(WANT))
        await client.call("mpc0", "WithdrawConstraints")
        assert [bool(record[4]) for record in proposed(site)] == [True, False]


async def test_one_proposes_at_a_time_until_the_lease_is_over_or_withdrawn(site: Site) -> None:
    async with program(site) as first, program(site, "dso") as second:
        await first.call("mpc0", "ProposeConstraints", *constraints(WANT, lease_s=60.0))
        for method, arguments in (("ProposeConstraints", constraints(WANT)), ("WithdrawConstraints", [])):
            with pytest.raises(ClientError, match="BadInvalidState"):
                await second.call("mpc0", method, *arguments)
        await first.call("mpc0", "WithdrawConstraints")
        await second.call("mpc0", "ProposeConstraints", *constraints(WANT))
    assert [record[1] for record in proposed(site)][:3] == ["mpc", "mpc", "dso"]


async def test_the_same_program_goes_on_in_another_session(site: Site) -> None:
    async with program(site) as first:
        await first.call("mpc0", "ProposeConstraints", *constraints(WANT, lease_s=60.0))
        async with program(site) as second:
            await second.call("mpc0", "ProposeConstraints", *constraints(WANT, lease_s=60.0))
            await first.close()
            assert all(record[4] for record in proposed(site))  # the old session's end ends nothing
