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

from gateway.commands.client import DEFAULT_URL, Client, GaveUp, Generation, Output, Refused, Unreachable
from gateway.commands.terminal import Show, plain, progress, say, tell
from gateway.domain.errors import InvalidImage
from gateway.media.image_header import inspect

COMPLETED, NOT_COMPLETED, REFUSED, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130
WAIT_SECONDS = 5  # of one long poll: it answers at once when the status changes, and in the end for the progress
PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds between reads that got no answer; the last one from then on
GIVE_UP_SECONDS = 600.0  # without any answer; longer than a restart with a full drain and migrations takes
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a generation is followed and what is done with its result."""

    output: Path | None  # the file or folder for the results; None: print their URLs
    as_json: bool = False  # print the generation as JSON, and everything else on standard error
    give_up_seconds: float = GIVE_UP_SECONDS  # without any answer


def generate(body: Mapping[str, Any], server: Server, following: Following, *, wait: bool) -> int:
    """Create a generation, watch it, download its files; the exit code."""

    def work(client: Client, started: list[str]) -> int:
        generation = client.create(body, f"cli-{uuid4()}", tell)
        started.append(generation.id)
        if not wait:
            click.echo(client.raw(path_of(generation.id)).decode() if following.as_json else generation.id)
            return COMPLETED
        (tell if following.as_json else say)(f"{generation.id} {generation.model}")
        return _finish(client, generation.id, following)

    return _session(server, work, [], following.output)


def watch(generation_id: str, server: Server, following: Following) -> int:
    """Follow a generation to its end, and download its files if there is an `output`; the exit code."""
    return _session(
        server, lambda client, _: _finish(client, generation_id, following), [generation_id], following.output
    )


def follow(
    client: Client,
    generation_id: str,
    show: Show,
    *,
    wait_seconds: int = WAIT_SECONDS,
    give_up_seconds: float = GIVE_UP_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Generation:
    """Read a generation again and again until it has ended, and return it.

    A restart of the gateway is survived: readings without an answer are repeated for `give_up_seconds`. Then it raises
    `GaveUp`, which says what was tried. Raises `Refused` at once if the gateway answers with a refusal.
    """
    tag, failures, silent_since = "", 0, 0.0
    while True:
        begun = clock()
        try:
            generation, tag = client.read(generation_id, wait_seconds if tag else 0, tag)
        except Unreachable as error:
            if failures == 0:
                silent_since = begun
                show.note(f"{error}; trying again for {give_up_seconds:g} s")
            failures += 1
            silent = clock() - silent_since
            if silent >= give_up_seconds:
                readings = "1 reading" if failures == 1 else f"{failures} readings"
                raise GaveUp(f"{error}; gave up after {readings} without an answer in {silent:.0f} s") from error
            pause = PAUSES[min(failures, len(PAUSES)) - 1]
            sleep(min(pause, give_up_seconds - silent))
            continue
        if failures:
            show.note(f"{client.url} answers again")
            failures = 0
        if generation is not None:
            show.generation(generation)
            if generation.ended:
                return generation
        sleep(max(LEAST_SECONDS - (clock() - begun), 0))


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


def _finish(client: Client, generation_id: str, following: Following) -> int:
    as_json, output = following.as_json, following.output
    with progress(on_stderr=as_json) as show:
        generation = follow(client, generation_id, show, give_up_seconds=following.give_up_seconds)
    if as_json:
        click.echo(client.raw(path_of(generation_id)).decode())
    for result in generation.data:
        if result.error is not None and generation.status == "completed":
            tell(f"output {result.index}: {result.error.code}: {result.error.message}")
    if generation.status != "completed":
        error = generation.error
        tell(f"{generation.status}" + (f": {error.code}: {error.message}" if error else ""))
        for attempt in generation.attempts:
            tell(f"  {attempt.summary()}")
        return NOT_COMPLETED
    if output is None:
        for result in generation.data:
            if result.url is not None and not as_json:
                say(result.url)
        return COMPLETED
    try:
        paths = download(client, generation, output, tell)
    except (Refused, Unreachable, OSError) as error:
        tell(f"the generation is completed, but its file cannot be downloaded: {error}")
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
    except GaveUp as error:
        tell(f"{error}. The generation may still be running; to go on: {server.watch_command(started[0], output)}")
        return NO_ANSWER
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
