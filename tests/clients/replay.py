"""Sends the requests of a capture to a gateway, and compares its answers with the captured ones.

A capture is a file of `captures/`: what a real client sent, and an answer that its own parser took. A replay sends each
request with the gateway's own ids and keys, and says where the answer's status, its keys or the types of its values
differ. Values are not compared, except for the words of a status.
"""

import asyncio
import base64
import hashlib
import hmac
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from PIL import Image

from ..e2e.conftest import KEY, Gateway

SOON_SECONDS = 0.02  # of real time, between two looks at a call that is under way
ANSWER_SECONDS = 20.0  # of real time; no answer takes as long
POLL_SECONDS = 60.0  # of the gateway's clock; the next poll of a task is never as far away, but other work is
CAPTURES = Path(__file__).parent / "captures"
NOT_A_KEY = "vg_a-key-that-nobody-has"
# As in the captures, the access key is the key itself: both have the same generations.
JWT_ACCESS, JWT_SECRET = KEY, "the-secret-half-of-that-access-key"
HOOK = re.compile(r"http://127\.0\.0\.1:\d+/hook")
DATA_URL = "data:image/png;base64,"  # in a form it is shortened without a mark
NUMBERED = re.compile(r"(?:video_|file-|we_)\d+")  # ids of the recording server
SHORTENED = re.compile(r"… \(\d+ characters\)$")
MODELS = {"keevx/image_generate": "keevx/image"}  # names of the captures for models that have another name here
# Statuses of an answer about work that has ended: the replay lets the generations end before it sends such a request.
ENDED = {"completed", "done", "succeed", "succeeded", "SUCCEEDED", "SUCCESS", "failed"}
OPEN = {"queued", "in_progress", "pending", "processing", "submitted", "PENDING", "PROCESSING", "GENERATING"}
IDS = ("id", "task_id", "request_id", "polling_url", "url")  # keys whose value a later request may repeat


def image(kind: str = "PNG") -> bytes:
    """A small image that every provider accepts."""
    out = io.BytesIO()
    Image.new("RGB", (320, 320), (30, 90, 160)).save(out, kind)
    return out.getvalue()


PNG = image()


class Exchange(msgspec.Struct, frozen=True):
    """One request of a capture and its answer."""

    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def call(self) -> str:
        """The method and the path, with `{id}` for ids: the name of the call in a list of differences."""
        path = re.sub(
            r"/(?:video_\w+|job-\w+|task-unified-[\w-]+|i2v-\w+|\d{6,}|order-[\d.]+|file-\d+|we_\d+|[0-9a-f-]{36})",
            "/{id}",
            self.request["path"],
        )
        return f"{self.request['method']} {path}"


class Capture(msgspec.Struct, frozen=True):
    """One file of `captures/`."""

    client: str
    pointed_by: str
    dialect: str
    note: str
    exchanges: tuple[Exchange, ...]


def load(name: str) -> Capture:
    """A capture by the name of its file without `.json`."""
    return msgspec.json.decode((CAPTURES / f"{name}.json").read_bytes(), type=Capture)


def jwt(access: str, secret: str, now: int) -> str:
    """A token as Kling's page describes it: HS256, the access key as `iss`, valid for half an hour."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"iss": access, "exp": now + 1800, "nbf": now - 5}
    signed = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{part(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


class Replay:
    """One capture against one gateway. Ids of the capture are replaced by those that the gateway answered."""

    def __init__(self, gateway: Gateway, hook: str) -> None:
        self.gateway = gateway
        self.hook = hook
        self.names: dict[str, str] = {}  # text of the capture → text of the gateway
        self.refused: set[str] = set()  # ids of the capture whose create the gateway has refused

    async def run(self, capture: Capture) -> list[str]:
        """Send every request; the differences, each once, as `call: difference`."""
        differences: dict[str, None] = {}
        for exchange in capture.exchanges:
            if self.refused & mentioned(exchange):
                continue  # there is nothing of this id; the refused create is a difference already
            self._stand_in(exchange)
            answer = await self._send(exchange)
            self.gateway.clock.move_on(0.001)  # ids and lists have the order of the creates by the millisecond
            for difference in self._compare(exchange, answer):
                differences[f"{exchange.call}: {difference}"] = None
                print(
                    "DIFFERENCE",
                    exchange.call,
                    exchange.request["query"],
                    exchange.request["body"],
                    difference,
                    answer.text[:500],
                )
        return list(differences)

    async def _send(self, exchange: Exchange) -> httpx.Response:
        if is_about_ended_work(exchange):
            await self._let_everything_end()
        return await self.answer(self.request(exchange))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request. For a call that waits for its generation the clock moves until it has ended."""
        sending = asyncio.create_task(self.gateway.client_of(None).send(request))
        waits = is_blocking(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            while not sending.done():
                await asyncio.wait({sending}, timeout=SOON_SECONDS)
                await self.gateway.traffic.settle()
                # During any other call the clock does not move: a generation would end before its submit.
                if waits and not sending.done():
                    self._move_to_next_poll()
        return await sending

    def _move_to_next_poll(self) -> None:
        clock = self.gateway.clock
        if clock.next_at is not None and (clock.next_at - clock.now()).total_seconds() < POLL_SECONDS:
            clock.move_to(max(clock.next_at, clock.now()))

    async def _let_everything_end(self) -> None:
        async def ended() -> bool:
            page = (await self.gateway.client.get("/v1/videos/generations?limit=100")).json()["data"]
            return all(view["status"] not in ("queued", "in_progress") for view in page)

        await self.gateway.clock.run_until(ended)
        await self.gateway.traffic.settle()

    def request(self, exchange: Exchange) -> httpx.Request:
        """The request of an exchange, as this gateway has to get it."""
        request = exchange.request
        headers = {name: self._ours(value) for name, value in request["headers"].items()}
        headers["authorization"] = f"Bearer {self._key(exchange)}"
        path = self._ours(request["path"])
        # A path that an answer gave may have become a whole URL, as `polling_url` does.
        url = httpx.URL("https://gw.example").join(path).copy_with(params=self._ours(request["query"]) or None)
        body = request["body"]
        if isinstance(body, dict) and "multipart" in body:
            headers.pop("content-type", None)
            parts = [self._part(part) for part in body["multipart"]]
            return httpx.Request(request["method"], url, headers=headers, files=parts)
        content = None if body is None else json.dumps(self._ours(body)).encode()
        return httpx.Request(request["method"], url, headers=headers, content=content)

    def _key(self, exchange: Exchange) -> str:
        if exchange.response["status"] == 401:
            return NOT_A_KEY
        if exchange.request["headers"].get("authorization", "").startswith("Bearer eyJ"):
            return jwt(JWT_ACCESS, JWT_SECRET, int(self.gateway.clock.now().timestamp()))
        return KEY

    def _part(self, part: dict[str, Any]) -> tuple[str, Any]:
        if "value" in part:
            return part["name"], (None, self._ours(part["value"]).encode())
        content = b"x" * part["bytes"] if part["bytes"] < 100 else PNG
        return part["name"], (part["filename"], content, part["content_type"])

    def _ours(self, value: Any) -> Any:
        """A value of the capture with the gateway's ids, whole images and the receiver of the test."""
        match value:
            case dict():
                return {name: self._ours(inner) for name, inner in value.items()}
            case list():
                return [self._ours(inner) for inner in value]
            case str() if SHORTENED.search(value) or value.startswith(DATA_URL):
                head = DATA_URL if value.startswith("data:") else ""
                return head + base64.b64encode(PNG).decode()
            case str() if HOOK.fullmatch(value):
                return self.hook
            case str() if value in MODELS:
                return MODELS[value]
            case str() if value in self.names:
                return self.names[value]
            case str():
                for captured, ours in self.names.items():
                    value = re.sub(rf"(?<=/){re.escape(captured)}(?=/|$)", lambda _, ours=ours: ours, value)
                return value
        return value

    def _compare(self, exchange: Exchange, answer: httpx.Response) -> Iterator[str]:
        captured = exchange.response
        if answer.status_code != captured["status"]:
            yield f"status {answer.status_code} instead of {captured['status']}"
            self._forget(exchange)
            return
        if isinstance(captured["body"], str):
            yield from different_file(captured["body"], answer)
            return
        try:
            ours = answer.json()
        except ValueError:
            yield "the body is not JSON"
            return
        if exchange.request["headers"].get("x-stainless-retry-count", "0") != "0" and "id" in captured["body"]:
            first = self.names.get(captured["body"]["id"])
            if ours.get("id") != first:
                yield f"a retry of {first} is another generation"
        self._learn(captured["body"], ours, is_new=exchange.request["method"] == "POST")
        yield from different(captured["body"], ours)

    def _stand_in(self, exchange: Exchange) -> None:
        """Give another object of its kind for one whose create the capture lacks, because it has each call once.

        The newest object is read, and the oldest is deleted.
        """
        name = next((part for part in exchange.request["path"].split("/") if NUMBERED.fullmatch(part)), None)
        if name is None or name in self.names or exchange.response["status"] >= 300:
            return
        kind = name.rstrip("0123456789")
        alike = [ours for captured, ours in self.names.items() if captured.rstrip("0123456789") == kind]
        if alike:
            self.names[name] = alike[0 if exchange.request["method"] == "DELETE" else -1]

    def _forget(self, exchange: Exchange) -> None:
        """Note that what this exchange of the capture created does not exist here."""
        body = exchange.response["body"]
        created = body.get("id") if isinstance(body, dict) and exchange.request["method"] == "POST" else None
        if created is not None and created not in mentioned(exchange):
            self.refused.add(created)
            self.names.pop(created, None)

    def _learn(self, captured: Any, ours: Any, *, is_new: bool) -> None:
        """Note which text of the gateway is meant by an id of the capture; a list or a read renames nothing."""
        if isinstance(captured, list) and isinstance(ours, list):
            for theirs, other in zip(captured, ours, strict=False):
                self._learn(theirs, other, is_new=is_new)
                if isinstance(theirs, str) and isinstance(other, str):
                    self._name(theirs, other, is_new=is_new)
        if isinstance(captured, dict) and isinstance(ours, dict):
            for name in captured.keys() & ours.keys():
                if name in IDS and isinstance(captured[name], str) and isinstance(ours[name], str):
                    self._name(captured[name], ours[name], is_new=is_new)
                self._learn(captured[name], ours[name], is_new=is_new)

    def _name(self, captured: str, ours: str, *, is_new: bool) -> None:
        if is_new or captured not in self.names:
            self.names[captured] = ours


def mentioned(exchange: Exchange) -> set[str]:
    """The ids that a request names in its path and its query."""
    return {*exchange.request["path"].split("/"), *map(str, (exchange.request["query"] or {}).values())}


def is_blocking(request: httpx.Request) -> bool:
    """Whether a call is answered only once its generation has ended: OpenAI's calls for images."""
    return request.method == "POST" and "/images/" in request.url.path


def is_about_ended_work(exchange: Exchange) -> bool:
    """Whether the captured answer could be given only after the work had ended."""
    method, body = exchange.request["method"], exchange.response["body"]
    if method == "DELETE" or (method == "POST" and exchange.request["path"].endswith("/remix")):
        return True
    if method != "GET":
        return False
    if isinstance(body, str):
        return True
    return any(word in ENDED for word in statuses(body))


def statuses(body: Any) -> Iterator[str]:
    """The words of a status in an answer about one piece of work."""
    if isinstance(body, dict) and "error" not in body.keys() - {"status"}:
        inner = body.get("data")
        for holder in (body, inner if isinstance(inner, dict) else {}):
            for name in ("status", "task_status"):
                if isinstance(holder.get(name), str):
                    yield holder[name]
    elif isinstance(body, dict) and isinstance(body.get("status"), str):
        yield body["status"]


def different_file(captured: str, answer: httpx.Response) -> Iterator[str]:
    """What differs in an answer that is a file; `captured` is `(32 bytes of video/mp4)`."""
    kind = captured.rstrip(")").rpartition(" ")[2]
    ours = answer.headers.get("content-type", "")
    if kind != "application/octet-stream" and ours.partition("/")[0] != kind.partition("/")[0]:
        yield f"the file is {ours} instead of {kind}"
    if not answer.content:
        yield "the file is empty"


def different(captured: Any, ours: Any, path: str = "") -> Iterator[str]:
    """What a client that reads the captured answer would miss in ours: keys, types, words of a status."""
    name = path or "the body"
    if captured is None:
        return
    if kind_of(captured) != kind_of(ours):
        yield f"{name} is {kind_of(ours)} instead of {kind_of(captured)}"
    elif isinstance(captured, dict):
        for key, inner in captured.items():
            at = f"{path}.{key}" if path else key
            if key not in ours:
                yield f"{at} is missing"
            else:
                yield from different(inner, ours[key], at)
    elif isinstance(captured, list):
        if captured and not ours:
            yield f"{name} is empty"
        elif (
            captured
        ):  # which state the first item is in depends on the time, so it may be like any of the captured ones
            yield from min((list(different(each, ours[0], f"{path}[]")) for each in captured), key=len)
    elif path.rpartition(".")[2] in ("status", "task_status"):
        words = OPEN if captured in OPEN else {captured} if captured in ENDED else {ours}
        if path.startswith("data[]") and captured in OPEN | ENDED:  # of a list
            words = OPEN | ENDED
        if ours not in words:
            yield f"{name} is {ours} instead of {captured}"


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case dict():
            return "an object"
        case _:
            return "a list"
