"""The demo as a person starts it: the command, its output, its processes, its plant. For end-to-end tests and benchmarks."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymodbus.client import ModbusTcpClient

from server.runtime.bus import BusError, request

EMS = Path(sys.executable).with_name("ems")
BENCH_UNIT = 100


class DemoSite:
    """`ems demo` in a directory of its own. Use as a context manager; leaving it stops the site with SIGINT, as Ctrl-C does.

    healthy: the site is expected to run without trouble; otherwise to be up, degraded or not.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        ui_port: int,
        *options: str,
        environment: Mapping[str, str] | None = None,
        healthy: bool = True,
    ) -> None:
        self.directory = directory
        self._states = ("running",) if healthy else ("running", "degraded")
        self.output: list[str] = []
        command = [EMS, "demo", "--dir", directory, "--port", str(port), "--ui-port", str(ui_port)]
        command += ["--no-browser", "--past", "0", *options]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI"))}
        self.process = subprocess.Popen(
            [str(c) for c in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**inherited, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> DemoSite:
        try:
            self.wait(lambda: any(f"{s}: https://" in self.text for s in self._states), 60, "the panel answers")
            self.wait(lambda: self.status().get("state") in self._states, 60, "the site runs")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())

    def stop(self) -> int:
        """End the site as Ctrl-C does; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise

    @property
    def text(self) -> str:
        """What the command printed so far."""
        return "\n".join(self.output)

    def printed(self, pattern: str) -> str:
        """First group of a pattern in the output."""
        found = re.search(pattern, self.text)
        assert found, f"{pattern} is not in what the demo printed:\n{self.text}"
        return found.group(1)

    @property
    def plant_port(self) -> int:
        """Base port of the simulated plant."""
        return int(tomllib.loads((self.directory / "entries" / "plant.toml").read_text())["port"])

    def status(self) -> dict[str, Any]:
        """What `ems status --json` tells, empty while nothing answers."""
        try:
            return request(self.directory, "status")
        except BusError:
            return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        """Rows of the status by process name."""
        return {row["name"]: row for row in self.status()["processes"]}

    def kill_often(self, name: str) -> int:
        """Kill a process three times, each start waiting longer, so that it is away for long when killed again; its pid."""

        def found() -> int:
            return int(self.processes()[name]["pid"] or 0)

        pid = self.wait(found, 30, f"{name} runs")
        for _ in range(3):
            os.kill(pid, signal.SIGKILL)
            pid = self.wait(lambda old=pid: (new := found()) != old and new, 30, f"{name} is started again")
        return pid

    def wait(self, condition: Callable[[], Any], within_s: float, what: str) -> Any:
        """Wait until the condition is true; fails with what the demo printed."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the demo ended with {self.process.returncode}:\n{self.text}"
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s} s: {what}\n{self.text}\n{json.dumps(self.status(), indent=1)}")


class PlantBench:
    """The plant's own Modbus interface, as somebody at the terminals: reads devices, changes load and weather."""

    def __init__(self, port: int) -> None:
        self._client = ModbusTcpClient("127.0.0.1", port=port, timeout=2)
        assert self._client.connect()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _write(self, address: int, words: list[int]) -> None:
        answer = self._client.write_registers(address, words, device_id=BENCH_UNIT)
        assert not answer.isError(), answer

    def _read(self, unit: int, address: int, form: str) -> float:
        count = struct.calcsize(form) // 2
        answer = self._client.read_holding_registers(address, count=count, device_id=unit)
        assert not answer.isError(), answer
        return float(struct.unpack(form, struct.pack(f">{count}H", *answer.registers))[0])

    def set_load(self, watts: float) -> None:
        """Fix the building's load."""
        self._write(4, list(struct.unpack(">2H", struct.pack(">i", round(watts)))))

    def set_clouds(self, percent: int) -> None:
        """Fix the cloud cover."""
        self._write(6, [percent])

    def set_frequency(self, hertz: float) -> None:
        """Fix the grid's frequency; 0 leaves it to itself."""
        self._write(8, [round(hertz * 1000)])

    def set_lag(self, seconds: float) -> None:
        """How fast the battery inverter follows its set-point."""
        self._write(27, [round(seconds * 1000)])

    def set_start(self, seconds: float) -> None:
        """How long the battery inverter takes to start."""
        self._write(24, [round(seconds * 10)])

    def set_failing(self, starts: int) -> None:
        """So many of its next starts fail."""
        self._write(25, [starts])

    def trip(self) -> None:
        """The battery inverter breaks."""
        self._write(26, [1])

    @property
    def operation(self) -> int:
        """Whether the battery inverter runs: 0 off, 1 starting, 2 running, 3 stopping, 4 error."""
        return int(self._read(1, 19, ">H"))

    def stop_time(self) -> None:
        """Hold the simulated clock: no car comes, no cloud passes."""
        self._write(0, [0])

    def set_fault(self, unit: int, fault: int) -> None:
        """0 none, 1 silent, 2 nonsense, 3 frozen, 4 slow."""
        self._write(9 + unit, [fault])

    @property
    def grid_w(self) -> float:
        """Active power at the grid meter, + import."""
        return self._read(2, 2, ">f")

    @property
    def ess_w(self) -> float:
        """Active power of the battery, + discharge."""
        return self._read(1, 2, ">i")

    @property
    def setpoint_w(self) -> float:
        """The set-point register of the battery inverter."""
        return self._read(1, 40, ">i")
