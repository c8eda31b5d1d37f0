"""The table of public addresses and ports, and hosts that are written as addresses."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.public_addresses import addresses_of, is_allowed, is_disguised, port_is_open, refusal

from ...cases import every

CLOSED = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"],
    "private": [
        *("10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255"),
        "100.100.100.200",
        *("fc00::1", "fdff::1", "fd00:ec2::254", "fd20:ce::254", "fec0::1", "feff::1"),
        *("64:ff9b:1::1", "64:ff9b:1::5db8:d822", "64:ff9b::10.0.0.1", "::ffff:10.0.0.1"),
    ],
    "link-local": [
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "febf::1",
        "fe80::1%eth0",
        "2606:2800::1%eth0",
    ],
    "a cloud's own": ["168.63.129.16"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": [
        *("192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7"),
        *("203.0.113.9", "240.0.0.1", "255.255.255.255"),
        *("::7f00:1", "::93.184.216.34", "::ffff:0:127.0.0.1", "100::1", "2001::1", "2001:2::1", "2001:10::1"),
        *("2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::", "2002:5db8:d822::1", "3fff::1", "3fff:fff::1", "4000::1"),
        *("5f00::1", "1fff::1", "8000::1", "2606:2800::5efe:7f00:1", "2606:2800::200:5efe:a00:1"),
    ],
}
PUBLIC = [
    *("1.1.1.1", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2001:200::1", "2001:4860:4860::8888", "2606:2800:220:1::1", "2003::1", "2a00::1", "3ffe:ffff::1"),
    *("::ffff:93.184.216.34", "64:ff9b::5db8:d822"),
]


@every(("text", "kind"), [(text, kind) for kind, texts in CLOSED.items() for text in texts])
def test_an_address_that_is_not_public_is_refused_by_its_kind(text: str, kind: str) -> None:
    assert refusal(ip_address(text)) == kind


@every("text", PUBLIC)
def test_a_public_address_may_be_called(text: str) -> None:
    assert refusal(ip_address(text)) is None


@pytest.mark.parametrize(
    ("text", "network", "opened"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("::ffff:127.0.0.1", "127.0.0.0/8", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.0/104", True),
        ("::1", "127.0.0.0/8", False),
        ("::127.0.0.1", "127.0.0.0/8", False),
        ("64:ff9b::127.0.0.1", "127.0.0.0/8", False),
        ("64:ff9b::127.0.0.1", "64:ff9b::/96", True),
        ("2002:7f00:1::", "127.0.0.0/8", False),
        ("10.2.0.1", "10.1.0.0/16", False),
        ("fd00::1", "fd00::/8", True),
        ("fe80::1%eth0", "fe80::/10", True),
    ],
)
def test_an_allowed_network_opens_its_own_addresses_alone(text: str, network: str, opened: bool) -> None:
    assert is_allowed(ip_address(text), [ip_network(network)]) is opened
    assert (refusal(ip_address(text), [ip_network(network)]) is None) is opened


@settings(max_examples=200)
@given(st.ip_addresses())
def test_the_table_opens_nothing_that_python_knows_to_be_closed(address: IPv4Address | IPv6Address) -> None:
    if refusal(address) is None:
        plain = getattr(address, "ipv4_mapped", None) or address
        assert plain.is_global
        assert not plain.is_multicast


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.LocalHost."])
def test_localhost_is_loopback_whatever_a_resolver_says(host: str) -> None:
    assert addresses_of(host) == (ip_address("127.0.0.1"), ip_address("::1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1.", "::1", "::ffff:7f00:1"])
def test_an_address_needs_no_resolver(host: str) -> None:
    (address,) = addresses_of(host)
    assert refusal(address) == "loopback"
    assert not is_disguised(host)


DISGUISED = [
    *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1", "017700000001", "0x7f.0x0.0x0.0x1"),
    *("0", "0x", "127.0.0.1.1", "256.0.0.1", "127.0.0.01", "a.1", "a.0x1", "127.1.", "127.0.0.1.."),
]


@every("host", DISGUISED)
def test_a_number_that_is_not_written_as_an_address_is_disguised(host: str) -> None:
    assert addresses_of(host) == ()
    assert is_disguised(host) or ".." in host  # an empty label is neither a name nor a number


@pytest.mark.parametrize("host", ["a.example", "1.example", "localhost.example", "0x7f.example", "127.0.0.1.nip.test"])
def test_a_name_is_left_to_a_resolver(host: str) -> None:
    assert addresses_of(host) == ()
    assert not is_disguised(host)


@every(
    ("port", "opened"),
    [(80, True), (443, True), (1024, True), (8080, True), (8443, True), (9000, True), (65535, True)]
    + [(port, False) for port in (1, 21, 22, 23, 25, 53, 110, 445, 465, 587, 1023, 2375, 3306, 5432, 6379, 11211)],
)
def test_ports_of_services_are_closed(port: int, opened: bool) -> None:
    assert port_is_open(port) is opened
