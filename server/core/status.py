"""OPC UA status codes that travel with every value (Part 4, 7.39). Severity is the two top bits."""

from __future__ import annotations

from typing import Final

GOOD: Final = 0x00000000
GOOD_LOCAL_OVERRIDE: Final = 0x00960000
UNCERTAIN_LAST_USABLE_VALUE: Final = 0x40900000
UNCERTAIN_SUBSTITUTE_VALUE: Final = 0x40910000
UNCERTAIN_SUB_NORMAL: Final = 0x40950000
BAD_NO_COMMUNICATION: Final = 0x80310000
BAD_WAITING_FOR_INITIAL_DATA: Final = 0x80320000
BAD_NODE_ID_UNKNOWN: Final = 0x80340000
BAD_OUT_OF_RANGE: Final = 0x803C0000
BAD_CONFIGURATION_ERROR: Final = 0x80890000
BAD_NOT_CONNECTED: Final = 0x808A0000
BAD_DEVICE_FAILURE: Final = 0x808B0000
BAD_SENSOR_FAILURE: Final = 0x808C0000
BAD_NO_DATA: Final = 0x809B0000

UNCERTAIN: Final = 0x40000000
"""Where severity Uncertain begins: smaller codes are Good."""
BAD: Final = 0x80000000
"""Where severity Bad begins."""


def is_bad(status: int) -> bool:
    """True when the value must not be used (severity Bad)."""
    return status >= BAD


def is_good(status: int) -> bool:
    """True when severity is Good."""
    return status < UNCERTAIN
