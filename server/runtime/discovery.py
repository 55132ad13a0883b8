"""Finding what the server may not name: drivers are folders, controllers are files, both may come from outside.

    drivers/<domain>/manifest.toml   shipped; DIR/custom/drivers/<domain>/; entry points "unified_ems.drivers"
    controllers/<name>.py            shipped; DIR/custom/controllers/<name>.py; entry points "unified_ems.controllers"

An entry point's value is the driver's package, or the controller's `module` or `module:Class`.

Custom folders become part of the packages `drivers` and `controllers`, so an import looks the same wherever a file lies.
What cannot be loaded is left out and reported by name; the rest is found all the same.
"""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from server.core.errors import EmsError

from .trust import why_untrusted

DRIVERS, CONTROLLERS = "drivers", "controllers"


class DiscoveryError(EmsError):
    """A driver or controller was found, but cannot be loaded."""


@dataclass(frozen=True, slots=True)
class DriverFolder:
    """A driver that may be used in entries as `driver = "<domain>"`."""

    domain: str
    module: str
    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def load(self, part: str) -> ModuleType:
        """Import a module of the driver (`config`, `driver`). Raises DiscoveryError with the cause."""
        return _load(f"{self.module}.{part}")


@dataclass(frozen=True, slots=True)
class Found:
    """Controllers by type name as `module:Class`, and the reason for each file that could not be loaded."""

    classes: Mapping[str, str]
    failures: Mapping[str, str]


def use_custom(directory: Path) -> None:
    """Make DIR/custom/drivers and DIR/custom/controllers importable as parts of `drivers` and `controllers`."""
    for name in (DRIVERS, CONTROLLERS):
        folder = str(directory / "custom" / name)
        package = importlib.import_module(name)
        if folder not in package.__path__:
            package.__path__.append(folder)
    importlib.invalidate_caches()


def find_drivers() -> dict[str, DriverFolder]:
    """Every driver by domain; a shipped one is not replaced by a custom one of the same domain."""
    found: dict[str, DriverFolder] = {}
    for module, folder in [*_folders(), *_packages()]:
        driver = _read_driver(module, folder)
        found.setdefault(driver.domain, driver)
    return found


def find_controllers() -> Found:
    """Every controller, one per file, named by its class."""
    classes: dict[str, str] = {}
    failures: dict[str, str] = {}
    for target in controller_modules():
        try:
            check_trust(target)
            cls = load_controller(target)
        except DiscoveryError as error:
            failures[target] = str(error)
        else:
            classes.setdefault(cls.__name__, f"{cls.__module__}:{cls.__qualname__}")
    return Found(classes, failures)


def check_trust(target: str) -> None:
    """DiscoveryError for a file in a custom folder that others than the site's own user can write."""
    name = target.partition(":")[0].removeprefix(f"{CONTROLLERS}.")
    for root in importlib.import_module(CONTROLLERS).__path__[1:]:
        path = Path(root) / f"{name}.py"
        try:
            reason = why_untrusted(path, path.parents[2]) if path.exists() else ""
        except OSError as error:
            reason = f"{path} cannot be read: {error.strerror}"
        if reason:
            raise DiscoveryError(f"{target} is not loaded: {reason}")


def load_controller(target: str) -> type[Any]:
    """The controller class of `module:Class`, or the only one defined in `module`. Raises DiscoveryError."""
    name, _, wanted = target.partition(":")
    module = _load(name)
    if wanted:
        cls = getattr(module, wanted, None)
        if not isinstance(cls, type):
            raise DiscoveryError(f"{name} has no class {wanted}")
        return cls
    base = _load("server.core.controller").Controller
    own = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base) and c.__module__ == name]
    if len(own) != 1:
        names = ", ".join(c.__name__ for c in own) or "none"
        raise DiscoveryError(f"{name}: one controller class per file is expected, found {names}")
    return own[0]


def _entry_points(group: str) -> Any:
    from importlib.metadata import entry_points  # imports much; a process that only loads a class goes without

    return entry_points(group=group)


def _load(name: str) -> ModuleType:
    """Import foreign code, which may raise anything; that becomes one error with the cause."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise DiscoveryError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error


def _folders() -> Iterator[tuple[str, Path]]:
    for root in importlib.import_module(DRIVERS).__path__:
        for manifest in sorted(Path(root).glob("*/manifest.toml")):
            yield f"{DRIVERS}.{manifest.parent.name}", manifest.parent


def _packages() -> Iterator[tuple[str, Path]]:
    for point in _entry_points("unified_ems.drivers"):
        try:
            spec = find_spec(point.module)
        except ImportError:
            continue
        if spec is not None and spec.origin is not None:
            yield point.module, Path(spec.origin).parent


def _read_driver(module: str, folder: Path) -> DriverFolder:
    """The driver of a folder; one with an unreadable manifest is still offered, under its folder's name."""
    try:
        manifest = tomllib.loads((folder / "manifest.toml").read_text())
    except (OSError, ValueError):
        manifest = {}
    return DriverFolder(str(manifest.get("domain", folder.name)), module, folder, manifest)


def controller_modules() -> Iterator[str]:
    """Every file that may hold a controller, as `module` or as its entry point says; a shipped one first."""
    for root in importlib.import_module(CONTROLLERS).__path__:
        for file in sorted(Path(root).glob("*.py")):
            if not file.name.startswith("_"):
                yield f"{CONTROLLERS}.{file.stem}"
    for point in _entry_points("unified_ems.controllers"):
        yield point.value
