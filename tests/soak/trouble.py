"""What may happen to a site in a bad week, each as a function that does it once. Which comes when is thrown from a seed."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from drill import Drill

ROOT = Path(__file__).parents[2]
PARTS = ("opcua", "ui", "historian", "modbus", "plant", "zygote-heavy", "zygote-lean")
CLIENT = """
import asyncio, pickle, sys
from server.client import Client
async def main():
    async with Client(pickle.loads(bytes.fromhex(sys.argv[1]))) as client:
        await client.model()
        async for table in await client.subscribe(["meter0/ActivePower", "ess0/Soc", "cycle/Counter"], 50):
            print(len(table), flush=True)
asyncio.run(main())
"""

Trouble = Callable[[Drill, random.Random], str]
"""Does something to the site; says what, and returns when the worst is over."""


def kill_part(drill: Drill, dice: random.Random) -> str:
    """A process dies."""
    name = dice.choice(PARTS)
    killed = drill.kill(name)
    drill.wait(lambda: drill.pid(name) not in (0, killed), f"{name} is back", 60)
    return f"kill {name}"


def stop_driver(drill: Drill, dice: random.Random) -> str:
    """A driver hangs for a while."""
    pid = drill.kill("modbus", signal.SIGSTOP)
    time.sleep(dice.uniform(0.5, 4))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    return "hang modbus"


def kill_control(drill: Drill, dice: random.Random) -> str:
    """Control dies."""
    restarts = drill.site.status()["cycle"]["restarts"]
    drill.kill("control")
    drill.wait(lambda: drill.site.status()["cycle"]["restarts"] > restarts, "control is back", 10)
    return "kill control"


def disturb_plant(drill: Drill, dice: random.Random) -> str:
    """A device is faulty for a while, and the load jumps."""
    unit, fault = dice.randint(1, 5), dice.randint(1, 4)
    plant = drill.plant()
    try:
        plant.set_load(dice.randint(500, 15_000))
        plant.set_clouds(dice.randint(0, 100))
        plant.set_fault(unit, fault)
        time.sleep(dice.uniform(1, 5))
        plant.set_fault(unit, 0)
    finally:
        plant.close()
    return f"fault {fault} of unit {unit}"


def vanish(drill: Drill, dice: random.Random) -> str:
    """Clients connect, browse, subscribe, and are killed."""
    told = pickle.dumps(drill.identity).hex()
    clients = [
        subprocess.Popen([sys.executable, "-c", CLIENT, told], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        for _ in range(dice.randint(1, 3))
    ]
    for client in clients:
        assert client.stdout is not None
        with client.stdout:
            client.stdout.readline()
            time.sleep(dice.uniform(0, 1))
            client.kill()
        client.wait()
    return f"{len(clients)} clients vanish"


def babble(drill: Drill, dice: random.Random) -> str:
    """Strangers talk nonsense to the server."""
    port = int(drill.site.status()["endpoints"]["opcua"].rsplit(":", 1)[1])
    hello = struct.pack("<4sIIIIIIi", b"HELF", 32, 0, 65536, 65536, 0, 0, 0)
    for _ in range(50):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.sendall(dice.choice((b"", hello)) + dice.randbytes(dice.randint(1, 2000)))
    return "nonsense"


TROUBLES: tuple[Trouble, ...] = (kill_part, stop_driver, kill_control, disturb_plant, vanish, babble)
