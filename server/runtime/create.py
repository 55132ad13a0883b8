"""Making a new site: its configuration, its certificates, its first user."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final
from zoneinfo import ZoneInfo

from cryptography.x509 import load_der_x509_certificate

from certs import create_authority, issue, renew, revoke_certificate
from server.bridge.protocol import BRIDGE
from server.core.errors import EmsError
from server.core.roles import PEOPLES, Role

from .config import SITE_FILE, read_site
from .files import write_atomically
from .keys import create_key
from .users import Users, new_password

ADMIN: Final = "admin"
APPLICATIONS: Final = ("server", "panel", "historian")
FOLDERS: Final = ("entries", "certs", "data", "run", "custom/drivers", "custom/controllers")
_TEMPLATES: Final = Path(__file__).parent / "templates"


class SiteExists(EmsError):
    """There is something already where a site was to be made."""


@dataclass(frozen=True, slots=True)
class NewSite:
    """A site that was just made. password: of the user `admin`; known nowhere else."""

    directory: Path
    id: str
    password: str


def create_site(
    directory: Path,
    *,
    name: str = "",
    host: str = "127.0.0.1",
    port: int = 4840,
    ui_port: int = 8443,
    grid: str = "",
    timezone: str = "",
) -> NewSite:
    """Make a site in DIR, which must be empty or not there. host: where its servers listen; grid: of site.toml, with controllers.

    Raises SiteExists, or OSError; then nothing is left of what was begun.
    """
    directory = directory.resolve()
    _check_empty(directory)
    existed = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    shown = json.dumps(name or directory.name, ensure_ascii=False)
    listens = {"host": host, "port": port, "ui_port": ui_port}
    grid = grid or (_TEMPLATES / "grid.toml").read_text()
    try:
        return _fill(directory, {"name": shown, "timezone": timezone or local_timezone(), "grid": grid, **listens})
    except BaseException:
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not existed:
            directory.rmdir()
        raise


def create_bridge(directory: Path, endpoint: str) -> Path:
    """Make a folder for the control of a site elsewhere, whose OPC UA server is at `endpoint`; the certificate it logs in with.

    Raises SiteExists, or OSError.
    """
    directory = directory.resolve()
    _check_empty(directory)
    for folder in ("certs", "data", "run", "custom/controllers"):
        (directory / folder).mkdir(parents=True, mode=0o700 if folder in ("certs", "run") else 0o755)
    told = {"id": secrets.token_hex(6), "name": json.dumps(directory.name, ensure_ascii=False), "endpoint": json.dumps(endpoint)}
    text = Template((_TEMPLATES / "bridge.toml").read_text()).substitute(told)
    write_atomically(directory / SITE_FILE, text.encode())
    create_key(directory)
    create_authority(directory, directory.name)
    uri = application_uri(BRIDGE, told["id"])
    return issue(directory, BRIDGE, application_uri=uri, hosts=local_hosts()).certificate


def issue_own(directory: Path, name: str, *, site_id: str, uri: str = "", hosts: tuple[str, ...] = (), days: int = 825) -> Path:
    """Issue the certificate of one of the site's applications; the DER file. Its user, if any, gets the new one."""
    uri = uri or application_uri(name, site_id)
    paths = issue(directory, name, application_uri=uri, hosts=[*local_hosts(), *hosts], days=days)
    _tell_user(directory, name, paths.certificate)
    return paths.certificate


def renew_own(directory: Path, name: str, days: int = 825, *, revoke: bool = False) -> Path:
    """Issue the certificate of one of the site's applications anew; the DER file. Its user, if any, gets the new one.

    revoke: put the old one on the revocation list.
    """
    old = directory / "certs" / "own" / f"{name}.der"
    before = old.read_bytes() if old.exists() else b""
    paths = renew(directory, name, days=days)
    _tell_user(directory, name, paths.certificate)
    if revoke:
        revoke_certificate(directory, load_der_x509_certificate(before))
    return paths.certificate


def _tell_user(directory: Path, name: str, certificate: Path) -> None:
    """The user who logs in with the certificate of this application logs in with the new one from now on."""
    users = Users(directory)
    account = next((a for a in users if a.name == name and a.certificate_sha256), None)
    if account is not None:
        users.change(name, certificate=certificate.read_bytes())


def application_uri(name: str, site_id: str) -> str:
    """ApplicationUri of an application of the site; the server is the site itself."""
    uri = f"urn:{socket.gethostname()}:unified-ems:{site_id}"
    return uri if name == "server" else f"{uri}:{name}"


def local_hosts() -> list[str]:
    """Names and addresses under which this machine is always dialled."""
    return list(dict.fromkeys(["localhost", "127.0.0.1", "::1", socket.gethostname()]))


def local_timezone() -> str:
    """IANA name of this machine's time zone, UTC when it cannot be told."""
    name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return "UTC"
    return name


def _check_empty(directory: Path) -> None:
    if (directory / SITE_FILE).exists():
        raise SiteExists(f"{directory} is a site already; nothing was changed")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SiteExists(f"{directory} is not empty; a site is made in a new or empty folder")


def _fill(directory: Path, values: Mapping[str, object]) -> NewSite:
    """Everything in the folder. values: what the template of site.toml wants to know, but for the id."""
    for folder in FOLDERS:
        (directory / folder).mkdir(parents=True, mode=0o700 if folder in ("certs", "run") else 0o755)
    text = Template((_TEMPLATES / SITE_FILE).read_text()).substitute(values, id=secrets.token_hex(6))
    write_atomically(directory / SITE_FILE, text.encode())
    site = read_site(directory).site
    create_key(directory)
    create_authority(directory, site.name)
    for application in APPLICATIONS:
        issue_own(directory, application, site_id=site.id)
    password = new_password()
    users = Users(directory)
    users.add(ADMIN, PEOPLES, password=password)
    historian = directory / "certs" / "own" / "historian.der"
    users.add("historian", [Role.OBSERVER], certificate=historian.read_bytes())
    return NewSite(directory, site.id, password)
