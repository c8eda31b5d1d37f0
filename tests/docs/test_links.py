"""Links, anchors, names and lengths of lines in the pages."""

import json
import re

import msgspec

from gateway.api.generations.views import GenerationView
from gateway.upstream.registry import load_adapters

from ..cases import every
from .pages import GENERATED, PAGES, ROOT, TESTED, anchors_of, blocks_of, links_of, prose_of

LINKED = [
    *PAGES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "DECISIONS.md",
    ROOT / "providers" / "README.md",
]
README_LINES_MAX = 150
LINE_MAX = 120


@every("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page) -> None:
    for path, anchor in links_of(page):
        target = (page.parent / path).resolve() if path else page

        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor in anchors_of(target), f"{page.name}: {path}#{anchor}"


def test_readme_links_to_every_page() -> None:
    linked = {path for path, _ in links_of(ROOT / "README.md")}

    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} <= linked


def test_a_page_with_several_sections_begins_with_links_to_all_of_them() -> None:
    for page in TESTED:
        sections = re.findall(r"^## (.+)$", prose_of(page), re.MULTILINE)
        linked = [anchor for path, anchor in links_of(page) if not path]

        if page.name not in {"README.md", "architecture.md"}:
            assert set(linked) >= {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in sections}, page


@every("page", [*TESTED, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_no_line_is_too_long(page) -> None:
    long = [
        number
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        if len(line) > LINE_MAX and not line.startswith("|") and "http" not in line
    ]

    assert long == [], f"{page.name}: lines over {LINE_MAX} characters, other than tables and URLs"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = "".join(page.read_text() for page in [*PAGES, ROOT / "CONTRIBUTING.md"])

    assert set(re.findall(r"(?:`|^)make ([a-z-]+)(?= |`|\n)", texts, re.MULTILINE)) <= targets


def test_every_file_that_the_architecture_names_exists() -> None:
    """Paths there are below gateway/ unless they begin at the root of the repository."""
    page = prose_of(ROOT / "docs" / "architecture.md")
    paths = re.findall(r"`((?:[\w.-]+/)+(?:[\w-]+\.\w+)?|[\w-]+/)`", page)

    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists() and not (ROOT / "gateway" / path).exists()] == []


def test_the_documented_generations_have_the_fields_of_the_api() -> None:
    texts = [block.text for block in blocks_of(GENERATED) if block.language == "json"]

    generations = [msgspec.json.decode(text, type=GenerationView) for text in texts]

    ends = {(view.provider or view.attempts[-1].provider, view.status.value) for view in generations}
    assert ends == {(name, status) for name in load_adapters() for status in ("completed", "failed")}
    for text, view in zip(texts, generations, strict=True):
        assert json.loads(text).keys() == json.loads(msgspec.json.encode(view)).keys()
