"""New and changed controllers for a site that runs, asked for with `ems reload`, by OPC UA, or noticed on disk.

    site.toml, files ─▶ trial ─▶ verdict ─┬─▶ order to control ─▶ taken over between two cycles ─┬─▶ plan, layout, alarms
                        (trial.py)        └─▶ refused, told         (adoption.py)               │
                                              where control cannot: a successor, leases held ───┘

Only what lies in the site's own files is loaded; whoever asks hands nothing in. A file that is refused changes nothing, and what
it would have replaced runs on, also when control is started again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from server.core.errors import EmsError
from server.core.layout import CONTROL, CONTROLLER, ObjectSpec, with_controllers

from .adoption import Answer, Load
from .alarm_plan import plan_alarms
from .children import describe_exit, kill_group
from .code import Code
from .config import SITE_FILE, SiteFile, read_site
from .context import ProcessContext
from .launch import memory_file
from .memory import READER
from .nursery import SpawnError
from .plan import Problem, SitePlan
from .planner import plan_schedules
from .process import ProcessSpec, World, spawned
from .running import RunningSite
from .transfer import dumps
from .trial import Verdict, verdict_of

TRIAL_WITHIN_S: Final = 30.0
ANSWER_WITHIN_S: Final = 10.0
WATCH_S: Final = 1.0
LEFT_WITHIN_S: Final = 1.0
READY_WITHIN_S: Final = 1.8
"""A new control process that is not ready by then gives way to one with the controllers of before, while leases still hold."""
_RESTART: Final = ("site", "grid", "opcua", "control", "bridge", "history", "secrets", "services", "cluster")
"""Tables of site.toml that count from the next start on."""


class ReloadFailed(EmsError):
    """Nothing was loaded, for a reason that concerns all."""


@dataclass(frozen=True)
class Outcome:
    """What a reload did. loaded: in words; refused: why, by file or alias; notes: what else there is to say.

    how: `nothing` was new, taken over in `place` between two cycles, or by a `successor` of the control process; took: for how
    long, in words.
    """

    how: str
    took: str = ""
    loaded: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Reload:
    """Loads controllers into one site. share: hands a new plan to what is started from now on."""

    def __init__(self, site: RunningSite, world: World, share: Callable[[SitePlan], None]) -> None:
        self._site = site
        self._world = world
        self._share = share
        self._one_at_a_time = asyncio.Lock()
        self._number = 0

    async def asked(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """The op `reload` of the bus."""
        return asdict(await self.reload())

    def layout(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """The op `layout` of the bus: layout and alarms of now, for the process that shows them."""
        plan = self._site.plan
        return {"generation": plan.layout.generation, "data": base64.b64encode(dumps((plan.layout, plan.alarms))).decode()}

    async def reload(self) -> Outcome:
        """Load what is new or changed. Raises InvalidFile for a wrong site.toml, ReloadFailed for a trial that did not end."""
        async with self._one_at_a_time:
            file = await asyncio.to_thread(read_site, self._site.plan.directory)
            try:
                return await self._carry_out(file, await self._trial(file))
            except ReloadFailed as error:
                self._tell_refused({"reload": str(error)})
                raise

    async def watch_for_ever(self) -> None:
        """Where the site wants it, load what is saved, once it has been left alone for WATCH_S."""
        directory = self._site.plan.directory
        before = tried = await asyncio.to_thread(_saved, directory)
        while self._site.plan.file.site.reload_on_save:
            await asyncio.sleep(WATCH_S)
            now = await asyncio.to_thread(_saved, directory)
            if now == before != tried:
                tried = now
                await self._reload_saved()
            before = now

    async def _reload_saved(self) -> None:
        try:
            await self.reload()
        except ReloadFailed:
            return  # told already
        except EmsError as error:
            self._tell_refused({SITE_FILE: str(error)})

    # The trial.

    async def _trial(self, file: SiteFile) -> Verdict:
        if self._site.plan.file.elsewhere:
            raise ReloadFailed("control and site are on different hosts: controllers are loaded when both are started anew")
        site, plan = self._site, self._site.plan
        registry = {a: site.registry[a].kind for a in (str(t.get("id")) for t in file.controller) if a in site.registry}
        settings = {
            "site": plan.settings,
            "tables": file.controller,
            "codes": plan.codes,
            "bound": registry,
            "state": site.engine_state().state or {},
        }
        context = ProcessContext("trial", plan.directory, role=READER, settings=settings)
        progress, result = memory_file("progress", b""), memory_file("result", b"")
        try:
            handles = {**site.image.handles(READER), "progress": progress, "result": result}
            status = await self._run_trial(context, handles)
            content = os.pread(result, os.fstat(result).st_size, 0)
            if status is None or not content:
                what = os.pread(progress, 200, 0).decode(errors="replace") or "reload"
                late = f"did not come back within {TRIAL_WITHIN_S:g} s"
                ended = late if status is None else f"broke off ({describe_exit(status)})"
                raise ReloadFailed(f"{what}: the trial {ended}; nothing is loaded")
            return verdict_of(content)
        except (SpawnError, OSError) as error:
            raise ReloadFailed(f"the trial cannot be held: {error}") from error
        finally:
            os.close(progress)
            os.close(result)

    async def _run_trial(self, context: ProcessContext, handles: Mapping[str, int]) -> int | None:
        """The wait status of the trial's process, None when it had to be ended."""
        nursery = self._site.nurseries["lean"]
        async with spawned(nursery, self._world, "server.runtime.trial:run", context, handles) as newborn:
            newborn.begin()
        try:
            return await asyncio.wait_for(asyncio.shield(newborn.ended), TRIAL_WITHIN_S)
        except TimeoutError:
            kill_group(newborn.pid, signal.SIGKILL)
            await newborn.ended
            return None

    # What follows from it.

    async def _carry_out(self, file: SiteFile, verdict: Verdict) -> Outcome:
        site, before = self._site, self._site.plan
        notes = [*_not_reloaded(before.file, file)]
        plan = self._planned(file, verdict)
        loaded = [*_loaded(before, plan, verdict)]
        if not loaded:
            self._tell_refused(verdict.refused)
            return Outcome("nothing", refused=verdict.refused, notes=notes)
        self._number += 1
        declined, cycles = verdict.anew, 0
        if not declined:
            answer = await self._order(self._load(plan, verdict))
            declined, cycles = answer.declined, answer.cycles
        self._number += bool(declined)
        plan = replace(plan, processes=tuple(_told(plan, self._number)))
        took = f"taken over in {cycles} cycles"
        if declined:
            notes.append(f"the control process was started anew: {declined}")
            took = f"taken over by a new control process in {await self._hand_over(plan):.2f} s"
        self._adopt(plan)
        for text in loaded:
            site.journal.event("controllers", f"{text}; {took}", generation=plan.layout.generation)
        self._tell_refused(verdict.refused)
        return Outcome("successor" if declined else "place", took, loaded, verdict.refused, notes)

    def _planned(self, file: SiteFile, verdict: Verdict) -> SitePlan:
        before = self._site.plan
        layout = with_controllers(before.layout, verdict.controllers)
        for obj in verdict.controllers:
            self._site.registry.bind(obj.alias, obj.type_name)
        own = sorted(path.stem for path in (before.directory / "certs" / "own").glob("*.der"))
        alarms, wrong = plan_alarms(file.alarm, layout, own)
        calendar, wrong_schedules = plan_schedules(file.schedule, layout, before.settings.timezone)
        wrong_tables = [Problem(SITE_FILE, str(error), table=True) for error in (*wrong, *wrong_schedules)]
        problems = (*(p for p in before.problems if not p.table), *wrong_tables)
        kept = file.model_copy(update={name: getattr(before.file, name) for name in _RESTART})
        before = replace(before, file=kept, layout=layout, codes=verdict.codes, problems=problems)
        classes = {name: f"{code.module}:{name}" for name, code in verdict.codes.items()}
        return replace(before, classes=classes, alarms=alarms, calendar=calendar)

    def _load(self, plan: SitePlan, verdict: Verdict) -> Load:
        running = {code.place for code in self._site.plan.codes.values()}
        codes = {name: code for name, code in plan.codes.items() if code.place not in running}
        changed = {o.alias: o for o in verdict.controllers if o.alias in verdict.renewed}
        return Load(self._number, tuple(o.alias for o in verdict.controllers), changed, codes)

    async def _order(self, load: Load) -> Answer:
        """What control answers; it declines by silence, too."""
        if not self._site.image.orders.put(dumps(load)):
            return Answer(load.number, "the order is too long", 0)
        answer = self._site.await_answer(load.number)
        try:
            return await asyncio.wait_for(answer, ANSWER_WITHIN_S)
        except TimeoutError:
            return Answer(load.number, "it did not answer", 0)

    async def _hand_over(self, plan: SitePlan) -> float:
        """Let a new control process go on with the plan while the leases of the one before hold; how long it took [s]."""
        control, begin = self._site.processes[CONTROL], time.monotonic()
        self._share(plan)
        self._site.image.orders.put(dumps(Load(self._number, leave=True)))
        try:
            await asyncio.wait_for(control.renew(LEFT_WITHIN_S), READY_WITHIN_S)
        except TimeoutError:
            before = self._site.plan
            self._site.adopt(replace(before, processes=tuple(_told(before, self._number))))
            self._share(self._site.plan)
            control.kill("it does not work with other controllers; it is started with those of before")
            raise ReloadFailed(
                f"control does not work with them: {control.reason or 'it is not ready'}; nothing is loaded"
            ) from None
        return time.monotonic() - begin

    def _tell_refused(self, refused: Mapping[str, str]) -> None:
        """Show what is refused now, instead of what was; journal what is new of it."""
        plan = self._site.plan
        known = {(p.source, p.text) for p in plan.problems}
        for what, why in refused.items():
            if (what, why) not in known:
                self._site.note(logging.WARNING, "controllers_refused", f"{what}: {why}", controller=what)
        problems = [p for p in plan.problems if not p.controller]
        problems += [Problem(what, why, controller=True) for what, why in refused.items()]
        self._site.plan = replace(plan, problems=tuple(problems))

    def _adopt(self, plan: SitePlan) -> None:
        self._share(plan)
        self._site.adopt(plan)


def _saved(directory: Path) -> frozenset[tuple[str, int, int]]:
    """The files that a reload looks at, each with when it was saved and its size."""
    found = set()
    for path in (directory / SITE_FILE, *(directory / "custom" / "controllers").glob("*.py")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.add((path.name, stat.st_mtime_ns, stat.st_size))
    return frozenset(found)


def _told(plan: SitePlan, number: int) -> Iterator[ProcessSpec]:
    """The processes, with what they are told when they are started from now on. number: of the last order, which they follow."""
    for spec in plan.processes:
        if spec.name == CONTROL:
            yield replace(spec, settings={**spec.settings, "codes": dict(plan.codes), "orders": number})
        elif "alarms" in spec.settings:
            yield replace(spec, settings={**spec.settings, "alarms": plan.alarms})
        else:
            yield spec


def _not_reloaded(before: SiteFile, now: SiteFile) -> Iterator[str]:
    for name in _RESTART:
        if getattr(before, name) != getattr(now, name):
            yield f"[{name}] of {SITE_FILE} has changed, too; that counts from the next start of the site on"


def _loaded(before: SitePlan, now: SitePlan, verdict: Verdict) -> Iterator[str]:
    """What is another than before, in words."""
    had = {o.alias: o for o in before.layout.objects if o.kind == CONTROLLER}
    for obj in verdict.controllers:
        if obj.alias in verdict.renewed:
            yield _change(obj, had.get(obj.alias), now.codes[obj.type_name], before.codes.get(obj.type_name))
    for alias in had.keys() - {o.alias for o in verdict.controllers}:
        yield f"{alias} is removed"
    order = [a for a in had if a in now.layout.by_alias]
    if not verdict.renewed and order != [o.alias for o in verdict.controllers]:
        yield "the controllers have another order"
    if now.file.alarm != before.file.alarm:
        yield "alarms are others"
    if now.file.schedule != before.file.schedule:
        yield "schedules are others"


def _change(obj: ObjectSpec, before: ObjectSpec | None, code: Code, running: Code | None) -> str:
    what = f"{obj.alias} ({obj.type_name} {code.revision})"
    if before is None:
        return f"{what} is new"
    if running is None or running.place != code.place:
        return f"{what} runs its new file"
    return f"{what} has new settings"
