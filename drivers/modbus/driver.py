"""Modbus TCP devices, each described by a profile. Reading order: profile, codec, output, device, poller, this file."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from server.core.channel import Level
from server.core.driver import DriverIo, Entry
from server.core.layout import DEVICE, ChannelUse, ObjectSpec
from server.core.nature import Nature
from server.core.natures import CommState
from server.core.natures import Device as DeviceNature

from .client import Client, silence_library
from .config import Config
from .device import Device
from .poller import Poller
from .profile import Profile, load_profile
from .view import DeviceView, Publisher

_READ_AGAIN_NS = 2_000_000


def describe(alias: str, config: Config) -> tuple[ObjectSpec, ...]:
    """The device of an entry: natures and channels from its profile, properties from profile and entry."""
    profile = load_profile(config.profile)
    properties = {**profile.properties, **config.properties}
    natures: tuple[type[Nature], ...] = (DeviceNature, *profile.classes)
    doc = f"{profile.title} at {config.host}:{config.port}, unit {config.unit_id}."
    name = properties.get("Model", Path(config.profile).stem)
    return (ObjectSpec(alias, DEVICE, "", natures, tuple(_channels(profile, config)), name, doc, properties),)


def _channels(profile: Profile, config: Config) -> list[ChannelUse]:
    """Channels in the order of the natures: first how the device is, then what it measures, then what it is told."""
    specs = profile.specs
    uses = {name: ChannelUse(specs[name]) for name in ("State", "CommState", "LastCommunication")}
    if profile.setpoint:
        uses["NoFailSafe"] = ChannelUse(DeviceNature.NoFailSafe)
    for block in profile.block:
        for point in block.channels:
            period_s = block.period_s or config.poll_ms / 1000.0
            uses[point.channel] = ChannelUse(specs[point.channel], point.length, period_s)
    uses["State"] = ChannelUse(specs["State"])
    for name in (*profile.constants, *(s.channel for s in profile.setpoint)):
        uses[name] = ChannelUse(specs[name])
    return [uses[name] for name in specs if name in uses]


async def run(io: DriverIo, entries: Sequence[Entry]) -> None:
    """Poll all devices until cancelled; connections work in parallel, requests of one connection in turn."""
    silence_library()
    setpoints = SetpointBoard(io)
    pollers = _pollers(io, entries, setpoints)
    loop = asyncio.get_running_loop()

    def woken() -> None:
        setpoints.clear_bell()
        now = time.monotonic_ns()
        for poller in pollers:
            poller.wake_if_due(now)

    loop.add_reader(io.setpoints.wake_fd, woken)
    try:
        async with asyncio.TaskGroup() as group:
            for poller in pollers:
                group.create_task(poller.run())
    finally:
        loop.remove_reader(io.setpoints.wake_fd)


def _pollers(io: DriverIo, entries: Sequence[Entry], setpoints: SetpointBoard) -> list[Poller]:
    publisher = Publisher(io)
    clients: dict[tuple[str, int], Client] = {}
    devices: dict[tuple[str, int], list[Device]] = defaultdict(list)
    failed: list[Exception] = []
    for entry in entries:
        address = (entry.config.host, entry.config.port)
        client = clients.setdefault(address, Client(*address))
        try:
            device = Device(io, entry, publisher, client)
        except Exception as error:  # noqa: BLE001 (supervision point: the entry is down and says why, the others are polled)
            _leave_out(io, entry, publisher, error)
            failed.append(error)
        else:
            devices[address].append(device)
    if failed and not devices:
        raise failed[0]
    return [Poller(clients[address], found, io.clock, setpoints) for address, found in devices.items()]


def _leave_out(io: DriverIo, entry: Entry, publisher: Publisher, error: Exception) -> None:
    """There is no device to an entry: its profile is not what it was when the site was planned."""
    view = DeviceView(io, entry.alias, publisher)
    view.put("CommState", CommState.Down)
    view.put("State", Level.Fault)
    io.event("down", f"{entry.alias}: cannot be begun with: {type(error).__name__}: {error}", alias=entry.alias, trouble="")


class SetpointBoard:
    """The set-points as last read; read again when they are older than a look-up needs."""

    def __init__(self, io: DriverIo) -> None:
        self._source = io.setpoints
        self._records = self._source.read()
        self._read_ns = 0

    def __call__(self, index: int) -> tuple[float, int]:
        """(value, lease in CLOCK_MONOTONIC ns) of one record."""
        now = time.monotonic_ns()
        if now - self._read_ns > _READ_AGAIN_NS:
            self._refresh(now)
        record = self._records[index]
        return float(record["value"]), int(record["lease"])

    def clear_bell(self) -> None:
        """The engine rang: read everything at once."""
        os.read(self._source.wake_fd, 8)
        self._refresh(time.monotonic_ns())

    def _refresh(self, now: int) -> None:
        self._records = self._source.read()
        self._read_ns = now
