"""The page of the API reference loads nothing from other hosts and runs only its own script."""

import re
from typing import Any
from urllib.parse import urljoin

import pytest

PAGES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/docs.js": "text/javascript; charset=utf-8",
    "/docs/docs.css": "text/css; charset=utf-8",
}


@pytest.mark.parametrize("path", PAGES)
async def test_each_part_has_its_media_type(gateway: Any, path: str) -> None:
    response = await gateway.client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, PAGES[path])
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_is_loaded_from_other_hosts(gateway: Any, path: str) -> None:
    text = (await gateway.client.get(path)).text
    assert "//" not in re.sub(r"https?://www\.w3\.org/\S*", "", text)


async def test_everything_that_the_page_loads_is_served(gateway: Any) -> None:
    page = (await gateway.client.get("/docs")).text
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert named == {"docs/docs.css", "docs/docs.js", "openapi.json"}, "relative, so that a prefix does not matter"
    for path in named:
        assert (await gateway.client.get(urljoin("/docs", path))).status_code == 200


async def test_the_page_with_a_slash_leads_to_the_page(gateway: Any) -> None:
    answer = await gateway.client.get("/docs/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../docs")


async def test_the_page_may_run_its_own_script_alone(gateway: Any) -> None:
    response = await gateway.client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", response.text)


async def test_the_script_writes_text_and_no_markup(gateway: Any) -> None:
    script = (await gateway.client.get("/docs/docs.js")).text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
