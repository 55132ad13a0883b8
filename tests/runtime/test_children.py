"""Signals to processes of the site reach them, and nobody else."""

from __future__ import annotations

import os
import signal

import pytest

from server.runtime.children import kill_group


@pytest.mark.parametrize(("pid", "reached"), [(4242, [(4242, signal.SIGKILL)]), (0, []), (-1, [])])
def test_only_a_process_that_there_is_gets_a_signal(
    monkeypatch: pytest.MonkeyPatch, pid: int, reached: list[tuple[int, int]]
) -> None:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: found.append((group, number)))
    kill_group(pid, signal.SIGKILL)
    assert found == reached
