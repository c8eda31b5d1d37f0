"""Every text that spells out the schedule of webhook retries agrees with `RETRY_SECONDS`, its one declaration."""

import json
import re
from itertools import groupby
from pathlib import Path

from gateway.domain.webhooks import RETRY_AFTER_MAX, RETRY_SECONDS

ROOT = Path(__file__).parents[3]
UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
SPELLED_OUT = re.compile(r"\d+ seconds, \d+ minutes[\w\s,]*? hours")


def waits(seconds: tuple[int, ...]) -> str:
    """As the documents write it: `5 seconds, 5 minutes, 30 minutes, 2, 5, 10 and 10 hours`."""
    amounts = [next((wait // size, unit) for size, unit in UNITS if wait % size == 0) for wait in seconds]
    words: list[str] = []
    for unit, group in groupby(amounts, key=lambda amount: amount[1]):
        numbers = [str(number) for number, _ in group]
        if unit == "hours" and len(numbers) > 1:
            words.append(f"{', '.join(numbers[:-1])} and {numbers[-1]} {unit}")
        else:
            words += [f"{number} {unit}" for number in numbers]
    return ", ".join(words)


def texts() -> dict[str, str]:
    pages = {str(page.relative_to(ROOT)): page.read_text() for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))}
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    return pages | {"openapi.json": json.dumps(document, ensure_ascii=False)}


def test_each_text_has_the_schedule_as_it_is() -> None:
    spelled_out = {name: SPELLED_OUT.findall(" ".join(text.split())) for name, text in texts().items()}
    assert spelled_out["openapi.json"], "the API says when a webhook is sent again"
    wrong = {name: passages for name, passages in spelled_out.items() if set(passages) - {waits(RETRY_SECONDS)}}
    assert wrong == {}


def test_the_api_says_how_long_a_retry_after_is_honoured() -> None:
    hours, rest = divmod(RETRY_AFTER_MAX, 3600)
    assert rest == 0
    assert re.search(rf"`Retry-After`[^.]* up to {hours} hours", texts()["openapi.json"])
