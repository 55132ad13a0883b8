"""The quality of a value in words: what its OPC UA status means to the person who looks at it."""

from __future__ import annotations

from server.core import status

GOOD, UNCERTAIN, BAD = "", "uncertain", "bad"

_WORDS = {
    status.GOOD_LOCAL_OVERRIDE: "set by hand",
    status.UNCERTAIN_LAST_USABLE_VALUE: "last known value",
    status.UNCERTAIN_SUBSTITUTE_VALUE: "substituted value",
    status.BAD_NO_COMMUNICATION: "no communication",
    status.BAD_WAITING_FOR_INITIAL_DATA: "no data yet",
    status.BAD_NO_DATA: "no data",
    status.BAD_OUT_OF_RANGE: "out of range",
    status.BAD_CONFIGURATION_ERROR: "configuration error",
    status.BAD_NOT_CONNECTED: "not connected",
    status.BAD_DEVICE_FAILURE: "device failure",
    status.BAD_SENSOR_FAILURE: "sensor failure",
}


def grade(code: int) -> str:
    """GOOD, UNCERTAIN or BAD of a status code, as the CSS class the panel greys values with."""
    if status.is_good(code):
        return GOOD
    return BAD if status.is_bad(code) else UNCERTAIN


def rank(code: int) -> int:
    """0 good, 1 uncertain, 2 bad."""
    return 0 if status.is_good(code) else 2 if status.is_bad(code) else 1


def words(code: int) -> str:
    """What the status means; codes without words of ours are given in hexadecimal."""
    return _WORDS.get(code & 0xFFFF0000) or ("" if status.is_good(code) else f"{grade(code)} quality 0x{code:08X}")
