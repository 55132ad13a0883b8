"""Certificates once for all tests of the server; a fresh server for each."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opcua_site import Site, make_certificates, running

from server.opcua.nodeset import load


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of the server and its clients, and the compiled table of types."""
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory)
    load(directory / "data" / "cache")
    return directory


@pytest.fixture
def directory(certificates: Path, tmp_path: Path) -> Path:
    """A site's folder of this test's own, with those certificates."""
    shutil.copytree(certificates, tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
async def site(directory: Path) -> AsyncIterator[Site]:
    """A running server over an empty site."""
    async with running(directory) as running_site:
        yield running_site
