"""What the panel is told: where it listens, which site it shows, and with which certificate it speaks OPC UA."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """host, port: where the panel listens (HTTPS); endpoint: the site's OPC UA server; directory: the site directory;
    title: the site's name."""

    directory: Path
    endpoint: str
    host: str = "127.0.0.1"
    port: int = 8443
    title: str = "Energy site"

    @classmethod
    def from_context(cls, context: Any) -> Settings:
        """The settings of `[services.ui]` in site.toml."""
        given = context.settings
        site = given.get("site")
        return cls(
            Path(context.directory),
            context.endpoint,
            str(given.get("host", cls.host)),
            int(given.get("port", cls.port)),
            site.name if site else cls.title,
        )

    def own(self, name: str) -> Path:
        """A file of the panel's own certificate: `panel.pem`, `panel.key.pem`, `panel.der`."""
        return self.directory / "certs" / "own" / name

    def secret(self) -> str:
        """The key the session cookies are signed with; made once per site, readable by its owner only."""
        file = self.directory / "run" / "panel.secret"
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            draft = file.with_suffix(".new")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            draft.replace(file)
        return file.read_text()
