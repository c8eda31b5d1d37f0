"""The types under which files are handed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.artifacts.archiver import EXTENSIONS
from gateway.domain.media_types import OCTETS, SHOWN, sent_type


@given(st.text(max_size=40) | st.sampled_from([*SHOWN, "text/html", "image/svg+xml", "video/mp4, text/html"]))
def test_only_a_type_of_the_list_is_sent(declared: str) -> None:
    assert sent_type(declared) in {*SHOWN, OCTETS}
    assert all(not kind.endswith(("html", "xml", "pdf", "javascript")) for kind in SHOWN)


@pytest.mark.parametrize("kind", sorted(EXTENSIONS))
def test_every_type_that_is_archived_is_shown(kind: str) -> None:
    assert sent_type(f"{kind.upper()}; charset=x") == kind
