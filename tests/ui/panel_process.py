"""The panel as a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from ports import free_port

ROOT = Path(__file__).parents[2]
START = """
import sys
from pathlib import Path
from server.runtime.context import ProcessContext
from ui import run
parents = tuple(int(p) for p in sys.argv[3:])
settings = {"host": "127.0.0.1", "port": int(sys.argv[2])}
run(ProcessContext("ui", Path(sys.argv[1]), settings=settings, endpoint="opc.tcp://127.0.0.1:9", parent_pids=parents))
"""


def ask(port: int, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of one request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    try:
        connection.request(method, path, urlencode(form) if form else None, headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), {k.lower(): v for k, v in reply.getheaders()}
    finally:
        connection.close()


def listens(port: int) -> bool:
    """True once the panel answers."""
    try:
        return ask(port, "GET", "/login")[0] == 200
    except OSError:
        return False


@contextmanager
def running_panel(directory: Path, *parents: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The panel of a site, on a free port; without an OPC UA server to ask."""
    port = free_port()
    arguments = [sys.executable, "-c", START, str(directory), str(port), *map(str, parents)]
    with subprocess.Popen(arguments, cwd=directory, env={"PYTHONPATH": str(ROOT)}) as process:
        until = time.monotonic() + 60
        while not listens(port) and process.poll() is None:
            assert time.monotonic() < until, "the panel does not answer"
            time.sleep(0.1)
        try:
            yield port, process
        finally:
            process.terminate()
