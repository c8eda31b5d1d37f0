"""The rules for a URL that webhooks are delivered to, as far as they can be checked without resolving its host."""

from collections.abc import Sequence

from gateway.api.generations.refusals import refuse
from gateway.domain.errors import InvalidParameter
from gateway.domain.public_addresses import Network, addresses_of, is_allowed, port_is_open, refusal
from gateway.fetch.fetcher import FetchRefused, Target, target_of
from gateway.fetch.urls import url_fault

WEBHOOK_URL_MAX = 2048  # characters


def read_webhook_url(value: object, name: str) -> str:
    """Return an https URL, or an http URL whose host is an address; raise `InvalidParameter` for anything else.

    http with a host name is refused, because only resolving the name would show whether it leads to an allowed network.
    `check_webhook_url` then compares the address with the configuration.
    """
    if not isinstance(value, str):
        refuse(name, "an https URL", value)
    fault = url_fault(value, WEBHOOK_URL_MAX)
    if fault is not None:
        raise InvalidParameter(f"`{name}` {fault}; it must be an https URL.", param=name)
    target = _target(value, name)
    if target.url.scheme == "http" and not addresses_of(target.host):
        message = (
            f"`{name}` must be an https URL. http is accepted only for an address within `fetch.allow` of the gateway's"
            " configuration, not for a host name."
        )
        raise InvalidParameter(message, param=name)
    return value


def check_webhook_url(url: str, name: str, allowed: Sequence[Network]) -> None:
    """Raise `InvalidParameter` for a webhook URL that no delivery could reach.

    `allowed` are the networks of `fetch.allow`. http may go to these networks only, https to public addresses as well.
    A host name is accepted here; the fetcher checks its addresses at each delivery.
    """
    target = _target(url, name)
    addresses = addresses_of(target.host)
    if not addresses or any(is_allowed(address, allowed) for address in addresses):
        return
    reason = f"`{name}` leads to {addresses[0]}, which is not within `fetch.allow` of the gateway's configuration"
    if target.url.scheme == "http":
        raise InvalidParameter(f"{reason}: use https, or an address within it.", param=name)
    if all(refusal(address) is not None for address in addresses):
        raise InvalidParameter(f"{reason} and not public: use a public host, or an address within it.", param=name)
    if not port_is_open(target.port):
        remedy = "use port 443, a port from 1024 on that no well-known service has, or an address within it"
        raise InvalidParameter(f"{reason}: {remedy}.", param=name)


def _target(url: str, name: str) -> Target:
    try:
        return target_of(url)
    except FetchRefused as error:
        raise InvalidParameter(f"`{name}` cannot be delivered to: {error}.", param=name) from error
