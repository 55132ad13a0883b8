"""Errors of the client: what the server answered, or why it could not be asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from asyncua import ua

from server.core.errors import EmsError


class ClientError(EmsError):
    """An OPC UA operation failed. status: name of the StatusCode, such as `BadNodeIdUnknown`."""

    def __init__(self, status: str, text: str = "") -> None:
        super().__init__(f"{status}: {text}" if text else status)
        self.status = status
        self.text = text


class LoginRefused(ClientError):
    """The server does not accept this user, password or certificate."""


def status_name(code: int) -> str:
    """Name of a StatusCode without its info bits; its number where it has no name."""
    return ua.StatusCode(code & 0xFFFF0000).name or f"0x{code:08X}"


def check(status: ua.StatusCode, text: str) -> None:
    """Raise ClientError unless the status is Good or Uncertain."""
    if status.is_bad():
        raise ClientError(status_name(status.value), text)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the transport raises into ClientError, with `what` was being done."""
    try:
        yield
    except ua.UaStatusCodeError as error:
        raise ClientError(status_name(error.code), what) from error
    except TimeoutError as error:
        raise ClientError("BadTimeout", what) from error
    except OSError as error:
        raise ClientError("BadNotConnected", f"{what}: {error}") from error
    except ua.UaError as error:
        raise ClientError("BadCommunicationError", f"{what}: {error}") from error
    except (struct.error, ValueError) as error:
        raise ClientError("BadDecodingError", f"{what}: {error}") from error
