"""Signed tokens are valid only for what they were signed for, and only until they expire."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tokens import TOKEN_MAX, Signer

NOW = datetime(2026, 3, 2, 12, 0, 0, 500_000, tzinfo=UTC)
SIGNER = Signer(b"s" * 32)
TOKEN = SIGNER.sign("content", "gen_1", "0", "video", until=NOW)


def admits(token: str, *subject: str, now: datetime = NOW, purpose: str = "content") -> bool:
    return SIGNER.admits(token, purpose, *subject, now=now)


def test_a_token_is_good_until_the_second_it_ends_in_is_over() -> None:
    assert admits(TOKEN, "gen_1", "0", "video")
    assert admits(TOKEN, "gen_1", "0", "video", now=NOW + timedelta(seconds=0.49))
    assert not admits(TOKEN, "gen_1", "0", "video", now=NOW + timedelta(seconds=0.5))


def test_a_token_without_an_end_is_good_for_ever() -> None:
    assert admits(SIGNER.sign("content", "x"), "x", now=datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("purpose", "subject"),
    [
        ("file", ("gen_1", "0", "video")),
        ("content", ("gen_2", "0", "video")),
        ("content", ("gen_1", "1", "video")),
        ("content", ("gen_1", "0", "thumbnail")),
        ("content", ("gen_1", "0")),
        ("content", ("gen_1", "0", "video", "")),
        ("content", ("gen_1\x000", "video")),
        ("content", ("gen_1", "0", "video\ud800")),
    ],
)
def test_a_token_is_good_for_nothing_else(purpose: str, subject: tuple[str, ...]) -> None:
    assert not admits(TOKEN, *subject, purpose=purpose)


def test_a_token_of_another_secret_is_refused() -> None:
    assert not admits(Signer(b"t" * 32).sign("content", "x"), "x")


def test_a_token_fits_a_url() -> None:
    assert set(TOKEN) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(TOKEN) <= TOKEN_MAX


@pytest.mark.parametrize("token", ["", ".", "x", "é" + TOKEN, TOKEN + "=", " " + TOKEN, TOKEN + "." * TOKEN_MAX])
def test_anything_that_is_not_a_token_is_refused(token: str) -> None:
    assert not admits(token, "gen_1", "0", "video")


@settings(max_examples=200)
@given(at=st.integers(0, len(TOKEN) - 1), letter=st.characters())
def test_a_token_with_any_letter_changed_is_refused(at: int, letter: str) -> None:
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    assert admits(changed, "gen_1", "0", "video") is (changed == TOKEN)


@settings(max_examples=100)
@given(token=st.text(max_size=200), subject=st.lists(st.text(), max_size=3))
def test_any_text_is_refused_and_nothing_breaks(token: str, subject: list[str]) -> None:
    assert not admits(token, *subject)
