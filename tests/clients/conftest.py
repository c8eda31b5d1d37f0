"""A gateway in the process of the test, with the model names that the captured clients use."""

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings.load import ModelSettings

from ..e2e.conftest import Gateway, sandboxed
from .replay import JWT_ACCESS, JWT_SECRET

TEXT_AND_IMAGE = tuple(f"foxapi/kling-o3-{kind}-to-video" for kind in ("text", "image"))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with the model names of the captures."""
    async with sandboxed(tmp_path) as gateway:
        gateway.models["sora-2"] = ModelSettings(routes=TEXT_AND_IMAGE, adapt="nearest")
        gateway.kling_keys[JWT_ACCESS] = JWT_SECRET
        gateway.fetch_allow = (ipaddress.ip_network("127.0.0.0/8"),)
        yield await gateway.start()
