"""Where somebody else's URL may lead: addresses, ports, and hosts that are addresses already. Nothing is resolved here.

The tables follow the IANA Special-Purpose Address Registries (RFC 6890 and its updates) and add the addresses at which
clouds tell a machine its secrets. Tables of our own, because what `ipaddress` calls global differs between releases of
Python, and because it calls some addresses global that carry a private one inside (6to4, NAT64, IPv4-compatible).
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
        "100.64.0.0/10": "private",  # shared by a carrier's customers; 100.100.100.200 is Alibaba's metadata
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's own",  # Azure's host, from within every machine of Azure's
        "169.254.0.0/16": "link-local",  # 169.254.169.254 and .170.2 are the metadata of most clouds
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",  # 192.0.0.192 is Oracle's metadata
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
        "fc00::/7": "private",  # fd00:ec2::254 and fd20:ce::254 are the metadata of Amazon and Google
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
_NAT64 = IPv6Network("64:ff9b::/96")  # a public IPv4 address as an IPv6-only machine sees it: judged by what it carries
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # the middle of an interface identifier that carries an IPv4 address

# Ports from 1024 on whose services trust whoever can connect, or take orders line by line.
_SERVICES = frozenset(
    {1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5672, 5900, 5984, 6000, 6379, 6667, 9042}
    | {9092, 9160, 9200, 9300, 10250, 11211, 27017}
)


def refusal(address: Address, allow: Sequence[Network] = ()) -> str | None:
    """What kind of address it is, when it is not a public one; `None` for one that is, or that `allow` opens."""
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
    """Whether a network of `fetch.allow` has it; one of IPv4 has the IPv6-mapped forms of its addresses too."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(form in network for form in (address, mapped) if form is not None for network in allow)


def port_is_open(port: int) -> bool:
    """Whether a public address may be asked on this port: the web's two, and the unprivileged ones without a service.

    What else listens below 1024 is mail, shells and names, which a request could be made to look like an order to.
    """
    return port in {80, 443} or (port >= 1024 and port not in _SERVICES)


def addresses_of(host: str) -> tuple[Address, ...]:
    """The addresses that a host is without being resolved; of names, `localhost` alone has some (RFC 6761)."""
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1"), IPv6Address("::1")
    try:
        return (ip_address(host),)
    except ValueError:
        return ()


_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL | re.IGNORECASE)


def is_disguised(host: str) -> bool:
    """Whether a resolver would read an address in a host that is not written as one: 127.1, 0x7f000001, 2130706433."""
    return _NUMERIC.fullmatch(host.removesuffix(".")) is not None and not addresses_of(host)
