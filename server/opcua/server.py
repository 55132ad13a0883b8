"""The OPC UA server as a whole: it listens, follows the process image, and ends what has timed out.

frames of the image -> self.frame -> conditions.tick, transitions.tick, subscriptions.tick   each control cycle
connections         -> wire -> channel -> dispatch -> services   as requests come
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from server.core.alarms import AlarmSpec
from server.core.errors import EmsError
from server.core.image import Image, blank_records
from server.core.layout import Layout
from server.core.site import SiteSettings
from server.runtime.audit import AuditLog

from . import administration, conditions, explaining, limits, push, reload, remote, roles
from .certificate_watch import CertificateWatch
from .channel import ServerSecurity
from .conditions import Conditions
from .counts import ServerCounts
from .dispatch import Dispatcher
from .events import EventHub
from .events.audit import AuditEvents
from .events.recorder import EventRecorder
from .generation import Generations
from .history import History
from .identity import Identification, Users, application_uris
from .model import build_nodes
from .plans import Plans
from .proposals import Proposers
from .reading import Plan as ReadPlan
from .reverse import ReverseClient
from .service import ServiceError
from .session import Session, Sessions
from .state_machines import Transitions
from .subscription import SubscriptionManager
from .turns import in_turns
from .wire import Connection
from .writing import WritePlan

if TYPE_CHECKING:
    from server.runtime.memory import SharedImage

    from .announce import Announcement
    from .call import Implementation

_log = logging.getLogger("ems.opcua")

DI_URI: Final = "http://opcfoundation.org/UA/DI/"
TYPES_URI: Final = "urn:unified-ems:types"
FREEZE_TAKES_NS: Final = 1_000_000
IDLE_CYCLE_NS: Final = 50_000_000
"""Assumed period before control has announced one."""
CYCLES_TO_SHOW: Final = 2
"""After the newest frame, which we may not have yet: the next cycle takes what is asked, the one after freezes what it did."""
APPLIED_WITHIN_S: Final = 1.0


@dataclass(frozen=True)
class Settings:
    """Where and as what the server runs. port 0 takes a free one. history_url: of the database HistoryRead reads.

    remote: control runs on another host, which is told the schedule of site.toml.
    """

    directory: Path
    host: str
    port: int
    site_id: str
    name: str
    history_url: str
    timezone: str = "UTC"
    grid_meter: str = ""
    alarms: tuple[AlarmSpec, ...] = ()
    site: SiteSettings | None = None
    remote: bool = False
    schedule: tuple[Mapping[str, Any], ...] = ()

    @property
    def of_site(self) -> SiteSettings:
        """What the engine is told of the site."""
        return self.site or SiteSettings(self.site_id, self.name, self.timezone)


class UaServer:
    """One OPC UA server over one process image. Made, started and stopped once."""

    def __init__(self, settings: Settings, layout: Layout, image: SharedImage, security: ServerSecurity, users: Users) -> None:
        self.settings = settings
        self.layout = layout
        self.image = image
        self.security = security
        self.application_uri = application_uris(security.parsed)[0]
        self.name = settings.name
        self.namespaces = [
            "http://opcfoundation.org/UA/",
            self.application_uri,
            DI_URI,
            TYPES_URI,
            f"urn:unified-ems:{settings.site_id}",
        ]
        self.started = time.time()
        self.started_monotonic = time.monotonic()
        self.counts = ServerCounts()
        self.port = settings.port
        self.frame = Image(blank_records(layout.slots))
        self._frames = image.frames()
        self.sessions = Sessions()
        self.users = users
        self.identification = Identification(users)
        self.certificate_watch = CertificateWatch(self)
        self.configuration = push.Configuration(self)
        self.proposers = Proposers(self)
        self.remote = remote.Remote(self)
        self.inbox = self.remote.outbox if settings.remote else image.inbox
        self.propose = self.remote.outbox.propose if settings.remote else image.proposals.put
        self.methods: dict[ua.NodeId, Implementation] = {
            **administration.OBJECT.implementations(),
            **remote.OBJECT.implementations(),
            **explaining.OBJECT.implementations(),
            **conditions.implementations(),
            **push.implementations(),
            **reload.implementations(),
            **roles.implementations(),
        }
        self.history = History(settings.history_url)
        self.nodes, self.site_nodes = build_nodes(self)
        self.forget_plans()
        self.subscriptions = SubscriptionManager(self)
        self.events = EventHub(self)
        self.recorder = EventRecorder(self)
        self.events.listeners.append(self.recorder)
        self.conditions = Conditions(self, settings.alarms)
        self.generations = Generations(self)
        self.transitions = Transitions(self)
        self.dispatcher = Dispatcher(self)
        self.decoding = ThreadPoolExecutor(1, "decode")
        self.connections: set[Connection] = set()
        self.reverse: tuple[ReverseClient, ...] = ()
        self.announcement: Announcement | None = None
        self.audit_log = AuditLog(settings.directory)
        self.audit_events = AuditEvents(self)
        self._failing: set[str] = set()
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def forget_plans(self) -> None:
        """Nodes changed, and with them what requests mean."""
        self.read_plans: Plans[ReadPlan] = Plans()
        self.write_plans: Plans[WritePlan] = Plans()

    @property
    def url(self) -> str:
        """Under which a client on this host reaches us, when it does not say how it dialled."""
        host = "localhost" if self.settings.host in ("0.0.0.0", "::", "") else self.settings.host
        return f"opc.tcp://{f'[{host}]' if ':' in host else host}:{self.port}/"

    async def start(self) -> None:
        """Listen and follow the image. OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self.conditions.start()
        self._listener = await loop.create_server(lambda: Connection(self), self.settings.host, self.settings.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        dialling = (client.run() for client in self.reverse)
        self._tasks = [loop.create_task(work) for work in (self._follow(), self._sweep(), self.recorder.run(), *dialling)]
        _log.info("listening on %s:%d", self.settings.host, self.port)
        if self.announcement is not None:
            await self.announcement.start()

    async def stop(self) -> None:
        """Close everything; clients get what was already written to them."""
        if self.announcement is not None:
            await self.announcement.stop()
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.stop()
        for session in self.sessions:
            self.sessions.close(session)
        for connection in list(self.connections):
            connection.end()
        await asyncio.sleep(0)
        await self.generations.stop()
        await self.conditions.stop()
        self.decoding.shutdown(wait=False, cancel_futures=True)
        self.identification.close()
        self.history.close()
        await asyncio.to_thread(self.audit_log.close)

    # Connections.

    def admit(self, connection: Connection) -> str:
        """Take a new connection in; or say why not. Who has proven nothing makes room for who comes new."""
        unproven = [c for c in self.connections if not c.proven]
        if Counter(c.address for c in unproven)[connection.address] >= limits.CONNECTIONS_UNPROVEN_PER_IP_MAX:
            return "too many connections without a session from this address"
        if len(self.connections) >= limits.CONNECTIONS_MAX:
            if not unproven:
                return "too many connections"
            oldest = min(unproven, key=lambda c: c.opened)
            oldest.end()
        self.connections.add(connection)
        return ""

    def lost(self, connection: Connection) -> None:
        """A connection is gone; its sessions wait for their clients."""
        self.connections.discard(connection)
        for session in list(connection.sessions):
            self.sessions.detach(session)

    # Audit.

    def audit(self, event: str, *, session: Session | None = None, **fields: Any) -> None:
        """Note who did what, and tell those who listen. `session` fills in the user and the application."""
        self.audit_events(event, self.record(event, session=session, **fields))

    def record(self, event: str, *, session: Session | None = None, **fields: Any) -> dict[str, Any]:
        """Note it in the audit trail only; returns what was noted."""
        if session is not None:
            who = {"user": session.user.name, "application": session.application_uri, "session": session.id.to_string()}
            fields = {**who, **fields}
        self.audit_log.write(event, fields)
        return fields

    def check_auditable(self) -> None:
        """ServiceError BadResourceUnavailable while the audit trail takes no more: then nothing must be changed."""
        if not self.audit_log.accepts:
            raise ServiceError(ua.StatusCodes.BadResourceUnavailable, "the audit trail cannot be written")

    # The loop that follows the image.

    async def _follow(self) -> None:
        """Refresh the frame as soon as control has frozen it, and let the subscriptions work on it.

        While control stands still the subscriptions are still called once a cycle, for their keep-alives and lifetimes.
        """
        frames, ticked_ns = self._frames, 0
        while True:
            overtaken = frames.cycle() != self.frame.cycle  # the tick took longer than the cycle
            await asyncio.sleep(0 if overtaken else self._until_frame(time.monotonic_ns()))
            now_ns = time.monotonic_ns()
            fresh = frames.cycle() != self.frame.cycle
            if fresh:
                self.frame = frames.latest() or self.frame
            if fresh or now_ns - ticked_ns >= self._cycle_ns():
                ticked_ns = now_ns
                await self._tick(now_ns)

    async def applied(self) -> None:
        """Wait until what clients asked for so far shows in the frame, or control has been away for APPLIED_WITHIN_S.

        A frame that is there and was not fetched yet is waited for: then it was this server that was held up.
        """
        shows_in = self._frames.cycle() + CYCLES_TO_SHOW
        deadline = time.monotonic() + APPLIED_WITHIN_S
        while self.frame.cycle < shows_in and (self._frames.cycle() >= shows_in or time.monotonic() < deadline):
            await asyncio.sleep(self._cycle_ns() / 2e9)

    def _cycle_ns(self) -> int:
        return self.image.clock.cycle_ns or IDLE_CYCLE_NS

    def _until_frame(self, now_ns: int) -> float:
        """Seconds to wait before looking for the next frame.

        Control announces the next freeze when its step is done; until then it is one cycle after the frame we have. A frame
        that is late is looked for often, one that is later than a cycle seldom: then control stands still.
        """
        cycle_ns = self._cycle_ns()
        announced_ns = self.image.clock.next_freeze_ns()
        frozen_at = self.frame.frozen_at
        next_ns = announced_ns if announced_ns - frozen_at > cycle_ns // 2 else frozen_at + cycle_ns
        late_ns = now_ns - next_ns - FREEZE_TAKES_NS
        if late_ns < 0:
            return min(-late_ns, cycle_ns) / 1e9
        return (FREEZE_TAKES_NS if late_ns < cycle_ns else cycle_ns // 2) / 1e9

    async def _tick(self, now_ns: int) -> None:
        """One step of everything that follows the image."""
        self.generations.look(self.frame)
        await self._step("conditions", lambda: self.conditions.tick(self.frame))
        await self._step("state machines", lambda: self.transitions.tick(self.frame))
        await self._step("subscriptions", lambda: in_turns(self.subscriptions.tick(self.frame, now_ns)))

    async def _step(self, part: str, step: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """A step of one part. A failure is logged once until it is over, and noted in the audit trail; the others go on."""
        try:
            going_on = step()
            if going_on is not None:
                await going_on
            self._failing.discard(part)
        except Exception as error:  # noqa: BLE001  # the server goes on to serve everything else
            if part not in self._failing:
                _log.error("%s failed in cycle %d", part, self.frame.cycle, exc_info=error)
                self.audit(f"{part}-failed", cycle=self.frame.cycle, reason=repr(error))
            self._failing.add(part)

    async def _sweep(self) -> None:
        """End the sessions whose client has not been heard of in time, and the channels that were not renewed."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for session in self.sessions.sweep(now):
                self.counts.timed_out_sessions += 1
                self.audit("session-timeout", session=session)
            for connection in list(self.connections):
                connection.check(now)
            self.recheck_users()
            self.certificate_watch.look()

    def recheck_users(self) -> None:
        """Who was removed is out, and changed roles and scopes count, without waiting for the next login."""
        try:
            known = self.identification.everybody()
        except EmsError as error:
            _log.warning("users cannot be read: %s", error)
            return
        for session in self.sessions:
            if not session.activated:
                continue
            found = known.get(session.user.name)
            if found is None:
                self.counts.aborted_sessions += 1
                self.audit("session-ended", session=session, reason="the user was removed")
                self.sessions.close(session)
                continue
            user = replace(found, encrypted=session.user.encrypted)
            if user != session.user:
                session.become(user)
                self.audit("rights-changed", session=session, roles=sorted(user.roles), scope=sorted(user.scope or ()))
