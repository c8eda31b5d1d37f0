"""One ASGI application: three upstreams under their prefixes, their files, and `/_sandbox/` to steer and count them."""

import ssl
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx

from gateway.sandbox.admin import administer
from gateway.sandbox.callbacks import Callbacks
from gateway.sandbox.faults import mangle, reply_instead
from gateway.sandbox.files import Files
from gateway.sandbox.foxapi import FOXAPI
from gateway.sandbox.inputs import Images
from gateway.sandbox.keevx import KEEVX
from gateway.sandbox.kling_relay import KLING_RELAY
from gateway.sandbox.provider import Desk, Provider, Route, model_of, prompt_of
from gateway.sandbox.settings import Clock, Settings
from gateway.sandbox.state import State
from gateway.sandbox.wire import Receive, Reply, Request, Scope, Send, text_reply, transmit

PROVIDERS = {provider.name: provider for provider in (KEEVX, KLING_RELAY, FOXAPI)}


@cache
def _tls() -> ssl.SSLContext:
    """One for all sandboxes of a process: to read the certificates takes some 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class ClientGoneError(Exception):
    """The client left before its request was complete."""


class Sandbox:
    """The application. `state` is open to whoever runs it in-process."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._client = httpx.AsyncClient(verify=_tls(), timeout=10.0, trust_env=False, follow_redirects=False)
        self._callbacks = Callbacks(state, self._client)
        self._files = Files(state)
        self._desk = Desk(state, Images(state, self._client), self._callbacks, self._files.result)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=dict(parse_qsl(scope["query_string"].decode())),
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        )
        request = replace(request, base=f"{scope.get('scheme', 'http')}://{request.headers.get('host', '127.0.0.1')}")
        try:
            reply = await self._answer(request, receive)
        except ClientGoneError:
            return
        await transmit(reply, scope, receive, send)

    async def close(self) -> None:
        """Send no more callbacks, draw no more results."""
        await self._callbacks.close()
        await self._files.close()
        await self._client.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _answer(self, request: Request, receive: Receive) -> Reply:
        _, prefix, rest = (*request.path.split("/", 2), "")[:3]
        provider = PROVIDERS.get(prefix)
        if provider is not None:
            found = provider.find(request.method, f"/{rest}")
            if found is None:
                return _dressed(provider, provider.unknown_path(replace(request, path=f"/{rest}")))
            route, name = found
            self.state.received[provider.name, route.operation] += 1
            early = self.state.faults.take(provider.name, route.operation, "before")
            if early is not None:
                return reply_instead(early, {}, trap="", now=0.0)
            request = replace(request, path=f"/{rest}", body=await _read(receive))
            return _dressed(provider, await self._serve(provider, route, name, request))
        request = replace(request, body=await _read(receive))
        if prefix == "files":
            return await self._files.serve(request)
        if prefix == "_sandbox":
            errors = {provider.name: provider.errors for provider in PROVIDERS.values()}
            return administer(request, self.state, errors)
        return text_reply(f"The sandbox has /{', /'.join(PROVIDERS)}, /files and /_sandbox.\n", 404)

    async def _serve(self, provider: Provider, route: Route, name: str, request: Request) -> Reply:
        """The key, then a fault in place of the handler, then the handler, then a fault of its reply."""
        refused = provider.refuse(request, self.state, route.operation)
        if refused is not None:
            return refused
        if route.operation == "submit" and self.state.journal is not None:
            body = request.json()
            self.state.receive(provider.name, model_of(body), prompt_of(body))
        task = self.state.tasks.get(name)
        prompt = task.prompt if task else ""
        if route.operation == "submit" and b"[[sandbox:" in request.body:
            prompt = prompt_of(request.json())
        take = self.state.faults.take
        fault = take(provider.name, route.operation, "instead", prompt=prompt, key=name)
        if fault is not None:
            if fault.args.get("started"):
                await route.handler(request, self._desk, name)
            trap = f"{request.base}/_sandbox/trap"
            return reply_instead(fault, provider.errors, trap=trap, now=self.state.clock.now())
        reply = await route.handler(request, self._desk, name)
        if reply.status >= 400:  # refused: there is no acceptance to spoil
            return reply
        fault = take(provider.name, route.operation, "after", prompt=prompt, key=name)
        return reply if fault is None else mangle(fault, reply)


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    journal: Path | None = None,
    **changes: Any,
) -> Sandbox:
    """A sandbox with these settings; `changes` are single settings by name."""
    state = State(settings=(settings or Settings()).changed(changes), clock=clock or Clock(), journal=journal)
    return Sandbox(state)


def _dressed(provider: Provider, reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, *provider.headers()))


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)
