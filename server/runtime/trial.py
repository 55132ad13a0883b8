"""Controllers on trial: new and changed files are judged in a process of their own before a running site gets to see them.

    files ─ compile ─ load ─ declarations ─ settings of the site ─ runs on the newest frame ─▶ verdict

Forked from the zygote that control comes from, at a low priority, it knows what control would know and disturbs nobody. What
a controller must stand: the frame of now and one without any data, with the state that the running one has, through the same
hand-over that control will do. Who fails keeps nobody else from being loaded: the one before it, if there was one, is kept.
Whatever a file does to this process, the supervisor hears which it was (`progress`), and ends what does not come back.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from server.core.controller import Controller, Now
from server.core.errors import EmsError
from server.core.image import Image, blank_records
from server.core.layout import CONTROLLER, DEVICE, Layout, ObjectSpec, with_controllers
from server.core.rehearsal import Nowhere
from server.core.runner import BUDGET_S, Controllers, Runner
from server.core.site import SiteSettings
from server.core.status import BAD_NO_DATA
from server.core.step import Engine, OverBudget
from server.core.succession import Generation, NeedsNewEngine
from server.core.words import render

from .code import Code, read_code
from .context import ProcessContext
from .controller_plan import alias_of, object_of, type_of
from .discovery import DiscoveryError, check_trust, controller_modules
from .transfer import dumps
from .trial_guard import TrialGuard

LOAD_S: Final = 1.0
"""Computing time a file may take to be loaded."""
STEPS: Final = 20
"""Cycles that are played on each image."""
LOW_PRIORITY: Final = 10


@dataclass(frozen=True)
class Verdict:
    """What shall run. controllers: all, in order; renewed: aliases that are new or changed; codes: of all types in use.

    refused: why a file, or a controller of the configuration, is not loaded, by what it is called. anew: why an engine that runs
    cannot take these controllers over, empty when it can.
    """

    controllers: tuple[ObjectSpec, ...] = ()
    renewed: frozenset[str] = frozenset()
    codes: Mapping[str, Code] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    anew: str = ""


class Unfit(EmsError):
    """A controller failed on trial."""


def run(context: ProcessContext) -> None:
    """Entry of the process.

    settings: site; tables: of the controllers in site.toml; codes: what runs, by type; state: of the engine; bound: the type that
    an alias stands for.

    handles: of a reader of the image; `progress`: a file for what is being tried; `result`: a file for the verdict.
    """
    os.nice(LOW_PRIORITY)
    handles, settings = dict(context.handles), context.settings
    progress, result = handles.pop("progress"), handles.pop("result")
    frame = replace(context, handles=handles).image().frames().latest()
    assert context.layout is not None
    records = blank_records(context.layout.slots) if frame is None else frame.records
    trial = Trial(context.layout, settings["site"], settings["codes"], settings["state"], records, progress)
    os.pwrite(result, dumps(trial.judge(settings["tables"], settings["bound"])), 0)


class Trial:
    """The trial of one site. records: of the newest frame; state: of the running engine; progress: descriptor of a file."""

    def __init__(
        self,
        layout: Layout,
        site: SiteSettings,
        codes: Mapping[str, Code],
        state: Mapping[str, Any],
        records: Any,
        progress: int = -1,
    ) -> None:
        self._layout = layout
        self._site = site
        self._state = state
        self._records = records
        self._progress = progress
        self._guard = TrialGuard()
        self._running = codes
        self._classes: dict[str, type[Controller]] = {name: code.load() for name, code in codes.items()}
        self._before = dict(self._classes)
        self._codes = dict(codes)
        self._known = frozenset(sys.modules)
        self._holds: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._anew: list[str] = []
        self._had = {o.alias: o for o in layout.objects if o.kind == CONTROLLER}
        self._objects = dict(self._had)

    def judge(self, tables: Sequence[Mapping[str, Any]], bound: Mapping[str, str] = {}) -> Verdict:
        """Try what is new or changed, one after the other. bound: the type that an alias stands for."""
        candidates = dict(self._load_files())
        wanted = self._wanted(tables, {*self._classes, *candidates}, bound)
        self._objects = {alias: obj for alias, obj in self._objects.items() if alias in wanted}
        for kind, (code, cls) in candidates.items():
            if members := {alias: table for alias, table in wanted.items() if table["type"] == kind}:
                self._try_file(kind, code, cls, members)
        changed = {a: t for a, t in wanted.items() if t["type"] in self._classes and not self._is_current(a, t)}
        if len(changed) < 2 or not self._try_together(changed):
            for alias, table in changed.items():
                self._try_table(alias, table)
        return self._verdict([alias for alias in wanted if alias in self._objects])

    def _verdict(self, order: Sequence[str]) -> Verdict:
        objects = tuple(self._objects[alias] for alias in order)
        codes = {o.type_name: self._codes[o.type_name] for o in objects}
        for name, code in codes.items():
            if self._holds.get(code.module, name) != name:
                self._refused[code.module] = f"its file holds {self._holds[code.module]} now; {name} runs on as it was loaded"
        moved = {n for n, code in codes.items() if n not in self._running or self._running[n].place != code.place}
        renewed = {o.alias for o in objects if o.type_name in moved or _differ(o, self._had.get(o.alias))}
        return Verdict(objects, frozenset(renewed), codes, self._refused, "; ".join(dict.fromkeys(self._anew)))

    # Files.

    def _load_files(self) -> Iterator[tuple[str, tuple[Code, type[Controller]]]]:
        """The files that are not what runs, each with its controller; the first of a name counts."""
        running = {code.place for code in self._running.values()}
        seen = {name for name, code in self._running.items() if code.module not in self._modules_on_disk()}
        for target in dict.fromkeys(controller_modules()):
            self._say(target)
            try:
                check_trust(target)
                code = read_code(target)
                if code.place not in running:
                    cls = self._load(code)
                    self._holds[code.module] = cls.__name__
                    if cls.__name__ not in seen:
                        seen.add(cls.__name__)
                        yield cls.__name__, (code, cls)
            except EmsError as error:
                self._refused[target] = str(error)
        for name, code in self._running.items():
            if code.module not in self._modules_on_disk():
                self._refused[code.module] = f"its file {code.path} is gone; {name} runs on as it was loaded"

    def _modules_on_disk(self) -> set[str]:
        return {target.partition(":")[0] for target in controller_modules()}

    def _load(self, code: Code) -> type[Controller]:
        threads = len(os.listdir("/proc/self/task"))
        try:
            with self._guard:
                self._guard.arm(LOAD_S)
                cls = code.load()
                self._guard.disarm()
        except OverBudget:
            raise DiscoveryError(f"{code.module} takes longer than {LOAD_S:g} s to load") from None
        if len(os.listdir("/proc/self/task")) > threads:
            raise DiscoveryError(f"{code.module} starts threads; a controller has none")
        return cls

    # Tables.

    def _wanted(
        self, tables: Sequence[Mapping[str, Any]], known: set[str], bound: Mapping[str, str]
    ) -> dict[str, Mapping[str, Any]]:
        """The tables that name a controller, by alias. One that does not leaves the controller of its name as it is."""
        wanted: dict[str, Mapping[str, Any]] = {}
        for number, table in enumerate(tables):
            alias = alias_of(number, table)
            try:
                if alias in wanted:
                    raise Unfit(f"site.toml: {alias}.id: two controllers have this id")
                if alias in self._layout.by_alias and alias not in self._had:
                    raise Unfit(f"site.toml: {alias}.id: something else is called {alias}")
                kind = type_of(alias, table, known)
                if bound.get(alias, kind) != kind:
                    raise Unfit(f"site.toml: {alias}.type: {alias} stands for a {bound[alias]}; a {kind} needs another id")
                wanted[alias] = table
            except EmsError as error:
                self._refused[alias] = str(error)
                if alias in self._had:
                    wanted.setdefault(alias, {**self._had[alias].settings})
        return wanted

    def _is_current(self, alias: str, table: Mapping[str, Any]) -> bool:
        """The controller was made of this very table."""
        obj = self._objects.get(alias)
        try:
            return obj is not None and not _differ(obj, object_of(alias, table, self._classes[table["type"]]))
        except EmsError:
            return False

    # Trying.

    def _try_file(self, kind: str, code: Code, cls: type[Controller], tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Try a file with all controllers that are made of it."""
        self._say(code.module)
        try:
            objects = {alias: object_of(alias, table, cls) for alias, table in tables.items()}
            self._try({**self._objects, **objects}, {**self._classes, kind: cls}, frozenset(objects))
        except EmsError as error:
            self._refused[code.module] = str(error)
            return
        self._objects |= objects
        self._classes[kind], self._codes[kind] = cls, code
        if missing := sorted(name for name in code.imports if name not in self._known):
            self._anew.append(f"control has not imported {', '.join(missing)}")

    def _try_together(self, tables: Mapping[str, Mapping[str, Any]]) -> bool:
        """Try all controllers whose tables are new or changed at once; False when one fails, and nothing is said of any."""
        self._say(", ".join(tables))
        try:
            objects = {alias: object_of(alias, table, self._classes[table["type"]]) for alias, table in tables.items()}
            self._try({**self._objects, **objects}, self._classes, frozenset(objects))
        except EmsError:
            return False
        self._objects |= objects
        return True

    def _try_table(self, alias: str, table: Mapping[str, Any]) -> None:
        """Try a controller whose table is new or changed."""
        self._say(alias)
        try:
            obj = object_of(alias, table, self._classes[table["type"]])
            self._try({**self._objects, alias: obj}, self._classes, frozenset([alias]))
        except EmsError as error:
            self._refused[alias] = str(error)
        else:
            self._objects[alias] = obj

    def _try(self, objects: Mapping[str, ObjectSpec], classes: Mapping[str, type[Controller]], renewed: frozenset[str]) -> None:
        """Hand over to these controllers and let them work. Raises Unfit with what went wrong."""
        layout = with_controllers(self._layout, list(objects.values()))
        try:
            with self._guard:
                self._guard.arm(LOAD_S)
                engine = self._handed_over(layout, classes, renewed)
                self._guard.disarm()
        except OverBudget:
            raise Unfit(f"making it takes longer than {LOAD_S:g} s") from None
        except NeedsNewEngine as error:
            self._anew.append(str(error))
            engine = self._engine(layout, classes)
        except EmsError:
            raise
        except Exception as error:
            raise Unfit(f"cannot be made: {type(error).__name__}: {error}") from error
        self._play(engine, [r for r in engine.runners if r.alias in renewed], layout)

    def _handed_over(self, layout: Layout, classes: Mapping[str, type[Controller]], renewed: frozenset[str]) -> Engine:
        engine = self._engine(self._layout, self._before)
        engine.adopt(engine.prepare(Generation(layout, classes, renewed)))
        return engine

    def _engine(self, layout: Layout, classes: Mapping[str, type[Controller]]) -> Engine:
        engine = Engine(layout, self._site, classes, self._guard)
        engine.restore(self._state)
        return engine

    def _play(self, engine: Engine, runners: Sequence[Runner], layout: Layout) -> None:
        for images in (self._images(layout, blind=False), self._images(layout, blind=True)):
            moments = list(images)
            for runner in runners:
                self._play_alone(runner, moments)
            self._play_together(engine, runners, moments, layout)

    def _play_alone(self, runner: Runner, moments: Sequence[tuple[Image, Now]]) -> None:
        """Run one controller in whatever mode the site is, also when it is switched off."""
        enabled = runner.enabled
        runner.switch(True)
        controllers = Controllers([runner], self._guard)
        for number, (image, now) in enumerate(moments):
            with self._guard:
                claims = controllers.run(image, now)
            if runner.failure:
                raise Unfit(f"{runner.alias} fails: {runner.failure}")
            if number and runner.duration_ns > BUDGET_S * 1e9:
                raise Unfit(f"{runner.alias} takes {runner.duration_ns / 1e6:.1f} ms, and a controller has {BUDGET_S * 1e3:g} ms")
            for why in [c.constraint.why for c in claims] + [s.why for _, s in controllers.wishes]:
                _check_reason(runner.alias, why)
        runner.switch(enabled)

    def _play_together(
        self, engine: Engine, runners: Sequence[Runner], moments: Sequence[tuple[Image, Now]], layout: Layout
    ) -> None:
        out = Nowhere(layout)
        try:
            for image, now in moments:
                with self._guard:
                    engine.step(image, now, (), out)
                engine.explain(out)
        except Exception as error:
            raise Unfit(f"the engine fails with it: {type(error).__name__}: {error}") from error
        for runner in runners:
            if runner.failure:
                raise Unfit(f"{runner.alias} fails: {runner.failure}")

    def _images(self, layout: Layout, *, blind: bool) -> Iterator[tuple[Image, Now]]:
        """The newest frame again and again as time goes on. blind: no device has any data."""
        records = self._records.copy()
        if blind:
            devices = {o.alias for o in layout.objects if o.kind == DEVICE}
            slots = [c.slot + i for c in layout.channels if c.alias in devices for i in range(c.length)]
            records["status"][slots] = BAD_NO_DATA
        begin, period_s = records["source"].max().item(), self._site.cycle_s
        for cycle in range(1, STEPS + 1):
            now = Now(cycle, round(cycle * period_s * 1e9), begin + round(cycle * period_s * 1e7), period_s)
            image = Image(records, cycle=cycle, frozen_at=now.monotonic_ns, time=now.time)
            image.records.flags.writeable = False
            yield image, now

    def _say(self, what: str) -> None:
        if self._progress >= 0:
            os.ftruncate(self._progress, 0)
            os.pwrite(self._progress, what.encode(), 0)


def _differ(one: ObjectSpec, other: ObjectSpec | None) -> bool:
    """Two controllers are not made of the same type and settings."""
    return other is None or (one.type_name, dict(one.settings)) != (other.type_name, dict(other.settings))


def _check_reason(alias: str, why: Any) -> None:
    try:
        render(why)
    except Exception as error:
        raise Unfit(f"{alias} gives a reason that cannot be put into words: {why!r}: {error}") from error


def verdict_of(content: bytes) -> Verdict:
    """What a trial wrote into its result."""
    verdict: Verdict = pickle.loads(content)
    return verdict
