"""The override card: its deeds are method calls and writes of the person's OPC UA session, answered in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.events import GenericEventArguments

from server.client import ClientError

from . import setpoints, widgets
from .catalogue import label
from .person import Person

_DENIED = "Your role may look but not steer. Log in as an operator to take control."
_WORDS = {
    "BadUserAccessDenied": _DENIED,
    "BadInvalidState": "Somebody gave the control back. Take it again.",
    "BadNotWritable": "This set-point cannot be written.",
    "BadOutOfRange": "The value is outside the allowed range.",
    "BadResourceUnavailable": "The control process is busy. Please try again.",
    "BadNotConnected": "The OPC UA server is away. Nothing was changed.",
    "BadTimeout": "The OPC UA server did not answer in time.",
}


class Override:
    """What an operator does by hand, for one tab."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def show(self) -> None:
        """Build the card."""
        points = list(setpoints.setpoints(self._person.catalogue))
        denied = bool(points) and not any(p.channel.writable for p in points)
        rows = [_row(p) for p in points]
        self._card = widgets.Hand(rows, denied=denied, reason=_DENIED if denied else "")
        self._on("take", self._take)
        self._on("set", self._set)
        self._on("release", lambda _: self._call("ReleaseManualOverride", "Given back to the controllers."))
        self._on("stop", lambda _: self._call("EmergencyStop", "Stopped. All outputs go to safe values."))
        self._on("reset", lambda _: self._call("ResetEmergencyStop", "The stop is reset."))

    def _on(self, event: str, deed: Callable[[dict[str, object]], Awaitable[str]]) -> None:
        async def handle(arguments: GenericEventArguments) -> None:
            try:
                self._card.say(True, await deed(arguments.args))
            except ClientError as error:
                self._card.say(False, _WORDS.get(error.status, str(error)))

        self._card.on(event, handle)

    async def _take(self, wish: dict[str, object]) -> str:
        node, watts = self._checked(wish)
        await self._person.client.call("site", "AcquireManualOverride", float(str(wish["seconds"])))
        await self._person.client.write(node, watts)
        return "You are in control."

    async def _set(self, wish: dict[str, object]) -> str:
        await self._person.client.write(*self._checked(wish))
        return "The new power is asked for."

    async def _call(self, method: str, done: str) -> str:
        await self._person.client.call("site", method)
        return done

    def _checked(self, wish: dict[str, object]) -> tuple[str, float]:
        """The node and its value in W. ClientError when the browser names a node that is no set-point of the card."""
        node = str(wish["node"])
        if node not in {p.channel.node for p in setpoints.setpoints(self._person.catalogue)}:
            raise ClientError("BadNodeIdUnknown", node)
        return node, float(str(wish["kw"])) * 1000


def _row(point: setpoints.Setpoint) -> dict[str, str]:
    kind = point.kind
    return {"node": point.channel.node, "label": label(point.thing), "title": kind.title, "minus": kind.minus, "plus": kind.plus}
