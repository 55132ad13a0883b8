"""The Alarms page: conditions of the OPC UA server, what a person does about them, and what was before.

Who wants attention comes first. A deed names the event it is about, so nobody acknowledges what he has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui.element import Element

from server.client import Alarm
from server.core.roles import Role

from ..alarms import rows
from ..page import Page
from ..records import Records, journal_line
from ..refusal import Refused
from ..visit import Visit

ROLES: Final = (Role.OPERATOR, Role.ENGINEER, Role.SUPERVISOR)
"""Who may do more than look."""
HISTORY_S: Final = 5.0
SHELVED_S_MAX: Final = 86_400.0


class AlarmDesk(Element, component="../static/ems_alarm_desk.js"):
    """All alarms. Emits acknowledge, confirm, comment, shelve, unshelve (alarm, event, text, seconds) and history (on)."""

    def __init__(self, *, may: bool) -> None:
        super().__init__()
        self._props["may"] = may


async def show(visit: Visit) -> None:
    """Build the page for one tab of a person."""
    catalogue, watch = visit.person.catalogue, visit.person.alarms
    past = Records(visit.settings.directory, "journal", past_line, visit.changed, HISTORY_S, kind="alarm")
    visit.values(lambda: {"alarm.rows": rows(watch.rows.values(), catalogue)})
    visit.values(lambda: {"alarm.past": past.value()})
    desk = AlarmDesk(may=visit.may(*ROLES))
    Deeds(visit, past).offer(desk)


def past_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of what was: an alarm that came, or one that went and how long it lasted."""
    line = journal_line(record)
    level = str(record.get("level", "")).lower()
    return {**line, "over": record.get("kind") == "alarm_over", "level": level, "lasted": record.get("lasted_s", 0)}


class Deeds:
    """What a person does about alarms, for one tab."""

    def __init__(self, visit: Visit, past: Records) -> None:
        self._visit = visit
        self._past = past
        self._shows_past = False

    def offer(self, desk: AlarmDesk) -> None:
        """Listen to the page."""
        for name, deed in (
            ("acknowledge", self._acknowledge), ("confirm", self._confirm), ("comment", self._comment),
            ("shelve", self._shelve), ("unshelve", self._unshelve), ("history", self._history),
            ("older", self._older), ("newest", self._newest),
        ):  # fmt: skip
            self._visit.on(desk, name, deed)

    def _wanted(self, wish: Mapping[str, Any]) -> Alarm:
        """The alarm a wish is about, as it was when the person saw it. Raises Refused."""
        alarm = self._visit.person.alarms.rows.get(str(wish["alarm"]))
        if alarm is None:
            raise Refused("This alarm is over; nothing is left to do.")
        if alarm.event_id.hex() != wish["event"]:
            raise Refused("The alarm has just changed. Please look again.")
        return alarm

    async def _acknowledge(self, wish: dict[str, Any]) -> str:
        alarm = self._wanted(wish)
        await self._visit.person.alarms.table.acknowledge(alarm, str(wish["text"]))
        return "Acknowledged."

    async def _confirm(self, wish: dict[str, Any]) -> str:
        alarm = self._wanted(wish)
        await self._visit.person.alarms.table.confirm(alarm, str(wish["text"]))
        return "Confirmed."

    async def _comment(self, wish: dict[str, Any]) -> str:
        alarm = self._wanted(wish)
        await self._visit.person.alarms.table.comment(alarm, str(wish["text"]))
        return "Your comment is kept with the alarm."

    async def _shelve(self, wish: dict[str, Any]) -> str:
        alarm, seconds = self._wanted(wish), float(wish["seconds"])
        if not 0 <= seconds <= SHELVED_S_MAX:
            raise Refused("An alarm is shelved for a day at most.")
        await self._visit.person.alarms.table.shelve(alarm, seconds or None)
        return "Shelved. It comes back by itself."

    async def _unshelve(self, wish: dict[str, Any]) -> str:
        await self._visit.person.alarms.table.unshelve(self._wanted(wish))
        return "Taken back."

    async def _history(self, wish: dict[str, Any]) -> str:
        wanted = bool(wish["on"])
        if wanted and not self._shows_past:
            await self._past.poll.read()
            self._visit.attach(self._past.poll)
        elif self._shows_past and not wanted:
            await self._visit.unfollow(self._past.poll)
        self._shows_past = wanted
        return ""

    async def _older(self, _: dict[str, Any]) -> str:
        await self._past.older()
        return ""

    async def _newest(self, _: dict[str, Any]) -> str:
        await self._past.newest()
        return ""


PAGE = Page("/alarms", "Alarms", icon="alarms", key="a", place=50, show=show)
