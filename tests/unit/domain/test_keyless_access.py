"""Which requests a gateway without client keys accepts, by their heads alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import ForbiddenHost, ForbiddenOrigin, ForbiddenProxy, GatewayError
from gateway.domain.keyless_access import check_keyless, origin_of

HOST = (b"host", b"localhost:8080")
OWN = (b"origin", b"http://localhost:8080")
CHANGING = ("POST", "PUT", "PATCH", "DELETE", "LINK")  # the last one: a method that nobody knows changes something, too


def refused(method: str, *headers: tuple[bytes, bytes]) -> type[GatewayError] | None:
    try:
        check_keyless(method, "http", headers)
    except GatewayError as error:
        return type(error)
    return None


@pytest.mark.parametrize("method", CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        [(b"origin", b"https://evil.example")],
        [(b"origin", b"null")],
        [(b"origin", b"")],
        [(b"origin", b"file://")],
        [(b"origin", b"chrome-extension://abc")],
        [(b"origin", b"https://localhost:8080")],
        [(b"origin", b"http://localhost:3000")],
        [(b"origin", b"http://localhost")],
        [(b"origin", b"http://127.0.0.1:8080")],
        [(b"origin", b"http://localhost:8080.evil.example")],
        [(b"origin", b"\xff")],
        [OWN, (b"origin", b"https://evil.example")],
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site")],
        [(b"sec-fetch-site", b"")],
        [(b"sec-fetch-site", b"Same-Origin, cross-site")],
        [OWN, (b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")],
    ],
    ids=str,
)
def test_a_page_of_another_origin_changes_nothing(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert refused(method, HOST, *headers) is ForbiddenOrigin
    for harmless in ("GET", "HEAD", "OPTIONS"):
        assert refused(harmless, HOST, *headers) is None


@pytest.mark.parametrize("method", CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [OWN],
        [(b"origin", b"HTTP://LOCALHOST:8080")],
        [OWN, (b"sec-fetch-site", b"same-origin")],
        [(b"sec-fetch-site", b"none")],
        [(b"sec-fetch-mode", b"cors")],  # what `fetch` of Node sends
    ],
    ids=str,
)
def test_programs_and_the_gateways_own_pages_are_answered(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert refused(method, HOST, *headers) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"localhost", b"http://localhost"),
        (b"localhost:80", b"http://localhost"),
        (b"[::1]:9", b"http://[::1]:9"),
        (b"127.0.0.1:9", b"http://127.0.0.1:9"),
    ],
)
def test_the_own_origin_is_that_of_the_host(host: bytes, origin: bytes) -> None:
    assert refused("POST", (b"host", host), (b"origin", origin)) is None
    assert refused("POST", (b"host", b"localhost:7"), (b"origin", origin)) is ForbiddenOrigin


PROXIED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded", "via", "x-real-ip"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", *CHANGING])
@pytest.mark.parametrize("name", [*PROXIED, "x-forwarded-for\xff<script>"])
def test_nothing_comes_through_a_proxy(method: str, name: str) -> None:
    with pytest.raises(ForbiddenProxy) as refusal:
        check_keyless(method, "http", [HOST, (name.encode("latin-1"), b"10.0.0.1")])
    assert "server.api_keys" in refusal.value.detail
    assert (name if name in PROXIED else "x-forwarded-…") in refusal.value.detail


@pytest.mark.parametrize(
    "hosts", [[], [b"evil.example"], [b"localhost", b"evil.example"], [b"localhost", b"localhost"]]
)
def test_another_name_is_refused_for_every_method(hosts: list[bytes]) -> None:
    for method in ("GET", "HEAD", "OPTIONS", *CHANGING):
        assert refused(method, *((b"host", host) for host in hosts)) is ForbiddenHost


@given(
    st.sampled_from(CHANGING),
    st.lists(st.tuples(st.sampled_from([b"origin", b"sec-fetch-site"]), st.binary(max_size=40)), max_size=3),
)
def test_whatever_a_browser_sends_only_the_own_origin_is_accepted(
    method: str, headers: list[tuple[bytes, bytes]]
) -> None:
    foreign = [
        (name, value)
        for name, value in headers
        if (name == b"origin" and value.strip().lower() != OWN[1])
        or (name == b"sec-fetch-site" and value not in {b"same-origin", b"none"})
    ]
    assert (refused(method, HOST, *headers) is None) == (not foreign)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Video.Example.com:443/a?b#c", "https://video.example.com"),
        ("http://video.example.com:8080", "http://video.example.com:8080"),
        ("http://video.example.com:443", "http://video.example.com:443"),
        ("null", ""),
        ("", ""),
    ],
)
def test_origins_are_written_as_browsers_write_them(url: str, origin: str) -> None:
    assert origin_of(url) == origin
