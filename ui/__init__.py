"""The operator panel: NiceGUI pages over HTTPS, an OPC UA client like any other."""

from __future__ import annotations

from typing import Any


def run(context: Any) -> None:
    """Serve the panel of a site until SIGTERM. context: server.runtime.context.ProcessContext."""
    import os

    os.environ["NICEGUI_STORAGE_PATH"] = str(context.directory / "run" / "panel")
    from .app import serve
    from .ready import tell_when_listening

    tell_when_listening(context.ready)
    serve(context)
