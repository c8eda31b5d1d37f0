"""Which addresses and ports a URL from outside may lead to: the table against SSRF. Pure: no name is resolved here.

A client or a provider could name a URL of the gateway's own network and so reach services there (server-side request
forgery, SSRF). The tables follow the IANA Special-Purpose Address Registries (RFC 6890 and its updates) and add the
addresses at which cloud machines read their secrets ("metadata"). They do not use `ipaddress.is_global`: its answer
differs between releases of Python, and it calls some addresses global that contain a private one (6to4, NAT64,
IPv4-compatible).
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV4 = {
    IPv4Network(network): kind
    for network, kind in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "private",  # RFC 6598, shared by a carrier's customers; 100.100.100.200: Alibaba's metadata
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's own",  # the host of every Azure machine
        "169.254.0.0/16": "link-local",  # 169.254.169.254 and 169.254.170.2: the metadata of most clouds
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",  # 192.0.0.192: Oracle's metadata
        "192.0.2.0/24": "reserved",  # documentation
        "192.88.99.0/24": "reserved",  # 6to4 relays
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "reserved",  # benchmarks
        "198.51.100.0/24": "reserved",  # documentation
        "203.0.113.0/24": "reserved",  # documentation
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",  # and broadcast
    }.items()
}
_IPV6 = {
    IPv6Network(network): kind
    for network, kind in {
        "::/128": "unspecified",
        "::1/128": "loopback",
        "::/96": "reserved",  # IPv4-compatible
        "64:ff9b:1::/48": "private",  # NAT64 of a local network
        "fc00::/7": "private",  # fd00:ec2::254 and fd20:ce::254: the metadata of Amazon and Google
        "fe80::/10": "link-local",
        "fec0::/10": "private",  # site-local
        "ff00::/8": "multicast",
        "2001::/23": "reserved",  # protocols: Teredo, ORCHID, benchmarks
        "2001:db8::/32": "reserved",  # documentation
        "2002::/16": "reserved",  # 6to4
        "3fff::/20": "reserved",  # documentation
    }.items()
}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # contains an IPv4 address, which is what is judged
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # the upper half of an interface identifier that contains an IPv4 address

# Ports from 1024 on whose services trust every caller that can connect, or accept commands line by line: databases,
# caches, container engines, IRC, X11.
_SERVICES = frozenset(
    {1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5672, 5900, 5984, 6000, 6379, 6667, 9042}
    | {9092, 9160, 9200, 9300, 10250, 11211, 27017}
)


def refusal(address: Address, allow: Sequence[Network] = ()) -> str | None:
    """Why an address may not be called, as its kind, for example `private`; `None` if it may.

    Public addresses and addresses in a network of `allow` may be called.
    """
    if is_allowed(address, allow):
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4.items() if address in network), None)
    if address.scope_id is not None:
        return "link-local"
    if address in _NAT64:
        return refusal(IPv4Address(int(address) & 0xFFFF_FFFF))
    if (kind := next((kind for network, kind in _IPV6.items() if address in network), None)) is not None:
        return kind
    if address not in _GLOBAL_UNICAST or int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "reserved"
    return None


def is_allowed(address: Address, allow: Sequence[Network]) -> bool:
    """True if a network of `fetch.allow` contains the address. An IPv4 network contains its IPv6-mapped forms too."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(form in network for form in (address, mapped) if form is not None for network in allow)


def port_is_open(port: int) -> bool:
    """True if a public address may be called on this port: 80, 443, and ports from 1024 on without a known service.

    The other ports below 1024 belong to mail, shells and name servers: a crafted request could look like a command.
    """
    return port in {80, 443} or (port >= 1024 and port not in _SERVICES)


def addresses_of(host: str) -> tuple[Address, ...]:
    """The addresses that a host means without DNS: an address literal, or `localhost` (RFC 6761); else empty."""
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1"), IPv6Address("::1")
    try:
        return (ip_address(host),)
    except ValueError:
        return ()


_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL | re.IGNORECASE)


def is_disguised(host: str) -> bool:
    """True if a resolver would read an address from a host that is not a plain one: 127.1, 0x7f000001, 2130706433."""
    return _NUMERIC.fullmatch(host.removesuffix(".")) is not None and not addresses_of(host)
