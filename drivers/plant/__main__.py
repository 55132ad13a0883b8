"""The plant alone: `python -m drivers.plant --port 5020 --speed 1`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time

from .config import Config
from .driver import build_plant
from .server import PlantError, PlantServer


def _arguments() -> Config:
    parser = argparse.ArgumentParser(prog="python -m drivers.plant", description="Serve the simulated plant over Modbus TCP.")
    for name in ("host", "port", "speed", "seed", "latitude", "longitude"):
        field = Config.model_fields[name]
        parser.add_argument(f"--{name}", default=field.default, type=type(field.default), help=field.description)
    return Config(**vars(parser.parse_args()))


async def _serve(config: Config) -> None:
    server = PlantServer(build_plant(config, time.time()))
    await server.start(config.host, config.port)
    running = asyncio.ensure_future(server.run())
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    print(f"plant listens on {config.host}, ports {' '.join(map(str, server.ports))}", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def main() -> int:
    """Serve until interrupted; 1 when a port is taken."""
    try:
        asyncio.run(_serve(_arguments()))
    except PlantError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
