"""A body that is a form (`multipart/form-data`, RFC 7578): its parts, and the create request that they make."""

import asyncio
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from litestar import Request
from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]  # it has no annotations
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from gateway.api.body import join, parse_json, read_body
from gateway.api.create import ALIASES
from gateway.api.fields import OPTIONS_MAX, READERS
from gateway.api.headers import header
from gateway.domain.errors import GatewayError, InvalidForm, InvalidParameter, UnsupportedMediaType
from gateway.domain.spellings import boolean, is_empty

# 16 references, 16 models and 16 pairs of metadata beside every other field are 70 parts.
PARTS_MAX = 96
HEADERS_MAX = 8  # of a part, which has two
HEADER_MAX = 4096
BOUNDARY_MAX = 70  # RFC 2046, section 5.1.1
# Bytes that are searched in one go, in which no other thread has its turn: of 29 MB it could take 100 ms.
PIECE = 2**20
_BOUNDARY = re.compile(r"(?:[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-])")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


class Part(Struct, frozen=True, kw_only=True):
    """A field of a form as it came. A name may be there several times."""

    name: str
    content: bytes
    filename: str | None  # None: text
    charset: str = "utf-8"

    def text(self) -> str:
        """The value of a field that is no file; a 400 for a file and for what is no UTF-8."""
        if self.filename is not None:
            raise InvalidParameter(f"`{self.shown}` must be text, not a file.", param=self.shown)
        if self.charset not in _UTF_8:
            raise InvalidForm(f"`{self.shown}` is not declared as UTF-8.", param=self.shown)
        try:
            text = self.content.decode()
        except UnicodeDecodeError as error:
            fault = f"is not UTF-8: byte 0x{self.content[error.start]:02x} at position {error.start}"
            raise InvalidForm(f"`{self.shown}` {fault}.", param=self.shown) from error
        if "\0" in text:
            raise InvalidParameter(f"`{self.shown}` has the character U+0000 in its text.", param=self.shown)
        return text

    @property
    def shown(self) -> str:
        """The name, fit for a message."""
        return join("", self.name)


def is_form(content_type: str | None) -> bool:
    """Whether a body is declared as a form; what is wrong with it, `parse_form` says."""
    return content_type is not None and content_type[:10].lower() == "multipart/"


async def read_create(request: Request[Any, Any, Any], limit: int) -> dict[str, object]:
    """The body of a create request, as JSON or as a form that means the same."""
    raw = await read_body(request, limit)
    content_type, content_encoding = header(request, "content-type"), header(request, "content-encoding")
    if is_form(content_type):
        return create_body(await parts_of(raw, request))
    return parse_json(raw, content_type, content_encoding, "application/json or multipart/form-data")


async def parts_of(raw: bytes, request: Request[Any, Any, Any]) -> list[Part]:
    """As `parse_form` of the body of this request, beside the event loop where that takes long."""
    declared = header(request, "content-type"), header(request, "content-encoding")
    if len(raw) <= PIECE:
        return parse_form(raw, *declared)
    return await asyncio.to_thread(parse_form, raw, *declared)


def parse_form(raw: bytes, content_type: str | None, content_encoding: str | None) -> list[Part]:
    """The parts of a form in their order; `UnsupportedMediaType` for another body, `InvalidForm` for a broken one."""
    boundary = _boundary(content_type)
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("A compressed body is not taken; send it without Content-Encoding.")
    end = _end_of(raw, boundary)
    parts: list[Part] = []
    pieces: list[bytes] = []
    segment: MultipartSegment | None = None
    try:
        with PushMultipartParser(
            boundary,
            max_header_size=HEADER_MAX,
            max_header_count=HEADERS_MAX,
            max_segment_count=PARTS_MAX,
            strict=True,
        ) as parser:
            for event in chain.from_iterable(parser.parse(piece) for piece in _pieces(raw, end)):
                if isinstance(event, MultipartSegment):
                    segment = event
                elif event is not None:
                    pieces.append(event)
                elif segment is not None:
                    parts.append(_part(segment, pieces[0] if len(pieces) == 1 else b"".join(pieces)))
                    pieces = []
    except ParserLimitReached as error:
        limits = f"at most {PARTS_MAX} parts with {HEADERS_MAX} headers of {HEADER_MAX} bytes are taken"
        raise InvalidForm(f"The form is over a limit: {limits}.") from error
    except MultipartError as error:
        why = str(error.args[0])
        raise InvalidForm(f"The body is not a valid form: {why[:1].lower()}{why[1:]}.") from error
    return parts


def _boundary(content_type: str | None) -> str:
    declared, options = parse_options_header(content_type or "")
    if declared != "multipart/form-data":
        raise UnsupportedMediaType("The Content-Type is not one that is taken here; send multipart/form-data.")
    boundary = options.get("boundary", "")
    if not boundary:
        raise InvalidForm("The Content-Type has no boundary; let your HTTP client set the header by itself.")
    if len(boundary) > BOUNDARY_MAX or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidForm(f"The boundary is not 1 to {BOUNDARY_MAX} of the characters that one may have.")
    if options.get("charset", "utf-8").lower() not in _UTF_8:
        raise UnsupportedMediaType("The charset is not one that is taken; send the form in UTF-8.")
    return str(boundary)


def _pieces(raw: bytes, end: int) -> Iterator[bytes]:
    """The bytes up to the end, in their order."""
    return (raw[start : min(start + PIECE, end)] for start in range(0, end, PIECE))


def _find(raw: bytes, wanted: bytes) -> int:
    """As `raw.find(wanted)`, piece by piece."""
    reach = PIECE + len(wanted) - 1
    found = (raw.find(wanted, start, start + reach) for start in range(0, len(raw), PIECE))
    return next((at for at in found if at >= 0), -1)


def _end_of(raw: bytes, boundary: str) -> int:
    """Where a form ends; one without an end is refused, or with more around it, which would be dropped in silence."""
    last = f"--{boundary}--".encode()
    if not raw.lstrip(b"\r\n").startswith(last[:-2]):
        raise InvalidForm("The body is not a valid form: it does not begin with the boundary of the Content-Type.")
    at = 0 if raw.startswith(last) else _find(raw, b"\r\n" + last)
    if at < 0:
        raise InvalidForm("The body is not a valid form: it does not have its last boundary; is it complete?")
    if raw[at:].strip() != last:
        raise InvalidForm("The body is not a valid form: there is something behind its last boundary.")
    return raw.index(last, at) + len(last)


def _part(segment: MultipartSegment, content: bytes) -> Part:
    name, declared = segment.name or "", segment.content_type or ""
    part = Part(name=name, content=content, filename=segment.filename, charset=(segment.charset or "utf-8").lower())
    if not name or "\0" in name:
        raise InvalidForm("A part of the form has no name, or one with U+0000 in it.")
    if declared.startswith("multipart/"):
        raise InvalidForm(f"`{part.shown}` is a form within the form; send each file as a part of its own.", param=name)
    if (encoding := segment.header("Content-Transfer-Encoding", "binary").strip().lower()) not in _PLAIN_ENCODINGS:
        shown = join("", encoding)
        raise InvalidForm(f"`{part.shown}` is encoded as {shown}; send its bytes as they are.", param=part.shown)
    if segment.filename is None and declared.startswith("image/"):  # a file, though it has no name
        part = Part(name=name, content=content, filename="")
    return part


# From here on: what a create request is as a form.

_FRAMES = frozenset({"image", "last_image"})
_LISTS = frozenset({"reference_images", "fallback"})
_OPTIONAL = READERS.keys() - {"model"}
_MEMBER = re.compile(r"([^\[\]]+)\[(.+)\]", re.DOTALL)


def create_body(parts: list[Part]) -> dict[str, object]:
    """The parts of a form as the fields of a JSON body, for `normalise`; images that came as files are bytes.

    Numbers and booleans stay text and unknown names stay too: `normalise` reads or refuses them. An empty part is left
    out where the field is optional, because browsers send one for each box or file that the person did not fill in.
    """
    body: dict[str, Any] = {}
    held: Any
    for part in parts:
        name = part.name.removesuffix("[]")
        if _is_left_alone(part):
            continue
        if ALIASES.get(name, name) in _LISTS:
            body.setdefault(name, []).append(part.content if _is_image(part) else part.text())
            continue
        value: object
        member = _MEMBER.fullmatch(part.name)
        if member is not None and ALIASES.get(member[1], member[1]) in {"metadata", *_FRAMES}:
            held, key, value = body.setdefault(member[1], {}), member[2], part.text()
        else:
            held, key, value = body, part.name, _value(part)
        if not isinstance(held, dict) or key in held:
            raise InvalidForm(f"The field `{part.shown}` is there twice.", param=part.shown)
        held[key] = value
    for name in ("fallback", "fallbacks"):
        if len(models := body.get(name, ())) == 1:
            is_model = boolean(models[0]) is None and not is_empty(models[0])
            body[name] = models if is_model else models[0]
    return body


def _is_left_alone(part: Part) -> bool:
    """Whether the part is an optional box or file input of a browser's form that the person did not fill in.

    A file that has a name and no bytes is a damaged upload: it must be refused, or a video without it would be bought.
    """
    name = part.name.removesuffix("[]")
    frame = part.name.partition("[")[0]
    optional = ALIASES.get(name, name) in _OPTIONAL or ALIASES.get(frame, frame) in _FRAMES
    return optional and not part.content and not part.filename


def _is_image(part: Part) -> bool:
    name = part.name.removesuffix("[]")
    return part.filename is not None and ALIASES.get(name, name) in {"reference_images", *_FRAMES}


def _value(part: Part) -> object:
    field = ALIASES.get(part.name, part.name)
    if _is_image(part) or field not in READERS:
        return part.content
    text = part.text()
    match field:
        case "provider_options":
            return _options(part.name, text)
        case "metadata":
            raise InvalidParameter("In a form every pair of `metadata` is a field: `metadata[key]`.", param="metadata")
        case _:
            return text


def _options(name: str, text: str) -> dict[str, object]:
    """An object of objects has no other form in fields that keeps numbers and text apart."""
    if len(text) > 2 * OPTIONS_MAX:  # with blanks; without them `OPTIONS_MAX` counts
        raise InvalidParameter(f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON.", param=name)
    if is_empty(text):
        return {}
    try:
        return parse_json(text.encode(), "application/json", None)
    except GatewayError as error:
        below = f"{name}.{error.param}" if error.param else name
        raise InvalidParameter(f"`{name}` must be a JSON object as text. {error.detail}", param=below) from error
