"""Which webhook URLs are accepted, before their host is resolved."""

import ipaddress

import pytest

from gateway.api.generations.webhook_url import check_webhook_url
from gateway.domain.errors import InvalidParameter

from ....cases import every

ALLOWED = [ipaddress.ip_network(text) for text in ("10.1.0.0/16", "127.0.0.0/8", "fd00::/8")]


def refusal(url: str, allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str | None:
    try:
        check_webhook_url(url, "callback_url", allowed)
    except InvalidParameter as error:
        return f"{error.param}: {error.detail}"
    return None


@pytest.mark.parametrize(
    "url",
    [
        "http://10.1.2.3/hook",
        "http://10.1.2.3:9000/hook",
        "http://[fd00::1]/hook",
        "http://localhost:9000/hook",
        "http://[::ffff:10.1.2.3]/",
        "https://10.1.2.3/hook",
        "https://localhost/hook",
    ],
)
def test_a_private_address_is_accepted_where_its_network_is_allowed(url: str) -> None:
    assert refusal(url, ALLOWED) is None
    assert "`fetch.allow`" in (refusal(url, []) or "")


@pytest.mark.parametrize("url", ["http://93.184.216.34/hook", "http://10.2.0.1/hook", "HTTP://10.2.0.1/"])
def test_http_to_any_other_address_is_refused_with_the_remedy(url: str) -> None:
    message = refusal(url, ALLOWED) or ""
    assert message.startswith("callback_url: `callback_url` leads to ")
    assert "use https" in message


@every(
    "host",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "127.0.0.1",
        "127.0.0.1.",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::1]",
        "[2002:a00:1::]",
        "[2001::1]",
        "[fec0::1]",
        "168.63.129.16",
        "192.0.2.1",
        "127。0。0。1",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
    ],
)
def test_https_to_an_address_that_is_not_public_is_refused(host: str) -> None:
    assert "not public" in (refusal(f"https://{host}:8443/hook", []) or "")


@pytest.mark.parametrize("host", ["hooks.example.com", "93.184.216.34", "[2606:2800:220:1::1]", "localhost.example"])
def test_https_to_a_name_or_a_public_address_is_accepted(host: str) -> None:
    assert refusal(f"https://{host}/hook", []) is None


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "１２７.0.0.1", "[fe80::1%25lo]", "a..example"])
def test_a_host_that_programs_read_differently_is_refused(host: str) -> None:
    assert (refusal(f"https://{host}/hook", ALLOWED) or "").startswith(
        "callback_url: `callback_url` cannot be delivered"
    )


@pytest.mark.parametrize("port", [22, 25, 6379])
def test_a_port_of_a_well_known_service_needs_an_allowed_address(port: int) -> None:
    assert "`fetch.allow`" in (refusal(f"https://93.184.216.34:{port}/", ALLOWED) or "")
    assert refusal(f"https://10.1.2.3:{port}/", ALLOWED) is None
