"""What the doctor looks at: a site's folder, its site.toml, and its status while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.runtime.bus import BusError, NotRunning, request
from server.runtime.config import SiteFile, read_site
from server.runtime.explain import InvalidFile


@dataclass(frozen=True)
class Patient:
    """A site, or with `directory` None the machine alone.

    file: site.toml, None when it is wrong, which `problem` explains. status: of the running site, None when it does not run.
    silence: why a supervisor that seems to be there did not answer.
    """

    directory: Path | None
    file: SiteFile | None = None
    problem: str = ""
    status: Mapping[str, Any] | None = None
    silence: str = ""

    @classmethod
    def of(cls, directory: Path | None) -> Patient:
        """Look at the folder and ask the supervisor."""
        if directory is None:
            return cls(None)
        file, problem = None, ""
        try:
            file = read_site(directory)
        except InvalidFile as error:
            problem = str(error)
        status, silence = None, ""
        try:
            status = request(directory, "status")
        except NotRunning:
            pass
        except BusError as error:
            silence = str(error)
        return cls(directory.resolve(), file, problem, status, silence)

    @property
    def place(self) -> Path:
        """Where the site is, or where we are."""
        return self.directory or Path()
