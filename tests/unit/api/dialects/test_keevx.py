"""Keevx's codec: any body is read or refused, and any error has a code that its clients can read."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.dialects import keevx, keevx_upload
from gateway.api.generations.create_request import normalise
from gateway.api.web.error_format import ErrorInfo
from gateway.domain.errors import GatewayError

NAMES = st.sampled_from((*keevx.KeevxCreateVideo.__struct_fields__, *keevx.KeevxCreateImage.__struct_fields__, "else"))
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 3000) | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
USUAL = st.sampled_from(
    ["V", "KL", "16:9", "1080p", "2K", "std", 6, "https://example.com/a.jpg", ["https://example.com/a"]]
)
STATUSES = st.sampled_from([400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503])
INFOS = st.builds(
    ErrorInfo,
    status=STATUSES,
    message=st.text(max_size=20),
    type=st.just("invalid_request_error"),
    code=st.sampled_from(["not_found", "invalid_image", "unsupported_parameter", "invalid_parameter", "overloaded"]),
    param=st.sampled_from([None, "id", "model", "prompt", "image_url"]),
    members=st.just({}),
    request_id=st.just("req_1"),
)


@given(body=st.dictionaries(NAMES, VALUES | USUAL, max_size=8), images=st.booleans())
def test_any_body_is_read_or_refused(body: dict[str, Any], images: bool) -> None:
    dialect, kind = (keevx.KEEVX_IMAGES, "image") if images else (keevx.KEEVX, "video")
    try:
        wanted = normalise(dialect.read(body), lambda _: "file_1", kind=kind)  # type: ignore[arg-type]  # the name is enough
    except GatewayError as error:
        refused: GatewayError | None = error
    else:
        refused = None
        assert (wanted.request.kind, bool(wanted.request.model)) == (kind, True)
    assert refused is None or (400 <= refused.status < 500 and refused.param is not None)


@given(info=INFOS)
def test_any_error_has_a_code_other_than_that_of_success(info: ErrorInfo) -> None:
    for form, kind in (
        (keevx.video_error, keevx.KeevxError),
        (keevx.image_error, keevx.KeevxError),
        (keevx_upload.upload_error, keevx_upload.KeevxUploadError),
    ):
        answer = form(info)
        read: Any = msgspec.json.decode(msgspec.json.encode(answer.body), type=kind)
        assert read.code > 0
        assert read.param == info.param
        assert answer.status == info.status or (info.status, answer.status) == (422, 400)
        assert (read.code == keevx.NOT_AUTHENTICATED) == (info.status in {401, 403})


@pytest.mark.parametrize(
    ("code", "status", "shown"),
    [
        ("overloaded", 503, 530003),
        ("shutting_down", 503, 530003),
        ("store_unavailable", 503, 503),
        ("internal", 500, 500),
    ],
)
def test_only_an_error_before_the_create_says_that_no_image_was_started(code: str, status: int, shown: int) -> None:
    info = ErrorInfo(status, "x", "api_error", code, None, {}, "req_1")
    assert keevx.code_of(info, "image") == shown
    assert keevx.code_of(info, "video") == status
