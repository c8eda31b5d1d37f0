"""The bytes of a multipart body: the same for the same parts, so that a provider's signature over them fits. Pure."""

from collections.abc import Mapping
from hashlib import sha256

FileContent = tuple[str, str, str, bytes]  # name of the form field, name of the file, media type, bytes
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # WHATWG HTML, "multipart/form-data"


def boundary_of(fields: Mapping[str, str], content: bytes) -> str:
    """The boundary for these parts: a hash of them, which cannot be in one of them by chance."""
    return sha256(repr(sorted(fields.items())).encode() + content).hexdigest()[:32]


def encode(fields: Mapping[str, str], file: FileContent, boundary: str) -> bytes:
    """The body: the fields, then the file."""
    name, filename, content_type, content = file
    line = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{line}"{_escaped(field)}"\r\n\r\n{value}\r\n'.encode() for field, value in fields.items()]
    head = f'{line}"{_escaped(name)}"; filename="{_escaped(filename)}"\r\nContent-Type: {content_type}\r\n\r\n'
    return b"".join((*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()))


def _escaped(name: str) -> str:
    return name.translate(_ESCAPED)
