"""The OPC UA server: the product's one interface.

wire -> channel -> decode -> dispatch -> session_services, view, attribute, call, history, subscription
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.runtime.context import ProcessContext


def run(context: ProcessContext) -> None:
    """Run the server as a process of the site until SIGTERM."""
    from .process import serve

    serve(context)
