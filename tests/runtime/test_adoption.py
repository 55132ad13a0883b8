"""Control takes other controllers over in steps that fit into its cycles, or declines; until the last step nothing changes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from image_site import ImageSite

from server.core.controller import controller_object
from server.core.layout import CONTROLLER, Layout, build_layout
from server.core.succession import Generation, NeedsNewEngine
from server.runtime.adoption import TRIES, Adoption, Answer, Load
from server.runtime.code import Code, compile_code
from server.runtime.guard import AlarmGuard
from server.runtime.transfer import dumps

FILE = '''"""A file."""

from server.core.controller import Controller, ControllerParams, param


class Nothing(Controller):
    """Ask for nothing."""

    class Params(ControllerParams):
        number: float = param("A number.", default=1.0)
'''
SLOW = FILE + "\nimport time\ntime.sleep(60)\n"
AGES_NS = 10**9


class Engine:
    """Records what it is told. `raises`: what it answers when it is to make something ready."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.prepared: list[Generation] = []
        self.adopted: list[Any] = []
        self.raises = raises

    def prepare(self, generation: Generation) -> Any:
        if self.raises is not None:
            raise self.raises
        self.prepared.append(generation)
        return generation

    def adopt(self, successors: Any) -> None:
        self.adopted.append(successors)


class Bench:
    """An adoption over a real ring, with engines that record."""

    def __init__(self, shared: ImageSite, raises: Exception | None = None, done: int = 0) -> None:
        self.engines = (Engine(), Engine(raises))
        self.answers: list[Answer] = []
        self.layouts: list[Layout] = []
        self.layout = build_layout([], room=100)
        self._orders = shared.attach("supervisor").orders
        control = shared.attach("control").orders
        self.adoption = Adoption(control, self.layout, {}, {}, self.engines, AlarmGuard(), self.answers.append, done)
        self.adoption.use = self.layouts.append

    def order(self, load: Load) -> None:
        assert self._orders.put(dumps(load))

    def idle(self, cycles: int, left_ns: int = AGES_NS) -> None:
        for _ in range(cycles):
            self.adoption.idle(time.monotonic_ns() + left_ns)


def code_of(text: str = FILE) -> Code:
    return compile_code("controllers.nothing", "nothing.py", text.encode())


def load_of(number: int = 1, code: Code | None = None, **options: Any) -> Load:
    declared = code_of()
    obj = controller_object(declared.load(), "nothing0", {})
    declared.forget()
    return Load(number, ("nothing0",), {"nothing0": obj}, {"Nothing": code or declared}, **options)


@pytest.fixture
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)
    for name in [m for m in sys.modules if m.startswith("controllers.nothing#")]:
        del sys.modules[name]


pytestmark = pytest.mark.usefixtures("handler")


def test_an_order_takes_one_step_a_cycle_and_both_engines_change_together(shared: ImageSite) -> None:
    bench = Bench(shared)
    bench.order(load_of())
    for cycle in range(1, 5):
        bench.idle(1)
        assert bench.engines[0].adopted == bench.engines[1].adopted == [], cycle
    bench.idle(1)  # read, load, lay out, and one for each engine
    assert [len(engine.adopted) for engine in bench.engines] == [1, 1]
    assert bench.answers == [Answer(1, "", 5)]
    (layout,) = bench.layouts
    assert [o.alias for o in layout.objects if o.kind == CONTROLLER] == ["nothing0"]
    generation = bench.engines[0].prepared[0]
    assert generation.classes["Nothing"].__module__ == code_of().place
    assert generation.renewed == {"nothing0"}


def test_a_step_that_does_not_fit_is_tried_in_later_cycles_and_then_declined(shared: ImageSite) -> None:
    bench = Bench(shared)
    bench.order(load_of(code=code_of(SLOW)))
    bench.idle(TRIES + 1, left_ns=4_000_000)
    assert bench.answers == [Answer(1, "loading it does not fit into what the cycles leave", TRIES + 1)]
    assert bench.layouts == []
    assert code_of(SLOW).place not in sys.modules


@pytest.mark.parametrize(
    ("raises", "code", "declined"),
    [
        (NeedsNewEngine("limits on single phases"), code_of(), "limits on single phases"),
        (ValueError(), code_of(), "ValueError"),
        (None, code_of(FILE + "\nraise KeyError('x')\n"), "controllers.nothing cannot be loaded: KeyError: 'x'"),
    ],
)
def test_what_cannot_be_taken_over_is_declined_and_nothing_of_it_stays(
    shared: ImageSite, raises: Exception | None, code: Code, declined: str
) -> None:
    bench = Bench(shared, raises)
    bench.order(load_of(code=code))
    bench.idle(8)
    assert [answer.declined for answer in bench.answers] == [declined]
    assert all(engine.adopted == [] for engine in bench.engines)
    assert code.place not in sys.modules


def test_no_room_for_more_channels_is_declined(shared: ImageSite) -> None:
    bench = Bench(shared)
    many = {f"nothing{i}": obj for i in range(50) for obj in load_of().changed.values()}
    bench.order(Load(1, tuple(many), {a: replace(o, alias=a) for a, o in many.items()}, {"Nothing": code_of()}))
    bench.idle(5)
    assert "slots left for controllers" in bench.answers[0].declined


def test_orders_before_the_start_are_not_carried_out_again(shared: ImageSite) -> None:
    bench = Bench(shared, done=3)
    for number in (2, 3, 4):
        bench.order(load_of(number))
    bench.idle(12)
    assert [answer.number for answer in bench.answers] == [2, 3, 4]
    assert [len(engine.adopted) for engine in bench.engines] == [1, 1]


def test_it_leaves_when_it_is_told_to(shared: ImageSite) -> None:
    bench = Bench(shared)
    bench.order(Load(1, leave=True))
    assert not bench.adoption.leaving
    bench.idle(1)
    assert bench.adoption.leaving


def test_a_later_file_replaces_the_one_before_and_lets_go_of_it(shared: ImageSite) -> None:
    bench = Bench(shared)
    first, second = code_of(), code_of(FILE + "\n# other\n")
    for number, code in enumerate((first, second), 1):
        bench.order(load_of(number, code))
    bench.idle(10)
    assert [answer.declined for answer in bench.answers] == ["", ""]
    assert (first.place in sys.modules, second.place in sys.modules) == (False, True)
    assert [layout.generation for layout in bench.layouts] == [2, 3]


def test_an_idle_control_does_nothing(shared: ImageSite) -> None:
    bench = Bench(shared)
    bench.idle(3)
    assert (bench.answers, bench.layouts) == ([], [])
