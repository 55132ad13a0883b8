"""Settings of an entry with `driver = "modbus"`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from .profile import ProfileError, load_profile


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
