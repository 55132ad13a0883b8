"""All conditions of the server: fed by frames and by parts of the server, told to clients as events, kept over restarts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.core.alarm_step import AlarmStep, Change
from server.core.alarms import NORMAL, STANDSTILL_NODE, AlarmSpec, told
from server.core.condition import Condition, Shelving
from server.core.image import Image
from server.runtime.memory import utc_now

from ..access import Kind
from ..events.event import EVENT_ID_BYTES, Event, Path
from ..nodes import NS_SITE
from .certificates import watch_certificates
from .live import Live, type_of
from .methods import IMPLEMENTED
from .store import ConditionStore

if TYPE_CHECKING:
    from ..server import UaServer

STANDSTILL_NS: Final = 3_000_000_000
"""Without a new frame for this long, control stands still."""
FLOOD_S: Final = 0.02
"""How long alarms that come at once are told before everything else has its turn; the rest is told in the next cycles."""


class Conditions:
    """The conditions by the NodeId string of each. `tick` is called for every frame."""

    def __init__(self, server: UaServer, specs: Sequence[AlarmSpec]) -> None:
        self._server = server
        self._live: dict[str, Live] = {}
        self._shelved: set[str] = set()
        self._use(specs)
        self.store = ConditionStore(server.settings.directory / "data" / "alarms.json")
        self._tasks: list[asyncio.Task[None]] = []
        self._started_ns = time.monotonic_ns()

    def _use(self, specs: Sequence[AlarmSpec]) -> None:
        before = self._live
        self._specs = tuple(specs)
        self._live = {s.node: live if (live := before.get(s.node)) and live.spec == s else self._made(s) for s in specs}
        self._followers: dict[str, list[Live]] = defaultdict(list)
        for live in self._live.values():
            if live.spec.silencer:
                self._followers[live.spec.silencer].append(live)
        self._step = AlarmStep(specs, self._server.layout)
        self._step.resume([self._live[spec.node].condition.zone for spec in self._specs])
        self._waiting: deque[Change] = deque()

    def adopt(self, specs: Sequence[AlarmSpec]) -> None:
        """Go on with other alarms: those that stay are as they were, what is gone is told for the last time."""
        before, wanted = self._live, {spec.node: spec for spec in specs}
        for node, live in before.items():
            if wanted.get(node) != live.spec and live.condition.retain:
                live.condition.disable(utc_now())
                self.announce(live, disabled=True)
        self._use(specs)
        self._shelved &= self._live.keys()

    def _made(self, spec: AlarmSpec) -> Live:
        obj = self._server.layout.by_alias.get(spec.source)
        name = (obj.properties.get("Label") if obj is not None else "") or spec.source
        return Live(Condition(spec), name, self._server.events.zone, type_of(spec))

    def start(self) -> None:
        """Take up what was before, and begin to keep it."""
        self.store.load(live.condition for live in self._live.values())
        self._step.resume([self._live[spec.node].condition.zone for spec in self._specs])
        self._shelved = {node for node, live in self._live.items() if live.condition.shelving is not Shelving.Unshelved}
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.store.run()), loop.create_task(watch_certificates(self._server))]

    async def stop(self) -> None:
        """Keep what changed last."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    def live(self, node: str) -> Live:
        """The condition of a NodeId string. KeyError when there is none."""
        return self._live[node]

    def find(self, node_id: ua.NodeId) -> Live | None:
        """The condition of a ConditionId or of one of its objects, or None."""
        if node_id.NamespaceIndex != NS_SITE or not isinstance(node_id.Identifier, str):
            return None
        return self._live.get("/".join(node_id.Identifier.split("/")[:2]))

    def takes(self, target: ua.NodeId, method: ua.NodeId) -> bool:
        """True when the target is a condition and the method one of conditions (Part 9, 5.8.17)."""
        return method in IMPLEMENTED and self.find(target) is not None

    # What the site does.

    def tick(self, image: Image) -> None:
        """Evaluate a frame: conditions come and go, and shelving ends. Of a flood only a part is told now, in order."""
        self._waiting += sorted(self._step.step(image), key=lambda c: not self._is_silencer(c))
        ends = time.monotonic() + FLOOD_S
        while self._waiting and time.monotonic() < ends:
            self._take(self._waiting.popleft(), image.time or utc_now())
        for node in list(self._shelved):
            self._expire(self._live[node])
        if STANDSTILL_NODE in self._live:
            self._watch_control(image)

    def _watch_control(self, image: Image) -> None:
        """Frames that no longer come cannot tell so themselves."""
        spec = self._live[STANDSTILL_NODE].spec
        still = time.monotonic_ns() - max(image.frozen_at, self._started_ns) > STANDSTILL_NS
        zone = max(spec.zones) if still else NORMAL
        self.report(STANDSTILL_NODE, zone, spec.message(zone, 0.0, before=self._live[STANDSTILL_NODE].condition.message))

    def _take(self, change: Change, now: int) -> None:
        spec = self._specs[change.alarm]
        live = self._live[spec.node]
        words = told(spec, self._server.layout, self._server.image.text)
        message = spec.message(change.zone, change.value, words, live.condition.message)
        self._turn(live, change.zone, message, now)

    def _is_silencer(self, change: Change) -> bool:
        return self._specs[change.alarm].node in self._followers

    def report(self, node: str, zone: int, message: str, extra: Mapping[Path, ua.Variant] | None = None) -> None:
        """A part of the server itself tells the state of an alarm that watches no channel. Nothing happens while it stays."""
        live = self._live[node]
        live.extra = extra if extra is not None else live.extra
        news = zone != live.condition.zone or (zone != NORMAL and message != live.condition.message)
        if news:
            self._turn(live, zone, message, utc_now())

    def _turn(self, live: Live, zone: int, message: str, now: int) -> None:
        was_active = live.condition.active
        live.condition.turn(zone, message, now)
        self.announce(live)
        if was_active == live.condition.active:
            return
        for follower in self._followers.get(live.spec.node, ()):
            if follower.condition.suppress(zone != NORMAL, now) and follower.condition.retain:
                self.announce(follower)

    def _expire(self, live: Live) -> None:
        if live.condition.expire(utc_now()):
            self.announce(live)
        elif live.condition.shelving is Shelving.Unshelved:
            self._shelved.discard(live.spec.node)

    # What clients are told.

    def announce(self, live: Live, disabled: bool = False) -> None:
        """Tell a new state, and keep it. A condition out of use tells only that it was taken out of use."""
        condition = live.condition
        condition.announced(secrets.token_bytes(EVENT_ID_BYTES))
        if condition.shelving is not Shelving.Unshelved:
            self._shelved.add(live.spec.node)
        self.store.note(condition)
        if condition.enabled or disabled:
            self._server.events.emit(event_of(live))


def event_of(live: Live) -> Event:
    """The event that tells the present state of a condition; it stays as it is when the condition goes on."""
    now = live.condition
    kept = replace(now, remark=replace(now.remark), moments=replace(now.moments), event_ids=now.event_ids[-1:])
    return Event(live.type, live.source, replace(live, condition=kept).field, live.node_id, Kind.MEASURE)
