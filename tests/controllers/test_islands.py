"""Islands: the grid is lost, the site goes on, and comes back in step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from control_rig import Rig, battery, grid_meter, output, relays, switch_input, switched_load, volts
from core_rig import ESS, device, load, meter

from controllers.ac_island import AcIsland
from controllers.island_mode import GridPhase, IslandMode
from controllers.load_shedding import LoadShedding
from server.core.natures import Ess, GridMode, ManagedEss
from server.core.status import BAD_NO_COMMUNICATION

CONTACTOR, FORM, FIRST, SECOND = range(4)
WIRED = {
    "meter": "meter0",
    "ess": "ess0",
    "contactor": "io0/Output[0]",
    "form": "io0/Output[1]",
    "start": ["io0/Output[2]", "io0/Output[3]"],
    "closed": "io0/Input[0]",
    "island": "meter1",
    "loads": ["load0", "load1"],
}


class Plant:
    """A grid, a contactor that needs 100 ms, and a storage that forms a grid when it is told to. A setting of None is left out.

    forms: the storage can form a grid. stops: it ends when it is told. idle_mode: its GridMode without. stuck: the contactor does
    not open. silent: nodes that are Bad. crashes: when the contactor was told to close onto an island out of step.
    """

    def __init__(self, **settings: object) -> None:
        devices = [grid_meter(), grid_meter("meter1"), battery(), relays(), switched_load("load0"), switched_load("load1")]
        wired = {name: value for name, value in (WIRED | settings).items() if value is not None}
        self.rig = Rig(devices, [(IslandMode, "island0", wired)])
        self.grid_v, self.grid_hz, self.own_hz = 1.0, 50.0, 50.0
        self.forms, self.stops, self.stuck, self.forming = True, True, False, False
        self.silent: Sequence[str] = ()
        self.idle_mode = GridMode.OnGrid
        self.closed_for, self.seconds = 1.0, 0.0
        self.open_at: float | None = None
        self.phases = [GridPhase.OnGrid]
        self.crashes: list[float] = []
        self.rig["meter0/ActivePower"] = 0

    def run(self, seconds: float) -> Plant:
        for _ in range(round(seconds / 0.05)):
            rig = self.rig
            closed = output(rig, "io0", CONTACTOR) != 0
            if not closed and self.open_at is None:
                self.open_at = self.seconds + 0.1
            self.open_at = None if closed else self.open_at
            is_open = self.open_at is not None and self.seconds >= self.open_at and not self.stuck
            told = output(rig, "io0", FORM) == 1 or (self.forming and not self.stops)
            self.forming = forming = is_open and self.forms and told
            volts(rig, self.grid_v)
            rig["meter0/Frequency"] = self.grid_hz if self.grid_v else None
            volts(rig, 1.0 if forming else (0.0 if is_open else self.grid_v), meter="meter1")
            rig["meter1/Frequency"] = self.own_hz if forming else self.grid_hz
            rig["ess0/GridMode"] = GridMode.OffGrid if forming else self.idle_mode
            switch_input(rig, "io0", 0, not is_open)
            for node in self.silent:
                rig.records[rig.slot(node)]["status"] = BAD_NO_COMMUNICATION
            rig.step()
            if output(rig, "io0", CONTACTOR) == 1 and forming and abs(self.own_hz - self.grid_hz) > 0.1:
                self.crashes.append(self.seconds)
            if self.phase is not self.phases[-1]:
                self.phases.append(self.phase)
            self.seconds += 0.05
        return self

    @property
    def phase(self) -> GridPhase:
        return GridPhase(self.rig["island0/phase"])

    def outputs(self) -> list[float | None]:
        return [output(self.rig, "io0", i) for i in range(4)]


def test_a_healthy_grid_keeps_the_contactor_closed():
    plant = Plant().run(5)
    assert plant.phase is GridPhase.OnGrid
    assert plant.outputs() == [1, 0, 1, 1]


@pytest.mark.parametrize(("volt", "hertz"), [(0.0, 50.0), (0.7, 50.0), (1.2, 50.0), (1.0, 46.0)])
def test_a_lost_grid_is_detected_and_the_site_is_an_island_within_a_second(volt, hertz):
    plant = Plant().run(2)
    plant.grid_v, plant.grid_hz = volt, hertz
    plant.run(0.95)
    assert plant.outputs()[:2] == [0, 1]
    assert plant.rig["ess0/SetActivePower"] is not None
    assert plant.rig.records[plant.rig.layout.by_node["ess0/GridMode"].slot]["value"] == 1


def test_a_dip_that_is_ridden_through_is_no_loss():
    plant = Plant().run(2)
    plant.grid_v = 0.5
    plant.run(0.15)
    plant.grid_v = 1.0
    plant.run(2)
    assert plant.phase is GridPhase.OnGrid


def test_the_island_starts_in_order_with_all_loads_off_until_it_stands():
    plant = Plant(step_s=2).run(1)
    plant.grid_v = 0.0
    seen: list[tuple[float | None, ...]] = []
    for _ in range(160):
        plant.run(0.05)
        state = (*plant.outputs(), plant.rig["load0/SetState"])
        if not seen or seen[-1] != state:
            seen.append(state)
    assert seen == [(1, 0, 1, 1, None), (0, 1, 0, 0, 0), (0, 1, 1, 0, 0), (0, 1, 1, 1, 1)]
    assert plant.phase is GridPhase.Island


@pytest.mark.parametrize(("soc", "states"), [(60, (1, 1)), (45, (0, 1)), (20, (0, 0))])
def test_loads_are_shed_by_the_energy_that_is_left(soc, states):
    plant = Plant(step_s=0.5, shed_soc=50).run(1)
    plant.rig["ess0/Soc"] = soc
    plant.grid_v = 0.0
    plant.run(6)
    assert (plant.rig["load0/SetState"], plant.rig["load1/SetState"]) == states


def test_the_site_returns_only_to_a_stable_grid_in_step():
    plant = Plant(step_s=0.5, stable_s=10).run(1)
    plant.grid_v = 0.0
    plant.run(5)
    plant.grid_v, plant.own_hz = 1.0, 50.3
    plant.run(5)
    assert plant.phase is GridPhase.Island
    plant.grid_v = 0.0
    plant.run(1)
    plant.grid_v = 1.0
    plant.run(9)
    assert plant.phase is GridPhase.Island
    plant.run(3)
    assert plant.phase is GridPhase.Synchronising
    assert plant.outputs()[CONTACTOR] == 0
    plant.own_hz = 50.02
    plant.run(0.1)
    assert plant.outputs()[:2] == [1, 0]
    plant.run(3)
    assert plant.phase is GridPhase.OnGrid


FORMED = [GridPhase.Opening, GridPhase.Starting, GridPhase.Island]
BACK = [GridPhase.Returning, GridPhase.OnGrid]


@pytest.mark.parametrize("island", ["meter1", None])
@pytest.mark.parametrize(
    ("dies_s", "phases"),
    [(0, [*FORMED[:2], *BACK]), (20, [*FORMED, GridPhase.Synchronising, *BACK]), (50, [*FORMED, GridPhase.Synchronising, *BACK])],
)
def test_a_site_whose_island_is_dead_goes_back_to_a_good_grid(island, dies_s, phases):
    """The storage never forms a grid, or is empty while the grid is lost, or while it is good again and out of step."""
    plant = Plant(step_s=0.5, stable_s=10, island=island).run(1)
    plant.grid_v, plant.own_hz, plant.forms = 0.0, 50.3, dies_s > 0
    plant.run(20)
    plant.forms = dies_s > 20
    plant.run(10)
    assert plant.outputs()[:2] == [0, 1], "no grid to return to"
    plant.grid_v = 1.0
    plant.run(9)
    assert plant.outputs()[CONTACTOR] == 0
    plant.run(11)
    plant.forms = False
    plant.run(5)
    assert plant.phases == [GridPhase.OnGrid, *phases]
    assert plant.outputs() == [1, 0, 1, 1]
    assert not plant.crashes


@pytest.mark.parametrize(
    ("island", "silent", "mode"),
    [("meter1", ["meter1/Voltage.L1"], GridMode.OnGrid), (None, ["ess0/GridMode"], GridMode.OnGrid), (None, [], GridMode.Genset)],
)
def test_an_island_that_is_not_known_to_be_dead_is_left_alone(island, silent, mode):
    plant = Plant(step_s=0.5, stable_s=10, island=island).run(1)
    plant.grid_v, plant.forms = 0.0, False
    plant.run(5)
    plant.grid_v, plant.silent, plant.idle_mode = 1.0, silent, mode
    plant.run(60)
    assert plant.phase is GridPhase.Starting
    assert plant.outputs()[:2] == [0, 1]
    plant.silent, plant.idle_mode = (), GridMode.OnGrid
    plant.run(5)
    assert plant.phase is GridPhase.OnGrid


def test_a_grid_that_is_lost_again_while_the_site_returns_starts_the_island_anew():
    plant = Plant(step_s=0.5, stable_s=10).run(1)
    plant.grid_v, plant.forms = 0.0, False
    plant.run(5)
    plant.grid_v = 1.0
    plant.run(11)
    assert (plant.phase, plant.outputs()) == (GridPhase.Returning, [0, 0, 0, 0])
    plant.grid_v, plant.forms = 0.0, True
    plant.run(5)
    assert plant.phases[-3:] == [GridPhase.Returning, GridPhase.Starting, GridPhase.Island]
    assert not plant.crashes


def test_without_a_meter_of_the_island_the_site_returns_with_an_interruption():
    plant = Plant(step_s=0.5, stable_s=10, island=None).run(1)
    plant.grid_v, plant.own_hz = 0.0, 50.3
    plant.run(5)
    plant.grid_v, plant.stops = 1.0, False
    plant.run(22)
    assert (plant.phase, plant.forming) == (GridPhase.Island, True), "a storage that forms on is left to"
    assert plant.phases.count(GridPhase.Returning) == 1
    plant.stops = True
    plant.run(20)
    assert plant.phases[-3:] == [GridPhase.Synchronising, *BACK]
    assert not plant.crashes


@pytest.mark.parametrize("missing", ["form", "GridMode"])
def test_a_site_of_which_nothing_tells_whether_the_contactor_may_close_is_refused(missing):
    storage = device("ess0", ManagedEss, tuple(spec for spec in ESS if missing != "GridMode" or spec is not Ess.GridMode))
    wired = {"meter": "meter0", "ess": "ess0", "contactor": "io0/Output[0]"}
    wired |= {} if missing == "form" else {"form": "io0/Output[1]"}
    rig = Rig([grid_meter(), storage, relays()], [(IslandMode, "island0", wired)])
    rig.step()
    assert "island0.island: is missing" in rig.engine.runners[0].failure
    assert output(rig, "io0", CONTACTOR) is None


def test_a_contactor_whose_feedback_is_not_known_is_open_after_its_time():
    plant = Plant(open_s=0.3).run(1)
    plant.silent, plant.grid_v = ("io0/Input[0]",), 0.0
    plant.run(0.4)
    assert plant.phase is GridPhase.Opening
    plant.run(0.2)
    assert plant.phase is GridPhase.Starting
    plant.run(10)
    assert plant.phase is GridPhase.Island


def test_a_contactor_that_does_not_open_is_closed_again_beside_a_good_grid():
    plant = Plant(stable_s=10).run(1)
    plant.stuck, plant.grid_v = True, 0.0
    plant.run(5)
    plant.grid_v = 1.0
    plant.run(9)
    assert plant.phases == [GridPhase.OnGrid, GridPhase.Opening]
    plant.run(2)
    assert plant.outputs() == [1, 0, 1, 1]


def test_a_dead_meter_is_a_lost_grid_and_the_contactor_stays_open_for_good():
    plant = Plant(step_s=0.5).run(1)
    plant.grid_v = 0.0
    plant.run(3)
    rig = plant.rig
    for node in ("meter0/ActivePower", "meter0/Voltage.L1"):
        rig[node] = None
    for _ in range(round(60 / 0.5)):
        rig["meter0/Voltage.L1"] = None
        rig.step(dt_s=0.5)
    assert output(rig, "io0", CONTACTOR) == 0


def test_ac_island_breaks_before_it_makes():
    wired = {"ess": "ess0", "grid_side": "io0/Output[0]", "island_side": "io0/Output[1]", "break_s": 10}
    rig = Rig([meter(), battery(), relays()], [(AcIsland, "ac0", wired)])
    rig["meter0/ActivePower"] = 0
    seen = []
    for second in range(80):
        rig["ess0/GridMode"] = float(20 <= second < 60)
        rig["ess0/Soc"] = 60 if second < 40 else 90
        rig.step(dt_s=1.0)
        state = (output(rig, "io0", 0), output(rig, "io0", 1))
        assert state != (1, 1)
        if not seen or seen[-1][1] != state:
            seen.append((second, state))
    assert [state for _, state in seen] == [(0, 0), (1, 0), (0, 0), (0, 1), (0, 0), (1, 0)]
    assert seen[3][0] - seen[2][0] == 10


@pytest.mark.parametrize(
    ("silent", "shed"),
    [
        ({}, 0),
        ({"meter0/ActivePower": None}, 1),
        ({"ess0/GridMode": 1, "ess0/Soc": None}, 1),
        ({"ess0/GridMode": None}, 1),
        ({"ess0/Soc": None}, 0),
        ({"ess0/GridMode": 1, "ess0/Soc": 32}, 1),
        ({"meter0/ActivePower": None, "ess0/GridMode": 1, "ess0/Soc": 20}, 2),
    ],
)
def test_what_is_not_known_brings_no_load_back(silent, shed):
    settings = {"grid": "grid", "ess": "ess0", "loads": ["load0", "load1"], "import_max_w": 8000, "off_s": 1, "on_s": 5}
    rig = Rig([meter(), battery(), switched_load("load0"), switched_load("load1")], [(LoadShedding, "shed0", settings)])
    rig["meter0/ActivePower"] = 9000
    assert rig.step(dt_s=1.0)["shed0/shed"] == 1
    rig["meter0/ActivePower"] = 0
    for node, value in silent.items():
        rig[node] = value
    for _ in range(10):
        rig.step(dt_s=1.0)
    assert (rig["shed0/shed"], rig["load0/SetState"]) == (shed, shed == 0)


def test_loads_are_shed_one_by_one_and_come_back_in_reverse():
    rule = (LoadShedding, "shed0", {"grid": "grid", "loads": ["load0", "load1"], "import_max_w": 8000, "off_s": 2, "on_s": 10})
    rig = Rig([meter(), battery(), switched_load("load0"), load("load1", RatedPower="3000")], [rule])
    rig["ess0/AllowedDischargePower"] = 0
    rig["load1/ActivePower"] = 2000
    found = []
    for second in range(40):
        rig["meter0/ActivePower"] = 9000 if second < 10 else 5000
        rig.step(dt_s=1.0)
        found.append((rig["load0/SetState"], rig["load1/SetPower"] == 0))
    assert found[0] == (1, False)
    assert found[2] == (0, False)
    assert found[5] == (0, True)
    assert found[22] == (0, False)
    assert found[-1] == (1, False)
