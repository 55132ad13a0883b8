"""Settings of an entry with `driver = "modbus"`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from .profile import ProfileError, load_profile

_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?")
"""A name of a host; one that ends in a number is an address that went wrong (RFC 3696)."""
_HOST_LENGTH_MAX: Final = 253


class Config(BaseModel):
    """One device: which model it is, and where it answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = Field(
        description="Name of a shipped profile, or the path of a .toml file that describes the device, relative to the site."
    )
    host: str = Field(min_length=1, description="Address or name of the device or of its gateway.")
    port: int = Field(502, ge=1, le=65535, description="TCP port.")
    unit_id: int = Field(1, ge=1, le=247, description="Unit id (slave address).")
    timeout_s: float = Field(0.5, ge=0.02, le=30.0, description="How long an answer is waited for, in s.")
    poll_ms: float = Field(50.0, ge=5.0, le=3_600_000.0, description="Time between reads of the fast blocks, in ms.")
    properties: dict[str, str] = Field(default_factory=dict, description="Texts shown with the device: Label, MeterRole, ...")

    @field_validator("host")
    @classmethod
    def _host_can_be_one(cls, value: str) -> str:
        if not _is_address(value) and not _is_name(value):
            raise ValueError(f"{value!r:.100} is neither an address nor a name of a host")
        return value

    @field_validator("profile")
    @classmethod
    def _profile_loads(cls, value: str, info: ValidationInfo) -> str:
        if value.endswith(".toml") and info.context:
            value = str(Path(info.context["directory"]) / value)
        try:
            load_profile(value)
        except ProfileError as error:
            raise ValueError(str(error)) from error
        return value


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    """Also one with letters beyond ASCII."""
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return False
    return len(name) <= _HOST_LENGTH_MAX and _HOST.fullmatch(name) is not None
