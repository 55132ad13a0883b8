"""What becomes of each configuration entry: its driver, its process, its objects, or the reason why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from server.core.errors import ConfigError, EmsError
from server.core.layout import ENTRY, SUPERVISOR, ChannelUse, ObjectSpec
from server.core.natures import ConfigEntry
from server.core.site import ENTRY_PREFIX

from .config import EntrySource, check_name
from .discovery import DriverFolder, find_drivers
from .explain import unknown_setting, validate
from .registry import Registry
from .secrets import revealed


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """An entry and what becomes of it: `driver` and `group` are empty and `problem` is not when it cannot be used."""

    alias: str
    shown: str
    driver: str = ""
    module: str = ""
    group: str = ""
    enabled: bool = True
    config: Any = None
    objects: tuple[ObjectSpec, ...] = ()
    problem: str = ""

    @property
    def usable(self) -> bool:
        """True when its driver process will be given this entry."""
        return self.enabled and not self.problem


def plan_entries(sources: Sequence[EntrySource], registry: Registry, groups: dict[str, str]) -> list[EntryPlan]:
    """Plan every entry. groups: names of processes and what runs there already; a driver's domain is its own process's name."""
    drivers = find_drivers()
    groups = {domain: domain for domain in drivers} | groups
    return [_plan_entry(source, drivers, groups, registry) for source in sources]


def _plan_entry(
    source: EntrySource, drivers: Mapping[str, DriverFolder], groups: dict[str, str], registry: Registry
) -> EntryPlan:
    content = source.content
    if content is None:
        return EntryPlan(source.alias, source.shown, problem=source.problem)
    planned = EntryPlan(source.alias, source.shown, content.driver, enabled=content.enabled)
    if not content.enabled:
        return planned
    try:
        driver = _driver(source, drivers)
        group = _group(source, driver, groups)
        config = _driver_config(source, driver)
        objects = _describe(source, driver, config, group)
        registry.bind(source.alias, driver.domain, _serial(objects))
    except EmsError as error:
        return replace(planned, problem=str(error))
    return replace(planned, module=driver.module, group=group, config=config, objects=objects)


def _driver(source: EntrySource, drivers: Mapping[str, DriverFolder]) -> DriverFolder:
    assert source.content is not None
    driver = drivers.get(source.content.driver)
    if driver is None:
        text = unknown_setting(source.content.driver, sorted(drivers)).replace("unknown setting", "there is no such driver")
        raise ConfigError(source.shown, "driver", f"'{source.content.driver}': {text}")
    return driver


def _group(source: EntrySource, driver: DriverFolder, groups: dict[str, str]) -> str:
    """The process of the entry. Entries of one group must have the same driver."""
    assert source.content is not None
    own = driver.manifest.get("isolation") == "own"
    group = source.content.group or (f"{driver.domain}-{source.alias.lower()}" if own else driver.domain)
    try:
        check_name(group)
    except ValueError as error:
        raise ConfigError(source.shown, "group", str(error)) from None
    taken = groups.setdefault(group, driver.domain)
    if taken != driver.domain:
        raise ConfigError(source.shown, "group", f"'{group}' runs {taken} already; {driver.domain} needs another group")
    return group


def config_model(source: EntrySource, driver: DriverFolder) -> type[BaseModel]:
    """The model of an entry's settings. Raises EmsError when the driver has none."""
    model = getattr(driver.load("config"), "Config", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ConfigError(source.shown, "driver", f"{driver.module}.config has no pydantic model Config")
    return model


def _driver_config(source: EntrySource, driver: DriverFolder) -> BaseModel:
    assert source.content is not None
    model = config_model(source, driver)
    settings = revealed(source.directory, source, model)
    if "properties" in model.model_fields:
        settings["properties"] = source.content.properties
    return validate(model, settings, source.shown, {"directory": source.directory})


def _describe(source: EntrySource, driver: DriverFolder, config: BaseModel, group: str) -> tuple[ObjectSpec, ...]:
    """The objects of an entry, owned by its group and carrying the entry's properties."""
    assert source.content is not None
    describe = getattr(driver.load("driver"), "describe", None)
    if describe is None:
        raise ConfigError(source.shown, "driver", f"{driver.module}.driver has no function describe")
    try:
        described = tuple(describe(source.alias, config))
    except EmsError as error:
        text = str(error)
        raise ConfigError(source.shown, "", text.removeprefix(f"{source.shown}: ")) from error
    except Exception as error:
        raise ConfigError(
            source.shown, "", f"driver {driver.domain} cannot describe it: {type(error).__name__}: {error}"
        ) from error
    return tuple(replace(o, owner=group, properties={**o.properties, **source.content.properties}) for o in described)


def _serial(objects: Sequence[ObjectSpec]) -> str:
    return next((o.properties["SerialNumber"] for o in objects if o.properties.get("SerialNumber")), "")


def without_twins(entries: Sequence[EntryPlan], controllers: Sequence[ObjectSpec]) -> Iterator[EntryPlan]:
    """Leave out entries that bring an alias another object has already; the first one keeps it."""
    taken = {o.alias: f"controller {o.alias}" for o in controllers}
    for entry in entries:
        twin = next((o.alias for o in entry.objects if o.alias in taken), None)
        if twin is None:
            taken |= {o.alias: entry.shown for o in entry.objects}
            yield entry
        else:
            problem = ConfigError(entry.shown, "", f"alias {twin} is taken by {taken[twin]}")
            yield replace(entry, objects=(), problem=str(problem))


def entry_object(entry: EntryPlan) -> ObjectSpec:
    """The object that shows the state of an entry; the supervisor writes it."""
    uses = tuple(ChannelUse(spec) for spec in ConfigEntry.channels().values())
    properties = {"Driver": entry.driver, "File": entry.shown}
    doc = f"Configuration entry {entry.shown}."
    return ObjectSpec(ENTRY_PREFIX + entry.alias, ENTRY, SUPERVISOR, (ConfigEntry,), uses, "ConfigEntry", doc, properties)
