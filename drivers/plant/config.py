"""Settings of the simulated plant."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from .sky import Place


class Config(BaseModel):
    """An entry with `driver = "plant"`: what is simulated, and where it is served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(5020, ge=0, le=65530, description="First of six ports; 0 takes free ones.")
    speed: float = Field(1.0, ge=0.0, le=3600.0, description="Simulated seconds per second.")
    seed: int = Field(1, ge=0, description="Same seed, same weather, load and cars.")
    latitude: float = Field(48.2, ge=-66.0, le=66.0, description="Degrees, + north.")
    longitude: float = Field(16.4, ge=-180.0, le=180.0, description="Degrees, + east.")
    start: datetime | None = Field(None, description="First simulated moment; default today at 10:30 solar time.")
    properties: dict[str, str] = Field(default_factory=dict, description="Texts shown with the device, e.g. Label.")

    @property
    def place(self) -> Place:
        """Where the sun is seen from."""
        azimuth = 180.0 if self.latitude >= 0.0 else 0.0
        return Place(self.latitude, self.longitude, azimuth=azimuth)
