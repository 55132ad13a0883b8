"""A database of each kind: SQLite always, PostgreSQL where the machine has its programs and a user to run it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.history import HistoryReader, HistoryWriter, database_url


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _user() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of our own, without a database in it yet."""
    programs = _programs()
    pytest.importorskip("psycopg")
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ems-postgres-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, pwd.getpwnam("postgres").pw_uid)
        data = folder / "data"
        subprocess.run([*_user(), programs / "initdb", "-D", data, "-A", "trust", "-U", "ems"], check=True, capture_output=True)
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        control = [*_user(), programs / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], check=True, stdout=subprocess.DEVNULL)
        yield f"postgresql+psycopg://ems@/{{}}?host={folder}"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return database_url(tmp_path)
    from sqlalchemy import create_engine, text

    server = request.getfixturevalue("postgres")
    name = f"h{abs(hash(request.node.name))}"
    engine = create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return str(server.format(name))


@pytest.fixture
def writer(url: str) -> Iterator[HistoryWriter]:
    writer = HistoryWriter(url)
    yield writer
    writer.close()


@pytest.fixture
def reader(url: str) -> Iterator[HistoryReader]:
    reader = HistoryReader(url)
    yield reader
    reader.close()
