"""Who may use a gateway that has no client keys: programs of its own machine, and pages of the gateway itself.

Such a gateway listens on a loopback address, and everything that reaches it may buy. A web page that a user of the
machine has opened reaches it, too: with a form, with `fetch`, or after it has made its own name resolve to this machine
(DNS rebinding). So does everybody who reaches a proxy in front of it. Only the head of a request shows these cases, so
it is judged before the body is read, and in the same way at every path.

A client with a key needs no such rule: a browser adds no `Authorization` or `x-api-key` by itself, and lets a page of
another origin add one only if `server.cors_origins` names that origin.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

from gateway.domain.errors import ForbiddenHost, ForbiddenOrigin, ForbiddenProxy

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing, and other pages cannot read their answers
_OWN_SITES = frozenset({"same-origin", "none"})  # `none`: the user has typed the address
_OF_PROXIES = ("forwarded", "via", "x-real-ip")  # and all that begin with `x-forwarded`
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")  # a name or an address, with or without a port
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_KEYS = "set server.api_keys, or VIDEO_GATEWAY_API_KEY"


def check_keyless(method: str, scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Judge the head of a request to a gateway without client keys. The names of `headers` are in lower case.

    Raises `ForbiddenProxy` if it came through a proxy, `ForbiddenHost` if it came by another name than that of this
    machine, and `ForbiddenOrigin` if it may change something and a browser sent it for a page of another origin.
    """
    values: dict[str, list[str]] = {"host": [], "origin": [], "sec-fetch-site": []}
    for raw, value in headers:
        name = raw.decode("latin-1")
        if name.startswith("x-forwarded") or name in _OF_PROXIES:
            raise ForbiddenProxy(
                f"Without API keys the gateway answers no request that came through a proxy, and this one has the"
                f" header `{_shown(name)}`; {_KEYS}, or call the gateway directly."
            )
        if name in values:
            values[name].append(value.decode("latin-1"))
    hosts = values["host"]
    if len(hosts) != 1 or not is_own_host(hosts[0]):
        raise ForbiddenHost(
            "Without API keys the gateway answers to localhost and loopback addresses alone;"
            f" {_KEYS}, to be called by another name."
        )
    if method in SAFE_METHODS:
        return
    own = origin_of(f"{scheme}://{hosts[0]}")
    is_foreign = any(origin_of(origin) != own for origin in values["origin"])
    if is_foreign or not _OWN_SITES.issuperset(values["sec-fetch-site"]):
        raise ForbiddenOrigin(
            "Without API keys a web page of another origin may change nothing here, because it could buy without its"
            f" visitor's knowledge; {_KEYS}, and name the origin of the page in server.cors_origins."
        )


def origin_of(url: str) -> str:
    """The origin of an http(s) URL as browsers write it: in small letters, without the port that its scheme implies.

    An empty text, and one without a scheme, such as `null`, have none: the answer is an empty text.
    """
    scheme, separator, rest = url.strip().lower().partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].removesuffix(f":{_DEFAULT_PORTS.get(scheme)}")
    return f"{scheme}://{host}" if separator else ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_own_host(host: str) -> bool:
    """Whether the value of a `Host` header means this machine itself."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback((match[1] or match[2] or "").lower().removesuffix("."))


def _shown(name: str) -> str:
    """The name of a header, for a message: a stranger chooses its end."""
    return name if re.fullmatch(r"[a-z-]{1,40}", name) else "x-forwarded-…"
