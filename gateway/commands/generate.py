"""`generate` and `watch`: ask for a generation, follow it to its end, keep its files."""

import base64
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import rich_click as click

from gateway.commands.client import DEFAULT_URL, Client, Generation, Output, Refused, Unreachable
from gateway.commands.terminal import Show, plain, progress, say, tell
from gateway.domain.errors import InvalidImage
from gateway.media.image_header import inspect

COMPLETED, NOT_COMPLETED, REFUSED, INTERRUPTED = 0, 1, 2, 130
WAIT_SECONDS = 5  # of one long poll: it answers at once when the status changes, and in the end for the progress
PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds between reads that got no answer; the last one from then on
LEAST_SECONDS = 0.2  # between two reads, should a server not hold the answer back
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/webm": "webm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Which gateway to talk to."""

    url: str = DEFAULT_URL
    api_key: str | None = None

    def client(self) -> Client:
        """A client of it; a usage error for a URL or key that cannot be one."""
        try:
            return Client(self.url, self.api_key)
        except ValueError as error:
            raise click.UsageError(f"--url or --api-key: {error}") from error

    def watch_command(self, generation_id: str, output: Path | None) -> str:
        """What a person types to go on as before: watching, and keeping the files where they were to be kept."""
        elsewhere = "" if self.url == DEFAULT_URL else f" --url {shlex.quote(self.url)}"
        kept = "" if output is None else f" --output {shlex.quote(str(output))}"
        return f"video-gateway watch {generation_id}{elsewhere}{kept}"


def body_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create request from the command's options: what was not given is left out."""
    images = {name: image_of(asked[name]) for name in ("image", "last_image") if asked[name] is not None}
    references = [image_of(one) for one in asked["reference_images"]]
    body = {
        **{name: value for name, value in asked.items() if value is not None},
        **images,
        "reference_images": references,
        "metadata": dict(asked["metadata"]),
        "adapt": "nearest" if asked["adapt"] else None,
    }
    return {name: value for name, value in body.items() if value not in (None, [], {})}


def image_of(given: str) -> str:
    """An image as the API takes it: a URL or a `file_…` id as it is, a file as a data URL."""
    if given.lower().startswith(("http://", "https://", "data:")) or (
        given.startswith("file_") and not Path(given).exists()
    ):
        return given
    try:
        content = Path(given).read_bytes()
        facts = inspect(content)
    except OSError as error:
        raise click.UsageError(f"the image {given} cannot be read: {error.strerror}") from error
    except InvalidImage as error:
        raise click.UsageError(f"the image {given}: {error.detail}") from error
    return f"data:{facts.content_type};base64,{base64.b64encode(content).decode()}"


def generate(body: Mapping[str, Any], server: Server, output: Path | None, *, wait: bool, as_json: bool) -> int:
    """Create, watch, download; the exit code."""

    def work(client: Client, started: list[str]) -> int:
        generation = client.create(body, f"cli-{uuid4()}", tell)
        started.append(generation.id)
        if not wait:
            click.echo(client.raw(path_of(generation.id)).decode() if as_json else generation.id)
            return COMPLETED
        (tell if as_json else say)(f"{generation.id} {generation.model}")
        return _finish(client, generation.id, output or Path(), as_json=as_json)

    return _session(server, work, [], output or Path())


def watch(generation_id: str, server: Server, output: Path | None, *, as_json: bool) -> int:
    """Follow a generation to its end; with `output`, keep its files. The exit code."""
    return _session(
        server, lambda client, _: _finish(client, generation_id, output, as_json=as_json), [generation_id], output
    )


def follow(
    client: Client,
    generation_id: str,
    show: Show,
    *,
    wait_seconds: int = WAIT_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
) -> Generation:
    """The generation once it has ended. No answer for a while is no reason to stop asking."""
    tag, failures = "", 0
    while True:
        begun = time.monotonic()
        try:
            generation, tag = client.read(generation_id, wait_seconds if tag else 0, tag)
        except Unreachable as error:
            if failures == 0:
                show.note(f"{error}; trying again until Ctrl-C")
            sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
            continue
        if failures:
            show.note(f"{client.url} answers again")
            failures = 0
        if generation is not None:
            show.generation(generation)
            if generation.ended:
                return generation
        sleep(max(LEAST_SECONDS - (time.monotonic() - begun), 0))


def download(client: Client, generation: Generation, output: Path, note: Callable[[str], object]) -> list[Path]:
    """Keep every completed output's file; their paths."""
    there = [one for one in generation.data if one.status == "completed" and one.url is not None]
    paths = _paths(generation, there, output)
    for one, path in zip(there, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download(generation.id, one.url or "", path, note)
    return paths


def path_of(generation_id: str) -> str:
    """Where the API has a generation."""
    return f"/v1/videos/generations/{generation_id}"


def _paths(generation: Generation, outputs: list[Output], output: Path) -> list[Path]:
    def extension(one: Output) -> str:
        return _EXTENSIONS.get((one.content_type or "").partition(";")[0], "mp4")

    # A path is a folder when there is one, or when it does not look like a file.
    if not output.is_dir() and output.suffix:
        more = [output.with_name(f"{output.stem}-{one.index}{output.suffix}") for one in outputs[1:]]
        return [output, *more][: len(outputs)]
    if len(outputs) == 1:
        return [output / f"{generation.id}.{extension(outputs[0])}"]
    return [output / f"{generation.id}-{one.index}.{extension(one)}" for one in outputs]


def _finish(client: Client, generation_id: str, output: Path | None, *, as_json: bool) -> int:
    with progress(on_stderr=as_json) as show:
        generation = follow(client, generation_id, show)
    if as_json:
        click.echo(client.raw(path_of(generation_id)).decode())
    for one in generation.data:
        if one.error is not None and generation.status == "completed":
            tell(f"output {one.index}: {one.error.code}: {one.error.message}")
    if generation.status != "completed":
        error = generation.error
        tell(f"{generation.status}" + (f": {error.code}: {error.message}" if error else ""))
        for attempt in generation.attempts:
            tell(f"  {attempt.told()}")
        return NOT_COMPLETED
    if output is None:
        for one in generation.data:
            if one.url is not None and not as_json:
                say(one.url)
        return COMPLETED
    try:
        paths = download(client, generation, output, tell)
    except (Refused, Unreachable, OSError) as error:
        tell(f"completed, but the file cannot be kept: {error}")
        return NOT_COMPLETED
    for path in paths:
        (tell if as_json else click.echo)(plain(str(path)))
    return COMPLETED


def _session(server: Server, work: Callable[[Client, list[str]], int], started: list[str], output: Path | None) -> int:
    """The exit code of what is done with a client; `started` takes the id of what is then under way."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
    client = server.client()
    try:
        return work(client, started)
    except (Refused, Unreachable) as error:
        tell(str(error))
        return REFUSED
    except KeyboardInterrupt:
        if started:
            tell(f"still running: {server.watch_command(started[0], output)}")
        else:
            tell("the request may have been accepted; GET /v1/videos/generations lists what there is")
        return INTERRUPTED
    finally:
        client.close()
