"""A gateway in the process of the test, with the model names that the captured clients use."""

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.routing.price import Price
from gateway.settings.load import ModelSettings
from gateway.settings.sections import ProviderModel

from ..e2e.conftest import ADAPTERS, Gateway, sandboxed
from .replay import JWT_ACCESS, JWT_SECRET
from .world import USD

# The first two make every length of the captures, and the others take a negative prompt.
SORA = tuple(f"foxapi/kling-{version}-{kind}-to-video" for version in ("o3", "v3") for kind in ("text", "image"))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with the model names of the captures."""
    async with sandboxed(tmp_path) as gateway:
        price = ProviderModel(prices=(Price(per_clip=USD),))
        for name, provider in gateway.providers.items():
            provider["models"] = dict.fromkeys(ADAPTERS[name].capabilities, price)
        gateway.models["sora-2"] = ModelSettings(routes=SORA, adapt="nearest")
        gateway.kling_keys[JWT_ACCESS] = JWT_SECRET
        gateway.fetch_allow = (ipaddress.ip_network("127.0.0.0/8"),)
        yield await gateway.start()
