"""What a person is told when the server, the supervisor or the panel itself refuses what they did."""

from __future__ import annotations

from server.core.errors import EmsError

DENIED = "Your role may look but not steer. Log in as an operator to take control."

_WORDS = {
    "BadUserAccessDenied": "Your role does not allow this. Nothing was changed.",
    "BadInvalidState": "Set-points can be written under manual override only. Take control first.",
    "BadNotWritable": "This cannot be written.",
    "BadOutOfRange": "The value is outside the allowed range.",
    "BadTypeMismatch": "The value is of another kind than expected.",
    "BadResourceUnavailable": "The control process is busy. Please try again.",
    "BadNotConnected": "The OPC UA server is away. Nothing was changed.",
    "BadTimeout": "The OPC UA server did not answer in time.",
    "BadMethodInvalid": "The server does not offer this.",
    "BadNodeIdUnknown": "The server does not know this any more. Please load the page again.",
}


class Refused(EmsError):
    """What the panel does not even ask the server for, in words for the person."""


def words(error: EmsError) -> str:
    """The refusal as a sentence; the words of who refused it where there are none of ours."""
    return _WORDS.get(getattr(error, "status", ""), str(error))
