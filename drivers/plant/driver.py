"""The plant as an integration: a weather station in the model, and Modbus TCP servers for everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from server.core.driver import DriverIo, Entry
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.natures import Device, Weather
from server.core.status import GOOD
from server.core.ticks import from_unix_ns

from .config import Config
from .model import Plant
from .server import PlantServer
from .sky import unix_at_solar_time

PERIOD_S = 1.0
_SOLAR_START_S = 10.5 * 3600.0


def describe(alias: str, config: Config) -> tuple[ObjectSpec, ...]:
    """The plant's weather station; the devices are entries of their own that find the plant on the network."""
    channels = [ChannelUse(spec) for spec in (Device.State, Device.CommState)]
    channels += [ChannelUse(spec, period_s=PERIOD_S) for spec in (Weather.Irradiance, Weather.Temperature, Weather.CloudCover)]
    properties = {"Manufacturer": "unified-ems", "Model": "Simulated plant", **config.properties}
    doc = f"Simulated plant on {config.host}:{config.port}."
    return (ObjectSpec(alias, DEVICE, "", (Device, Weather), tuple(channels), "Simulated plant", doc, properties),)


def build_plant(config: Config, unix_s: float) -> Plant:
    """The plant of a configuration; `unix_s` is the present, whose day gives the season."""
    return Plant(config.seed, first_moment(config, unix_s), config.place, config.speed)


def first_moment(config: Config, unix_s: float) -> float:
    """The simulated time at which the plant begins, unix s."""
    if config.start is None:
        return unix_at_solar_time(unix_s, _SOLAR_START_S, config.place)
    moment = config.start if config.start.tzinfo else config.start.replace(tzinfo=UTC)
    return moment.timestamp()


def weather(plant: Plant) -> dict[str, float]:
    """What the plant tells of the weather, by channel."""
    cover = plant.cloud_cover * 100.0
    return {"Irradiance": plant.pv.irradiance, "Temperature": plant.air_temperature, "CloudCover": cover}


async def run(io: DriverIo, entries: Sequence[Entry]) -> None:
    """Serve all plants and publish their weather until cancelled. PlantError when a port is taken."""
    servers = [PlantServer(build_plant(entry.config, time.time())) for entry in entries]
    try:
        for entry, server in zip(entries, servers, strict=True):
            await _start(io, entry, server)
        async with asyncio.TaskGroup() as group:
            for entry, server in zip(entries, servers, strict=True):
                group.create_task(server.run())
                group.create_task(_publish_weather(io, entry.alias, server.plant))
    finally:
        for server in servers:
            await server.stop()


async def _start(io: DriverIo, entry: Entry, server: PlantServer) -> None:
    config: Config = entry.config
    await server.start(config.host, config.port)
    ports = ", ".join(map(str, server.ports))
    io.event("up", f"{entry.alias}: simulated plant listens on {config.host}, ports {ports}", alias=entry.alias)


async def _publish_weather(io: DriverIo, alias: str, plant: Plant) -> None:
    put = _Publisher(io, alias)
    while True:
        put("State", 0.0)
        put("CommState", 0.0)
        for name, value in weather(plant).items():
            put(name, value)
        io.block.publish()
        await asyncio.sleep(PERIOD_S)


class _Publisher:
    """Writes channels of one device into the staging of its block."""

    def __init__(self, io: DriverIo, alias: str) -> None:
        channels = io.layout.channels_of(alias)
        self._index = {c.spec.name: c.slot - io.layout.owner(c.owner).first for c in channels}
        self._records: Any = io.block.records

    def __call__(self, name: str, value: float) -> None:
        """Set a channel to `value`, good and as of now."""
        source = from_unix_ns(time.time_ns())
        record = self._records[self._index[name]]
        record["value"], record["source"], record["arrival"], record["status"] = value, source, time.monotonic_ns(), GOOD
