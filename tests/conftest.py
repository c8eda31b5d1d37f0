"""Settings for every test."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from .postgres_databases import _postgres_database as _postgres_database  # noqa: PLC0414  # fixtures of every test
from .postgres_databases import empty_postgres_url as empty_postgres_url  # noqa: PLC0414
from .postgres_databases import postgres_server as postgres_server  # noqa: PLC0414
from .postgres_databases import postgres_url as postgres_url  # noqa: PLC0414

settings.register_profile("gate", deadline=None)  # a slow machine must not fail a test
settings.load_profile("gate")


@pytest.fixture(scope="session", autouse=True)
def shared_routes() -> Iterator[None]:
    """Lets all gateways in this process share the registered handlers of the API, if a test has imported them."""
    with pytest.MonkeyPatch.context() as patch:
        if "gateway.app" in sys.modules:
            from .shared_routes import share_routes  # noqa: PLC0415  # tests of rules start without the server

            patch.setattr("gateway.app.build_api", share_routes)
        yield
