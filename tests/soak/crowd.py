"""A crowd of OPC UA clients that come, subscribe, and leave: some say goodbye, some are killed.

Each client is a process of its own, forked from one that has everything loaded. Of a client that is killed the server learns
only that its connection is gone; its session and its subscriptions must end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from server.client import Client, ClientError, Identity

ROOT = Path(__file__).parents[2]
LIFE_S = (3.0, 40.0)
NODES = 50
INTERVAL_MS = 100
CURRENT_SESSIONS, CURRENT_SUBSCRIPTIONS = "i=2277", "i=2285"

fork = multiprocessing.get_context("fork")


class Crowd:
    """So many clients of a site at any time, as long as the context lasts. In a process group of its own, which ends with it."""

    def __init__(self, identity: Identity, clients: int, seed: int) -> None:
        told = pickle.dumps((identity, clients, seed)).hex()
        command = [sys.executable, "-m", "tests.soak.crowd", told]
        self._process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True)
        self.lives = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        told, _ = self._process.communicate(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.lives = int(told or 0)


async def counts(identity: Identity) -> tuple[int, int]:
    """Sessions and subscriptions the server has now, apart from the one that asks."""
    async with Client(identity) as client:
        sessions, subscriptions = await client.read([CURRENT_SESSIONS, CURRENT_SUBSCRIPTIONS])
        return int(sessions.Value.Value) - 1, int(subscriptions.Value.Value)


async def live(identity: Identity, seconds: float, seed: int) -> None:
    """Connect, subscribe to some channels, take what comes for so long, and say goodbye."""
    async with Client(identity) as client:
        model = await client.model()
        channels = [channel.node for owner in model.objects.values() for channel in owner.channels.values()]
        chosen = random.Random(seed).sample(channels, min(NODES, len(channels)))
        subscription = await client.subscribe(chosen, INTERVAL_MS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in subscription:
                    pass


def one_life(identity: Identity, seconds: float, seed: int) -> None:
    """A client's process. A server that is away for the moment ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(ClientError, OSError):
        asyncio.run(live(identity, seconds, seed))


def main(identity: Identity, clients: int, seed: int) -> int:
    """Keep so many clients alive until SIGTERM; how many have lived."""
    logging.disable()  # connections are lost on purpose
    dice = random.Random(seed)
    ended: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    crowd: list[tuple[BaseProcess, float]] = []
    lives = 0
    while not ended:
        for process, until in crowd:
            if time.monotonic() > until:
                process.kill()
                process.join()
        crowd = [(process, until) for process, until in crowd if process.is_alive()]
        if len(crowd) < clients:
            seconds = dice.uniform(*LIFE_S)
            until = time.monotonic() + (seconds if dice.random() < 0.5 else seconds + LIFE_S[1])
            process = fork.Process(target=one_life, args=(identity, seconds, lives))
            process.start()
            crowd.append((process, until))
            lives += 1
        time.sleep(0.2)
    for process, _ in crowd:
        process.kill()
        process.join()
    return lives


if __name__ == "__main__":
    print(main(*pickle.loads(bytes.fromhex(sys.argv[1]))))
