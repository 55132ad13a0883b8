"""Start a process of a site in a fresh interpreter, with the descriptors of its role, and look at it from outside."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from image_site import SITE, ImageSite

from server.runtime.context import ProcessContext

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def start(
    site: ImageSite, role: str, code: str, settings: Mapping[str, Any], parent_pids: tuple[int, ...] = (), **context: Any
) -> subprocess.Popen[str]:
    """Run `code` with `context`, a ProcessContext of the role, in a new interpreter."""
    handles = site.image.handles(role)
    told = ProcessContext(
        role, ROOT, site.layout, handles, role, {"site": SITE, "codes": {}, **settings}, parent_pids=parent_pids, **context
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"import pickle, sys\ncontext = pickle.load(sys.stdin.buffer)\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=sorted(set(handles.values())),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), *sys.path])},
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(told))
    process.stdin.close()
    return process


def end(process: subprocess.Popen[Any]) -> tuple[int, str, str]:
    """Wait for its end; status, output and errors."""
    try:
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        return process.returncode, process.stdout.read().decode(), process.stderr.read().decode()


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
