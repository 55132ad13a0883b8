"""What holds for all tests: a property is tried with the same examples in every run, however slow the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")
