"""From configuration to what will run: entries with their objects, controllers, the layout, and what had to be left out.

Everything here is decided before the first process starts. A wrong entry or controller becomes a problem with a reason; the
rest of the site is planned as if it were not there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from server.bridge.portable import digest, understand
from server.bridge.protocol import BRIDGE
from server.core.alarms import AlarmSpec
from server.core.driver import Entry
from server.core.errors import ConfigError, EmsError
from server.core.layout import CONTROLLER, SUPERVISOR, Layout, ObjectSpec, build_layout
from server.core.site import SiteSettings, StopInput, cycle_object, site_object

from .alarm_plan import plan_alarms
from .calendar import Calendar
from .cluster_plan import plan_clusters
from .code import Code, read_code
from .config import SITE_FILE, SiteFile, read_entries, read_site
from .controller_plan import alias_of, object_of, type_of
from .discovery import find_controllers, load_controller, use_custom
from .entry_plan import EntryPlan, entry_object, plan_entries, without_twins
from .planner import plan_schedules
from .process import Part, ProcessSpec
from .process_board import process_objects
from .registry import Registry

DESCRIPTION_FILE: Final = "data/remote-site.bin"
"""What the site that is controlled from here said of itself last."""
CONTROLLER_SLOTS: Final = 768
"""Room for controllers that a running site may get: about fifty of the usual size."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out, and why. source: `entries/…`, `site.toml`, or the part concerned.

    controller: it is about one, and a reload judges it anew; table: about an alarm or a schedule, which a reload does, too.
    """

    source: str
    text: str
    controller: bool = False
    table: bool = False


@dataclass(frozen=True)
class SitePlan:
    """A site that can be started."""

    directory: Path
    file: SiteFile
    settings: SiteSettings
    entries: tuple[EntryPlan, ...]
    classes: Mapping[str, str]
    layout: Layout
    processes: tuple[ProcessSpec, ...]
    problems: tuple[Problem, ...]
    alarms: tuple[AlarmSpec, ...] = ()
    codes: Mapping[str, Code] = field(default_factory=dict)
    calendar: Calendar = field(default_factory=Calendar)

    @property
    def endpoint(self) -> str:
        """URL of the OPC UA server for clients on this host."""
        return opcua_endpoint(self.file)

    @property
    def panel(self) -> str:
        """URL of the panel for a browser on this host, empty when it is not part of the site."""
        return panel_address(self.file)


def opcua_endpoint(file: SiteFile) -> str:
    """URL of a site's OPC UA server for clients on this host; of the site that is controlled from here."""
    if file.bridge is not None:
        return file.bridge.endpoint
    return f"opc.tcp://{_dialled(file.opcua.host)}:{file.opcua.port}"


def panel_address(file: SiteFile) -> str:
    """URL of a site's panel for a browser on this host, empty when the site has none."""
    service = file.services.get("ui")
    settings = service.settings if service is not None and service.enabled else {}
    port = settings.get("port")
    return f"https://{_dialled(str(settings.get('host', '')))}:{port}" if port else ""


def make_plan(directory: Path, registry: Registry) -> SitePlan:
    """Read DIR and decide what to run. Raises InvalidFile when site.toml is wrong."""
    use_custom(directory)
    file = read_site(directory)
    if file.bridge is not None:
        return bridged_plan(directory, file)
    settings = site_settings(file)
    problems: list[Problem] = [Problem("registry", note) for note in registry.notes]
    controllers, classes, codes = _plan_controllers(file, registry, problems)
    planned = plan_entries(read_entries(directory), registry, {name: name for name in file.services})
    entries = tuple(without_twins(planned, controllers))
    objects = [site_object(settings), cycle_object(), *controllers]
    objects += [o for e in entries for o in e.objects]
    clusters, unusable = plan_clusters(file.cluster, objects, registry, settings.cycle_s)
    problems += [Problem(SITE_FILE, str(error)) for error in unusable]
    objects += clusters
    objects += [entry_object(e) for e in entries]
    groups = list(dict.fromkeys(e.group for e in entries if e.usable))
    services = [name for name, service in file.services.items() if service.enabled]
    objects += process_objects([SUPERVISOR, "control", *groups, "opcua", *services])
    layout = build_layout(objects, spare=groups, room=CONTROLLER_SLOTS)
    problems += _check_grid(file, layout)
    alarms, wrong = plan_alarms(file.alarm, layout, _own_certificates(directory))
    problems += [Problem(SITE_FILE, str(error), table=True) for error in wrong]
    calendar, wrong_schedules = plan_schedules(file.schedule, layout, settings.timezone)
    problems += [Problem(SITE_FILE, str(error), table=True) for error in wrong_schedules]
    processes = tuple(_processes(file, settings, entries, codes, alarms))
    return SitePlan(directory, file, settings, entries, classes, layout, processes, tuple(problems), alarms, codes, calendar)


def _own_certificates(directory: Path) -> list[str]:
    return sorted(file.stem for file in (directory / "certs" / "own").glob("*.der"))


async def know_site(directory: Path) -> None:
    """Where control is for a site elsewhere: wait until that site has described itself once."""
    bridge = read_site(directory).bridge
    if bridge is not None:
        from server.bridge.site_link import learn

        await learn(directory, bridge.model_dump(), directory / DESCRIPTION_FILE)


def bridged_plan(directory: Path, file: SiteFile) -> SitePlan:
    """Control for a site elsewhere, as it described itself last. Raises DescriptionError when that cannot be understood."""
    description = (directory / DESCRIPTION_FILE).read_bytes()
    settings, objects, schedule = understand(description, BRIDGE)
    found = find_controllers()
    problems = [Problem(target, text, controller=True) for target, text in found.failures.items()]
    kinds = {o.type_name: o.alias for o in objects if o.kind == CONTROLLER}
    classes = {kind: found.classes[kind] for kind in kinds if kind in found.classes}
    problems += [Problem(kinds[kind], f"this host has no controller {kind}") for kind in kinds if kind not in classes]
    codes = {kind: read_code(target) for kind, target in classes.items()}
    layout = build_layout([*objects, *process_objects([SUPERVISOR, "control", BRIDGE])], spare=[BRIDGE])
    site = {"site": settings}
    assert file.bridge is not None, "only a site with [bridge] is planned like this"
    bridge = {**site, **file.bridge.model_dump(), "digest": digest(description)}
    processes = (
        ProcessSpec("control", Part.CONTROL, "server.runtime.control:run", "lean", "control", {**site, "codes": codes}),
        ProcessSpec(BRIDGE, Part.DRIVER, "server.bridge.process:run", "heavy", BRIDGE, bridge),
    )
    alarms, _ = plan_alarms((), layout, _own_certificates(directory))
    calendar, wrong = plan_schedules(schedule, layout, settings.timezone)
    problems += [Problem(SITE_FILE, str(error), table=True) for error in wrong]
    return SitePlan(directory, file, settings, (), classes, layout, processes, tuple(problems), alarms, codes, calendar)


def plan_of(directory: Path) -> SitePlan:
    """The plan of a site that is only looked at: its registry stays as it is. Raises InvalidFile when site.toml is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "registry.json"
        if (directory / "data" / "registry.json").exists():
            shutil.copyfile(directory / "data" / "registry.json", copy)
        return make_plan(directory, Registry(copy))


def site_settings(file: SiteFile) -> SiteSettings:
    """What the engine is told of the site."""
    return SiteSettings(
        id=file.site.id,
        name=file.site.name,
        timezone=file.site.timezone,
        cycle_s=file.site.cycle_ms / 1000,
        grid_meter=file.grid.meter,
        import_max_w=file.grid.import_max_w,
        export_max_w=file.grid.export_max_w,
        distribution=file.site.distribution,
        emergency_stops=tuple(StopInput(**table.model_dump()) for table in file.emergency_stop),
    )


def _plan_controllers(
    file: SiteFile, registry: Registry, problems: list[Problem]
) -> tuple[list[ObjectSpec], dict[str, str], dict[str, Code]]:
    """Objects of the controllers that can run, where their classes are, and their code."""
    found = find_controllers()
    problems += [Problem(target, text, controller=True) for target, text in found.failures.items()]
    objects: list[ObjectSpec] = []
    codes: dict[str, Code] = {}
    for number, table in enumerate(file.controller):
        alias = alias_of(number, table)
        try:
            kind = type_of(alias, table, found.classes)
            obj = object_of(alias, table, load_controller(found.classes[kind]))
            if any(o.alias == alias for o in objects):
                raise ConfigError(SITE_FILE, f"{alias}.id", "two controllers have this id")
            codes.setdefault(kind, read_code(found.classes[kind]))
            registry.bind(alias, kind)
        except EmsError as error:
            problems.append(Problem(alias, str(error), controller=True))
        else:
            objects.append(obj)
    classes = {o.type_name: found.classes[o.type_name] for o in objects}
    return objects, classes, {name: codes[name] for name in classes}


def _check_grid(file: SiteFile, layout: Layout) -> Iterator[Problem]:
    meter = file.grid.meter
    if meter and meter not in layout.by_alias:
        yield Problem(SITE_FILE, str(ConfigError(SITE_FILE, "grid.meter", f"no entry brings a meter called {meter}")))


def _processes(
    file: SiteFile,
    settings: SiteSettings,
    entries: Sequence[EntryPlan],
    codes: Mapping[str, Code],
    alarms: tuple[AlarmSpec, ...],
) -> Iterator[ProcessSpec]:
    """What to run, in the order of starting."""
    site = {"site": settings}
    remembering = {**site, "history": file.history}
    runtime = "server.runtime"
    control = "control" if file.control.mode == "local" else "receiver"
    yield ProcessSpec("control", Part.CONTROL, f"{runtime}.{control}:run", "lean", "control", {**site, "codes": dict(codes)})
    groups: dict[str, list[EntryPlan]] = {}
    for entry in entries:
        if entry.usable:
            groups.setdefault(entry.group, []).append(entry)
    for group, members in groups.items():
        given = tuple(Entry(e.alias, e.config, e.objects) for e in members)
        driver = {"module": members[0].module, "entries": given}
        yield ProcessSpec(group, Part.DRIVER, f"{runtime}.driver_process:run", "lean", group, driver)
    remote = file.control.mode == "remote"
    opcua = {**remembering, **file.opcua.model_dump(), "alarms": alarms, "remote": remote, "schedule": file.schedule}
    yield ProcessSpec("opcua", Part.OPCUA, "server.opcua:run", "heavy", "opcua", opcua)
    for name, service in file.services.items():
        if service.enabled:
            yield ProcessSpec(name, Part.SERVICE, service.module, "heavy", "", {**remembering, **service.settings})


def _dialled(host: str) -> str:
    """The address under which a local client reaches a server that listens on `host`."""
    return {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
