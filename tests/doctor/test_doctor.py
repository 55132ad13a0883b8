"""The doctor: each thing that is broken is found, said in words, with what to do; nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ports import free_port

from certs import issue
from server import cli
from server.doctor import Finding, Level, examine, files, machine
from server.doctor.site import holder, holder_pid
from server.runtime.create import create_site
from server.runtime.demo import set_value


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new site, made once."""
    return create_site(tmp_path_factory.mktemp("sound") / "site", port=free_port(), ui_port=free_port()).directory


@pytest.fixture
def site(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(sound, tmp_path / "site"))


def found(site: Path, topic: str, level: Level) -> list[Finding]:
    return [f for f in examine(site) if f.topic == topic and f.level is level]


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mode, p.read_bytes() if p.is_file() else b"") for p in sorted(folder.rglob("*"))}


def test_a_new_site_has_no_fault_and_is_left_as_it_is(site: Path) -> None:
    before = content(site)
    findings = examine(site)
    assert [f for f in findings if f.level is Level.FAULT] == []
    assert {"versions", "clock", "time zone", "disk", "memory", "real time", "ports", "certificates"} <= {
        f.topic for f in findings
    }
    assert content(site) == before


def bad_entry(site: Path) -> None:
    (site / "entries" / "meter0.toml").write_text(
        'driver = "modbus"\nprofile = "plant_meter"\nhost = "127.0.0.1"\nunit_id = 300\n'
    )


def no_driver(site: Path) -> None:
    (site / "entries" / "meter0.toml").write_text('driver = "smoke-signals"\n')


def bad_site(site: Path) -> None:
    (site / "site.toml").write_text('[site]\nid = "abcdef"\ncycle_ms = -1\n')


def bad_controller(site: Path) -> None:
    with (site / "site.toml").open("a") as file:
        file.write('[[controller]]\nid = "x"\ntype = "Nothing"\n')


def open_key(site: Path) -> None:
    (site / "certs" / "own" / "server.key.pem").chmod(0o644)


def open_folder(site: Path) -> None:
    (site / "certs").chmod(0o755)


def no_certificates(site: Path) -> None:
    shutil.rmtree(site / "certs" / "own")


def damaged_certificate(site: Path) -> None:
    (site / "certs" / "trusted" / "scada.der").write_bytes(b"rubbish")


def damaged_history(site: Path) -> None:
    (site / "data" / "history.sqlite").write_bytes(b"SQLite format 3\0" + b"\x5a" * 8192)


@pytest.mark.parametrize(
    ("damage", "topic", "text", "todo"),
    [
        (bad_entry, "entries", "entries/meter0.toml: unit_id: 300 is not in 1..247", "correct the file"),
        (no_driver, "entries", "entries/meter0.toml: driver: 'smoke-signals': there is no such driver", "correct the file"),
        (bad_site, "configuration", "site.toml: site.cycle_ms: -1 is not in 5..10000", "correct it"),
        (bad_controller, "configuration", "'Nothing': there is no such controller", "correct it"),
        (open_key, "file modes", "others may read certs/own/server.key.pem", "chmod 600"),
        (open_folder, "file modes", "others may read certs", "chmod 700"),
        (no_certificates, "certificates", "the site has none of its own", "ems certs create server"),
        (damaged_certificate, "certificates", "certs/trusted/scada.der is no certificate", "put the right file there"),
        (damaged_history, "history", "data/history.sqlite is damaged", "restart the historian"),
    ],
)
def test_what_is_broken_is_found_with_what_to_do(
    site: Path, damage: Callable[[Path], None], topic: str, text: str, todo: str
) -> None:
    damage(site)
    faults = found(site, topic, Level.FAULT)
    assert any(text in f.text and todo in f.todo for f in faults), examine(site)


def test_a_taken_port_is_told_with_who_has_it(site: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = site / "site.toml"
        path.write_text(set_value(path.read_text(), "opcua", "port", port))
        (taken,) = found(site, "ports", Level.FAULT)
        assert holder_pid(port) == os.getpid()
        assert f"OPC UA: 127.0.0.1:{port} is taken by {holder(port)}" == taken.text
        assert f"(process {os.getpid()})" in taken.text
    assert holder_pid(port) == 0


def test_a_clock_behind_the_journal_is_told(site: Path) -> None:
    file = site / "data" / "journal" / "2024-01-01.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}\n")
    later = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
    os.utime(file, (later, later))
    assert any("60 min before the newest record" in f.text for f in found(site, "clock", Level.WARNING))


@pytest.mark.parametrize(("days", "level", "words"), [(5, Level.WARNING, "own certificate server expires in "), (100, None, "")])
def test_a_certificate_that_ends_soon_is_told(site: Path, days: int, level: Level | None, words: str) -> None:
    issue(site, "server", application_uri="urn:test", hosts=["localhost"], days=days)
    soon = found(site, "certificates", Level.WARNING)
    assert [f.level for f in soon] == ([level] if level else [])
    assert all(words in f.text and "server" in f.todo for f in soon)


@pytest.mark.parametrize(
    ("limit", "level"), [("DISK_LOW_BYTES", Level.WARNING), ("DISK_FULL_BYTES", Level.FAULT)], ids=["little", "none"]
)
def test_a_disk_that_fills_up_is_told(site: Path, monkeypatch: pytest.MonkeyPatch, limit: str, level: Level) -> None:
    monkeypatch.setattr(machine, limit, 1 << 62)
    (disk,) = found(site, "disk", level)
    assert "MB free of" in disk.text
    assert "make room" in disk.todo


def test_little_memory_is_told(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY_LOW_BYTES", 1 << 62)
    assert found(site, "memory", Level.WARNING)


def test_a_large_history_is_not_waited_for(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    with sqlite3.connect(site / "data" / "history.sqlite") as connection:
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [("x" * 1000,)] * 2000)
        connection.execute("create index i on t (x)")
    connection.close()
    monkeypatch.setattr(files, "CHECK_WITHIN_S", 0.0)
    monkeypatch.setattr(files, "_PROGRESS_STEPS", 1)
    assert [f.text.split(", ")[1] for f in found(site, "history", Level.NOTE)] == ["too large to be checked in passing"]
    monkeypatch.undo()
    assert found(site, "history", Level.OK)


def test_the_exit_status_and_the_json_tell_the_worst(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(site)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(("0 to mend", "nothing to do"))
    open_key(site)
    assert cli.main(["doctor", str(site), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["site"], told["worst"]) == (str(site), "fault")
    assert all(set(f) == {"topic", "level", "text", "todo"} for f in told["findings"])


def test_without_a_site_the_machine_alone_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor"]) == 0
    assert "no site was looked at" in capsys.readouterr().out
    assert cli.main(["doctor", str(tmp_path / "none")]) == 1
    assert "is no site" in capsys.readouterr().err
