"""What schedules set, who outranks whom, and several parameters at once: an engine in virtual time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from core_rig import Rig, ess, meter

from server.core.commands import TOGETHER
from server.core.constraint import Constraint, Target
from server.core.controller import Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.runner import Runner
from server.core.step import Write
from server.core.ticks import TICKS
from server.core.timetable import Span, Timetable, TimetableError, overlay
from server.core.units import Watt

MINUTE = 60 * TICKS


class Steady(Controller):
    """Want one power."""

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: Watt = param("Power.", low=-5000, high=5000, default=100.0)
        least_w: Watt = param("No less than this.", low=0, high=5000, default=0.0)
        most_w: Watt = param("No more than this.", low=0, high=9000, above="least_w", default=4000.0)

    params: Params

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        yield Target(self.params.ess.power, equals=self.params.power_w, why="as told")


@pytest.fixture
def rig() -> Rig:
    made = Rig([ess(), meter()], [(Steady, "steady0", {"ess": "ess0"}), (Steady, "steady1", {"ess": "ess0", "power_w": 50.0})])
    made.step().step()
    return made


def span(rig: Rig, begin: float, end: float, value: float, title: str = "Night") -> Span:
    """A span in minutes from now."""
    return Span(rig.time + round(begin * MINUTE), rig.time + round(end * MINUTE), value, title)


def plan(rig: Rig, **tracks: tuple[Span, ...]) -> None:
    """Hand over a timetable; nodes are written `steady0__power_w`."""
    rig.engine.use(Timetable(1, {node.replace("__", "/"): spans for node, spans in tracks.items()}))


def in_force(rig: Rig) -> tuple[float | None, float | None, float | None]:
    return rig["steady0/Enabled"], rig["steady0/power_w"], rig["ess0/SetActivePower"]


def together(rig: Rig, values: dict[str, float]) -> list[Write]:
    writes = [Write(rig.layout.by_node[node].slot, value, 7) for node, value in values.items()]
    return [Write(TOGETHER, float(len(writes)), 7), *writes]


def test_what_a_schedule_sets_goes_back_when_its_event_ends(rig):
    plan(rig, steady0__power_w=(span(rig, 1, 2, 700.0),), steady0__Enabled=(span(rig, 3, 4, 0.0),))
    seen = [in_force(rig.step(dt_s=1)), *(in_force(rig.step(dt_s=60)) for _ in range(4))]
    assert seen == [(1, 100, 100), (1, 700, 700), (1, 100, 100), (0, 100, 50), (1, 100, 100)]


def test_a_person_outranks_an_event_until_it_ends_and_sets_what_is_gone_back_to(rig):
    plan(rig, steady0__power_w=(span(rig, 1, 3, 700.0), span(rig, 4, 5, 700.0)))
    assert in_force(rig.step(dt_s=90))[1] == 700
    assert in_force(rig.step(("steady0/power_w", 300.0)))[1] == 300
    assert "set by hand: power_w" in rig.text("steady0/Schedule")
    assert in_force(rig.step(dt_s=60))[1] == 300, "the event still lasts"
    assert in_force(rig.step(dt_s=60))[1] == 300, "it is over"
    assert rig.text("steady0/Schedule") == ""
    assert in_force(rig.step(dt_s=60))[1] == 700, "the next event sets it anew"
    assert in_force(rig.step(dt_s=60))[1] == 300


def test_what_a_person_writes_makes_nobody_else_follow_anew(rig, monkeypatch):
    followed = []
    follow = Runner.follow
    monkeypatch.setattr(Runner, "follow", lambda runner, spans: followed.append(runner.alias) or follow(runner, spans))
    plan(rig, steady0__power_w=(span(rig, 0, 9, 700.0),), steady1__power_w=(span(rig, 0, 9, 70.0),))
    rig.step()
    rig.step(("steady0/power_w", 300.0))
    plan(
        rig,
        steady0__power_w=(span(rig, 0, 9, 800.0),),
        steady1__power_w=rig.engine._schedules._timetable.tracks["steady1/power_w"],
    )
    rig.step()
    assert followed == ["steady0", "steady1", "steady0", "steady0"]


def test_a_person_who_switches_outranks_an_event(rig):
    plan(rig, steady0__Enabled=(span(rig, 0, 2, 0.0),), steady0__power_w=(span(rig, 0, 2, 700.0),))
    assert in_force(rig.step()) == (0, 700, 50)
    assert in_force(rig.step(("steady0/Enabled", 1.0))) == (1, 700, 700)
    assert in_force(rig.step(dt_s=180)) == (1, 100, 100)


def test_texts_and_journal_say_that_a_schedule_did_it(rig):
    plan(rig, steady0__power_w=(span(rig, 0, 1, 700.0, "Night rate"),))
    rig.step()
    rig.step(dt_s=2)
    kinds = [(kind, data.get("node"), data.get("event")) for kind, _, data in rig.out.events if kind.startswith("schedule")]
    assert kinds == [("schedule", "steady0/power_w", "Night rate")]
    assert rig.text("steady0/Schedule").startswith("Night rate until ")
    assert rig.text("steady0/Schedule").endswith(": power_w 700")
    assert "as told: wants 700 W; schedule Night rate until" in rig.text("steady0/Explanation")
    rig.step(dt_s=120)
    assert rig.out.events[-1][:2] == ("schedule_over", "Night rate is over: steady0.power_w is 100")


def test_what_does_not_fit_the_controller_is_told_and_the_rest_is_set(rig):
    plan(rig, steady0__power_w=(span(rig, 0, 1, 70_000.0),), steady1__power_w=(span(rig, 0, 1, 60.0),))
    rig.step()
    assert (rig["steady0/power_w"], rig["steady1/power_w"]) == (100, 60)
    assert ("schedule_refused", "Night: steady0.power_w: 70000 is not in -5000..5000") in [e[:2] for e in rig.out.events]


def test_a_timetable_that_is_replaced_gives_back_what_it_no_longer_sets(rig):
    plan(rig, steady0__power_w=(span(rig, 0, 9, 700.0),))
    assert rig.step()["steady0/power_w"] == 700
    plan(rig)
    assert rig.step()["steady0/power_w"] == 100


def test_a_restart_in_the_middle_of_an_event_keeps_event_and_hand_apart(rig):
    spans = {"steady0__power_w": (span(rig, 0, 3, 700.0),), "steady0__least_w": (span(rig, 0, 3, 9.0),)}
    plan(rig, **spans)
    rig.step()
    rig.step(("steady0/power_w", 300.0))
    state = rig.engine.state()
    assert state["controllers"]["steady0"]["params"] == {"power_w": 300.0}, "what the schedule sets is no person's wish"
    after = Rig([ess(), meter()], [(Steady, "steady0", {"ess": "ess0"}), (Steady, "steady1", {"ess": "ess0"})])
    after.epoch += rig.time - after.time
    after.engine.restore(state)
    plan(after, **spans)
    after.step()
    assert (after["steady0/power_w"], after["steady0/least_w"]) == (300, 9)
    after.step(dt_s=300)
    assert (after["steady0/power_w"], after["steady0/least_w"]) == (300, 0)


def test_a_clock_that_is_set_back_finds_the_event_again(rig):
    plan(rig, steady0__power_w=(span(rig, 1, 2, 700.0),))
    rig.step(dt_s=150)
    assert rig["steady0/power_w"] == 100
    rig.epoch -= MINUTE
    assert rig.step()["steady0/power_w"] == 700


def test_parameters_written_together_count_in_one_cycle(rig):
    step_with(rig, together(rig, {"steady0/power_w": 400.0, "steady0/least_w": 3.0, "steady1/Enabled": 0.0}))
    assert (rig["steady0/power_w"], rig["steady0/least_w"], rig["steady1/Enabled"]) == (400, 3, 0)
    kind, text, data = rig.out.events[-1]
    assert (kind, data["user"]) == ("write", 7)
    assert text == "steady0.power_w is 400 (was 100), steady0.least_w is 3 (was 0), steady1.Enabled is 0 (was 1)"
    assert rig.engine.state()["controllers"]["steady0"]["params"] == {"power_w": 400.0, "least_w": 3.0}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"steady0/power_w": 400.0, "steady0/least_w": -1.0}, "steady0.least_w: -1 is not in 0..5000"),
        ({"steady0/power_w": 400.0, "steady1/power_w": 9e9}, "steady1.power_w: 9e+09 is not in -5000..5000"),
        ({"steady0/power_w": 400.0, "steady0/Enabled": 2.0}, "steady0/Enabled: 2 is neither 1 (on) nor 0 (off)"),
        ({"steady0/power_w": 400.0, "site/Mode": 1.0}, "site/Mode is neither the switch nor a parameter of a controller"),
        ({"steady0/power_w": 400.0, "steady0/least_w": 4000.0}, "steady0.most_w: 4000 is not above least_w, which is 4000"),
        ({"steady0/least_w": 400.0, "steady0/most_w": 300.0}, "steady0.most_w: 300 is not above least_w, which is 400"),
        ({"steady0/power_w": float("nan"), "steady0/least_w": 4.0}, "steady0.power_w: nan is not a number"),
    ],
)
def test_of_parameters_written_together_none_is_taken_when_one_is_wrong(rig, values, reason):
    step_with(rig, together(rig, values))
    assert (rig["steady0/power_w"], rig["steady0/least_w"], rig["steady0/Enabled"]) == (100, 0, 1)
    assert rig.out.events[-1][:2] == ("write_refused", f"nothing is changed: {reason}")


def test_a_parameter_stays_above_the_one_it_must_be_above_and_both_may_move_together(rig):
    rig.step(("steady0/least_w", 4500.0))
    assert rig["steady0/least_w"] == 0
    refused = ("write_refused", "steady0.most_w: 4000 is not above least_w, which is 4500")
    assert refused in [event[:2] for event in rig.out.events]
    step_with(rig, together(rig, {"steady0/least_w": 4500.0, "steady0/most_w": 6000.0}))
    assert (rig["steady0/least_w"], rig["steady0/most_w"]) == (4500, 6000)
    again = Rig([ess(), meter()], [(Steady, "steady0", {"ess": "ess0"})])
    again.engine.restore(rig.engine.state())
    again.step()
    assert (again["steady0/least_w"], again["steady0/most_w"]) == (4500, 6000), "whatever comes first"


def test_writes_around_a_group_are_taken_one_by_one(rig):
    group = together(rig, {"steady0/power_w": 400.0, "steady0/least_w": -1.0})
    single = Write(rig.layout.by_node["steady1/power_w"].slot, 60.0, 7)
    step_with(rig, [single, *group, single._replace(value=70.0)])
    assert (rig["steady0/power_w"], rig["steady1/power_w"]) == (100, 70)


def step_with(rig: Rig, writes: list[Write]) -> None:
    rig.cycle += 1
    rig.ns += 50_000_000
    image = Image(rig.records.copy(), cycle=rig.cycle, frozen_at=rig.ns, time=rig.time)
    rig.engine.step(image, Now(rig.cycle, rig.ns, rig.time, 0.05), writes, rig.out)


def test_a_timetable_survives_its_transport():
    table = Timetable(7, {"a/x": (Span(1, 5, 2.5, "Night"), Span(7, 9, 3.0, "Day")), "b/Enabled": (Span(1, 5, 0.0, "Night"),)})
    assert Timetable.unpacked(table.packed()) == table
    for damaged in (b"", table.packed()[:-8], b"\xff" * 64):
        with pytest.raises(TimetableError):
            Timetable.unpacked(damaged)


@pytest.mark.parametrize(
    ("ranked", "track"),
    [
        ([], []),
        ([(0, 9, 1)], [(0, 9, 1)]),
        ([(3, 5, 1), (0, 9, 2)], [(0, 3, 2), (3, 5, 1), (5, 9, 2)]),
        ([(0, 9, 1), (3, 5, 2)], [(0, 9, 1)]),
        ([(0, 4, 1), (2, 6, 2), (5, 9, 3)], [(0, 4, 1), (4, 6, 2), (6, 9, 3)]),
        ([(0, 4, 1), (4, 8, 1)], [(0, 4, 1), (4, 8, 1)]),
        ([(2, 3, 1), (4, 5, 1), (0, 9, 2)], [(0, 2, 2), (2, 3, 1), (3, 4, 2), (4, 5, 1), (5, 9, 2)]),
    ],
)
def test_of_several_events_the_first_wins_and_the_others_hold_around_it(ranked, track):
    assert [(s.start, s.end, s.value) for s in overlay(Span(b, e, v, "") for b, e, v in ranked)] == track
