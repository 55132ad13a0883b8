"""A site's documents on the host: the same content, number and age, and a complaint of what the host has no use for."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from desk_rig import ROWS, T0, Desk

from server.bridge import documents as bridge_documents
from server.bridge.documents import SiteDocuments
from server.bridge.trouble import Trouble
from server.core.layout import build_layout
from server.core.ticks import TICKS, to_datetime
from server.runtime import documents as runtime_documents
from server.runtime.files import write_atomically

NAME = "schedule/ess0"
MINUTE = 60 * TICKS


class SiteClient:
    """Answers as the site's server does. between: what happens there between two calls."""

    def __init__(self, site: Desk) -> None:
        self.site = site
        self.between: Callable[[], object] = lambda: None

    async def call(self, _: str, method: str, *given: Any) -> Any:
        if method == "ListDocuments":
            rows = (await self.site.answer("documents"))["documents"]
            arrived = [f"{to_datetime(row['arrived']):%Y-%m-%dT%H:%M:%SZ}" for row in rows]
            return [*([row[key] for row in rows] for key in ("name", "revision", "user")), arrived, [""] * len(rows)]
        await asyncio.to_thread(self.between)
        found = await self.site.answer("document", name=given[0])
        return found["revision"], json.dumps(found["content"])


class Rig:
    """A site, and its host with a bridge."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = T0
        self.site, self.host = Desk(folder / "site"), Desk(folder / "host")
        self.client = SiteClient(self.site)
        self.complaints: list[str] = []
        self._folder = folder
        monkeypatch.setattr(runtime_documents, "_now", lambda: self.now)
        monkeypatch.setattr(bridge_documents, "request", lambda _, op, **asked: self.host.ask(op, **asked))
        self.begin()

    def begin(self) -> None:
        """Start the bridge anew."""
        log = SimpleNamespace(warning=lambda *_: None)
        context: Any = SimpleNamespace(directory=self._folder, log=log, event=lambda kind, text: self.complaints.append(text))
        self.trouble = Trouble(context)
        self.documents = SiteDocuments(context, self.trouble)

    def take_over(self) -> Rig:
        asyncio.run(self.documents.take_over(self.client))  # type: ignore[arg-type]
        return self

    def ages(self) -> list[tuple[int, float]]:
        """Revision and age [min] at the site and on the host."""
        found = [desk.intake().documents[NAME] for desk in (self.site, self.host)]
        return [(document.revision, document.age_s(self.now) / 60) for document in found]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def test_a_plan_that_is_taken_over_late_is_as_old_as_at_the_site(rig: Rig) -> None:
    rig.site.hand_in(NAME, ROWS)
    rig.now += 300 * MINUTE
    assert rig.take_over().ages() == [(1, 300), (1, 300)]


def test_a_plan_that_is_renewed_as_it_is_is_new_on_the_host_too(rig: Rig) -> None:
    rig.site.hand_in(NAME, ROWS)
    rig.take_over()
    for revision in (2, 3, 4):
        rig.now += 15 * MINUTE
        rig.site.hand_in(NAME, ROWS)
        assert rig.take_over().ages() == [(revision, 0), (revision, 0)]


def test_what_the_host_has_already_is_left_as_it_is(rig: Rig) -> None:
    rig.site.hand_in(NAME, ROWS)
    rig.take_over()
    before = rig.host.notes.copy()
    rig.begin()
    rig.now += 15 * MINUTE
    assert rig.take_over().ages() == [(1, 15), (1, 15)]
    assert rig.host.notes == before


def test_a_plan_that_is_replaced_while_it_is_read_gets_no_age_of_another(rig: Rig) -> None:
    rig.site.hand_in(NAME, ROWS)
    rig.now += 15 * MINUTE
    rig.client.between = partial(rig.site.hand_in, NAME, ROWS)
    rig.take_over()
    rig.client.between = lambda: None
    assert rig.take_over().ages() == [(2, 0), (2, 0)]


def test_what_is_removed_at_the_site_is_removed_on_the_host(rig: Rig) -> None:
    rig.site.hand_in(NAME, ROWS)
    rig.take_over()
    rig.site.ask("remove_document", name=NAME, user="anna")
    assert rig.take_over().host.ask("documents") == {"documents": []}


@pytest.mark.parametrize("end", ["replaced", "removed"])
def test_a_complaint_of_a_document_ends_with_it(rig: Rig, end: str) -> None:
    layout, rig.host.layout = rig.host.layout, build_layout([])
    rig.site.hand_in(NAME, ROWS)
    rig.take_over()
    (complaint,) = rig.complaints
    assert complaint.startswith(f"{NAME} of the site is of no use here: ")
    assert rig.take_over().complaints == [complaint]
    rig.trouble.tell("the site", "the site is away")
    rig.trouble.tell("the site")
    assert rig.complaints[1:] == [f"{complaint}; the site is away", complaint]
    rig.host.layout = layout
    if end == "replaced":
        rig.site.hand_in(NAME, ROWS)
    else:
        rig.site.ask("remove_document", name=NAME)
    assert rig.take_over().complaints[3:] == [""]


def test_what_the_host_has_no_room_for_is_taken_when_there_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, *given: Any) -> None:
        if full and "host" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, *given)

    full = True
    monkeypatch.setattr(runtime_documents, "write_atomically", write)
    monkeypatch.setattr(bridge_documents, "ROOM_S", 0.01)
    rig.site.hand_in(NAME, ROWS)

    async def follow() -> None:
        nonlocal full
        rig.documents.hear(1)
        following = asyncio.create_task(rig.documents.follow(rig.client))  # type: ignore[arg-type]
        for full in (True, False):
            while bool(rig.complaints and rig.complaints[-1]) is not full:
                await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(asyncio.wait_for(follow(), 20))
    assert rig.complaints == [f"{NAME} of the site is of no use here: {NAME} cannot be kept: No space left on device", ""]
    assert rig.ages() == [(1, 0), (1, 0)]
