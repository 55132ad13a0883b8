"""Controllers that are replaced while the engine runs: what stays, what is handed over, what ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from core_rig import METER, Rig, device, ess, meter

from controllers.phase_limits import PhaseLimits
from server.core.channel import PHASES
from server.core.constraint import Bound, Target, Trip
from server.core.controller import Controller, ControllerParams, EssRef, Now, controller_object, param
from server.core.image import Image
from server.core.layout import CONTROLLER, Layout, NoRoom, build_layout, with_controllers
from server.core.natures import Meter
from server.core.rehearsal import Rehearsal
from server.core.status import BAD_NODE_ID_UNKNOWN
from server.core.step import Engine
from server.core.succession import Generation, NeedsNewEngine


class Charger(Controller):
    """Charge with a power, and count."""

    priority = 20

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: float = param("Power.", low=0, high=5000, default=1000.0)

    @dataclass
    class State:
        runs: int = 0
        marks: list[int] = field(default_factory=list)

    def run(self, image: Image, now: Now):
        self.state.runs += 1
        yield Target(self.params.ess.power, equals=-self.params.power_w, why="charges")


class Gentle(Charger):
    """Charge with half of it; remember other things."""

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        power_w: float = param("Power.", low=0, high=1500, default=800.0)
        share: float = param("Share.", low=0, high=1, default=0.5)

    @dataclass
    class State:
        runs: int = 0
        marks: str = "none"
        extra: float = 7.0

    def run(self, image: Image, now: Now):
        self.state.runs += 1
        yield Target(self.params.ess.power, equals=-self.params.power_w * self.params.share, why="charges gently")


class Limit(Controller):
    """A bound that stands."""

    priority = 5

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        most_w: float = param("Highest.", low=0, high=9000, default=300.0)

    def standing(self):
        yield Bound(self.params.ess.power, at_least=-self.params.most_w, why="limits the charge")


class Tripper(Controller):
    """Trips."""

    protects = True

    def run(self, image: Image, now: Now):
        yield Trip(why="for a test")


Wanted = Sequence[tuple[type[Controller], str, Mapping[str, Any]]]


def generation(layout: Layout, wanted: Wanted, renewed: set[str]) -> Generation:
    """A generation with these controllers."""
    objects = [controller_object(cls, alias, settings) for cls, alias, settings in wanted]
    return Generation(with_controllers(layout, objects), {cls.__name__: cls for cls, _, _ in wanted}, frozenset(renewed))


def swap(rig: Rig, wanted: Wanted, renewed: set[str]) -> None:
    """Replace the controllers of a rig between two steps."""
    found = generation(rig.layout, wanted, renewed)
    rig.engine.adopt(rig.engine.prepare(found))
    rig.layout = found.layout


@pytest.fixture
def rig() -> Rig:
    made = Rig([meter(), ess()], [(Charger, "charge0", {"ess": "ess0"})])
    made.step().step()
    assert made["ess0/SetActivePower"] == -1000
    return made


def test_a_new_file_decides_from_the_next_step_on_and_goes_on_with_what_still_fits(rig: Rig) -> None:
    rig.step(("charge0/power_w", 1200))
    before = rig.engine.state()["controllers"]["charge0"]
    swap(rig, [(Gentle, "charge0", {"ess": "ess0"})], {"charge0"})
    rig.step()
    assert rig["ess0/SetActivePower"] == -600, "the written parameter is kept, the new one has its default"
    assert rig["charge0/power_w"] == 1200
    assert rig["charge0/share"] == 0.5
    after = rig.engine.state()["controllers"]["charge0"]
    assert after["state"] == {"runs": before["state"]["runs"] + 1, "marks": "none", "extra": 7.0}, "marks is declared otherwise"


@pytest.mark.parametrize(
    ("written", "settings", "power"),
    [
        (1200.0, {}, 1200.0),
        (4000.0, {}, 800.0),  # no longer in the range: the default of the new file
        (1200.0, {"power_w": 900.0}, 900.0),  # the configuration was changed meanwhile: it counts
    ],
)
def test_written_parameters_are_kept_where_they_are_valid(
    rig: Rig, written: float, settings: dict[str, Any], power: float
) -> None:
    rig.step(("charge0/power_w", written))
    swap(rig, [(Gentle, "charge0", {"ess": "ess0", **settings})], {"charge0"})
    rig.step()
    assert rig["charge0/power_w"] == power


def test_a_controller_that_is_switched_off_stays_off_when_its_file_changes(rig: Rig) -> None:
    rig.step(("charge0/Enabled", 0))
    swap(rig, [(Gentle, "charge0", {"ess": "ess0"})], {"charge0"})
    rig.step()
    assert rig["charge0/Enabled"] == 0
    assert rig["ess0/SetActivePower"] == 0


def test_one_that_did_not_change_is_the_same_object_and_keeps_its_slots(rig: Rig) -> None:
    (charger,) = rig.engine.runners
    slot = rig.layout.by_node["charge0/power_w"].slot
    swap(rig, [(Limit, "limit0", {"ess": "ess0"}), (Charger, "charge0", {"ess": "ess0"})], {"limit0"})
    rig.step()
    assert rig.engine.runners[1] is charger
    assert rig.layout.by_node["charge0/power_w"].slot == slot
    assert rig["ess0/SetActivePower"] == -300, "the new one, with the lower priority, is heard first"
    assert rig["limit0/Priority"] == 5
    rig.step(("limit0/most_w", 200))
    assert rig["ess0/SetActivePower"] == -200, "what clients write reaches the new one"


def test_standing_claims_are_made_anew(rig: Rig) -> None:
    swap(rig, [(Limit, "limit0", {"ess": "ess0"}), (Charger, "charge0", {"ess": "ess0"})], {"limit0"})
    rig.step().step()
    swap(rig, [(Limit, "limit0", {"ess": "ess0", "most_w": 50.0}), (Charger, "charge0", {"ess": "ess0"})], {"limit0"})
    rig.step()
    assert rig["ess0/SetActivePower"] == -50


def test_what_is_removed_asks_for_nothing_and_its_slots_say_that_they_are_gone(rig: Rig) -> None:
    slot = rig.layout.by_node["charge0/power_w"].slot
    swap(rig, [], set())
    rig.step()
    assert rig["ess0/SetActivePower"] == 0
    assert rig.out.records["status"][slot - rig.layout.owner("control").first] == BAD_NODE_ID_UNKNOWN
    swap(rig, [(Charger, "charge0", {"ess": "ess0"})], {"charge0"})
    rig.step()
    assert rig.layout.by_node["charge0/power_w"].slot != slot, "a slot is never given twice"
    assert rig["ess0/SetActivePower"] == -1000


def test_a_trip_ends_with_the_controller_that_claimed_it(rig: Rig) -> None:
    chargers = [(Charger, "charge0", {"ess": "ess0"})]
    swap(rig, [(Tripper, "trip0", {}), *chargers], {"trip0"})
    rig.step().step()
    assert rig["ess0/SetActivePower"] == 0
    swap(rig, [(Tripper, "trip0", {}), *chargers], {"trip0"})
    rig.step()
    assert rig["ess0/SetActivePower"] == 0, "the new one goes on with it"
    swap(rig, chargers, set())
    rig.step().step()
    assert rig["ess0/SetActivePower"] == -1000


def test_an_engine_and_its_rehearsal_are_replaced_together(rig: Rig) -> None:
    twin = Engine(rig.layout, rig.site, rig.classes, rig.guard)
    rehearsal = Rehearsal(rig.layout, rig.engine, twin)
    found = generation(rig.layout, [(Limit, "limit0", {"ess": "ess0"}), (Charger, "charge0", {"ess": "ess0"})], {"limit0"})
    successors = [engine.prepare(found) for engine in (rig.engine, twin)]
    rig.step()
    for engine, following in zip((rig.engine, twin), successors, strict=True):
        engine.adopt(following)
    image = Image(rig.records.copy(), cycle=rig.cycle, frozen_at=rig.ns, time=rig.time)
    rehearsal.play(image, Now(rig.cycle + 1, rig.ns, rig.time, 0.05))
    rig.step()
    assert rig["ess0/SetActivePower"] == -300


def test_an_error_in_the_hand_over_leaves_everything_as_it_was(rig: Rig) -> None:
    class Broken(Charger):
        """Its memory cannot be made."""

        @dataclass
        class State:
            runs: int = 0

            def __post_init__(self) -> None:
                if self.runs:
                    raise ValueError("no")

    found = generation(rig.layout, [(Broken, "charge0", {"ess": "ess0"})], {"charge0"})
    successors = rig.engine.prepare(found)
    with pytest.raises(ValueError, match="no"):
        rig.engine.adopt(successors)
    rig.step()
    assert rig["ess0/SetActivePower"] == -1000


def test_limits_on_phases_need_an_engine_that_was_made_for_them() -> None:
    phases = (*METER, *(s for s in (replace(Meter.ActivePower, name=f"ActivePower.{p}") for p in PHASES)))
    rig = Rig([device("meter0", Meter, phases), ess()], [(Charger, "charge0", {"ess": "ess0"})])
    found = generation(rig.layout, [(PhaseLimits, "phases0", {"grid": "grid", "import_max_w": 20e3})], {"phases0"})
    with pytest.raises(NeedsNewEngine, match="single phases"):
        rig.engine.prepare(found)


# Layouts.


def layout_of(wanted: Wanted, room: int) -> Layout:
    return build_layout([*(controller_object(c, a, s) for c, a, s in wanted), ess()], room=room)


def test_a_layout_without_room_says_so() -> None:
    layout = layout_of([(Charger, "charge0", {"ess": "ess0"})], room=4)
    with pytest.raises(NoRoom, match="4 slots left"):
        with_controllers(layout, [controller_object(Limit, "limit0", {"ess": "ess0"})])


def test_generations_grow_and_nothing_else_moves() -> None:
    layout = layout_of([(Charger, "charge0", {"ess": "ess0"})], room=60)
    later = with_controllers(
        layout, [controller_object(c, a, {"ess": "ess0"}) for c, a in ((Limit, "limit0"), (Charger, "charge0"))]
    )
    assert later.generation == layout.generation + 1
    assert later.slots == layout.slots
    assert [o.alias for o in later.objects if o.kind == CONTROLLER] == ["limit0", "charge0"]
    moved = [c.node for c in layout.channels if later.by_node[c.node].slot != c.slot]
    assert moved == []
    slots = [c.slot for c in later.channels]
    assert slots == sorted(set(slots))
    assert later.owner("control").texts[: len(layout.owner("control").texts)] == layout.owner("control").texts
