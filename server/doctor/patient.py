"""What the doctor looks at: a site's folder, its site.toml, and its status while it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.runtime.bus import BusError, NotRunning, request
from server.runtime.config import SiteFile
from server.runtime.explain import InvalidFile
from server.runtime.plan import SitePlan, make_plan
from server.runtime.registry import Registry


@dataclass(frozen=True)
class Patient:
    """A site, or with `directory` None the machine alone.

    plan: what would run, made without binding any alias; None when site.toml is wrong, which `problem` explains.
    status: of the running site, None when it does not run.
    silence: why a supervisor that seems to be there did not answer.
    """

    directory: Path | None
    problem: str = ""
    plan: SitePlan | None = None
    status: Mapping[str, Any] | None = None
    silence: str = ""

    @classmethod
    def of(cls, directory: Path | None) -> Patient:
        """Look at the folder and ask the supervisor."""
        if directory is None:
            return cls(None)
        plan, problem = None, ""
        try:
            with tempfile.TemporaryDirectory() as folder:
                plan = make_plan(directory.resolve(), Registry(Path(folder) / "registry.json"))
        except InvalidFile as error:
            problem = str(error)
        status, silence = None, ""
        try:
            status = request(directory, "status")
        except NotRunning:
            pass
        except BusError as error:
            silence = str(error)
        return cls(directory.resolve(), problem, plan, status, silence)

    @property
    def file(self) -> SiteFile | None:
        """site.toml, None when it is wrong."""
        return self.plan.file if self.plan is not None else None

    @property
    def place(self) -> Path:
        """Where the site is, or where we are."""
        return self.directory or Path()
