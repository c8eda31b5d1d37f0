"""Why a provider refused a call: one classification for every adapter, over tables that the adapter brings.

The danger is a wrong "refused". After a refusal the gateway sends the same work to the next route, so a call that was
accepted all the same is paid for twice. What no rule decides is therefore `AMBIGUOUS`, and so is the reply to a submit
that names a task, whatever else it says.

An adapter has two parts: a function that finds the error in a reply (`ErrorReport`), and an ordered table of rules.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed

Names = tuple[str, ...]  # what one error is called: its code, then its type; "" for a name that is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """What the reply to a refused call says.

    `errors` has one entry for each error that the reply holds. A relay wraps the error of its supplier in its own: the
    innermost error comes first, because it is the most specific.
    """

    errors: tuple[Names, ...] = ()
    message: str = ""  # the provider's words, shown to the client where they are about the client's input
    text: str | None = None  # where the phrases of the rules are looked for; None: in the message
    status: int | None = None  # the HTTP status that the error means; None: the one that the reply has
    names_task: bool = False  # the reply holds the id of a task, so a task may have been started
    elsewhere: bool = False  # the limit is this provider's alone; see `Failed.elsewhere`

    @property
    def outermost(self) -> Names:
        """The names of the error that counts where no code has decided."""
        return self.errors[-1] if self.errors else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table: the kind of failure where every condition of the row holds.

    A row gives its kind as `kind`, `by_code` or `by_status`. A row with `by_code` decides for the first error, and in
    it for the first name, that the mapping has. A key that ends with "*" matches all names that begin so.
    """

    kind: FailureKind | None = None
    by_code: Mapping[str, FailureKind] = field(default_factory=dict)
    by_status: Mapping[int, FailureKind] = field(default_factory=dict)
    statuses: Container[int] | None = None  # only with these HTTP statuses
    codes: frozenset[str] | None = None  # only if one of the errors has one of these names
    coded: bool = False  # only if there is an error with a code
    phrases: re.Pattern[str] | None = None  # only if the text matches
    unless: re.Pattern[str] | None = None  # and does not match this
    reading: bool | None = None  # True: only for GET; False: only for calls that start or store something


class Mark(NamedTuple):
    """When a failure gets a mark: by a name of the error that decided, or by the message."""

    codes: frozenset[str] = frozenset()
    phrases: re.Pattern[str] | None = None

    def applies(self, names: Names, message: str) -> bool:
        """Whether an error with these names and this message gets the mark."""
        return not self.codes.isdisjoint(names) or (self.phrases is not None and bool(self.phrases.search(message)))


_NO_MARK = Mark()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """How one provider refuses calls. The first rule that applies decides."""

    find: Callable[[HttpReply], ErrorReport | None]  # None: the reply is not a refusal
    rules: tuple[Rule, ...]
    read_kinds: Container[FailureKind] = frozenset(FailureKind)  # a refused read of any other kind is `UNAVAILABLE`
    elsewhere: Mark = _NO_MARK  # sets `Failed.elsewhere`, for `INVALID_REQUEST` alone
    of_model: Mark = _NO_MARK  # sets `Failed.of_model`


def classify(reply: HttpReply, refusals: Refusals) -> Failed | None:
    """Why a call was refused, or None if it was not. Never raises for any reply.

    A submit is never `TASK_LOST`: only a task that was started can be lost, so the next rule decides.
    """
    report = refusals.find(reply)
    if report is None:
        return None
    reading = reply.method.upper() == "GET"
    status = reply.status if report.status is None else report.status
    verdicts = (verdict for rule in refusals.rules for verdict in _verdicts(rule, report, status, reading=reading))
    kind, names = next(
        (verdict for verdict in verdicts if reading or verdict[0] is not FailureKind.TASK_LOST),
        (FailureKind.AMBIGUOUS, report.outermost),
    )
    if reading and kind not in refusals.read_kinds:
        kind = FailureKind.UNAVAILABLE
    if report.names_task and not reading:
        kind = FailureKind.AMBIGUOUS
    elsewhere = report.elsewhere or refusals.elsewhere.applies(names, report.message)
    return failed(
        kind,
        report.message,
        next(filter(None, names), None),
        elsewhere=elsewhere and kind is FailureKind.INVALID_REQUEST,
        of_model=refusals.of_model.applies(names, report.message),
    )


def by_phrase(table: Iterable[tuple[re.Pattern[str], FailureKind]], **conditions: Any) -> tuple[Rule, ...]:
    """A rule for each row of a table of phrases, in its order; `conditions` are further fields of `Rule`."""
    return tuple(Rule(kind=kind, phrases=phrases, **conditions) for phrases, kind in table)


def kind_of_code(table: Mapping[str, FailureKind], code: str) -> FailureKind | None:
    """What a table says of a code: by the code itself, else by a key that ends with "*" and begins like the code."""
    if code in table:
        return table[code]
    return next((kind for key, kind in table.items() if key.endswith("*") and code.startswith(key[:-1])), None)


def _verdicts(rule: Rule, report: ErrorReport, status: int, *, reading: bool) -> Iterator[tuple[FailureKind, Names]]:
    """The kinds that a rule proposes, each with the names of the error that it was proposed for."""
    if not _applies(rule, report, status, reading=reading):
        return
    for names in report.errors:
        for name in names:
            if kind := kind_of_code(rule.by_code, name):
                yield kind, names
    if kind := rule.kind or rule.by_status.get(status):
        yield kind, report.outermost


def _applies(rule: Rule, report: ErrorReport, status: int, *, reading: bool) -> bool:
    text = report.message if report.text is None else report.text
    return (
        (rule.reading is None or rule.reading is reading)
        and (rule.statuses is None or status in rule.statuses)
        and (rule.codes is None or any(not rule.codes.isdisjoint(names) for names in report.errors))
        and (not rule.coded or bool(report.errors))
        and (rule.phrases is None or rule.phrases.search(text) is not None)
        and (rule.unless is None or rule.unless.search(text) is None)
    )
