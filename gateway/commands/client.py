"""A small client for the gateway's own API. It reads the fields that the commands need and ignores all others."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec
from msgspec import Struct

from gateway.domain.keyless_access import is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between tries of a create (it has an idempotency key) or a download
ROOTS = {"video": "/v1/videos/generations", "image": "/v1/images/generations"}
_AGAIN = {429, 500, 502, 503, 504}  # statuses after which a create with an idempotency key, or a read, is tried again
T = TypeVar("T")


class Refused(Exception):
    """The gateway refused the request; the same request would be refused again."""


class Unreachable(Exception):
    """No answer came, or the answer says that the client may try again."""


class GaveUp(Unreachable):
    """The gateway answered no read of a generation for a long time. The generation may still be running."""


class Problem(Struct, frozen=True):
    """Why something failed: the API's error code, and a message for people."""

    code: str = ""
    message: str = ""


class Output(Struct, frozen=True):
    """One output of a generation."""

    index: int
    status: str
    url: str | None = None
    content_type: str | None = None
    error: Problem | None = None


class Attempt(Struct, frozen=True):
    """One submit to one provider."""

    number: int
    provider: str = ""
    provider_model: str = ""
    status: str = ""
    failure: str | None = None
    message: str | None = None
    billed: str | None = None

    def summary(self) -> str:
        """How the attempt ended and what it may have cost, on one line."""
        why = ": ".join(filter(None, (self.failure, self.message)))
        billed = f" (billed: {self.billed})" if self.billed in {"maybe", "yes"} else ""
        return f"attempt {self.number} {self.provider}/{self.provider_model} {self.status}: {why}{billed}"


class Generation(Struct, frozen=True):
    """A generation, as far as the commands need it."""

    id: str
    status: str
    model: str = ""
    progress: int = 0
    provider: str | None = None
    provider_model: str | None = None
    data: tuple[Output, ...] = ()
    error: Problem | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status in {"completed", "failed", "cancelled", "expired"}

    @property
    def route(self) -> str:
        """`provider/model` that made it, or else that is working on it; empty if no route is."""
        if self.provider is not None:
            return f"{self.provider}/{self.provider_model}"
        last = self.attempts[-1] if self.attempts else None
        return f"{last.provider}/{last.provider_model}" if last and last.failure is None else ""


class _Refusal(Struct):
    error: Problem


class Client:
    """Talks to one gateway with one API key."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` may end with `/v1`. Raises `ValueError` if it is not an http(s) URL or the key cannot be a key."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("expected an http(s) URL such as http://127.0.0.1:8080")
        if api_key and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise ValueError("the API key has spaces or characters that are not ASCII; paste it again")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._sleep = sleep
        self.root = ROOTS["video"]  # of the paths of generations; of images as soon as the gateway has said so
        self._http = httpx.Client(
            timeout=httpx.Timeout(30, connect=10),
            headers={"Accept-Encoding": "identity"},
            trust_env=not is_loopback(parts.hostname),  # a proxy cannot reach this machine's loopback address
            transport=transport,
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def path_of(self, generation_id: str) -> str:
        """The path of a generation."""
        return f"{self.root}/{quote(generation_id, safe='')}"

    def create(
        self, body: Mapping[str, Any], idempotency_key: str, note: Callable[[str], object], kind: str = "video"
    ) -> Generation:
        """Create a generation. Without an answer it is tried again with the same key, and `note` is called once."""
        self.root = ROOTS[kind]
        path = self.root if kind == "video" else f"{self.root}?async=true"  # a create of images waits for them
        content = msgspec.json.encode(body)
        headers = {**self._key, "Content-Type": "application/json", "Idempotency-Key": idempotency_key}

        def post() -> Generation:
            answer = self._send("POST", path, headers=headers, content=content, seconds=60)
            return _decoded(answer.content, Generation)

        return self._with_retries(post, note)

    def read(self, generation_id: str, wait_seconds: int = 0, tag: str = "") -> tuple[Generation | None, str]:
        """A generation and its ETag. The gateway answers when it changes, or after `wait_seconds`.

        The generation is `None` if it is still the one of `tag`. Raises `Unreachable` if no answer came: try again.
        """
        headers = {**self._key, **({"If-None-Match": tag} if tag else {})}
        query, seconds = f"?wait={wait_seconds}", wait_seconds + 20
        try:
            answer = self._send("GET", self.path_of(generation_id) + query, headers=headers, seconds=seconds)
        except Refused as error:
            if self.root == ROOTS["image"] or f"{ROOTS['image']}/{generation_id}" not in str(error):
                raise
            self.root = ROOTS["image"]  # the refusal names the path of images
            answer = self._send("GET", self.path_of(generation_id) + query, headers=headers, seconds=seconds)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None, tag
        return _decoded(answer.content, Generation), answer.headers.get("etag", "")

    def raw(self, path: str) -> bytes:
        """The JSON at a path, as bytes."""
        return self._with_retries(lambda: self._send("GET", path, headers=self._key).content, lambda _: None)

    def post(self, path: str) -> bytes:
        """Post an empty body once, and return the JSON that answers."""
        return self._send("POST", path, headers=self._key, seconds=60).content

    def download(self, generation_id: str, url: str, path: Path, note: Callable[[str], object]) -> int:
        """Download an output's file to `path`, whole or not at all. Returns its size in bytes."""
        target, headers = self._target(generation_id, url)
        partial = path.with_name(path.name + ".part")

        def get() -> int:
            size = 0
            with self._network(), self._http.stream("GET", target, headers=headers, follow_redirects=True) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise _refusal(answer)
                with partial.open("wb") as file:
                    for chunk in answer.iter_bytes():
                        size += file.write(chunk)
            partial.replace(path)
            return size

        try:
            return self._with_retries(get, note)
        finally:
            partial.unlink(missing_ok=True)

    def _target(self, generation_id: str, url: str) -> tuple[str, Mapping[str, str]]:
        """The URL of an output's file and its headers. Only the gateway itself is sent the API key."""
        own = f"{self.root}/{generation_id}/content"
        parts = urlsplit(url)
        if parts.path.endswith(own):  # `public_url` may name the gateway by another host than ours
            return f"{self.url}{own}?{parts.query}", self._key
        return urljoin(self.url + "/", url), {}

    def _send(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes | None = None, seconds: float = 30
    ) -> httpx.Response:
        timeout = httpx.Timeout(seconds, connect=10)
        with self._network():
            answer = self._http.request(
                method, self.url + path, headers=dict(headers), content=content, timeout=timeout
            )
        if answer.status_code in {httpx.codes.OK, httpx.codes.NOT_MODIFIED}:
            return answer
        refusal = _refusal(answer)
        if answer.status_code == httpx.codes.UNAUTHORIZED and not self._key:
            raise Refused(f"{refusal} This command reads it from VIDEO_GATEWAY_API_KEY or --api-key-file.")
        raise refusal

    def _with_retries(self, work: Callable[[], T], note: Callable[[str], object]) -> T:
        for pause in PAUSES:
            try:
                return work()
            except Unreachable as error:
                if pause == PAUSES[0]:
                    note(f"{error}; trying again")
            self._sleep(pause)
        return work()

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Turn errors of the network into `Unreachable`."""
        try:
            yield
        except httpx.InvalidURL as error:
            raise Refused(str(error)) from error
        except httpx.HTTPError as error:
            raise Unreachable(f"no answer from {self.url}: {str(error) or type(error).__name__}") from error


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("the answer does not come from a video-gateway; is the URL right?") from error


def _refusal(answer: httpx.Response) -> Exception:
    """The exception for an answer that is not 200."""
    try:
        problem = msgspec.json.decode(answer.content, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem(code="", message=answer.reason_phrase)
    text = f"HTTP {answer.status_code} {problem.code}: {problem.message}".replace(" :", ":")
    if answer.status_code in _AGAIN or problem.code == "idempotency_key_in_use":
        return Unreachable(text)
    return Refused(text)
