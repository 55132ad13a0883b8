"""What a service is to the dispatcher: a handler with its needs, and the error that becomes a ServiceFault.

Each module that implements services exports `SERVICES: dict[type, Service]` from request class to Service;
`dispatch` merges them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from asyncua import ua


class ServiceError(Exception):
    """The whole service call failed: answered with a ServiceFault of this StatusCode. Single operations carry their own."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(f"{ua.StatusCode(status).name}: {reason}" if reason else ua.StatusCode(status).name)
        self.status = status


class Scope(Enum):
    """Who is talking, and therefore what the handler gets as its second argument."""

    DISCOVERY = "anybody"
    """handler(server, connection, request): also on a channel without security."""
    CHANNEL = "secured channel"
    """handler(server, connection, request): establishes the session itself."""
    SESSION = "activated session"
    """handler(server, session, request)."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    handler: plain function or coroutine function returning the response dataclass, or raising ServiceError.
    deferred: handler(server, session, request, reply) returns None and answers later through the Reply.
    operations, most: name of the list in `request.Parameters` that holds the operations, and how many are allowed;
        an empty list is answered with BadNothingToDo, a longer one with BadTooManyOperations, before the handler runs.
        A service whose parameters are decoded late checks that itself.
    takes_reply: handler(server, session, request, reply): it looks at times whether somebody still waits.
    """

    handler: Callable[..., Any]
    scope: Scope = Scope.SESSION
    deferred: bool = False
    operations: str = ""
    most: int = 0
    takes_reply: bool = False

    def check_operations(self, request: Any) -> None:
        """Raise ServiceError unless the request has between one and `most` operations."""
        if not self.operations:
            return
        check_number(getattr(request.Parameters, self.operations), self.most)


def check_number(operations: Sequence[Any], most: int) -> None:
    """Raise ServiceError unless there are between one and `most` operations."""
    if not operations:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if len(operations) > most:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations, f"{len(operations)} of at most {most}")
