"""The shared classification of refused calls: which rule decides, and what never counts as a refusal."""

from dataclasses import replace

import pytest

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.refusals import ErrorReport, Mark, Refusals, Rule, by_phrase, classify, kind_of_code
from gateway.domain.adapter.replies import phrases

INVALID, LIMITED, CREDIT = FailureKind.INVALID_REQUEST, FailureKind.RATE_LIMITED, FailureKind.OUT_OF_CREDIT
AMBIGUOUS, LOST, UNAVAILABLE = FailureKind.AMBIGUOUS, FailureKind.TASK_LOST, FailureKind.UNAVAILABLE


def kind_of(
    *rules: Rule,
    status: int = 400,
    method: str = "POST",
    read_kinds: frozenset[FailureKind] | None = None,
    **report: object,
) -> FailureKind | None:
    refusals = Refusals(find=lambda _: ErrorReport(**report), rules=rules)  # type: ignore[arg-type]
    if read_kinds is not None:
        refusals = replace(refusals, read_kinds=read_kinds)
    failure = classify(HttpReply(status=status, method=method), refusals)
    return None if failure is None else failure.kind


def test_reply_without_an_error_is_not_a_refusal() -> None:
    refusals = Refusals(find=lambda _: None, rules=(Rule(kind=INVALID),))
    assert classify(HttpReply(status=500), refusals) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_error_that_no_rule_decides_is_ambiguous(method: str) -> None:
    assert kind_of(Rule(by_status={401: CREDIT}), method=method) is AMBIGUOUS


def test_first_rule_that_applies_decides() -> None:
    rules = (Rule(by_code={"7": CREDIT}), Rule(by_status={400: INVALID}), Rule(kind=LIMITED))
    assert kind_of(*rules, errors=(("7",),)) is CREDIT
    assert kind_of(*rules, errors=(("8",),)) is INVALID
    assert kind_of(*rules, status=402) is LIMITED


def test_innermost_error_decides_before_the_error_around_it() -> None:
    rule = Rule(by_code={"inner": CREDIT, "outer": INVALID})
    assert kind_of(rule, errors=(("inner",), ("outer",))) is CREDIT
    assert kind_of(rule, errors=(("unknown",), ("outer",))) is INVALID


def test_code_of_an_error_decides_before_its_type() -> None:
    rule = Rule(by_code={"credit": CREDIT, "invalid": INVALID})
    assert kind_of(rule, errors=(("credit", "invalid"),)) is CREDIT
    assert kind_of(rule, errors=(("", "invalid"),)) is INVALID


@pytest.mark.parametrize(
    ("conditions", "fitting", "other"),
    [
        ({"statuses": {400}}, {}, {"status": 401}),
        ({"codes": frozenset({"7"})}, {"errors": (("", "7"),)}, {"errors": (("8",),)}),
        ({"coded": True}, {"errors": (("8",),)}, {}),
        ({"phrases": phrases("credit")}, {"message": "no CREDIT left"}, {"message": "no"}),
        ({"unless": phrases("json")}, {"message": "no credit"}, {"message": "bad JSON"}),
        ({"reading": True}, {"method": "GET"}, {"method": "POST"}),
        ({"reading": False}, {"method": "POST"}, {"method": "GET"}),
    ],
)
def test_rule_applies_only_where_its_condition_holds(
    conditions: dict[str, object], fitting: dict[str, object], other: dict[str, object]
) -> None:
    rule = Rule(kind=CREDIT, **conditions)  # type: ignore[arg-type]
    assert kind_of(rule, **fitting) is CREDIT  # type: ignore[arg-type]
    assert kind_of(rule, **other) is AMBIGUOUS  # type: ignore[arg-type]


def test_phrases_are_looked_for_in_the_text_and_the_status_is_the_one_that_the_error_means() -> None:
    rules = by_phrase(((phrases("credit"), CREDIT),), statuses={400})
    assert kind_of(*rules, message="no credit", text="") is AMBIGUOUS
    assert kind_of(*rules, message="", text="no credit") is CREDIT
    assert kind_of(*rules, message="no credit", status=200) is AMBIGUOUS
    refusals = Refusals(find=lambda _: ErrorReport(message="no credit", status=400), rules=rules)
    failure = classify(HttpReply(status=200, method="POST"), refusals)
    assert failure is not None
    assert failure.kind is CREDIT


def test_refusal_that_names_a_task_is_ambiguous_to_a_submit_alone() -> None:
    """If the submit were sent again, the same video could be bought twice."""
    rule = Rule(kind=LIMITED)
    assert kind_of(rule, names_task=True) is AMBIGUOUS
    assert kind_of(rule, names_task=True, method="GET") is LIMITED


def test_submit_loses_no_task() -> None:
    rules = (Rule(by_code={"inner": LOST, "outer": CREDIT}), Rule(kind=INVALID))
    assert kind_of(*rules, errors=(("inner",),), method="GET") is LOST
    assert kind_of(*rules, errors=(("inner",),)) is INVALID
    assert kind_of(*rules, errors=(("inner",), ("outer",))) is CREDIT


def test_refused_read_has_only_the_kinds_that_the_adapter_lists() -> None:
    kinds = frozenset({CREDIT})
    assert kind_of(Rule(kind=CREDIT), method="GET", read_kinds=kinds) is CREDIT
    assert kind_of(Rule(kind=INVALID), method="GET", read_kinds=kinds) is UNAVAILABLE
    assert kind_of(Rule(kind=INVALID), read_kinds=kinds) is INVALID


def test_code_with_a_star_matches_all_codes_that_begin_so() -> None:
    table = {"busy*": UNAVAILABLE, "busy_account": CREDIT}
    assert kind_of_code(table, "busy_now") is UNAVAILABLE
    assert kind_of_code(table, "busy_account") is CREDIT
    assert kind_of_code(table, "not_busy") is None


def test_failure_has_the_code_of_the_error_that_decided_and_its_marks() -> None:
    refusals = Refusals(
        find=lambda _: ErrorReport(errors=(("", "inner"), ("outer",)), message="cannot unmarshal"),
        rules=(Rule(by_code={"inner": INVALID}),),
        elsewhere=Mark(phrases=phrases("unmarshal")),
        of_model=Mark(frozenset({"outer"})),
    )
    reply = HttpReply(status=400, method="POST")
    failure = classify(reply, refusals)
    assert failure is not None
    assert (failure.upstream_code, failure.elsewhere, failure.of_model) == ("inner", True, False)

    for rules in ((Rule(kind=CREDIT),), ()):
        undecided = classify(reply, replace(refusals, rules=rules))
        assert undecided is not None
        assert (undecided.upstream_code, undecided.of_model) == ("outer", True), "no code decided: the outermost counts"
        assert not undecided.elsewhere, "only a limit on the client's input can be another provider's to accept"
