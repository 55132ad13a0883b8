"""The code of a controller's file, compiled: what was accepted is what runs, whatever becomes of the file.

It travels as data, from the supervisor to control, and becomes a class where it is loaded. Each revision is a module of its own,
so that the one before works on until the next has taken over.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import marshal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from server.core.controller import Controller

from .discovery import DiscoveryError
from .files import read_file

REVISION_MARK: Final = "#"
"""Between the name of a module and its revision."""


@dataclass(frozen=True, slots=True)
class Code:
    """A controller's file. module: as it is imported; path: of the file; sha256: of its content; compiled: marshalled code.

    imports: every module that it names in an import, wherever in the file.
    """

    module: str
    path: str
    sha256: str
    compiled: bytes
    imports: frozenset[str]

    @property
    def revision(self) -> str:
        """Which content this is, in a few characters."""
        return self.sha256[:8]

    @property
    def place(self) -> str:
        """Name of the module of this revision."""
        return f"{self.module}{REVISION_MARK}{self.revision}"

    def load(self) -> type[Controller]:
        """Execute the file; its controller. Raises DiscoveryError, also for whatever the file raises."""
        module = ModuleType(self.place)
        module.__file__, module.__package__ = self.path, self.module.rpartition(".")[0]
        before, sys.modules[self.place] = sys.modules.get(self.place), module
        try:
            exec(marshal.loads(self.compiled), vars(module))
            return only_controller(module)
        except BaseException as error:
            sys.modules.pop(self.place)
            if before is not None:
                sys.modules[self.place] = before
            if isinstance(error, (DiscoveryError, KeyboardInterrupt)) or not isinstance(error, (Exception, SystemExit)):
                raise
            raise DiscoveryError(f"{self.module} cannot be loaded: {type(error).__name__}: {error}") from error

    def forget(self) -> None:
        """Let go of the module of this revision: nothing of it runs any more."""
        sys.modules.pop(self.place, None)


def compile_code(module: str, path: str, source: bytes) -> Code:
    """The code of a file. Raises DiscoveryError with the line of what cannot be compiled."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise DiscoveryError(f"{module} cannot be compiled: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DiscoveryError(f"{module} cannot be compiled: {error or type(error).__name__}") from error
    return Code(module, path, hashlib.sha256(source).hexdigest(), marshal.dumps(code), frozenset(_imports(code)))


def read_code(target: str) -> Code:
    """The code of `module` or `module:Class` as it lies on disk. Raises DiscoveryError."""
    module = target.partition(":")[0]
    try:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise DiscoveryError(f"{module} has no file")
        return compile_code(module, spec.origin, read_file(Path(spec.origin)))
    except (ImportError, OSError) as error:
        raise DiscoveryError(f"{module} cannot be read: {error}") from error


def only_controller(module: ModuleType) -> type[Controller]:
    """The only controller class a module defines. Raises DiscoveryError."""
    name = module.__name__
    own = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Controller) and c.__module__ == name]
    if len(own) != 1:
        names = ", ".join(c.__name__ for c in own) or "none"
        raise DiscoveryError(f"{name.partition(REVISION_MARK)[0]}: one controller class per file is expected, found {names}")
    found: type[Any] = own[0]
    return found


def _imports(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)
