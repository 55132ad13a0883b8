"""What a controller's file must stand before a running site gets to see it: each fault is refused with its reason."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import controllers
from server.core.channel import Spec
from server.core.image import blank_records
from server.core.layout import DEVICE, ChannelUse, Layout, ObjectSpec, build_layout
from server.core.natures import Device, Ess, ManagedEss, Meter
from server.core.site import SiteSettings, cycle_object, site_object
from server.core.status import GOOD
from server.runtime.code import Code, read_code
from server.runtime.controller_plan import object_of
from server.runtime.discovery import use_custom
from server.runtime.transfer import dumps
from server.runtime.trial import Trial, Verdict, verdict_of

SITE = SiteSettings("id", "Trial", grid_meter="meter0")
TABLE = {"id": "reserve0", "type": "Reserve", "ess": "ess0"}
GOOD_FILE = '''"""A reserve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.core.constraint import Bound, Constraint
from server.core.controller import Controller, ControllerParams, EssRef, Now, param
from server.core.image import Image
from server.core.units import Percent


class Reserve(Controller):
    """Hold a share back."""

    priority = 8

    class Params(ControllerParams):
        ess: EssRef = param("The storage.")
        share: Percent = param("What is held back.", low=0, high=100, default=60.0)

    @dataclass
    class State:
        runs: int = 0

    def run(self, image: Image, now: Now) -> Iterable[Constraint]:
        self.state.runs += 1
        soc = self.params.ess.soc(image)
        if soc is not None and soc < self.params.share:
            yield Bound(self.params.ess.power, at_most=0, why=("holds {:%} back", self.params.share))
'''
STORAGE = (Ess.Soc, Ess.ActivePower, ManagedEss.AllowedChargePower, ManagedEss.AllowedDischargePower, ManagedEss.SetActivePower)


def device(alias: str, nature: type, *specs: Spec) -> ObjectSpec:
    uses = tuple(ChannelUse(s, period_s=0.05) for s in (Device.State, *specs))
    return ObjectSpec(alias, DEVICE, "plant", (Device, nature), uses)


class Bench:
    """A site with a battery, a folder for files, and what runs."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "custom" / "controllers" / "reserve.py"
        self.file.parent.mkdir(parents=True)
        use_custom(directory)
        self._shipped = controllers.__path__[0]
        controllers.__path__[0] = str(directory / "none")
        self.codes: dict[str, Code] = {}
        self.state: dict[str, Any] = {}
        self.layout = self._layout(())

    def _layout(self, objects: tuple[ObjectSpec, ...]) -> Layout:
        storage = device("ess0", ManagedEss, *STORAGE)
        return build_layout(
            [site_object(SITE), cycle_object(), *objects, device("meter0", Meter, Meter.ActivePower), storage], room=200
        )

    def with_shipped(self) -> None:
        """The product's own controllers are there, too."""
        controllers.__path__[0] = self._shipped

    def run_file(self, text: str = GOOD_FILE, table: Mapping[str, Any] = TABLE) -> None:
        """Let a file be what runs."""
        self.file.write_text(text)
        code = read_code("controllers.reserve")
        self.codes = {"Reserve": code}
        self.layout = self._layout((object_of(str(table["id"]), table, code.load()),))

    def judge(self, text: str | None = None, *tables: Mapping[str, Any], bound: Mapping[str, str] | None = None) -> Verdict:
        """The verdict on a file, as the supervisor gets it."""
        if text is not None:
            self.file.write_text(text)
        records = blank_records(self.layout.slots)
        for node, value in (("ess0/Soc", 50.0), ("ess0/ActivePower", 0.0), ("meter0/ActivePower", 0.0)):
            records[self.layout.by_node[node].slot] = (value, 1, 1, GOOD, 0)
        trial = Trial(self.layout, SITE, self.codes, self.state, records)
        return verdict_of(dumps(trial.judge(tables or (TABLE,), bound or {})))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    tmp_path.chmod(0o755)
    path, handlers = [*controllers.__path__], [(n, signal.getsignal(n)) for n in (signal.SIGALRM, signal.SIGPROF)]
    yield Bench(tmp_path)
    controllers.__path__[:] = path
    for number, handler in handlers:
        signal.signal(number, handler)
    for name in [m for m in sys.modules if m.startswith("controllers.") and "#" in m]:
        del sys.modules[name]


def changed(old: str, new: str) -> str:
    assert old in GOOD_FILE
    return GOOD_FILE.replace(old, new)


RUN = "        self.state.runs += 1\n"
REFUSED = {
    "a syntax error": (changed("yield Bound(", "yield Bound(("), "cannot be compiled: line 31: invalid syntax"),
    "an error when it is loaded": (changed("priority = 8", "priority = eight"), "NameError: name 'eight' is not defined"),
    "a loop when it is loaded": (GOOD_FILE + "\nwhile True:\n    pass\n", "takes longer than 1 s to load"),
    "a thread": (
        GOOD_FILE + "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n",
        "starts threads",
    ),
    "no class": ("x = 1\n", "one controller class per file is expected, found none"),
    "two classes": (GOOD_FILE + "\n\nclass Other(Reserve):\n    pass\n", "found Reserve, Other"),
    "no docstring": (changed('    """Hold a share back."""\n', ""), "Reserve: a docstring is missing"),
    "a parameter without documentation": (
        changed('param("What is held back.", low', "param(low"),
        "missing 1 required",
    ),
    "a parameter with empty documentation": (
        changed('"What is held back."', '""'),
        "Reserve.share: its documentation is missing",
    ),
    "a parameter that is a plain field": (
        changed('param("What is held back.", low=0, high=100, default=60.0)', "60.0"),
        "its documentation is missing: param(",
    ),
    "a priority out of range": (changed("priority = 8", "priority = 2000"), "2000 is not in 0..1000"),
    "a memory without a beginning": (changed("runs: int = 0", "runs: int"), "State.runs: what it is at first is missing"),
    "a parameter the site does not set": (changed(", default=60.0", ""), "reserve0.share: is missing"),
    "an exception": (changed(RUN, f"{RUN}        raise RuntimeError('boom')\n"), "reserve0 fails: RuntimeError: boom"),
    "an endless loop": (changed(RUN, "        while True:\n            pass\n"), "reserve0 fails: took longer than 5 ms"),
    "an endless loop that catches everything": (
        changed(
            RUN,
            "        while True:\n            try:\n                x = 1\n            except Exception:\n                pass\n",
        ),
        "reserve0 fails: took longer than 5 ms",
    ),
    "sleep": (changed(RUN, "        import time; time.sleep(60)\n"), "reserve0 fails: took longer than 5 ms"),
    "more computing than there is time for": (changed(RUN, "        sum(range(2_000_000))\n"), "longer than 5 ms"),
    "nonsense": (changed("yield Bound(", "yield 17, Bound("), "is no constraint"),
    "nothing at all": (changed("yield Bound(", "return None; Bound(").replace("soc is not None and ", ""), "NoneType"),
    "a limit that is no number": (changed("at_most=0", "at_most=float('nan')"), "reserve0 fails: ConstraintError"),
    "a reason that says nothing": (changed("self.params.share))", "'much'))"), "cannot be put into words"),
    "no answer to missing data": (changed("soc is not None and ", ""), "reserve0 fails: TypeError: '<' not supported"),
    "a trip of one that does not protect": (
        changed("yield Bound(", "from server.core.constraint import Trip; yield Trip(why='x'); Bound("),
        "only a controller that protects may trip",
    ),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_bad_file_is_refused_with_its_reason_and_the_one_before_is_kept(bench: Bench, text: str, reason: str) -> None:
    bench.run_file()
    running = bench.codes["Reserve"]
    verdict = bench.judge(text)
    assert reason in verdict.refused["controllers.reserve"]
    assert verdict.codes == {"Reserve": running}
    assert ([o.alias for o in verdict.controllers], verdict.renewed) == (["reserve0"], frozenset())


def test_a_good_file_is_taken_and_the_same_file_again_is_nothing_new(bench: Bench) -> None:
    verdict = bench.judge(GOOD_FILE)
    assert (verdict.refused, verdict.anew, verdict.renewed) == ({}, "", {"reserve0"})
    bench.run_file()
    assert bench.judge().renewed == frozenset()
    verdict = bench.judge(GOOD_FILE + "\n# other\n")
    assert (verdict.refused, verdict.renewed) == ({}, {"reserve0"})
    assert verdict.codes["Reserve"].place != bench.codes["Reserve"].place


def test_a_bad_one_keeps_no_good_one_from_being_loaded(bench: Bench) -> None:
    bench.with_shipped()
    bench.run_file()
    (bench.file.parent / "broken.py").write_text("def")
    balance = {"id": "balance0", "type": "SelfConsumption", "grid": "grid"}
    verdict = bench.judge(GOOD_FILE + "\n# other\n", balance, TABLE)
    assert verdict.renewed == {"balance0", "reserve0"}
    assert [o.alias for o in verdict.controllers] == ["balance0", "reserve0"]
    assert "line 1: invalid syntax" in verdict.refused["controllers.broken"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({**TABLE, "share": 120}, "site.toml: reserve0.share: 120 is not in 0..100"),
        ({**TABLE, "shares": 20}, "site.toml: reserve0.shares: is no parameter of Reserve (ess, share)"),
        ({**TABLE, "ess": "ess9"}, "ess9"),
        ({**TABLE, "type": "Reserv"}, "there is no such controller, did you mean Reserve?"),
        ({**TABLE, "type": "PeakShaving"}, "reserve0 stands for a Reserve; a PeakShaving needs another id"),
        ({**TABLE, "id": "ess0"}, "something else is called ess0"),
    ],
)
def test_a_wrong_table_is_refused_and_a_controller_of_its_name_runs_on(bench: Bench, table: dict[str, Any], reason: str) -> None:
    bench.with_shipped()
    bench.run_file()
    verdict = bench.judge(None, table, bound={"reserve0": "Reserve"})
    assert reason in verdict.refused[table["id"]]
    assert [o.alias for o in verdict.controllers] == (["reserve0"] if table["id"] == "reserve0" else [])
    assert verdict.renewed == frozenset()


def test_a_table_that_is_gone_removes_its_controller(bench: Bench) -> None:
    bench.with_shipped()
    bench.run_file()
    balance = {"id": "balance0", "type": "SelfConsumption", "grid": "grid"}
    verdict = bench.judge(None, balance)
    assert ([o.alias for o in verdict.controllers], verdict.refused) == (["balance0"], {})


def test_what_runs_runs_on_when_its_file_is_gone(bench: Bench) -> None:
    bench.run_file()
    bench.file.unlink()
    verdict = bench.judge()
    assert "is gone; Reserve runs on as it was loaded" in verdict.refused["controllers.reserve"]
    assert verdict.codes == bench.codes


def test_what_runs_runs_on_when_its_file_holds_another_controller(bench: Bench) -> None:
    bench.run_file()
    verdict = bench.judge(GOOD_FILE.replace("class Reserve(", "class Other("))
    assert verdict.refused["controllers.reserve"] == "its file holds Other now; Reserve runs on as it was loaded"
    assert verdict.codes == bench.codes


def test_the_trial_begins_with_the_state_of_the_running_controller(bench: Bench) -> None:
    bench.run_file()
    bench.state = {"controllers": {"reserve0": {"enabled": True, "params": {"share": 80.0}, "state": {"runs": 41}}}}
    text = changed(RUN, f"        assert self.state.runs >= 41 and self.params.share == 80.0\n{RUN}")
    assert bench.judge(text).refused == {}


def test_a_library_that_control_does_not_have_is_for_a_new_control_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run_file()
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    verdict = bench.judge(changed("from dataclasses", "import colorsys\nfrom dataclasses"))
    assert verdict.renewed == {"reserve0"}
    assert verdict.anew == "control has not imported colorsys"


@pytest.mark.parametrize(
    ("place", "mode", "reason"),
    [("file", 0o646, "may be written by everybody"), ("folder", 0o757, "may be written by everybody"), ("file", 0o644, "")],
)
def test_files_that_others_can_write_are_not_loaded(bench: Bench, place: str, mode: int, reason: str) -> None:
    bench.file.write_text(GOOD_FILE)
    (bench.file if place == "file" else bench.file.parent).chmod(mode)
    refused = bench.judge().refused
    assert (reason in refused["controllers.reserve"]) if reason else not refused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user_are_not_loaded(bench: Bench) -> None:
    bench.file.write_text(GOOD_FILE)
    os.chown(bench.file, 12345, 12345)
    assert "belongs to user 12345" in bench.judge().refused["controllers.reserve"]


def test_enumerations_of_a_file_travel_without_it(bench: Bench) -> None:
    text = GOOD_FILE.replace("from dataclasses", "from enum import IntEnum\nfrom dataclasses").replace(
        "class Reserve(", 'class Kind(IntEnum):\n    """Kinds."""\n\n    Small = 0\n    Large = 1\n\n\nclass Reserve('
    )
    text = text.replace("    @dataclass\n", '        kind: Kind = param("Kind.", default=Kind.Small)\n\n    @dataclass\n', 1)
    verdict = bench.judge(text, {**TABLE, "kind": "Large"})
    assert verdict.refused == {}
    states = next(use.spec.states for use in verdict.controllers[0].channels if use.spec.name == "kind")
    assert states is not None
    assert [(s.name, int(s)) for s in states] == [("Small", 0), ("Large", 1)]
    assert verdict.controllers[0].settings["kind"] == 1
