"""The configuration of a site as it lies on disk: DIR/site.toml and one DIR/entries/<alias>.toml per integration.

A wrong site.toml keeps the site from starting; a wrong entry only keeps itself from being set up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from server.core.errors import ConfigError
from server.core.solver import DISTRIBUTIONS

from .explain import InvalidFile, read_toml, validate

SITE_FILE = "site.toml"
ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
NAME_OF_ALARM = r"^([A-Za-z][A-Za-z0-9_-]{0,62})?$"
RESERVED = frozenset(
    {"site", "cycle", "entry", "control", "supervisor", "opcua", "bridge", "reader", "zygote", "security", "decisions"}
)
"""Names of our own objects and processes, which no entry, group, controller or service may take."""

PolicyName = Literal["Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256"]
ModeName = Literal["SignAndEncrypt", "Sign"]
Power = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_REVERSE = re.compile(r"opc\.tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?/?")


class Table(BaseModel):
    """A table whose every setting is known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SiteTable(Table):
    """[site]: what the site is."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9_-]{4,64}$", description="Part of the namespace of every NodeId; made by `ems init`, kept for ever."
    )
    name: str = Field("Site", min_length=1, max_length=100, description="What people call the site.")
    timezone: str = Field("UTC", description="IANA time zone, used where people read times.")
    cycle_ms: float = Field(50.0, ge=5, le=10_000, allow_inf_nan=False, description="Period of the control cycle, in ms.")
    reload_on_save: bool = Field(
        False, description="Load controllers when their files or this one are saved, instead of when `ems reload` says so."
    )
    distribution: str = Field("proportional", description=f"How storages share their work: {', '.join(DISTRIBUTIONS)}.")

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError):
            raise ValueError(f"'{value}' is not an IANA time zone such as Europe/Vienna") from None
        return value

    @field_validator("distribution")
    @classmethod
    def _known_distribution(cls, value: str) -> str:
        if value not in DISTRIBUTIONS:
            raise ValueError(f"'{value}' is not one of {', '.join(DISTRIBUTIONS)}")
        return value


class GridTable(Table):
    """[grid]: the connection to the public grid, and its fuse."""

    meter: str = Field("", description="Alias of the meter at the connection.")
    import_max_w: Power | None = Field(None, description="Highest import in W, kept before all controllers; none when left out.")
    export_max_w: Power | None = Field(None, description="Highest export in W, positive, kept before all controllers.")


class EmergencyStopTable(Table):
    """[[emergency_stop]]: a digital input that stops the site, outside arbitration, until it is released and reset."""

    channel: str = Field(description="The input, such as `io0/Input[1]`; the first value is 0.")
    normally_closed: bool = Field(
        True, description="The contact opens when the stop is pressed, so that a broken wire stops too."
    )
    bad_after_s: float = Field(
        1.0, ge=0, le=60, allow_inf_nan=False, description="An input that is Bad for longer counts as pressed, in s."
    )


class OpcUaTable(Table):
    """[opcua]: the OPC UA server."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(4840, ge=1, le=65535, description="TCP port.")
    hosts: tuple[str, ...] = Field(default=(), strict=False, description="Further names and addresses for the certificate.")
    policies: tuple[PolicyName, ...] = Field(
        default=get_args(PolicyName), strict=False, min_length=1, description="Security policies a session may use."
    )
    modes: tuple[ModeName, ...] = Field(
        default=get_args(ModeName),
        strict=False,
        min_length=1,
        description="Sign: everybody on the way may read, nobody may change. Users and certificates are managed under "
        "SignAndEncrypt only. Without security there is nothing but discovery.",
    )
    announce: bool = Field(
        False,
        description="Announce name, address and port by mDNS to the local network; needs `pip install unified-ems[discovery]`.",
    )
    reverse: tuple[str, ...] = Field(
        default=(),
        strict=False,
        max_length=16,
        description="Clients that the server dials because they cannot dial it (reverse connect), as `opc.tcp://host:port`.",
    )

    @field_validator("reverse")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not _REVERSE.fullmatch(url) or urlsplit(url).port == 0:
                raise ValueError(f"'{url}' is not opc.tcp://host:port")
        return value


class ControlTable(Table):
    """[control]: who decides."""

    mode: Literal["local", "remote"] = Field(
        "local", description="remote: a host with the role Bridge decides over OPC UA; without it devices are at their fail-safe."
    )


class BridgeTable(Table):
    """[bridge]: control for a site elsewhere. Everything else about that site, its controllers too, is said there."""

    endpoint: str = Field(pattern=r"^opc\.tcp://\S+$", description="URL of the site's OPC UA server.")
    application: str = Field("bridge", description="Name of our certificate in `certs/own`.")
    authority: str = Field("certs/site.der", description="The site's certificate authority, relative to the folder.")


class HistoryTable(Table):
    """[history]: what is remembered of every measured channel, where, and for how long."""

    database: str = Field(
        "", description="SQLAlchemy URL such as `postgresql+psycopg://ems@db/ems`; by default SQLite in `data/history.sqlite`."
    )
    interval_s: float = Field(1.0, ge=0.05, le=3600, allow_inf_nan=False, description="How often values are looked at, in s.")
    values_days: int = Field(30, ge=0, description="Days that values are kept; 0 keeps for ever, here and below.")
    minutes_days: int = Field(180, ge=0, description="Days that roll-ups of 1 min are kept.")
    quarters_days: int = Field(1830, ge=0, description="Days that roll-ups of 15 min are kept.")
    hours_days: int = Field(0, ge=0, description="Days that roll-ups of 1 h are kept.")

    @property
    def kept_days(self) -> dict[int, int]:
        """Days by resolution in s; 0 s are the values themselves."""
        return {0: self.values_days, 60: self.minutes_days, 900: self.quarters_days, 3600: self.hours_days}

    @model_validator(mode="after")
    def _coarser_lasts_longer(self) -> Self:
        """A roll-up outlives what it was made of."""
        names = ("values_days", "minutes_days", "quarters_days", "hours_days")
        for finer, coarser in pairwise(names):
            short, long = getattr(self, finer), getattr(self, coarser)
            if long and (short == 0 or short > long):
                kept = f"{short} days" if short else "for ever"
                raise ValueError(f"{coarser} is {long}, but {finer} are kept {kept}; what is coarser must be kept as long")
        return self


class SecretsTable(Table):
    """[secrets]: the key under which the secrets of entries are encrypted."""

    key: str = Field(
        "",
        description="Path of the key file, relative to the site, or `credential:<name>` for one that systemd hands over "
        "(LoadCredential=); `secrets.key` in the site when left out.",
    )


class ServiceTable(BaseModel):
    """[services.<name>]: a process that works as an OPC UA client; what is not listed here are settings of its own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    module: str = Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?$", description="What to run: `module` or `module:function`.")
    enabled: bool = Field(True, description="Run it.")

    @property
    def settings(self) -> dict[str, Any]:
        """What is meant for the service itself."""
        return dict(self.model_extra or {})


class SiteFile(Table):
    """site.toml. Clusters, controllers, alarms and schedules are checked one by one: a wrong one keeps nothing from starting."""

    site: SiteTable
    grid: GridTable = GridTable()
    emergency_stop: tuple[EmergencyStopTable, ...] = Field(default=(), strict=False)
    opcua: OpcUaTable = OpcUaTable()
    control: ControlTable = ControlTable()
    bridge: BridgeTable | None = None
    history: HistoryTable = HistoryTable()
    secrets: SecretsTable = SecretsTable()
    services: dict[str, ServiceTable] = {}
    cluster: tuple[dict[str, Any], ...] = Field(default=(), strict=False)
    controller: tuple[dict[str, Any], ...] = Field(default=(), strict=False)
    alarm: tuple[dict[str, Any], ...] = Field(default=(), strict=False)
    schedule: tuple[dict[str, Any], ...] = Field(default=(), strict=False)

    @property
    def elsewhere(self) -> bool:
        """Control and site are on different hosts, and this is one of the two."""
        return self.bridge is not None or self.control.mode == "remote"

    @field_validator("services")
    @classmethod
    def _service_names(cls, value: dict[str, ServiceTable]) -> dict[str, ServiceTable]:
        for name in value:
            check_name(name)
        return value


class EntryFile(BaseModel):
    """entries/<alias>.toml: what every entry may say; the other settings belong to its driver."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    driver: str = Field(description="Domain of the driver.")
    group: str = Field("", description="Entries of one group share a process; by default all entries of a driver do.")
    enabled: bool = Field(True, description="Set it up.")
    properties: dict[str, str] = Field({}, description="Texts shown on the device, such as Label or MeterRole.")

    @field_validator("group")
    @classmethod
    def _group_name(cls, value: str) -> str:
        return check_name(value) if value else value

    @property
    def settings(self) -> dict[str, Any]:
        """What is meant for the driver."""
        return dict(self.model_extra or {})


@dataclass(frozen=True, slots=True)
class EntrySource:
    """An entry as found: either its content or the reason why it cannot be used. directory: of the site it is in."""

    directory: Path
    alias: str
    shown: str
    content: EntryFile | None
    problem: str = ""


def check_name(value: str) -> str:
    """A name for a process. ValueError when it is malformed or one of our own."""
    if not NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a name: lower-case letters, digits, - and _ (at most 32) are")
    return _unreserved(value)


def check_alias(value: str) -> str:
    """A name for an object. ValueError when it is malformed or one of our own."""
    if not ALIAS.fullmatch(value):
        raise ValueError(f"'{value}' is not an alias: letters, digits, - and _ (at most 63), beginning with a letter, are")
    return _unreserved(value)


def _unreserved(value: str) -> str:
    if value in RESERVED:
        raise ValueError(f"'{value}' is the name of a part of the system; choose another")
    return value


def read_site(directory: Path) -> SiteFile:
    """DIR/site.toml. Raises InvalidFile with every problem."""
    path = directory / SITE_FILE
    if not path.exists():
        raise InvalidFile([ConfigError(SITE_FILE, "", f"there is none in {directory}; `ems init {directory}` makes a site")])
    return validate(SiteFile, read_toml(path, SITE_FILE), SITE_FILE)


def read_entries(directory: Path) -> list[EntrySource]:
    """Every DIR/entries/<alias>.toml in the order of names; hidden files are left alone."""
    return [_read_entry(directory, file, f"entries/{file.name}") for file in entry_files(directory)]


def entry_files(directory: Path) -> list[Path]:
    """Whatever lies where entries are expected, in the order of names."""
    return [file for file in sorted((directory / "entries").glob("*.toml")) if not file.name.startswith(".")]


def _read_entry(directory: Path, file: Path, shown: str) -> EntrySource:
    alias = file.stem
    try:
        check_alias(alias)
        return EntrySource(directory, alias, shown, validate(EntryFile, read_toml(file, shown), shown))
    except InvalidFile as error:
        return EntrySource(directory, alias, shown, None, str(error))
    except ValueError as error:
        return EntrySource(directory, alias, shown, None, str(ConfigError(shown, "file name", str(error))))
