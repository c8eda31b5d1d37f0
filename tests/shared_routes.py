"""Registers the handlers of the API once in a process of tests, because that takes most of the time of a start.

`gateway.app.build_api` is replaced for all tests. Each `Application` still has its own state, in which is everything
that a handler uses. Gateways that tests start as processes register their handlers themselves.
"""

from copy import copy
from functools import cache

from litestar import Litestar
from litestar.datastructures import State
from litestar.events.emitter import SimpleEventEmitter

from gateway.app import build_api

_registered = cache(build_api)


def share_routes() -> Litestar:
    """An application with handlers that other applications have too, and with a state of its own."""
    registered = _registered()
    own = copy(registered)
    own.state = State(registered.state.dict())
    own.asgi_router = copy(registered.asgi_router)
    own.asgi_router.app = own  # a server starts the lifespan of this one
    own.event_emitter = SimpleEventEmitter(listeners=[])  # it belongs to the event loop in which it was started
    return own
