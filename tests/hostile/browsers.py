"""Web pages that call a gateway of the same machine: requests as a browser sends them, with the origin of the page.

A gateway without keys must refuse each of them. One with keys must not need to: a page does not have the key.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import httpx

from .card import Row
from .measure import costing
from .world import VIDEOS, Gateway

FORM = {"content-type": "application/x-www-form-urlencoded"}
TEXT = {"content-type": "text/plain"}
CREATE = json.dumps({"model": "kling_relay/kling-v1-6", "prompt": "a cat"})
# What a browser adds to the request of a page.
ORIGINS: Mapping[str, Mapping[str, str]] = {
    "of another site": {"origin": "https://attacker.example", "sec-fetch-site": "cross-site"},
    "of a page in a sandbox": {"origin": "null", "sec-fetch-site": "cross-site"},
    "of another port": {"origin": "http://127.0.0.1:1", "sec-fetch-site": "same-site"},
    "without Sec-Fetch-Site": {"origin": "https://attacker.example"},
    "without Origin": {"sec-fetch-site": "cross-site"},
}
# Method, path, headers, body. A page may send all of them without asking the gateway first, except the last two.
REQUESTS = (
    ("POST", VIDEOS, FORM, "model=kling_relay%2Fkling-v1-6&prompt=a+cat"),
    ("POST", VIDEOS, TEXT, CREATE),
    ("POST", VIDEOS, {}, CREATE),
    ("POST", "/v1/videos", FORM, "model=kling_relay%2Fkling-v1-6&prompt=a+cat"),
    ("POST", "/mcp", TEXT, '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'),
    ("POST", f"{VIDEOS}/gen_00000000000000000000000000/cancel", {}, ""),
    ("DELETE", f"{VIDEOS}/gen_00000000000000000000000000", {}, ""),
    ("PATCH", "/v1/webhook_endpoints/whe_00000000000000000000000000", {"content-type": "application/json"}, "{}"),
)


async def browsers(gateway: Gateway) -> AsyncIterator[Row]:
    """All requests with each origin; the gateway has no keys."""
    for name, origin in ORIGINS.items():
        answers: Counter[str] = Counter()
        faults: list[str] = []
        before = await gateway.bought()
        async with (
            costing(gateway) as cost,
            httpx.AsyncClient(base_url=gateway.url, timeout=20, trust_env=False) as client,
        ):
            for method, path, headers, body in REQUESTS:
                answer = await client.request(method, path, headers={**headers, **origin}, content=body.encode())
                answers[str(answer.status_code)] += 1
                if answer.status_code != httpx.codes.FORBIDDEN:
                    faults.append(f"{method} {path} is answered by {answer.status_code}")
        if bought := await gateway.bought() - before:
            faults.append(f"a page has bought {bought} videos")
        yield Row(f"requests {name}", f"{len(REQUESTS)} requests of a page", cost, answers, faults=faults)
