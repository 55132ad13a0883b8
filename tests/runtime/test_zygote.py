"""Zygotes with real forks: whose child a process is, what it is given, how its end is known, and that nothing stays."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.core.errors import EmsError
from server.runtime.backoff import Backoff
from server.runtime.context import ProcessContext
from server.runtime.launch import failure_text, find_target, memory_file, run_target

HERE = Path(__file__).parent


def rig(step: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "zygote_rig.py"), step, str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr + (directory / "zygote.log").read_text()
    result = json.loads(done.stdout)
    assert result.pop("left") == []
    return result


def test_a_process_is_the_supervisors_child_in_a_session_of_its_own_with_its_name(tmp_path: Path) -> None:
    assert rig("own", tmp_path) == {"name": "ems:part", "ours": True, "group": True, "session": True}


def test_more_descriptors_than_a_packet_carries_arrive_in_order(tmp_path: Path) -> None:
    assert rig("handles", tmp_path) == {"exit": "ended by itself", "right": True, "count": 600}


def test_a_process_nobody_noted_ends_without_running(tmp_path: Path) -> None:
    assert rig("gate", tmp_path) == {"exit": "ended with status 75", "ran": False}


def test_how_a_process_ended_is_known(tmp_path: Path) -> None:
    assert rig("exits", tmp_path) == {
        "parts:failing": "ended with status 1",
        "parts:crashing": "killed by SIGSEGV",
        "parts:handles": "ended by itself",
    }


def test_a_killed_zygote_leaves_its_processes_alone_and_a_new_one_goes_on(tmp_path: Path) -> None:
    said = rig("killed", tmp_path)
    events = said.pop("events")
    assert said == {"survived": True, "other": True, "restarts": 1}
    assert events == ["zygote lean killed by SIGKILL; it is started again"]


def test_a_zygote_that_does_not_answer_is_replaced(tmp_path: Path) -> None:
    assert rig("stopped", tmp_path) == {
        "refused": "part: zygote lean did not answer within 0.3 s",
        "then": "ended by itself",
    }


def test_forty_starts_at_once_are_all_known(tmp_path: Path) -> None:
    assert rig("many", tmp_path) == {"pids": 40, "exits": ["ended by itself"]}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("no coffee"), "RuntimeError: no coffee"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (RuntimeError(), "RuntimeError"),
        (EmsError("port 4840 is taken"), "port 4840 is taken"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "/x: No such file or directory"),
        (OSError(errno.EADDRINUSE, "address in use"), "address in use"),
        (ExceptionGroup("many", [ExceptionGroup("inner", [ValueError("deep")])]), "ValueError: deep"),
    ],
)
def test_a_failure_is_one_line(error: BaseException, text: str) -> None:
    assert failure_text(error) == text


def test_a_target_is_a_function_of_a_module_and_run_unless_it_says_otherwise() -> None:
    import parts

    assert find_target("parts:quiet") is parts.quiet
    assert find_target("server.runtime.control").__name__ == "run"


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (3, 3), ("why", 1)])
def test_the_exit_of_a_part_is_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: object, status: int) -> None:
    import parts

    def leaves(context: ProcessContext) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(parts, "quiet", leaves)
    assert run_target("parts:quiet", ProcessContext("part", tmp_path)) == status


def test_a_memory_file_holds_what_it_was_given() -> None:
    content = bytes(range(256)) * 1000
    descriptor = memory_file("x", content)
    assert os.pread(descriptor, len(content) + 1, 0) == content
    os.close(descriptor)


def test_back_off_grows_to_its_longest_and_starts_anew_after_a_quiet_time() -> None:
    now = 0.0
    backoff = Backoff((0.0, 0.5, 2.0), reset_s=60.0, clock=lambda: now)
    delays = []
    for step in (1.0, 1.0, 1.0, 1.0, 61.0, 63.5, 1.0):
        now += step
        delays.append(backoff.next())
    assert delays == [0.0, 0.5, 2.0, 2.0, 2.0, 0.0, 0.5]
