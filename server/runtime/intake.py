"""Documents and timetables on their way into control: ready-made by the supervisor, taken one at a time in idle time.

What is taken is a few columns of numbers; nothing is parsed whose size grows with them. A document that control knows in the same
or a later revision changes nothing, so that what is delivered twice does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from server.core.document import Document
from server.core.errors import EmsError
from server.core.timetable import Timetable

from .ring import DocumentRing

_TABLE: Final = b"D"
_TIMETABLE: Final = b"T"
_REMOVED: Final = b"R"


def table(document: Document) -> bytes:
    """The order to use a document."""
    return _TABLE + document.packed()


def removed(name: str, revision: int) -> bytes:
    """The order to do without a document, from this revision on."""
    return _REMOVED + json.dumps([name, revision]).encode()


def timetable(made: Timetable) -> bytes:
    """The order to follow a timetable."""
    return _TIMETABLE + made.packed()


class Intake:
    """Control's side. use: follows a timetable. event: journals what cannot be taken; set by whoever has a journal."""

    def __init__(
        self,
        ring: DocumentRing,
        begin_with: Iterable[bytes],
        use: Callable[[Timetable], None],
    ) -> None:
        self.documents: Mapping[str, Document] = MappingProxyType({})
        """Each document in its newest revision. Replaced as a whole: who holds the one before keeps it."""
        self._ring = ring
        self._use = use
        self.event: Callable[[str, str, dict[str, Any]], None] = lambda kind, text, data: None
        self._revisions: dict[str, int] = {}
        for order in begin_with:
            self._take(order)

    def idle(self) -> bool:
        """Take one order; False when none waits."""
        order = self._ring.next()
        if order is not None:
            self._take(order)
        return order is not None

    def _take(self, order: bytes) -> None:
        kind, data = order[:1], order[1:]
        try:
            if kind == _TIMETABLE:
                made = Timetable.unpacked(data)
                if self._is_news("", made.revision):
                    self._use(made)
            elif kind == _TABLE:
                found = Document.unpacked(data)
                if self._is_news(found.name, found.revision):
                    self.documents = MappingProxyType({**self.documents, found.name: found})
            else:
                name, revision = json.loads(data)
                if self._is_news(name, revision):
                    self.documents = MappingProxyType({n: d for n, d in self.documents.items() if n != name})
        except (EmsError, ValueError) as error:
            self.event("document_refused", str(error), {})

    def _is_news(self, name: str, revision: int) -> bool:
        if revision <= self._revisions.get(name, 0):
            return False
        self._revisions[name] = revision
        return True
