"""From a decoded request to its answer: one table, one path, one place where errors become ServiceFaults.

Plain handlers run at once and in order; coroutine handlers run as tasks, so a slow login or history read holds up
nobody, not even its own connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from . import attribute, call, endpoints, history, limits, session_services, subscription, view
from .decode import DecodeError
from .service import Scope, Service, ServiceError
from .session import Reply, Session

if TYPE_CHECKING:
    from .server import UaServer
    from .wire import Connection

_log = logging.getLogger("ems.opcua")

TABLE: Final[Mapping[type, Service]] = {
    **endpoints.SERVICES,
    **session_services.SERVICES,
    **view.SERVICES,
    **attribute.SERVICES,
    **call.SERVICES,
    **history.SERVICES,
    **subscription.SERVICES,
}
"""Every service the server offers, by request class."""
NAMES: Final[Mapping[type, str]] = {request: request.__name__.removesuffix("Request") for request in TABLE}
"""Their names: `Read` of a ReadRequest."""
OPENING: Final = (ua.CreateSessionRequest, ua.ActivateSessionRequest)
"""Services whose refusal refuses a session."""


class Dispatcher:
    """Runs requests against the table of services."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Connection, request_id: int, request: Any) -> None:
        """Answer one request, now or later. Never raises."""
        header = request.RequestHeader
        reply = Reply(connection, request_id, header.RequestHandle)
        try:
            service = TABLE.get(type(request))
            if service is None:
                raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
            party = self._party(service, connection, request)
            reply.session = party if isinstance(party, Session) else None
            service.check_operations(request)
            if service.deferred:
                reply.open()
                service.handler(self._server, party, request, reply)
                return
            result = service.handler(self._server, party, request, *((reply,) if service.takes_reply else ()))
            if inspect.iscoroutine(result):
                reply.open()
                self._start(connection, reply, result, type(request))
            else:
                reply.send(result)
        except Exception as error:  # noqa: BLE001  # one request's failure is one client's answer, logged with its cause
            self._fail(reply, error, type(request))

    def _party(self, service: Service, connection: Connection, request: Any) -> Connection | Session:
        """Whom the handler deals with; ServiceError when the channel or the session does not allow the service."""
        if service.scope is Scope.DISCOVERY:
            return connection
        if not connection.secured:
            raise ServiceError(ua.StatusCodes.BadSecurityPolicyRejected, "only discovery without security")
        if service.scope is Scope.CHANNEL:
            return connection
        session = self._server.sessions.find(connection, request.RequestHeader.AuthenticationToken)
        if not session.activated:
            self._server.sessions.close(session)
            raise ServiceError(ua.StatusCodes.BadSessionNotActivated)
        session.touch(NAMES[type(request)])
        return session

    def _start(self, connection: Connection, reply: Reply, result: Coroutine[Any, Any, Any], kind: type) -> None:
        if len(connection.tasks) >= limits.ASYNC_REQUESTS_PER_CONNECTION_MAX:
            result.close()
            raise ServiceError(ua.StatusCodes.BadTcpServerTooBusy)
        task = asyncio.ensure_future(self._finish(connection, reply, result, kind))
        task.add_done_callback(lambda _: result.close())  # of a task that was cancelled before it began
        for kept in (self._tasks, connection.tasks):
            kept.add(task)
            task.add_done_callback(kept.discard)

    async def _finish(self, connection: Connection, reply: Reply, result: Coroutine[Any, Any, Any], kind: type) -> None:
        try:
            response = await result
            reply.send(response)
        except Exception as error:  # noqa: BLE001  # as in handle
            self._fail(reply, error, kind)

    def _fail(self, reply: Reply, error: Exception, kind: type) -> None:
        """Answer with a ServiceFault, and count it."""
        status = _status(error, kind.__name__)
        self._server.counts.refused(kind in OPENING, status)
        if reply.session is not None:
            reply.session.counts.refused(NAMES[kind], status)
        reply.fail(status)

    async def stop(self) -> None:
        """Cancel what still runs and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _status(error: Exception, name: str) -> int:
    """StatusCode of the ServiceFault for an error; the unexpected ones are logged with their cause."""
    if isinstance(error, (ServiceError, DecodeError)):
        _log.info("%s refused: %s", name, error)
        return error.status
    _log.error("%s failed", name, exc_info=error)
    return int(ua.StatusCodes.BadInternalError)


def stamp(response: Any, request_handle: int) -> None:
    """Complete the ResponseHeader."""
    response.ResponseHeader.RequestHandle = request_handle
    response.ResponseHeader.Timestamp = datetime.now(UTC)
