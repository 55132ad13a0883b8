"""The registry: an alias is bound once, and nothing that was bound is ever lost silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.runtime.files import SiteLock, SiteLocked, write_atomically
from server.runtime.registry import AliasTaken, Registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.json"


def test_bindings_survive(path: Path) -> None:
    registry = Registry(path)
    registry.bind("ess0", "modbus", "A1")
    registry.save()
    again = Registry(path)
    assert (again["ess0"].kind, again["ess0"].serial) == ("modbus", "A1")
    assert again["ess0"].created.endswith("Z")
    assert again.notes == []


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("modbus", ""), ("sunspec", ""), "alias ess0 stands for modbus since "),
        (("modbus", "A1"), ("modbus", "B2"), "stands for modbus with serial number A1 since "),
        (("PeakShaving", ""), ("modbus", "A1"), "; modbus with serial number A1 needs another alias"),
    ],
)
def test_an_alias_is_refused_to_another_identity(path: Path, first: tuple[str, str], second: tuple[str, str], says: str) -> None:
    registry = Registry(path)
    registry.bind("ess0", *first)
    with pytest.raises(AliasTaken, match="ess0") as error:
        registry.bind("ess0", *second)
    assert says in str(error.value)
    assert (registry["ess0"].kind, registry["ess0"].serial) == first


@pytest.mark.parametrize("serial", ["", "A1"])
def test_the_same_identity_is_confirmed_and_its_serial_number_learned(path: Path, serial: str) -> None:
    registry = Registry(path)
    registry.bind("ess0", "modbus", serial)
    registry.bind("ess0", "modbus", "A1")
    registry.bind("ess0", "modbus")
    assert registry["ess0"].serial == "A1"


def test_nothing_is_written_when_nothing_changed(path: Path) -> None:
    registry = Registry(path)
    registry.bind("ess0", "modbus")
    registry.save()
    path.unlink()
    registry.bind("ess0", "modbus")
    registry.save()
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2, "aliases": {}}',
        b'{"version": 1, "aliases": {"a": 1}}',
        b'{"version": 1, "aliases": {"a": {"x": 1}}}',
        b'{"version": 1, "aliases": {"a": {"kind": 1}}}',
        b"\xff\x00",
    ],
)
def test_a_damaged_file_is_set_aside_and_that_is_said(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    registry = Registry(path)
    (aside,) = path.parent.glob("registry.json.damaged-*")
    assert aside.read_bytes() == content
    (note,) = registry.notes
    assert aside.name in note
    registry.bind("ess0", "modbus")
    registry.save()
    assert "ess0" in json.loads(path.read_text())["aliases"]


def test_a_failed_write_leaves_the_old_file_and_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["registry.json"]


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    first, second = SiteLock(tmp_path / "lock"), SiteLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(SiteLocked, match=r"being run already, by process \d+"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []
