"""`generate` and `watch`: create a generation, follow it to its end, download its files."""

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

from gateway.commands.client import DEFAULT_URL, ROOTS, Client, GaveUp, Generation, Output, Refused, Unreachable
from gateway.commands.terminal import Show, plain, progress, say, warn
from gateway.domain.errors import InvalidImage
from gateway.media.image_header import inspect

COMPLETED, NOT_COMPLETED, REFUSED, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130
WAIT_SECONDS = 5  # of one long poll: it answers at once if the status changes, else at its end with the progress
PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds between reads without an answer; the last value repeats
GIVE_UP_SECONDS = 600.0  # without any answer; longer than a restart with a full drain and migrations takes
LEAST_SECONDS = 0.2  # between two reads, in case a server answers at once in spite of `wait`
# The path that a refusal names because the model makes the other kind → how the command asks for it.
_OTHER_KIND = {f"POST {path}": f" (with this command: --kind {kind})" for kind, path in ROOTS.items()}
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/webm": "webm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The gateway to talk to, and the client key for it."""

    url: str = DEFAULT_URL
    api_key: str | None = None

    def client(self) -> Client:
        """A client for it. Raises a usage error if the URL or the key cannot be right."""
        try:
            return Client(self.url, self.api_key)
        except ValueError as error:
            raise click.UsageError(f"--url or --api-key: {error}") from error

    def watch_command(self, generation_id: str, output: Path | None) -> str:
        """The command that goes on: it watches the generation, and downloads its files to the same place."""
        url_option = "" if self.url == DEFAULT_URL else f" --url {shlex.quote(self.url)}"
        output_option = "" if output is None else f" --output {shlex.quote(str(output))}"
        return f"video-gateway watch {generation_id}{url_option}{output_option}"


def body_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create request from the command's options; options that were not given are left out."""
    images = {name: image_of(options[name]) for name in ("image", "last_image") if options[name] is not None}
    references = [image_of(image) for image in options["reference_images"]]
    body = {
        **{name: value for name, value in options.items() if value is not None},
        **images,
        "reference_images": references,
        "metadata": dict(options["metadata"]),
        "adapt": "nearest" if options["adapt"] else None,
    }
    return {name: value for name, value in body.items() if value not in (None, [], {})}


def image_of(image: str) -> str:
    """An image in the form that the API accepts: a URL or a `file_…` id unchanged, a local file as a data URL."""
    if image.lower().startswith(("http://", "https://", "data:")) or (
        image.startswith("file_") and not Path(image).exists()
    ):
        return image
    try:
        content = Path(image).read_bytes()
        facts = inspect(content)
    except OSError as error:
        raise click.UsageError(f"the image {image} cannot be read: {error.strerror}") from error
    except InvalidImage as error:
        raise click.UsageError(f"the image {image}: {error.detail}") from error
    return f"data:{facts.content_type};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a generation is followed and what is done with its result."""

    output: Path | None  # the file or folder for the results; None: print their URLs
    as_json: bool = False  # print the generation as JSON, and everything else on standard error
    give_up_seconds: float = GIVE_UP_SECONDS  # without any answer


def generate(body: Mapping[str, Any], server: Server, following: Following, *, wait: bool, kind: str = "video") -> int:
    """Create a generation, watch it, download its files. Returns the exit code."""

    def work(client: Client, started: list[str]) -> int:
        generation = client.create(body, f"cli-{uuid4()}", warn, kind)
        started.append(generation.id)
        if not wait:
            click.echo(client.raw(client.path_of(generation.id)).decode() if following.as_json else generation.id)
            return COMPLETED
        (warn if following.as_json else say)(f"{generation.id} {generation.model}")
        return _finish(client, generation.id, following)

    return _session(server, work, [], following.output)


def watch(generation_id: str, server: Server, following: Following) -> int:
    """Follow a generation to its end, and download its files if there is an `output`. Returns the exit code."""
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
    """Download the file of every completed output. Returns the paths."""
    results = [result for result in generation.data if result.status == "completed" and result.url is not None]
    paths = _paths(generation, results, output)
    for result, path in zip(results, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download(generation.id, result.url or "", path, note)
    return paths


def _paths(generation: Generation, outputs: list[Output], output: Path) -> list[Path]:
    def extension(result: Output) -> str:
        return _EXTENSIONS.get((result.content_type or "").partition(";")[0], "mp4")

    # `output` is a folder if a folder of this name exists, or if it has no suffix.
    if not output.is_dir() and output.suffix:
        more = [output.with_name(f"{output.stem}-{result.index}{output.suffix}") for result in outputs[1:]]
        return [output, *more][: len(outputs)]
    if len(outputs) == 1:
        return [output / f"{generation.id}.{extension(outputs[0])}"]
    return [output / f"{generation.id}-{result.index}.{extension(result)}" for result in outputs]


def _finish(client: Client, generation_id: str, following: Following) -> int:
    as_json, output = following.as_json, following.output
    with progress(on_stderr=as_json) as show:
        generation = follow(client, generation_id, show, give_up_seconds=following.give_up_seconds)
    if as_json:
        click.echo(client.raw(client.path_of(generation_id)).decode())
    for result in generation.data:
        if result.error is not None and generation.status == "completed":
            warn(f"output {result.index}: {result.error.code}: {result.error.message}")
    if generation.status != "completed":
        error = generation.error
        warn(f"{generation.status}" + (f": {error.code}: {error.message}" if error else ""))
        for attempt in generation.attempts:
            warn(f"  {attempt.summary()}")
        return NOT_COMPLETED
    if output is None:
        for result in generation.data:
            if result.url is not None and not as_json:
                say(result.url)
        return COMPLETED
    try:
        paths = download(client, generation, output, warn)
    except (Refused, Unreachable, OSError) as error:
        warn(f"the generation is completed, but its file cannot be downloaded: {error}")
        return NOT_COMPLETED
    for path in paths:
        (warn if as_json else click.echo)(plain(str(path)))
    return COMPLETED


def _session(server: Server, work: Callable[[Client, list[str]], int], started: list[str], output: Path | None) -> int:
    """Run `work` with a client. Returns the exit code.

    `work` appends to `started` the id of a generation that it created.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
    client = server.client()
    try:
        return work(client, started)
    except GaveUp as error:
        warn(f"{error}. The generation may still be running; to go on: {server.watch_command(started[0], output)}")
        return NO_ANSWER
    except (Refused, Unreachable) as error:
        hint = next((hint for path, hint in _OTHER_KIND.items() if path in str(error)), "")
        warn(f"{error}{hint}")
        return REFUSED
    except KeyboardInterrupt:
        if started:
            warn(f"still running: {server.watch_command(started[0], output)}")
        else:
            warn(f"the request may have been accepted; GET {client.root} lists all generations")
        return INTERRUPTED
    finally:
        client.close()
