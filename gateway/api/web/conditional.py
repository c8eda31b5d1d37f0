"""Conditional requests for a file that never changes: RFC 9110, section 13, in the order of 13.2.2."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from litestar import Request
from msgspec import Struct

from gateway.domain.errors import PreconditionFailed

DATE_MAX = 64  # characters; each of the three date formats of HTTP has fewer
_TAG = re.compile(r'(W/)?("[^"]*")')


class Validators(Struct, frozen=True):
    """What a client can recognise a file by. Both are strong: the bytes of a file never change."""

    tag: str  # the ETag, in its quotation marks
    modified: datetime | None  # in whole seconds


def joined_headers(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """Those of these headers (in lower case) that the request has; a repeated header is joined to one list."""
    headers: dict[str, str] = {}
    for key, value in request.scope["headers"]:
        name = key.decode("latin-1")
        if name in names:
            text = value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


def is_current(headers: Mapping[str, str], validators: Validators) -> bool:
    """True if the client already has this file (304); `PreconditionFailed` if it means another file (412)."""
    required = headers.get("if-match")
    if required is not None:
        if required.strip() != "*" and ("", validators.tag) not in _TAG.findall(required):
            raise PreconditionFailed("The ETag of the file is not in `If-Match`.")
    elif validators.modified is not None:
        until = _moment(headers.get("if-unmodified-since"))
        if until is not None and validators.modified > until:
            raise PreconditionFailed("The file is newer than `If-Unmodified-Since` says.")
    cached = headers.get("if-none-match")
    if cached is not None:
        return cached.strip() == "*" or any(tag == validators.tag for _, tag in _TAG.findall(cached))
    since = _moment(headers.get("if-modified-since"))
    return since is not None and validators.modified is not None and validators.modified <= since


def range_applies(if_range: str | None, validators: Validators) -> bool:
    """False if `If-Range` names another file: a part of this one would not fit what the client has of that one."""
    if if_range is None or if_range.strip() == validators.tag:
        return True
    return validators.modified is not None and _moment(if_range) == validators.modified


def _moment(text: str | None) -> datetime | None:
    """A date in any of the three formats of HTTP; None for any other text, which RFC 9110 says to ignore."""
    if text is None or len(text) > DATE_MAX:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError for a year of many digits
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
