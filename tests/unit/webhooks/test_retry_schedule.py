"""The schedule of webhook retries is declared once, in `RETRY_SECONDS`; every text that has it agrees."""

import re
from pathlib import Path

from gateway.api.webhooks.events import spelled_out
from gateway.domain.webhooks import RETRY_SECONDS

ROOT = Path(__file__).parents[3]
SCHEDULE = re.compile(r"\d+ seconds, \d+ minutes[\w\s,]*? hours")


def test_pauses_are_written_with_the_largest_unit_that_fits() -> None:
    assert spelled_out((5, 300, 1800, 7200, 18_000, 36_000)) == "5 seconds, 5 minutes, 30 minutes, 2, 5 and 10 hours"
    assert spelled_out((90, 3600)) == "90 seconds, 1 hours"


def test_each_page_has_the_schedule_as_it_is() -> None:
    pages = (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
    passages_of = {page.name: SCHEDULE.findall(" ".join(page.read_text().split())) for page in pages}
    assert any(passages_of.values()), "a page says when a webhook is sent again"
    wrong = {name: passages for name, passages in passages_of.items() if set(passages) - {spelled_out(RETRY_SECONDS)}}
    assert wrong == {}
