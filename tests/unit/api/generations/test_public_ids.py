"""The ids of a generation in every dialect: each leads back to the generation, and says whose it is."""

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.api.generations.public_ids import KEEVX_IMAGE, KEEVX_VIDEO, OWN, PREFIXES, parse_id, public_id, stored_id

OF_OUTPUTS = (KEEVX_VIDEO, KEEVX_IMAGE)  # the dialects with one id for each output
STORED = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26).map(lambda ulid: f"{OWN}{ulid}")


@given(STORED, st.sampled_from(PREFIXES), st.integers(0, 999))
def test_an_id_leads_back_to_its_generation(stored: str, prefix: str, index: int) -> None:
    output = index if prefix in OF_OUTPUTS else 0
    public = public_id(prefix, stored, output)

    assert parse_id(public) == (prefix, stored, output)
    assert stored_id(public) == stored


@given(st.lists(st.tuples(STORED, st.sampled_from(PREFIXES), st.integers(0, 7)), min_size=2, max_size=6, unique=True))
def test_two_ids_are_never_equal(named: list[tuple[str, str, int]]) -> None:
    ids = {(stored, prefix, index if prefix in OF_OUTPUTS else 0) for stored, prefix, index in named}
    assert len({public_id(prefix, stored, index) for stored, prefix, index in ids}) == len(ids)


ALMOST = st.builds(
    lambda prefix, stored, end: f"{prefix}{stored.removeprefix(OWN)}{end}",
    st.sampled_from([*PREFIXES, "", "Gen_", "video-", "task-unified_"]),
    STORED | st.text("0123456789abcdefILOU", max_size=27),
    st.sampled_from(["", "-0", "-01", "-1", "-1000", "-", " ", "\n", "-1-1", "é"]),
)


@given(ALMOST | st.text(max_size=40))
@example("gen_01JDKQ00000000000000000000\n")
@example("task_01JDKQ00000000000000000000-1")
def test_text_that_is_no_id_leads_nowhere(text: str) -> None:
    public = parse_id(text)
    if public is None:
        assert stored_id(text) == text
    else:  # so no two texts are ids of one output in one dialect
        assert public_id(*public) == text
