"""The demo with its control on another host: two sites in two folders that know each other by OPC UA alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo_site import EMS, DemoSite
from ports import free_port

from server.runtime.bus import BusError, request
from server.runtime.demo import make_demo


def ems(*arguments: str | Path) -> str:
    """Run a command that must succeed; what it says."""
    done = subprocess.run([str(a) for a in (EMS, *arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trust_each_other(site: Path, host: Path) -> None:
    """What people do once: the site trusts the host's certificate and gives it the role, the host gets the site's authority."""
    certificate = host / "certs" / "own" / "bridge.der"
    ems("certs", "trust", certificate, "--dir", site)
    ems("users", "add", "bridge", "--role", "Bridge", "--certificate", certificate, "--dir", site)
    shutil.copyfile(site / "certs" / "ca" / "ca.der", host / "certs" / "site.der")


class ControlHost:
    """`ems run` in a folder with [bridge]."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [str(EMS), "run", str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())

    def status(self) -> dict[str, Any]:
        """What `ems status --json` tells, empty while nothing answers."""
        try:
            return request(self.directory, "status")
        except BusError:
            return {}

    def pid(self, name: str) -> int:
        """Of one of its processes."""
        return int(next(row["pid"] for row in self.status()["processes"] if row["name"] == name))

    def stop(self) -> None:
        """End it as a service manager does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


class BridgedSite(DemoSite):
    """The demo, controlled by a host beside it. `host` is None while nobody controls it."""

    def __init__(self, directory: Path, controllers: str = "") -> None:
        """controllers: further tables for the site's site.toml."""
        port = free_port()
        self.host: ControlHost | None = None
        self.host_directory = directory.with_name("control")
        make_demo(directory)
        file = directory / "site.toml"
        file.write_text(file.read_text() + f'\n[control]\nmode = "remote"\n{controllers}')
        ems("init", self.host_directory, "--bridge", f"opc.tcp://127.0.0.1:{port}")
        trust_each_other(directory, self.host_directory)
        super().__init__(directory, port, free_port())

    def __enter__(self) -> BridgedSite:
        super().__enter__()
        self.begin_control()
        return self

    def begin_control(self) -> None:
        """Start the host and wait until it decides."""
        self.host = ControlHost(self.host_directory)
        self.wait(lambda: self.host is not None and self.host.status().get("state") == "running", 60, "the host runs")

    def stop(self) -> int:
        """End both."""
        if self.host is not None:
            self.host.stop()
        return super().stop()

    def wait(self, condition: Callable[[], Any], within_s: float, what: str) -> Any:
        """Wait until the condition is true; fails with what both printed."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.1)
        told = "" if self.host is None else "\n".join([*self.host.output, json.dumps(self.host.status(), indent=1)])
        raise AssertionError(f"not within {within_s} s: {what}\n{self.text}\n{json.dumps(self.status(), indent=1)}\n{told}")
