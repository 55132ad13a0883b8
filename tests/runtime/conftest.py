"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from image_site import ImageSite, image_site


@pytest.fixture
def shared() -> Iterator[ImageSite]:
    """A small site in shared memory."""
    with image_site() as site:
        yield site
