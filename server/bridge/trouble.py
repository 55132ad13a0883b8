"""What the bridge has to complain of, by what it is about: the supervisor shows it for as long as it lasts."""

from __future__ import annotations

from server.runtime.context import ProcessContext


class Trouble:
    """Each trouble is told once when it begins and once when it is over."""

    def __init__(self, context: ProcessContext) -> None:
        self._context = context
        self._texts: dict[str, str] = {}

    def tell(self, about: str, text: str = "") -> None:
        """What is wrong; empty when all is well."""
        before = self._texts.pop(about, "")
        if text:
            self._texts[about] = text
        if text != before:
            self._context.log.warning("%s", text or f"no longer: {before}")
            self._context.event("complaint", "; ".join(self._texts.values()))
