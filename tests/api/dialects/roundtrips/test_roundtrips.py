"""Every client in front of every provider: what the provider is sent, and what the client reads.

A cell is a client, a provider and an operation. Whether the provider can do it follows from the capabilities that its
adapter declares. Where it can, the client gets its file; where it cannot, or where the client's API makes no such
thing, the client is refused in its own words and nothing is bought.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.request import InputKind, Kind

from ...conftest import FILE
from ...test_images import PNG
from .bodies import FIRST, LAST, LOOKS
from .clients import CLIENTS, DONE, FAILED, QUEUED, RUNNING, Client
from .providers import COMPLETED, PROVIDERS, Ask, Image, Provider, Upstream

SETTLES = 100  # how long to wait for drivers on a slow machine
POLLED_SECONDS = 40  # after which every provider has been polled


class Operation(Struct, frozen=True, kw_only=True):
    """What to make, and of what."""

    kind: Kind = "video"
    first: bool = False
    last: bool = False
    references: bool = False

    @property
    def input(self) -> InputKind:
        return InputKind.REFERENCES if self.references else InputKind.IMAGE if self.first else InputKind.TEXT

    def fits(self, can: Capability) -> bool:
        """Whether a model with this capability does it."""
        frames = can.frames_with_references if self.references else can.last_frame
        return (
            can.kind == self.kind
            and self.input in can.inputs
            and can.prompt_max > 0
            and (frames or not (self.last or (self.references and self.first)))
        )


OPERATIONS = {
    "text": Operation(),
    "first frame": Operation(first=True),
    "first and last frame": Operation(first=True, last=True),
    "references": Operation(references=True),
    "frames and references": Operation(first=True, last=True, references=True),
    "image of text": Operation(kind="image"),
    "image of images": Operation(kind="image", references=True),
}


class Cell(Struct, frozen=True, kw_only=True):
    """One operation of one client at one provider."""

    name: str
    provider: Provider
    operation: Operation
    ask: Ask
    works: bool


def cells(client: Client) -> Iterator[Cell]:
    """Every cell of a client."""
    for provider in PROVIDERS.values():
        rows = [(model, can) for model, row in provider.adapter.capabilities.items() for can in row]
        for name, operation in OPERATIONS.items():
            if operation.kind != client.kind and all(can.kind == client.kind for _, can in rows):
                continue  # there is no model to ask for it
            fitting = next(((model, can) for model, can in rows if operation.fits(can)), None)
            model, can = fitting or next(((model, can) for model, can in rows if can.kind == operation.kind), rows[0])
            where = f"{client.name} to {provider.adapter.name}: {name}"
            yield Cell(
                name=where,
                provider=provider,
                operation=operation,
                ask=client.said(_ask(where, provider, model, can, operation)),
                works=fitting is not None and operation.kind == client.kind,
            )


def _ask(prompt: str, provider: Provider, model: str, can: Capability, operation: Operation) -> Ask:
    ratio = "1:1" if can.kind == "image" else "16:9"
    return Ask(
        kind=operation.kind,
        provider=provider.adapter.name,
        model=model,
        prompt=prompt,
        first=FIRST if operation.first else None,
        last=LAST if operation.last else None,
        references=LOOKS if operation.references else (),
        seconds=max(can.durations, default=None),
        resolution="1080p" if "1080p" in can.resolutions else None,
        quality="2K" if can.qualities else None,
        ratio=ratio if can.aspect_ratios else None,
        mode="pro" if "pro" in can.modes and can.kind == "video" else None,
    )


@pytest.fixture
async def gateway(start: Any) -> Any:
    adapters = {name: provider.adapter for name, provider in PROVIDERS.items()}
    return await start(environ={"ACME_API_KEY": "acme-1"}, adapters=adapters, upstream=Upstream())


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_what_both_ends_can_say_makes_the_round(gateway: Any, client: Client) -> None:
    upstream: Upstream = gateway.upstream
    upstream.content = PNG if client.kind == "image" else FILE
    working = [cell for cell in cells(client) if cell.works]
    failing = [
        replace(cell, name=f"Fail {cell.name}", ask=replace(cell.ask, prompt=f"Fail {cell.name}"))
        for cell in {cell.provider.adapter.name: cell for cell in working}.values()
    ]
    calls = {cell.name: asyncio.create_task(client.create(gateway.client, cell.ask)) for cell in working + failing}
    await gateway.clock.advance(1)
    ids: dict[str, str] = {}
    if client.read is not None:
        for name, call in calls.items():
            ids[name] = client.started(answer_of(await call, name, client.started_status))
    repeated = asyncio.create_task(client.create(gateway.client, working[0].ask))
    for _ in range(SETTLES):
        if len(upstream.sent) == len(calls):
            break
        await gateway.clock.traffic.settle()
    for cell in working + failing:
        path, body = cell.provider.sent(cell.ask)
        expected = {name: value for name, value in body.items() if value is not None}
        assert upstream.sent.get(cell.name) == (cell.provider.adapter.name, path, expected), cell.name
    if client.read is not None:
        await shown(gateway, client, ids, QUEUED)
        await gateway.clock.advance(POLLED_SECONDS)
        await shown(gateway, client, ids, RUNNING)
    await all_ended(gateway)

    if client.read is None:
        answers = {name: await call for name, call in calls.items()}
    else:
        answers = {name: await gateway.client.get(client.read.format(id=public)) for name, public in ids.items()}
    for cell in working:
        read = answer_of(answers[cell.name], cell.name)
        assert client.read is None or client.word(read) == client.words[DONE]
        assert [await fetched(gateway, url) for url in client.urls(read)] == [upstream.content] * len(client.urls(read))
        assert client.urls(read), cell.name
    for cell in failing:
        read = answer_of(answers[cell.name], cell.name, 200 if client.read else 400)
        assert client.read is None or client.word(read) == client.words[FAILED]
        assert cell.provider.reason in client.reason(read)
    assert (await repeated).headers["idempotent-replayed"] == "true"
    assert len(upstream.submits) == len(working + failing)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_what_an_end_cannot_say_is_refused_by_the_client_s_own_name(gateway: Any, client: Client) -> None:
    refused = [(cell.ask, names_at_fault(client, cell)) for cell in cells(client) if not cell.works]
    for ask, names in refused + list(without_an_image(client)):
        answer = await client.create(gateway.client, ask)
        assert answer.status_code in {400, client.refused_status}, f"{ask.prompt}: {answer.text}"
        message, param = client.refusal(answer.json())
        is_named = any(param.startswith(name) if param else f"`{name}" in message for name in names)
        assert is_named, f"{ask.prompt}: {answer.text}, {names}"
    await gateway.clock.advance(POLLED_SECONDS)
    assert gateway.upstream.requests == []
    assert set(gateway.rows().values()) == {0}


def without_an_image(client: Client) -> Iterator[tuple[Ask, set[str]]]:
    """Requests in which one image does not exist or cannot be read, and the client's names of that image."""
    for cell in cells(client):
        given = [word for word in ("first", "last", "references") if getattr(cell.operation, word)]
        for word in given if cell.works and cell.provider.adapter.name == "acme" else ():
            value = getattr(cell.ask, word)
            is_bytes = (value if isinstance(value, Image) else value[0]).content is not None
            bad = Image("file_01JDKQ00000000000000000000", b"Some text." if is_bytes else None)
            yield replace(cell.ask, **{word: bad if isinstance(value, Image) else (bad,)}), {client.names[word]}


def names_at_fault(client: Client, cell: Cell) -> set[str]:
    """What an error about this cell may name, in the client's words."""
    operation = cell.operation
    kinds = {can.kind for row in cell.provider.adapter.capabilities.values() for can in row}
    given = {client.names[word] for word in ("first", "last", "references") if getattr(operation, word)}
    if operation.kind != client.kind or operation.kind not in kinds:
        return {client.names["last" if operation.last and client.kind == "image" else "model"]}
    return given or {client.absent or client.names["first"]}  # the model needs an image


async def all_ended(gateway: Any) -> None:
    """Let every task end. The clock does not move while files are archived, which takes real time."""
    gateway.upstream.word = COMPLETED
    store = gateway.application.store
    for _ in range(10):
        await gateway.clock.advance(POLLED_SECONDS)
        for _ in range(SETTLES):
            stored = [await gateway.stored(name) for name in await store.open_ids(gateway.clock.now())]
            if not stored:
                return
            if not any(output.artifact for generation in stored for output in generation.outputs):
                break  # nothing is being archived: the next poll is needed
            await gateway.clock.traffic.settle()
    pytest.fail("the generations do not end")


def answer_of(answer: httpx.Response, name: str, status: int | None = None) -> Any:
    """The JSON of an answer with this status; with None, of any that is a success."""
    assert answer.status_code == status if status else answer.is_success, f"{name}: {answer.text}"
    return answer.json()


async def shown(gateway: Any, client: Client, ids: Mapping[str, str], state: str) -> None:
    """Wait until every read has the client's word for a state."""
    assert client.read is not None
    words: dict[str, str] = {}
    for _ in range(SETTLES):
        answers = {name: await gateway.client.get(client.read.format(id=public)) for name, public in ids.items()}
        words = {name: client.word(answer_of(answer, name)) for name, answer in answers.items()}
        if set(words.values()) == {client.words[state]}:
            return
        await gateway.clock.traffic.settle()
    pytest.fail(f"not all are {client.words[state]}: {words}")


async def fetched(gateway: Any, url: str) -> bytes:
    """The file at a URL, without a key where the URL is a whole one."""
    if url.startswith("/"):
        return bytes((await gateway.client.get(url)).content)
    async with gateway.client_of(None) as nobody:
        return bytes((await nobody.get(url)).content)
