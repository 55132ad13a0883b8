"""The override card: its deeds are method calls and writes of the person's OPC UA session, answered in words."""

from __future__ import annotations

from typing import Any

from server.client import ClientError
from server.core.roles import Role

from . import setpoints, widgets
from .catalogue import label
from .visit import Deed, Visit

MAY_STEER = (Role.OPERATOR, Role.ENGINEER, Role.SUPERVISOR)
DENIED = "Your role may look but not steer. Sign in as an operator to take control."


class Override:
    """What an operator does by hand, for one tab."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._person = visit.person

    def show(self) -> None:
        """Build the card."""
        rows = [_row(p) for p in setpoints.setpoints(self._person.catalogue)]
        card = widgets.Hand(rows, "" if self._visit.may(*MAY_STEER) else DENIED)
        deeds: dict[str, Deed] = {
            "take": self._take,
            "set": self._set,
            "release": lambda _: self._call("ReleaseManualOverride", "Given back to the controllers."),
            "stop": lambda _: self._call("EmergencyStop", "Stopped. All outputs go to safe values."),
            "reset": lambda _: self._call("ResetEmergencyStop", "The stop is reset."),
        }
        for event, deed in deeds.items():
            self._visit.on(card, event, deed)

    async def _take(self, wish: dict[str, Any]) -> str:
        node, watts = self._checked(wish)
        await self._person.client.call("site", "AcquireManualOverride", float(str(wish["seconds"])))
        await self._person.client.write(node, watts)
        return "You are in control."

    async def _set(self, wish: dict[str, Any]) -> str:
        await self._person.client.write(*self._checked(wish))
        return "The new power is asked for."

    async def _call(self, method: str, done: str) -> str:
        await self._person.client.call("site", method)
        return done

    def _checked(self, wish: dict[str, Any]) -> tuple[str, float]:
        """The node and its value in W. ClientError when the browser names a node that is no set-point of the card."""
        node = str(wish["node"])
        if node not in {p.channel.node for p in setpoints.setpoints(self._person.catalogue)}:
            raise ClientError("BadNodeIdUnknown", node)
        return node, float(str(wish["kw"])) * 1000


def _row(point: setpoints.Setpoint) -> dict[str, str]:
    kind = point.kind
    return {"node": point.channel.node, "label": label(point.thing), "title": kind.title, "minus": kind.minus, "plus": kind.plus}
