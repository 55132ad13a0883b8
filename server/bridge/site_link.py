"""The host's connection to the site: who we are, and the two calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from server.client import Client, ClientError, Identity
from server.client.errors import check
from server.client.nodes import node_id
from server.runtime.files import write_atomically

from .portable import digest
from .protocol import BRIDGE, DESCRIBE, EXCHANGE, WRITE_ROW, Heard

_log = logging.getLogger("ems.bridge")
_TYPE: Final = ua.VariantType
RETRY_S: Final = 0.5
NAME: Final = "unified-ems bridge"


def identity_of(directory: Path, settings: Mapping[str, Any]) -> Identity:
    """How the host logs in: with its own certificate, at a server that the site's authority vouches for."""
    own, name = directory / "certs" / "own", settings["application"]
    authority = directory / settings["authority"]
    return Identity(settings["endpoint"], own / f"{name}.der", own / f"{name}.key.pem", ca=authority)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site says to an exchange: all that waits there and was not heard. urgent, writes: WRITE_ROWs; proposals: number of
    each, and as a foreign controller's server packed it; documents: how often they changed."""

    urgent: NDArray[Any]
    writes: NDArray[Any]
    proposals: tuple[tuple[int, bytes], ...]
    documents: int


async def describe(client: Client) -> bytes:
    """The site's description."""
    (description,) = await client.call(BRIDGE, DESCRIBE)
    return bytes(description)


async def exchange(
    client: Client, layout: str, setpoints: bytes, values: bytes, texts: Mapping[int, str], heard: Heard
) -> Answer:
    """One exchange. ClientError when the site cannot be reached or refuses."""
    given = [
        ua.Variant(layout, _TYPE.String),
        ua.Variant(setpoints, _TYPE.ByteString),
        ua.Variant(values, _TYPE.ByteString),
        ua.Variant(list(texts), _TYPE.UInt32, is_array=True),
        ua.Variant(list(texts.values()), _TYPE.String, is_array=True),
        ua.Variant(list(heard), _TYPE.UInt64, is_array=True),
    ]
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(node_id(BRIDGE), node_id(f"{BRIDGE}/{EXCHANGE}"), given)]
    result = (await client.ask(request, ua.CallResponse)).Results[0]
    check(result.StatusCode, "exchanging with the site")
    urgent, writes, numbers, proposals, documents = (variant.Value for variant in result.OutputArguments)
    records = (text.encode() for text in proposals or ())
    return Answer(_writes(urgent), _writes(writes), tuple(zip(numbers or (), records, strict=True)), documents)


def _writes(rows: bytes | None) -> NDArray[Any]:
    return np.frombuffer(rows or b"", WRITE_ROW)


async def learn(directory: Path, settings: Mapping[str, Any], file: Path) -> None:
    """Have the site's description in `file`, waiting for the site where there is none yet."""
    said = ""
    while not file.exists():
        try:
            async with Client(identity_of(directory, settings), NAME) as client:
                keep(file, await describe(client))
        except ClientError as error:
            if str(error) != said:
                said = str(error)
                _log.warning("waiting for the site at %s: %s", settings["endpoint"], error)
            await asyncio.sleep(RETRY_S)


def keep(file: Path, description: bytes) -> str:
    """Keep a description; its digest."""
    write_atomically(file, description)
    return digest(description)
