"""Why Keevx refuses a call or fails a task."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import items, json_or_none, mapping, number, text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.refusals import ErrorReport, Mark, Refusals, Rule, by_phrase
from gateway.domain.adapter.replies import (
    KIND_BY_STATUS,
    by_code,
    error_body,
    id_of,
    match_phrase,
    phrases,
    succeeded,
)
from gateway.domain.adapter.task import Failed

CREATION_FAILED = "530003"
PROMPT_TOO_LONG = "100005"
TWO_MEANINGS = "100002"  # "invalid token" on the video page, "validation failed" on the image page
CODES = by_code(
    {
        # Parameter error; image over 20 MB; prompt too long; image URL that cannot be fetched; image format; image
        # processing (URL, format or size).
        FailureKind.INVALID_REQUEST: f"100001 100004 {PROMPT_TOO_LONG} 100006 100007 530002",
    }
)
# Only these codes lose a task: a 404 without them may come from any proxy.
TASK_NOT_FOUND = by_code({FailureKind.TASK_LOST: "100003 110002"})

# No code is documented for exhausted credit, content policy or a rate limit: the words decide.
CREDIT = phrases(
    "balance|credit|quota", r"insufficient(?!\s+(?:permission|privilege|scope|right|access))", "余额|积分|欠费|额度"
)
AUTH = phrases(r"auth(?!ors?\b|ored)|(?<!unexpected )token(?!s\b)", "鉴权|认证|授权|令牌|密钥")
RATE = phrases("too many requests|too frequent|rate.?limit|concurren", "频繁|限流|并发")
POLICY = phrases("policy|safety|sensitive|moderat|violat", "内容策略|审核|违规|敏感")
INPUT = phrases("image|(?<![a-z])(?:url|format|size)", "图片|图像|格式|尺寸|大小|链接")
# Removed before INPUT is looked for: "Image generation failed" names the work, "failed to create an image" the result.
WORK = phrases(
    r"(?:image|text)[ _-]?(?:to|2)[ _-]?(?:video|image)|image[ _-]?generat\w*",
    r"\b(?:generat|creat|produc|render|mak|output|result)\w*\s+(?:(?:an?|any|no|the)\s+)?(?:output\s+)?images?\b",
    r"\bimages?\s+(?:could\s+not|cannot|was\s+not|were\s+not)\s+(?:be\s+)?(?:generat|creat|produc)\w*",
    "图[片像]生成|生成图[片像]|图生视频|图生图|文生图",
)
INTERNAL = phrases("internal", "内部")  # the fault is the provider's, whatever else the message names
# Beside a 5xx only words that can mean nothing else count: "author service timeout" is not about a credential.
SURELY_CREDIT = phrases(
    r"insufficient\s+(?:\w+\s+)?(?:balance|credit|quota|fund)",
    r"(?:balance|credits?|quota)\s+(?:is\s+|are\s+)?(?:insufficient|not enough|exhausted|used up)",
    "(?:余额|积分|额度)不足|欠费",
)
SURELY_AUTH = phrases(
    r"\bunauthori[sz]ed\b|\bauthenticat\w+ (?:failed|failure|error)",
    r"(?:invalid|expired|missing|wrong)\s+(?:\w+\s+)?(?:token|api.?key|credential)",
    r"(?:token|api.?key|credential)s?\s+(?:is\s+|has\s+)?(?:invalid|expired|missing|wrong)",
    "(?:令牌|密钥|token)(?:无效|过期|错误)|鉴权失败|认证失败",
)
OF_ACCOUNT = ((CREDIT, FailureKind.OUT_OF_CREDIT), (AUTH, FailureKind.CREDENTIAL_REFUSED))
OF_ACCOUNT_SURELY = ((SURELY_CREDIT, FailureKind.OUT_OF_CREDIT), (SURELY_AUTH, FailureKind.CREDENTIAL_REFUSED))
OF_REQUEST = (*OF_ACCOUNT, (POLICY, FailureKind.CONTENT_POLICY))
OF_REFUSAL = (*OF_REQUEST, (RATE, FailureKind.RATE_LIMITED))
OF_FAILED_TASK = ((POLICY, FailureKind.CONTENT_POLICY), (CREDIT, FailureKind.OUT_OF_CREDIT))

ACCOUNT_STATUSES = {status: KIND_BY_STATUS[status] for status in (401, 402, 403)}
# Statuses that prove that nothing was started. A 408 comes from a proxy, which may have handed the call on.
REFUSED = frozenset(range(400, 500)) - {408}
# Words beside which a credential is not meant: "Validation failed: the prompt is not authentic".
VALIDATION = phrases(r"\bvalidat", "校验|参数")


def _rules(creation_failed: tuple[Rule, ...], two_meanings: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules of videos or of images, with those for the two codes whose meaning depends on that."""
    return (*creation_failed, *_FIRST_RULES, *two_meanings, *_LAST_RULES)


_FIRST_RULES = (
    Rule(by_code=CODES),
    Rule(by_code=TASK_NOT_FOUND),
    Rule(kind=FailureKind.OUT_OF_CREDIT, statuses=ACCOUNT_STATUSES, phrases=CREDIT),
    Rule(by_status=ACCOUNT_STATUSES),
    Rule(kind=FailureKind.OUT_OF_CREDIT, statuses={429}, phrases=CREDIT, coded=True),
    Rule(kind=FailureKind.RATE_LIMITED, statuses={429}),
)
_LAST_RULES = (
    Rule(by_code={TWO_MEANINGS: FailureKind.INVALID_REQUEST}),
    *by_phrase(OF_REFUSAL, statuses=REFUSED),
    # Here only the business code refuses. It may concern the account or the prompt, never the rate limit: that would
    # send the same submit again.
    *by_phrase(OF_REQUEST, statuses=range(500)),
    *by_phrase(OF_ACCOUNT_SURELY, statuses=range(500, 1000)),
    Rule(kind=FailureKind.UNAVAILABLE, statuses={404, 405}),  # wrong base URL: nothing there can have taken the call
    Rule(kind=FailureKind.INVALID_REQUEST, statuses=REFUSED),
    # A code that no table has says nothing about a task that is read, and proves nothing about a submit.
    Rule(kind=FailureKind.UNAVAILABLE, statuses=range(200, 300), reading=True),
)
_OF_TWO_MEANINGS = frozenset({TWO_MEANINGS})
RULES = _rules(
    # "Task creation failed, retry the request" is on the page of images alone. For a video it does not prove that no
    # task was started, so the submit is not sent again.
    (
        Rule(by_code={CREATION_FAILED: FailureKind.UNAVAILABLE}, reading=True),
        Rule(by_code={CREATION_FAILED: FailureKind.AMBIGUOUS}),
    ),
    by_phrase(OF_ACCOUNT, codes=_OF_TWO_MEANINGS),
)
IMAGE_RULES = _rules(
    (Rule(by_code={CREATION_FAILED: FailureKind.UNAVAILABLE}),),
    (
        *by_phrase(OF_ACCOUNT_SURELY, codes=_OF_TWO_MEANINGS),
        *by_phrase(OF_ACCOUNT, codes=_OF_TWO_MEANINGS, unless=VALIDATION),
    ),
)


def find_error(reply: HttpReply) -> ErrorReport | None:
    """The error of a reply, or None if it is a success: a business code other than 0 may come with HTTP 200."""
    envelope = mapping(json_or_none(reply))
    code = _code(envelope)
    refused = bool(code) or envelope.get("success") is False  # `success` is in the envelope of an upload
    if succeeded(reply) and (not refused or _reads_failed_task(reply, code, envelope)):
        return None
    message = message_of(envelope)
    # Beside any other status than a refusing one, words without a business code prove nothing.
    searched = message if refused or reply.status in REFUSED else ""
    if not message and reply.status in ACCOUNT_STATUSES:
        searched = reply.body[:1000].decode("utf-8", "replace")
    return ErrorReport(
        errors=((code,),) if code else (),
        message=message or f"The provider answered with HTTP status {reply.status}.",
        text=searched,
        names_task=bool(task_ids(envelope)),
    )


def task_failure(message: str) -> Failed:
    """Why a task failed. Keevx sends no code with it, so the words decide."""
    kind = match_phrase(OF_FAILED_TASK, message) or FailureKind.TASK_FAILED
    about_input = INPUT.search(WORK.sub("", message)) and not INTERNAL.search(message)
    if about_input and kind is not FailureKind.CONTENT_POLICY:
        kind = FailureKind.INVALID_REQUEST
    return failed(kind, message)


def _reads_failed_task(reply: HttpReply, code: str, envelope: Mapping[str, object]) -> bool:
    """True if a poll reads a failed task under a code that no table has: its code is not documented."""
    unknown = code not in {*CODES, *TASK_NOT_FOUND, TWO_MEANINGS, CREATION_FAILED}
    failed_task = text(task_of(envelope).get("status")).strip().upper() == "FAILED"
    return reply.method.upper() == "GET" and unknown and failed_task


def _code(envelope: Mapping[str, object]) -> str:
    """The business code in digits; "" if it is missing, is 0 (success), or is not a whole number."""
    value = number(envelope.get("code"))
    return str(int(value)) if value and value.is_integer() else ""


def message_of(envelope: Mapping[str, object]) -> str:
    """The message of an envelope, "" if it is missing or only says that the call succeeded."""
    message = error_body(envelope).message
    return "" if message.strip().lower() in {"ok", "success"} else message


def task_of(envelope: Mapping[str, object]) -> Mapping[str, object]:
    """The one task of a reply: `data`, or the only object of an array."""
    data = envelope.get("data")
    tasks = [mapping(entry) for entry in (items(data) or [data])]
    return tasks[0] if len(tasks) == 1 else {}


def task_ids(envelope: Mapping[str, object]) -> tuple[str, ...]:
    """Every task id in a reply, in the order of the reply, without repetitions."""
    data = envelope.get("data")
    named = (id_of(value) for entry in (*(items(data) or [data]), envelope) for value in _id_values(entry))
    return tuple(dict.fromkeys(filter(None, named)))


def _id_values(entry: object) -> Iterator[object]:
    """The values that may be ids in an object: the members of `task_ids`, and `task_id`."""
    several = mapping(entry).get("task_ids")
    for value in (*(items(several) or [several]), mapping(entry).get("task_id")):
        yield value.get("task_id") if isinstance(value, Mapping) else value


REFUSALS = Refusals(
    find=find_error,
    rules=RULES,
    elsewhere=Mark(codes=frozenset({PROMPT_TOO_LONG})),  # other providers take more than these 1000 characters
)
IMAGE_REFUSALS = replace(REFUSALS, rules=IMAGE_RULES)
