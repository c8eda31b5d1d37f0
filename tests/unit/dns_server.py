"""A DNS server for tests, over UDP: it answers from a script, and may answer otherwise the next time it is asked."""

import contextlib
import ipaddress
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Sequence[Sequence[str]]]  # name → what it answers the first time, the second…; the last one stays
ALIAS = "alias "  # before a name: a CNAME
_WILD = re.compile(r"(?:.*\.)?(?:([0-9a-f]{8})|(\d+\.\d+\.\d+\.\d+))\.nip\.test")  # as nip.io has it
_TYPES = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class DnsServer:
    """Counts how often each name was asked for its IPv4 addresses; those of IPv6 come with the same count."""

    def __init__(self, zone: Zone) -> None:
        self.queries: Counter[str] = Counter()
        self._zone = zone
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    async def resolve(self, name: str, port: int, client: str) -> list[str]:
        """The addresses that a client of this server gets. Raises `OSError` for a name that does not exist."""
        addresses: list[str] = []
        for kind in _TYPES.values():
            query = dns.message.make_query(name, kind)
            reply = await dns.asyncquery.udp(query, "127.0.0.1", port=self.port, timeout=5)
            if reply.rcode() == dns.rcode.NXDOMAIN:
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            addresses += [item.address for rrset in reply.answer if rrset.rdtype == kind for item in rrset]
        return addresses

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            self._socket.sendto(self._reply(dns.message.from_wire(wire)).to_wire(), client)

    def _reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        (question,) = query.question
        name, kind = question.name, question.rdtype
        if kind == dns.rdatatype.A:
            self.queries[_text(name)] += 1
        while (records := self._records(_text(name))) and records[0].startswith(ALIAS):
            onward = dns.name.from_text(records[0].removeprefix(ALIAS))
            reply.answer.append(dns.rrset.from_text(name, 0, "IN", "CNAME", onward.to_text()))
            name = onward
        if records is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return reply
        texts = [text for text in records if _TYPES[ipaddress.ip_address(text).version] == kind]
        if texts:
            reply.answer.append(dns.rrset.from_text(name, 0, "IN", dns.rdatatype.to_text(kind), *texts))
        return reply

    def _records(self, name: str) -> Sequence[str] | None:
        if match := _WILD.fullmatch(name):
            return [str(ipaddress.IPv4Address(int(match[1], 16) if match[1] else match[2]))]
        script = self._zone.get(name)
        return None if script is None else script[min(max(self.queries[name], 1), len(script)) - 1]

    def close(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


@contextlib.contextmanager
def dns_server(zone: Zone) -> Iterator[DnsServer]:
    server = DnsServer(zone)
    try:
        yield server
    finally:
        server.close()
