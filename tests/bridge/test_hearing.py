"""What clients write and propose at the site reaches the engine on the host: all of it, once, in order, however full it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from image_site import ImageSite, image_site

from server.bridge.decisions import control_cells
from server.bridge.process import Bridge
from server.bridge.protocol import WRITE_ROW, Heard
from server.bridge.site_link import Answer
from server.core.commands import TOGETHER
from server.core.proposal import Proposal
from server.core.step import Write
from server.opcua.remote import WAITING_MAX, Outbox
from server.runtime.proposing import pack, unpack
from server.runtime.ring import Inbox

USER = 7
MODE, STOP = "site/Mode", "site/EmergencyStopActive"


class Room:
    """A ring with room for so many records."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.records: list[bytes] = []

    def put(self, record: bytes) -> bool:
        if len(self.records) >= self.places:
            return False
        self.records.append(record)
        return True


class Rig:
    """The outbox of a site's server, and the bridge of a host with its real inbox."""

    def __init__(self, site: ImageSite) -> None:
        self._remote = SimpleNamespace(held=True)
        self._layout = site.layout
        self.begin_server()
        self.proposals = Room(1_000)
        self._control = site.attach("control").inbox
        self._bridge: Any = Bridge.__new__(Bridge)
        self._bridge._heard = Heard()
        self._bridge._cells = control_cells(site.layout)
        self._bridge._documents = SimpleNamespace(hear=lambda changes: None)
        self._bridge._image = SimpleNamespace(inbox=site.attach("opcua").inbox, proposals=self.proposals)
        self.mode, self.stop, *self.setpoints = (
            site.slot(node) for node in (MODE, STOP, "ess0/SetActivePower", "ess0/SetReactivePower")
        )

    def begin_server(self) -> None:
        """Start the site's server, or start it anew."""
        receiver = SimpleNamespace(put=lambda *write: True)
        server: Any = SimpleNamespace(layout=self._layout, remote=self._remote)
        self.outbox = Outbox(server, receiver)  # type: ignore[arg-type]

    def away(self, away: bool = True) -> None:
        """The host is away, or there again."""
        self._remote.held = not away

    def write(self, writes: Iterable[tuple[int, float]]) -> None:
        """Clients write at the site, and all is accepted."""
        for slot, value in writes:
            assert self.outbox.put(slot, value, USER)

    def exchange(self) -> int:
        """One exchange; how many writes the site said."""
        waiting = self.outbox.waiting(self._bridge._heard)
        urgent, writes = (np.frombuffer(rows, WRITE_ROW) for rows in (waiting.urgent, waiting.writes))
        self._bridge._hear(Answer(urgent, writes, tuple(waiting.proposals), 0))
        return len(urgent) + len(writes)

    def cycle(self) -> list[Write]:
        """What the engine takes."""
        return self._control.take()

    def told(self) -> list[float]:
        """The values of stops and resets that an exchange brings."""
        self.exchange()
        return [write.value for write in self.cycle() if write.slot == self.stop]


@pytest.fixture
def rig() -> Iterator[Rig]:
    with image_site() as site:
        yield Rig(site)


def test_what_was_accepted_at_the_site_reaches_the_engine_in_order_and_once(rig: Rig) -> None:
    accepted, taken = 0, []
    for flood in (True, False):
        for _ in range(100):
            while flood and rig.outbox.put(rig.mode, accepted, USER):
                accepted += 1
            rig.exchange()
            taken += rig.cycle()
    assert accepted > 2 * Inbox.CAPACITY
    assert taken == [Write(rig.mode, float(i), USER) for i in range(accepted)]


def test_an_exchange_says_nothing_that_was_heard(rig: Rig) -> None:
    assert rig.outbox.put(rig.mode, 1.0, USER)
    assert [rig.exchange(), rig.exchange()] == [1, 0]


def test_what_goes_together_waits_together_until_all_of_it_finds_room(rig: Rig) -> None:
    group = dict.fromkeys(rig.setpoints, 5.0)
    while rig._bridge._image.inbox.put(rig.mode, 0.0, USER):
        pass
    assert rig.outbox.put_together(group, USER)
    assert rig.outbox.put(rig.mode, 9.0, USER)
    assert [rig.exchange(), rig.exchange()] == [len(group) + 2] * 2
    before = []
    while taken := rig.cycle():
        before += taken
    assert {write.value for write in before} == {0.0}
    rig.exchange()
    rows = [(TOGETHER, float(len(group))), *group.items(), (rig.mode, 9.0)]
    assert rig.cycle() == [Write(slot, value, USER) for slot, value in rows]


def test_a_full_inbox_keeps_no_emergency_stop_waiting(rig: Rig) -> None:
    while rig._bridge._image.inbox.put(rig.mode, 0.0, USER):
        pass
    while rig.outbox.put(rig.mode, 1.0, USER):
        pass
    assert rig.outbox.put(rig.stop, 1.0, USER)
    assert rig.told() == [1.0]
    assert rig.told() == []


def test_proposals_wait_for_room_by_themselves(rig: Rig) -> None:
    rig.proposals.places = 2
    for number in range(4):
        assert rig.outbox.propose(pack(Proposal(f"mpc{number}", "anna", 0, 1, ())))
    assert rig.outbox.put(rig.mode, 1.0, USER)
    assert [rig.exchange(), rig.exchange()] == [1, 0]
    assert len(rig.proposals.records) == 2
    rig.proposals.places = 4
    rig.exchange()
    assert [unpack(record).controller for record in rig.proposals.records] == ["mpc0", "mpc1", "mpc2", "mpc3"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([1], [1]),
        ([0], [0]),
        ([1, 0], [1, 0]),
        ([0, 0], [0]),
        ([0, 1], [1]),
        ([1, 1], [1]),
        ([1, 0, 1], [1]),
        ([1, 0, 1, 0, 0], [1, 0]),
    ],
)
def test_of_stops_and_resets_the_engine_is_told_the_newest(rig: Rig, asked: list[float], told: list[float]) -> None:
    rig.away()
    rig.write((rig.stop, value) for value in asked)
    rig.away(False)
    assert rig.told() == told
    assert rig.told() == []


def test_a_reset_follows_a_stop_that_was_heard_before(rig: Rig) -> None:
    rig.write([(rig.stop, 1.0)])
    assert rig.told() == [1.0]
    rig.write([(rig.stop, 0.0)] * 2)
    assert rig.told() == [0.0]


def test_stops_while_the_host_is_away_fill_nothing(rig: Rig) -> None:
    rig.away()
    rig.write((rig.stop, value) for _ in range(WAITING_MAX) for value in (1.0, 0.0))
    rig.away(False)
    rig.write([(rig.mode, 1.0)])
    assert rig.exchange() == 3


def test_a_flood_of_sessions_of_the_host_is_told_one_stop(rig: Rig) -> None:
    assert rig.outbox.put(rig.stop, 1.0, USER)
    for _ in range(100):
        rig.outbox.begin()
    assert rig.exchange() == 1


@pytest.mark.parametrize("writes_before", [0, 500])
def test_a_new_server_at_the_site_is_heard_from_its_first_write_on(rig: Rig, writes_before: int) -> None:
    for _ in range(writes_before):
        rig.write([(rig.stop, 1.0), (rig.mode, 1.0)])
    rig.exchange()
    while rig.cycle():
        pass
    for _ in range(20):
        rig.begin_server()
        rig.write([(rig.stop, 1.0), (rig.mode, 2.0)])
        rig.exchange()
        assert rig.cycle() == [Write(rig.stop, 1.0, USER), Write(rig.mode, 2.0, USER)]


@pytest.mark.parametrize("heard", [1, 500, (1 << 64) - 1])
def test_a_number_that_this_server_never_gave_forgets_nothing(rig: Rig, heard: int) -> None:
    assert rig.outbox.put(rig.mode, 1.0, USER)
    assert len(rig.outbox.waiting(Heard(heard, heard, heard)).writes) == WRITE_ROW.itemsize
