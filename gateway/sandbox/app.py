"""One ASGI application: three providers under their prefixes, their files, and `/_sandbox/` to control them."""

import asyncio
import ssl
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx

from gateway.sandbox.admin import administer
from gateway.sandbox.callbacks import Callbacks
from gateway.sandbox.echoes import with_key
from gateway.sandbox.faults import mangle, reply_instead
from gateway.sandbox.files import Files
from gateway.sandbox.foxapi import FOXAPI
from gateway.sandbox.inputs import Images
from gateway.sandbox.journal import Journal
from gateway.sandbox.keevx import KEEVX
from gateway.sandbox.kling_relay import KLING_RELAY
from gateway.sandbox.provider import Desk, Provider, Route, count_of, model_of, prompt_of
from gateway.sandbox.settings import Clock, Settings
from gateway.sandbox.state import State
from gateway.sandbox.wire import Manner, Message, Reading, Receive, Reply, Request, Scope, Send, text_reply, transmit

PROVIDERS = {provider.name: provider for provider in (KEEVX, KLING_RELAY, FOXAPI)}


@cache
def _tls() -> ssl.SSLContext:
    """Shared by all sandboxes of a process, because reading the certificates takes about 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class ClientGoneError(Exception):
    """The client left before its request was complete."""


class Sandbox:
    """The application. Tests that run it in their own process may read and change `state`."""

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
        has_left = False

        async def send_noted(message: Message) -> None:
            nonlocal has_left
            await send(message)
            has_left = message["type"] == "http.response.body" and not message.get("more_body", False)

        await transmit(reply, scope, receive, send_noted)
        if reply.reading is not None:
            self.state.note_reading(request.path.split("/")[1], reply.reading, has_left=has_left)

    async def close(self) -> None:
        """Stop sending callbacks and drawing results."""
        await self._callbacks.close()
        await self._files.close()
        await self._client.aclose()
        if self.state.journal is not None:
            self.state.journal.close()

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
            match = provider.find(request.method, f"/{rest}")
            if match is None:
                return _dressed(provider, provider.unknown_path(replace(request, path=f"/{rest}")))
            route, name = match
            self.state.received[provider.name, route.operation] += 1
            early = self.state.faults.take(provider.name, route.operation, "before")
            if early is not None:
                return self._as_reading(route, name, reply_instead(early, {}, trap="", now=0.0), says="nothing")
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
        """Check the key, then apply a fault instead of the handler or call it, then apply a fault to its reply."""
        refused = provider.refuse(request, self.state, route.operation)
        if refused is not None:
            return refused
        if route.operation == "submit" and self.state.journal is not None:
            body = request.json()
            self.state.receive(provider.name, model_of(body), prompt_of(body), count_of(body))
        task = self.state.tasks.get(name)
        prompt = task.prompt if task else ""
        if route.operation == "submit" and b"[[sandbox:" in request.body:
            prompt = prompt_of(request.json())
        take = self.state.faults.take
        fault = take(provider.name, route.operation, "delay", prompt=prompt, key=name)
        if fault is not None:
            await asyncio.sleep(float(fault.args.get("seconds", 2)))
        fault = take(provider.name, route.operation, "instead", prompt=prompt, key=name)
        if fault is not None:
            trap = f"{request.base}/_sandbox/trap"
            instead = reply_instead(fault, provider.errors, trap=trap, now=self.state.clock.now())
            instead = with_key(instead, request.token or "")
            if fault.args.get("started"):
                started = await route.handler(request, self._desk, name)
                self._note_refusal(provider, instead, started.tasks)
            return self._as_reading(route, name, instead, says="nothing")
        reply = await route.handler(request, self._desk, name)
        reply = self._as_reading(route, name, reply, says=self._shown(name, reply))
        if reply.status >= 400:  # a refusal; the faults are for replies that accept
            return reply
        fault = take(provider.name, route.operation, "after", prompt=prompt, key=name)
        if fault is None:
            return reply
        spoiled = mangle(fault, reply)
        self._note_refusal(provider, spoiled, reply.tasks)
        if spoiled.body == reply.body and spoiled.status == reply.status:
            return spoiled
        return self._as_reading(route, name, spoiled, says="nothing")

    def _note_refusal(self, provider: Provider, reply: Reply, started: tuple[str, ...]) -> None:
        """Write to the journal that the reply refuses a submit although its tasks were started."""
        if reply.status >= 400 and reply.manner is Manner.WHOLE:
            self.state.withhold(provider.name, started)

    def _as_reading(self, route: Route, name: str, reply: Reply, *, says: str) -> Reply:
        """The reply to a poll, with what the journal will record about it."""
        if route.operation != "poll" or self.state.journal is None:
            return reply
        return replace(reply, reading=Reading(task=name, at=self.state.clock.now(), says=says))

    def _shown(self, name: str, reply: Reply) -> str:
        """The state of the task that the reply to a poll reports."""
        task = self.state.tasks.get(name)
        if task is None or task.shown is None or reply.status >= 400:
            return "not_found"
        return "done_without_file" if task.shown.phase == "done" and not task.shown.has_url else task.shown.phase


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    journal: Path | None = None,
    **changes: Any,
) -> Sandbox:
    """A sandbox with these settings. `changes` are single settings by name and override `settings`."""
    lines = None if journal is None else Journal(journal)
    return Sandbox(State(settings=(settings or Settings()).changed(changes), clock=clock or Clock(), journal=lines))


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
