"""A body that is a form (`multipart/form-data`, RFC 7578), split into its parts.

Forms are read as tolerantly as other servers read them, as long as nothing of them is dropped in silence and no part
has two readings.
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
from gateway.api.web.json_body import join
from gateway.domain.errors import InvalidForm, InvalidParameter, UnsupportedMediaType
from gateway.media.image_formats import name_of, type_of

# 16 references, 16 models and 16 pairs of metadata beside every other field are 70 parts.
PARTS_MAX = 96
HEADERS_MAX = 8  # of a part, which has two
HEADER_MAX = 4096
BOUNDARY_MAX = 70  # RFC 2046, section 5.1.1
AROUND_MAX = 16 * 1024  # bytes before the first boundary and after the last one, which mean nothing
# Bytes that are searched in one go, in which no other thread runs: of 29 MB it could take 100 ms.
PIECE = 2**20
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_BOUNDARY = re.compile(r"(?:[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-])")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_WESTERN = frozenset({"iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252"})  # Java's default for text
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*\"?(utf-8|iso-8859-1)'[^']*'([^;\"]*)", re.IGNORECASE)
_CHARSET = "_charset_"  # the part of this name has the character set of the others (RFC 7578, section 4.6)
_TEXTS_OF_IMAGES = (b"http://", b"https://", b"data:", b"file_")


class Part(Struct, frozen=True, kw_only=True):
    """A field of a form as it came. A name may be there several times."""

    name: str
    content: bytes
    filename: str | None  # None where the client gave none, as for text
    charset: str = "utf-8"
    content_type: str = ""

    def text(self) -> str:
        """The value of a field that is text, whether it has a file name or not; a 400 for anything else."""
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
        """The value of a field that is an image: the bytes of a file, or the text that JSON would have.

        Not every client gives a file its name and type, and some give them to text. So the content decides.
        """
        if type_of(self.content) is not None:
            return self.content
        if self.filename is not None or self.content_type.startswith("image/"):
            return self.text() if self.content.lstrip()[:8].lower().startswith(_TEXTS_OF_IMAGES) else self.content
        is_binary = b"\0" in self.content or not _is_utf_8(self.content)
        return self.content if is_binary or name_of(self.content) in _FILES_OF_TEXT else self.text()

    @property
    def is_absent(self) -> bool:
        """Whether this is what a browser sends for a file that was not chosen."""
        return self.filename == "" and not self.content

    @property
    def shown(self) -> str:
        """The name, fit for a message."""
        return join("", self.name)


_FILES_OF_TEXT = frozenset({"an SVG image", "a PDF document", "an HTML page"})


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_form(content_type: str | None) -> bool:
    """Whether a body is declared as a form; what is wrong with it, `parse_form` says."""
    return content_type is not None and content_type[:10].lower() == "multipart/"


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
    parts = [_part(head, content) for head, content in _split(raw, boundary.encode())]
    for part in parts:
        if part.name == _CHARSET and part.text().strip().lower() not in _UTF_8:
            raise InvalidForm(f"`{_CHARSET}` is not one that is taken; send the form in UTF-8.", param=_CHARSET)
    return [part for part in parts if part.name != _CHARSET and not part.is_absent]


def _boundary(content_type: str | None) -> str:
    declared, *_ = (content_type or "").split(";")
    if declared.strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("The Content-Type is not one that is taken here; send multipart/form-data.")
    options: dict[str, str] = {}
    for name, value in _PARAMETER.findall(content_type or ""):
        # A boundary with `=` or `:` in it should be in quotation marks, and often is not.
        plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.strip()
        if options.setdefault(name.lower(), plain) != plain:
            raise InvalidForm(f"The Content-Type has two values of `{join('', name.lower())}`.")
    boundary = options.get("boundary", "")
    if not boundary:
        raise InvalidForm("The Content-Type has no boundary; let your HTTP client set the header by itself.")
    if len(boundary) > BOUNDARY_MAX or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidForm(f"The boundary is not 1 to {BOUNDARY_MAX} of the characters that one may have.")
    if options.get("charset", "utf-8").lower() not in _UTF_8:
        raise UnsupportedMediaType("The charset is not one that is taken; send the form in UTF-8.")
    return boundary


def _broken(why: str) -> InvalidForm:
    return InvalidForm(f"The body is not a valid form: {why}.")


def _split(raw: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The head and the content of each part. All lines end as that of the first boundary does: with CRLF, or with LF.

    What comes before the first boundary and after the last one means nothing, and is passed over where it is no part.
    """
    dashes = b"--" + boundary
    line = re.compile(re.escape(dashes) + rb"(--)?[ \t]{0,64}(\r\n|\n|\Z)")
    at = 0 if raw.startswith(dashes) else _find(raw, b"\n" + dashes, 0) + 1
    found = line.match(raw, at)
    if found is None:
        raise _broken("it does not have the boundary of the Content-Type")
    if at > AROUND_MAX or b"content-disposition" in raw[:at].lower():
        raise _broken("there is a part, or more than a remark, before its first boundary")
    end_of_line = found[2]
    count = 0
    while not found[1]:
        count += 1
        if count > PARTS_MAX:
            raise _over_a_limit()
        start, limit = found.end(), HEADERS_MAX * (HEADER_MAX + len(end_of_line))
        end = raw.find(end_of_line * 2, start, start + limit) if end_of_line else -1
        if end < 0 and len(raw) - start > limit:
            raise _over_a_limit()
        content = end + 2 * len(end_of_line)
        at = _find(raw, end_of_line + dashes, content - len(end_of_line)) if end >= 0 else -1
        if at < 0:
            raise _broken("it does not have its last boundary; is it complete?")
        yield raw[start:end], raw[content:at]
        found = line.match(raw, at + len(end_of_line))
        if found is None:
            raise _broken("there is something after a boundary, in the same line")
        if found[2] not in {end_of_line, b""} or (end_of_line == b"\n" and raw[at - 1 : at] == b"\r"):
            raise _broken("some of its lines end with CRLF, and others with LF")
    if len(raw) - found.end() > AROUND_MAX or dashes in raw[found.end() :]:
        raise _broken("there is a part, or more than a remark, after its last boundary")


def _over_a_limit() -> InvalidForm:
    limits = f"at most {PARTS_MAX} parts with {HEADERS_MAX} headers of {HEADER_MAX} bytes are taken"
    return InvalidForm(f"The form is over a limit: {limits}.")


def _find(raw: bytes, wanted: bytes, start: int) -> int:
    """As `raw.find(wanted, start)`, piece by piece."""
    reach = PIECE + len(wanted) - 1
    found = (raw.find(wanted, at, at + reach) for at in range(start, len(raw), PIECE))
    return next((at for at in found if at >= 0), -1)


def _segment(head: bytes) -> MultipartSegment:
    """The head of a part, read by itself."""
    if b"\r\n" not in head:
        head = head.replace(b"\n", b"\r\n")  # all of its lines end with LF
    if not _is_utf_8(head):
        head = head.decode("latin-1").encode()  # a file name in the alphabet of its machine: it is only shown
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
        raise InvalidForm("A part of the form has no name, or one that is not UTF-8 or has U+0000 in it.")
    if declared.startswith("multipart/"):
        raise InvalidForm(f"`{part.shown}` is a form within the form; send each file as a part of its own.", param=name)
    length = segment.header("Content-Length", "")
    if length and int(length) != len(content):
        raise InvalidForm(f"`{part.shown}` has {len(content)} bytes, its Content-Length says {length}.", param=name)
    return _transferred(part, segment.header("Content-Transfer-Encoding", "").strip().lower())


def _filename(segment: MultipartSegment) -> str | None:
    """The file name; the extended form (RFC 5987), which some clients send alone, comes first."""
    extended = _EXTENDED_NAME.search(segment.header("Content-Disposition", ""))
    if extended is not None:
        return unquote(extended[2], encoding=extended[1], errors="replace")
    found: str | None = segment.filename
    return found


def _transferred(part: Part, encoding: str) -> Part:
    """The part as it was before it was encoded for mail, which RFC 7578 does without and some clients do."""
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


# From here on: what a create request is as a form.
