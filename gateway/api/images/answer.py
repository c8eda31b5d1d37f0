"""OpenAI's answer to a call that makes images: their URLs, their bytes in base64, or both."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Literal, cast

import msgspec
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from gateway.api.generations.views import GenerationView, OutputView, WarningView
from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context
from gateway.api.web.streaming import Streamed
from gateway.api.web.timeouts import timeout
from gateway.artifacts.access import Copied, File
from gateway.domain.adapter.task import Status
from gateway.domain.errors import GatewayError, ImageNotReadable, ProviderUnavailable
from gateway.domain.generation.model import Generation

ResponseFormat = Literal["url", "b64_json"]
TICKS_OF_USD = 10_000_000_000  # xAI's `cost_in_usd_ticks` counts in these
_NO_TOKENS = "Always 0: images are not counted in tokens. Some clients fail without this member."
COPY_SECONDS = 60.0  # to fetch the file of one image from its provider: the client waits for the answer
_QUALITY_WORDS: Mapping[str, Literal["low", "medium", "high"]] = {"1K": "low", "2K": "medium", "4K": "high"}
_RETRY_SECONDS = 5.0  # after which the file of an image may be archived
_encode = msgspec.json.Encoder().encode


class ImageView(Struct, frozen=True, kw_only=True):
    """One image."""

    url: Annotated[
        str | UnsetType, Meta(description="The gateway's own URL while it keeps the file, else the provider's.")
    ] = UNSET
    b64_json: Annotated[str | UnsetType, Meta(description="The bytes of the file in base64.")] = UNSET


class TokenDetails(Struct, frozen=True):
    """OpenAI's members, which are always 0 here."""

    text_tokens: int = 0  # always 0
    image_tokens: int = 0  # always 0


class ImagesUsage(Struct, frozen=True, kw_only=True):
    """What the images cost or may have cost by the configured prices, as in the generation."""

    input_tokens: Annotated[int, Meta(description=_NO_TOKENS)] = 0
    output_tokens: Annotated[int, Meta(description=_NO_TOKENS)] = 0
    total_tokens: Annotated[int, Meta(description=_NO_TOKENS)] = 0
    input_tokens_details: TokenDetails = TokenDetails()  # the same in parts
    cost_usd: float | UnsetType | None = UNSET  # null: a route that was used has no price; absent: not shown
    # the part of it of which no provider has said whether it was billed
    maybe_usd: float | UnsetType | None = UNSET
    estimated: bool | UnsetType = UNSET  # true: computed from configured prices, not from a bill
    cost_in_usd_ticks: Annotated[
        int | UnsetType | None,
        Meta(description="`cost_usd` as clients of xAI read it: 10,000,000,000 of them are one USD."),
    ] = UNSET


class FailedImage(Struct, frozen=True, kw_only=True):
    """An image that did not come, while others did."""

    index: int  # of the output in the generation
    code: str  # the code of the failure: see the table of errors of generations
    message: str  # for people: why it did not come


class ImagesAnswer(Struct, frozen=True, kw_only=True):
    """The images that came, at least one."""

    id: Annotated[str, Meta(description="The generation, which `GET /v1/images/generations/{id}` reads.")]
    created: Annotated[int, Meta(description="Unix seconds: when the generation was created.")]
    data: tuple[ImageView, ...]  # without those that did not come
    usage: ImagesUsage  # what all of them cost
    background: Literal["opaque"] = "opaque"  # always: no model can make a transparent background
    output_format: str | UnsetType = UNSET  # of the first image: `png`, `jpeg` or `webp`; absent if it is not known
    # What the provider was asked for in OpenAI's words: `low` for 1K, `medium` for 2K, `high` for 4K.
    quality: Literal["low", "medium", "high"] | UnsetType = UNSET
    size: str | UnsetType = UNSET  # WIDTHxHEIGHT of the first image in pixels; absent if it is not known
    warnings: tuple[WarningView, ...]  # what differs from what the client asked for
    failed: tuple[FailedImage, ...]  # empty if every image came


async def images_answer(
    generation: Generation,
    context: Context,
    view: GenerationView,
    response_format: ResponseFormat | None,
    headers: dict[str, str],
) -> ASGIResponse:
    """The answer of a generation that has completed; `view` is its public object.

    Without a `response_format` an image has its URL, and its bytes too if the gateway keeps the file: some clients read
    the one and some the other without asking for it. If the bytes are asked for, the gateway fetches those of a file
    that only the provider has; raises `ImageNotReadable` if the provider does not give them.
    """
    outputs = [output for output in view.data if not output.extra]
    came = [output for output in outputs if output.status is Status.COMPLETED]
    files = {} if response_format == "url" else await _files(generation, context, came, response_format)
    used = view.usage
    cost = None if used is UNSET else used.cost_usd
    answer = ImagesAnswer(
        id=view.id,
        created=view.created_at,
        data=(),
        usage=ImagesUsage()
        if used is UNSET
        else ImagesUsage(
            cost_usd=cost,
            maybe_usd=used.maybe_usd,
            estimated=used.estimated,
            cost_in_usd_ticks=None if cost is None else round(cost * TICKS_OF_USD),
        ),
        output_format=_format(came),
        quality=_quality(generation, came),
        size=_size(came),
        warnings=view.warnings,
        failed=tuple(
            FailedImage(index=output.index, code=output.error.code, message=output.error.message)
            for output in outputs
            if output.error is not None
        ),
    )
    images = [ImageView(url=UNSET if response_format == "b64_json" else output.url or UNSET) for output in came]
    if not files:
        return json_answer(replace(answer, data=tuple(images)), headers)
    pieces = list(_pieces(answer, images, [files.get(output.index) for output in came]))
    size = sum(len(piece) if isinstance(piece, bytes) else _encoded_size(piece.size) for piece in pieces)
    described = {**headers, "content-type": "application/json", "content-length": str(size)}
    chunks = _chunks(context, pieces)
    await anext(chunks)  # a generator that has begun removes its files also if nobody reads the rest
    return Streamed(context, chunks, described)


def _format(came: Sequence[OutputView]) -> str | UnsetType:
    kind, _, name = ((came[0].content_type if came else None) or "").partition(";")[0].partition("/")
    return name if kind == "image" and name else UNSET


def _size(came: Sequence[OutputView]) -> str | UnsetType:
    return f"{came[0].width}x{came[0].height}" if came and came[0].width and came[0].height else UNSET


def _quality(generation: Generation, came: Sequence[OutputView]) -> Literal["low", "medium", "high"] | UnsetType:
    """The quality of the route that made the first image."""
    made_by = generation.output(came[0].index).attempt_id if came else None
    routes = [generation.route(attempt) for attempt in generation.attempts if attempt.id == made_by]
    return _QUALITY_WORDS.get(routes[0].settings.quality or "", UNSET) if routes else UNSET


async def _files(
    generation: Generation, context: Context, came: Iterable[OutputView], response_format: ResponseFormat | None
) -> Mapping[int, File | Copied]:
    """The files of these outputs, by their index; only those that the gateway keeps, unless they are asked for."""
    files: dict[int, File | Copied] = {}
    archived = {output.index for output in generation.outputs if output.kept is not None}
    try:
        for output in came:
            if output.index in archived:
                try:
                    source = await context.artifacts.open(generation, output.index)
                except GatewayError:
                    if response_format is None:  # its URL answers with the same error, which names the reason
                        continue
                    raise
                if isinstance(source, File):
                    files[output.index] = source
            elif response_format is not None:
                files[output.index] = await _copied(generation, context, output.index)
    except BaseException:  # also a cancelled call leaves no copies behind
        await context.artifacts.remove_copies(file for file in files.values() if isinstance(file, Copied))
        raise
    return files


async def _copied(generation: Generation, context: Context, index: int) -> Copied:
    """A copy of the file that only the provider has; raises `ImageNotReadable`, or `Overloaded`."""
    try:
        with context.downloads.place(generation.owner):
            async with timeout(context.clock, COPY_SECONDS):
                return await context.artifacts.copy_image(generation, index)
    except TimeoutError as error:
        raise _not_readable(generation, f"Image {index} has not arrived within {COPY_SECONDS:g} s.") from error
    except ProviderUnavailable as error:
        raise _not_readable(generation, error.detail) from error


def _not_readable(generation: Generation, why: str) -> ImageNotReadable:
    return ImageNotReadable(
        f"{why} The gateway does not keep the file yet, so it cannot send it as `b64_json`. The generation has ended"
        f" well: GET /v1/images/generations/{generation.id} shows the `url` of the file. The same call again, with the"
        " same Idempotency-Key, buys nothing, and answers with the file if it can be had by then.",
        param="response_format",
        retry_after=_RETRY_SECONDS,
    )


def _pieces(
    answer: ImagesAnswer, images: Iterable[ImageView], files: Iterable[File | Copied | None]
) -> Iterable[bytes | File | Copied]:
    """The JSON of an answer, in which a file takes the place of its bytes in base64.

    So an answer with many large images needs little memory: each file is read while it is sent.
    """
    before, after = _encode(answer).split(b'"data":[]', 1)
    yield before + b'"data":['
    for position, (image, file) in enumerate(zip(images, files, strict=True)):
        yield b"," if position else b""
        fields = _encode(image)
        if file is None:
            yield fields
            continue
        yield fields[:-1] + (b',"b64_json":"' if fields != b"{}" else b'"b64_json":"')
        yield file
        yield b'"}'
    yield b"]" + after


def _encoded_size(size: int) -> int:
    """How many characters of base64 this many bytes need."""
    return -(-size // 3) * 4


async def _chunks(context: Context, pieces: Iterable[bytes | File | Copied]) -> AsyncGenerator[bytes]:
    """Yield b"" at once, then the answer. At the end copied files are removed."""
    try:
        yield b""
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            if isinstance(piece, File):
                content = context.artifacts.read(piece, range(piece.size))
            else:
                content = context.artifacts.read_copy(piece)
            rest = b""  # base64 encodes three bytes at a time
            async with aclosing(cast("AsyncGenerator[bytes]", content)) as chunks:
                async for chunk in chunks:
                    data = rest + chunk
                    end = len(data) - len(data) % 3
                    yield b64encode(data[:end])
                    rest = data[end:]
            yield b64encode(rest)
    finally:
        await context.artifacts.remove_copies(piece for piece in pieces if isinstance(piece, Copied))
