"""Conditional requests for a file that never changes: RFC 9110, section 13, in the order of 13.2.2."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from litestar import Request
from msgspec import Struct

from gateway.domain.errors import PreconditionFailed

DATE_MAX = 64  # characters; each of the three forms of a date has fewer
_TAG = re.compile(r'(W/)?("[^"]*")')


class Validators(Struct, frozen=True):
    """What a client may know a file by. Both are strong: the bytes of a file are always the same."""

    tag: str  # quoted
    modified: datetime | None  # in whole seconds


def joined_headers(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """Those of these headers (in lower case) that came; one that came several times is a list."""
    found: dict[str, str] = {}
    for key, value in request.scope["headers"]:
        name = key.decode("latin-1")
        if name in names:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def is_known(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether the client has the file already; `PreconditionFailed` when it wants another one."""
    wanted = headers.get("if-match")
    if wanted is not None:
        if wanted.strip() != "*" and ("", validators.tag) not in _TAG.findall(wanted):
            raise PreconditionFailed("`If-Match` names none of the file's tags.")
    elif validators.modified is not None:
        until = _moment(headers.get("if-unmodified-since"))
        if until is not None and validators.modified > until:
            raise PreconditionFailed("The file is newer than `If-Unmodified-Since` says.")
    known = headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or any(tag == validators.tag for _, tag in _TAG.findall(known))
    since = _moment(headers.get("if-modified-since"))
    return since is not None and validators.modified is not None and validators.modified <= since


def range_counts(if_range: str | None, validators: Validators) -> bool:
    """Whether a `Range` is of the file that the client has the rest of."""
    if if_range is None or if_range.strip() == validators.tag:
        return True
    return validators.modified is not None and _moment(if_range) == validators.modified


def _moment(text: str | None) -> datetime | None:
    """A date in any of the three forms that HTTP has had; `None` for what is none."""
    if text is None or len(text) > DATE_MAX:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of many digits
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
