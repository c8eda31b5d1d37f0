"""Many event streams on real sockets of a real process: all get every event, and all end with the gateway."""

import asyncio
import json
import re
from pathlib import Path

import httpx

from .test_serve import SOON, Start, configure, create, start

__all__ = ["start"]
ALL, SPREAD = 500, 25  # streams of one generation; as many again are spread over this many other generations


class Stream:
    """One client, and the bytes that it has received."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.text = ""

    @classmethod
    async def open(cls, url: str, generation: str, *headers: str) -> "Stream":
        stream = cls(*await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2])))
        lines = (f"GET /v1/videos/generations/{generation}/events HTTP/1.1", "Host: localhost", *headers, "", "")
        stream._writer.write("\r\n".join(lines).encode())
        return stream

    async def until(self, pattern: str) -> "Stream":
        while not re.search(pattern, self.text):
            chunk = await self._reader.read(65536)
            assert chunk, self.text
            self.text += chunk.decode()
        return self

    @property
    def events(self) -> list[tuple[str, str]]:
        return re.findall(r"id: (\d+)\r?\nevent: (\S+)\n", self.text)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def opened(url: str, generations: list[str]) -> list[Stream]:
    streams = await asyncio.gather(*(Stream.open(url, generation_id) for generation_id in generations))
    return await asyncio.gather(*(stream.until(r"video\.generation\.in_progress") for stream in streams))


ENDS = r"\r\n0\r\n\r\n$"  # the last chunk of an answer


async def test_all_listeners_get_every_event_and_can_resume_elsewhere_when_the_gateway_stops(
    start: Start, tmp_path: Path
):
    options = ("queued_seconds=0", "total_seconds=3600", "max_short_side=64")
    sandbox = start("sandbox", "--port", "0", *(f"--set={option}" for option in options)).until(
        r"sandbox on (http://[^;]+)"
    )
    configure(tmp_path, sandbox)
    gateway = start("serve", "--port", "0")
    first, *others = [create(gateway.url, f"waves {number}") for number in range(1 + SPREAD)]
    async with asyncio.timeout(4 * SOON):
        on_one = await opened(gateway.url, [first] * ALL)
        on_many = await opened(gateway.url, others * (ALL // SPREAD))

        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await client.post(f"/v1/videos/generations/{first}/cancel")).status_code == 200
        await asyncio.gather(*(stream.until(ENDS) for stream in on_one))

        assert {stream.events[-1][1] for stream in on_one} == {"video.generation.cancelled"}
        assert len({tuple(stream.events) for stream in on_one}) == 1
        assert not any("cancelled" in stream.text for stream in on_many)

        assert await asyncio.to_thread(gateway.stop) == 0
        await asyncio.gather(*(stream.until(ENDS) for stream in on_many))
        assert {stream.events[-1][1] for stream in on_many} == {"video.generation.in_progress"}

        again = start("serve", "--port", "0")
        seen, _ = on_many[0].events[0]
        resumed = await Stream.open(again.url, others[0], f"Last-Event-ID: {seen}")
        await resumed.until(r"video\.generation\.in_progress")
        assert resumed.events == on_many[0].events[1:]
        for stream in (*on_one, *on_many, resumed):
            await stream.close()
    stopped = [json.loads(line) for line in gateway.stderr.splitlines()]
    assert not [line for line in stopped if line["level"] == "error"]
