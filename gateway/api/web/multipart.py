"""Splits a body that is a form (`multipart/form-data`, RFC 7578) into its parts.

Forms that break the standard are accepted as other servers accept them, except where a part would be ignored silently
or could be read in two ways: these are refused.
"""

import asyncio
import binascii
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from litestar import Request
from msgspec import Struct
from msgspec.structs import replace
from multipart import (  # type: ignore[import-untyped]  # it has no annotations
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)

from gateway.api.web.headers import header
from gateway.api.web.json_body import join, other_media_type
from gateway.domain.errors import InvalidForm, InvalidParameter, UnsupportedMediaType
from gateway.media.image_formats import name_of, type_of

# A request with 16 reference images, 16 models and 16 pairs of metadata, and all other fields, has 70 parts.
PARTS_MAX = 96
HEADERS_MAX = 8  # of one part; most have two
HEADER_MAX = 4096  # bytes of one header
CONTENT_TYPE_MAX = 1024  # characters of the header; with a boundary and a charset it has about a hundred
BOUNDARY_MAX = 70  # RFC 2046, section 5.1.1
AROUND_MAX = 16 * 1024  # bytes before the first boundary and after the last one; they have no meaning
# Bytes that are searched in one call. It holds the interpreter lock: 29 MB at once could block everything for 100 ms.
PIECE = 2**20
ON_LOOP_MAX = 64 * 1024  # bytes of a form that is parsed on the event loop: the heads of 90 parts may take 20 ms
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_BOUNDARY = re.compile(r"(?:[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-])")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_WESTERN = frozenset({"iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252"})  # Java clients send text in these
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*\"?(utf-8|iso-8859-1)'[^']*'([^;\"]*)", re.IGNORECASE)
_CHARSET = "_charset_"  # the part of this name has the character set of the others (RFC 7578, section 4.6)
_TEXTS_OF_IMAGES = (b"http://", b"https://", b"data:", b"file_")


class Part(Struct, frozen=True, kw_only=True):
    """A field of a form as the client sent it. Several parts can have the same name."""

    name: str
    content: bytes
    filename: str | None  # None without one, as text fields are sent
    charset: str = "utf-8"
    content_type: str = ""

    def text(self) -> str:
        """The value of a text field, with or without a file name; raises `InvalidForm` or `InvalidParameter`."""
        if self.charset not in _UTF_8 | _WESTERN:
            declared = join("", self.charset)
            raise InvalidForm(f"`{self.shown}` is declared as {declared}; send it as UTF-8.", param=self.shown)
        try:
            text = self.content.decode("utf-8" if self.charset in _UTF_8 else "cp1252")
        except UnicodeDecodeError as error:
            if self.filename is not None:
                raise InvalidParameter(f"`{self.shown}` must be text, not a file.", param=self.shown) from error
            fault = f"is not {error.encoding.upper()}: byte 0x{self.content[error.start]:02x} at position {error.start}"
            raise InvalidForm(f"`{self.shown}` {fault}.", param=self.shown) from error
        if "\0" in text:
            raise InvalidParameter(f"`{self.shown}` has the character U+0000 in its text.", param=self.shown)
        return text

    def image(self) -> str | bytes:
        """The value of an image field: the bytes of a file, or the text that a JSON body would have (URL, base64, id).

        The content decides which it is: some clients send files without name and type, and others send text with both.
        """
        if type_of(self.content) is not None:
            return self.content
        if self.filename is not None or self.content_type.startswith("image/"):
            return self.text() if self.content.lstrip()[:8].lower().startswith(_TEXTS_OF_IMAGES) else self.content
        is_binary = b"\0" in self.content or not _is_utf_8(self.content)
        return self.content if is_binary or name_of(self.content) in _FILES_OF_TEXT else self.text()

    @property
    def is_absent(self) -> bool:
        """True for what a browser sends when no file was chosen."""
        return self.filename == "" and not self.content

    @property
    def shown(self) -> str:
        """The name, safe to show in a message."""
        return join("", self.name)


_FILES_OF_TEXT = frozenset({"an SVG image", "a PDF document", "an HTML page"})


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_form(content_type: str | None) -> bool:
    """True if the body is declared as a form, valid or not; `parse_form` finds faults."""
    return content_type is not None and content_type[:10].lower() == "multipart/"


async def parts_of(raw: bytes, request: Request[Any, Any, Any]) -> list[Part]:
    """The parts of the body of this request (see `parse_form`); a large body is parsed in a thread."""
    declared = header(request, "content-type"), header(request, "content-encoding")
    if len(raw) <= ON_LOOP_MAX:
        return parse_form(raw, *declared)
    return await asyncio.to_thread(parse_form, raw, *declared)


def parse_form(raw: bytes, content_type: str | None, content_encoding: str | None) -> list[Part]:
    """The parts of a form in their order; raises `UnsupportedMediaType`, or `InvalidForm` for a broken form."""
    boundary = _boundary(content_type)
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("Compressed bodies are not accepted; send it without Content-Encoding.")
    parts = [_part(head, content) for head, content in _split(raw, boundary.encode())]
    for part in parts:
        if part.name == _CHARSET and part.text().strip().lower() not in _UTF_8:
            raise InvalidForm(f"This `{_CHARSET}` is not accepted; send the form in UTF-8.", param=_CHARSET)
    return [part for part in parts if part.name != _CHARSET and not part.is_absent]


def _boundary(content_type: str | None) -> str:
    declared, *_ = (content_type or "").split(";")
    if declared.strip().lower() != "multipart/form-data":
        raise other_media_type(declared, "multipart/form-data")
    if len(content_type or "") > CONTENT_TYPE_MAX:
        raise InvalidForm(f"The Content-Type has more than {CONTENT_TYPE_MAX:,} characters; send only its boundary.")
    options: dict[str, str] = {}
    for name, value in _PARAMETER.findall(content_type or ""):
        # The standard wants quotation marks around a boundary with `=` or `:`, but many clients omit them.
        plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.strip()
        if options.setdefault(name.lower(), plain) != plain:
            raise InvalidForm(f"The Content-Type has two values of `{join('', name.lower())}`.")
    boundary = options.get("boundary", "")
    if not boundary:
        raise InvalidForm("The Content-Type has no boundary; let your HTTP client set the header by itself.")
    if len(boundary) > BOUNDARY_MAX or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidForm(
            f"The boundary of the Content-Type must be 1 to {BOUNDARY_MAX} of the characters that RFC 2046 allows."
        )
    if options.get("charset", "utf-8").lower() not in _UTF_8:
        raise UnsupportedMediaType("This charset is not accepted; send the form in UTF-8.")
    return boundary


def _broken(why: str) -> InvalidForm:
    return InvalidForm(f"The body is not a valid form: {why}.")


def _split(raw: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The head and the content of each part. All lines must end as the first boundary does: with CRLF, or with LF.

    Text before the first boundary and after the last one is ignored, unless it looks like another part.
    """
    dashes = b"--" + boundary
    line = re.compile(re.escape(dashes) + rb"(--)?[ \t]{0,64}(\r\n|\n|\Z)")
    at = 0 if raw.startswith(dashes) else _find(raw, b"\n" + dashes, 0) + 1
    match = line.match(raw, at)
    if match is None:
        raise _broken("it does not have the boundary of the Content-Type")
    if at > AROUND_MAX or b"content-disposition" in raw[:at].lower():
        raise _broken("it has a part, or more than a short remark, before its first boundary")
    end_of_line = match[2]
    count = 0
    while not match[1]:
        count += 1
        if count > PARTS_MAX:
            raise _over_a_limit()
        start, limit = match.end(), HEADERS_MAX * (HEADER_MAX + len(end_of_line))
        end = raw.find(end_of_line * 2, start, start + limit) if end_of_line else -1
        if end < 0 and len(raw) - start > limit:
            raise _over_a_limit()
        content = end + 2 * len(end_of_line)
        at = _find(raw, end_of_line + dashes, content - len(end_of_line)) if end >= 0 else -1
        if at < 0:
            raise _broken("it does not have its last boundary; is it complete?")
        yield raw[start:end], raw[content:at]
        match = line.match(raw, at + len(end_of_line))
        if match is None:
            raise _broken("a boundary is followed by something in the same line")
        if match[2] not in {end_of_line, b""} or (end_of_line == b"\n" and raw[at - 1 : at] == b"\r"):
            raise _broken("some of its lines end with CRLF, and others with LF")
    if len(raw) - match.end() > AROUND_MAX or dashes in raw[match.end() :]:
        raise _broken("it has a part, or more than a short remark, after its last boundary")


def _over_a_limit() -> InvalidForm:
    limits = f"at most {PARTS_MAX} parts with {HEADERS_MAX} headers of {HEADER_MAX} bytes are accepted"
    return InvalidForm(f"The form is over a limit: {limits}.")


def _find(raw: bytes, wanted: bytes, start: int) -> int:
    """The same as `raw.find(wanted, start)`, in calls of at most `PIECE` bytes."""
    reach = PIECE + len(wanted) - 1
    positions = (raw.find(wanted, at, at + reach) for at in range(start, len(raw), PIECE))
    return next((at for at in positions if at >= 0), -1)


def _segment(head: bytes) -> MultipartSegment:
    """The parsed head of one part."""
    if b"\r\n" not in head:
        head = head.replace(b"\n", b"\r\n")  # `_split` has checked that all lines end with LF
    if not _is_utf_8(head):
        head = head.decode("latin-1").encode()  # a file name in the encoding of the client's system; it is only shown
    try:
        parser = PushMultipartParser("x", max_header_size=HEADER_MAX, max_header_count=HEADERS_MAX)
        return next(iter(parser.parse(b"--x\r\n" + head + b"\r\n\r\n")))
    except ParserLimitReached as error:
        raise _over_a_limit() from error
    except MultipartError as error:
        why = str(error.args[0])
        raise _broken(f"{why[:1].lower()}{why[1:]}") from error
    except StopIteration as error:
        raise _broken("the head of a part has no end") from error


def _part(head: bytes, content: bytes) -> Part:
    segment = _segment(head)
    name, declared = segment.name or "", segment.content_type or ""
    part = Part(
        name=name,
        content=content,
        filename=_filename(segment),
        charset=(segment.charset or "utf-8").lower(),
        content_type=declared,
    )
    if not name or "\0" in name or (not name.isascii() and not _is_utf_8(head)):
        raise InvalidForm("A part of the form has no name, or its name is not UTF-8 or has U+0000 in it.")
    if declared.startswith("multipart/"):
        raise InvalidForm(f"`{part.shown}` is a form inside the form; send each file as its own part.", param=name)
    length = segment.header("Content-Length", "")
    if length and int(length) != len(content):
        raise InvalidForm(f"`{part.shown}` has {len(content)} bytes, but its Content-Length says {length}.", param=name)
    return _transferred(part, segment.header("Content-Transfer-Encoding", "").strip().lower())


def _filename(segment: MultipartSegment) -> str | None:
    """The file name. The extended form (RFC 5987) has precedence; some clients send only that one."""
    extended = _EXTENDED_NAME.search(segment.header("Content-Disposition", ""))
    if extended is not None:
        return unquote(extended[2], encoding=extended[1], errors="replace")
    filename: str | None = segment.filename
    return filename


def _transferred(part: Part, encoding: str) -> Part:
    """The part without a transfer encoding of mail. RFC 7578 has dropped these encodings, but some clients use them."""
    if encoding in _PLAIN_ENCODINGS:
        return part
    if encoding == "quoted-printable":
        return replace(part, content=binascii.a2b_qp(part.content))
    if encoding != "base64":
        shown = join("", encoding)
        raise InvalidForm(f"`{part.shown}` is encoded as {shown}; send its bytes as they are.", param=part.shown)
    try:
        content = binascii.a2b_base64(part.content.translate(None, b" \t\r\n"), strict_mode=True)
    except binascii.Error as error:
        raise InvalidForm(f"`{part.shown}` is declared as base64 and is not: {error}.", param=part.shown) from error
    return replace(part, content=content)
