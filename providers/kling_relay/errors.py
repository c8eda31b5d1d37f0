"""Why the Kling relay refuses a call or fails a task.

A refusal may come from the relay itself, from its task plug-in, from Kling, which it calls, or from a proxy in front of
it. The error of an inner system is found as JSON text in the message of the outer one.
"""

import re
from collections.abc import Mapping, Sequence

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import (
    first_text,
    http_url,
    json_or_none,
    mapping,
    nested,
    text,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.refusals import ErrorReport, Mark, Refusals, Rule
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

SUCCESS_CODES = frozenset({"", "0", "0.0", "success"})
KLING: dict[str, FailureKind] = by_code(  # Kling's own codes, which the relay passes on (Kling, "General Information")
    {
        FailureKind.CREDENTIAL_REFUSED: "1000 1001 1002 1003 1004 1103 1304",  # the relay's own key at Kling
        FailureKind.OUT_OF_CREDIT: "1100 1101 1102",
        FailureKind.INVALID_REQUEST: "1200 1201 1202 1203",
        FailureKind.CONTENT_POLICY: "1300 1301",
        FailureKind.RATE_LIMITED: "1302 1303",
        FailureKind.AMBIGUOUS: "5000 5001 5002",
    }
)
CODES: dict[str, FailureKind] = by_code(  # the relay's own codes, with their meaning for a submit
    {
        FailureKind.OUT_OF_CREDIT: "insufficient_user_quota pre_consume_token_quota_failed quota_not_enough",
        FailureKind.CREDENTIAL_REFUSED: "access_denied",
        FailureKind.INVALID_REQUEST: "invalid_request invalid_seconds invalid_multipart_form read_request_body_failed "
        "build_request_failed plugin_request_invalid plugin_usage_invalid",
        # the relay's configuration, and errors before anything is sent to Kling
        FailureKind.UNAVAILABLE: "model_mapping_failed model_price_error invalid_api_platform "
        "model_not_found get_channel_failed gen_relay_info_failed",
        # the submit may have reached Kling; a panic can happen at any moment
        FailureKind.AMBIGUOUS: "do_request_failed read_response_body_failed unmarshal_response_failed "
        "unmarshal_response_body_failed get_task_failed new_api_panic plugin_submit_response_failed "
        "plugin_submit_response_invalid task_timeout",
        FailureKind.TASK_LOST: "task_not_exist task_not_found",
    }
)
# The plug-in found no task in Kling's HTTP 200. Mostly Kling refused, and the message has Kling's words.
NOT_A_TASK = "plugin_submit_response_failed"
# Codes with many meanings: the words beside them decide first. On its native routes the host of the plug-in sends every
# 400 with `invalid_request`, whatever the error is.
VAGUE = frozenset({"invalid_request", "plugin_request_invalid", "plugin_usage_invalid", NOT_A_TASK})
POLICY = phrases(r"\brisk|policy|sensitive|safety|violat|strategy of the platform", "审核|敏感|违规|风控")
BAD_INPUT = phrases(r"\bimage|\bpixel|\bformat|\bsize\b", "图片|图像|像素|格式|尺寸")
OF_FAILURE = ((POLICY, FailureKind.CONTENT_POLICY), (BAD_INPUT, FailureKind.INVALID_REQUEST))
INTERNAL = phrases(r"任务超时(?:（\d+分钟）)?", r"upstream returned \w+(?: message)?", "failed to get channel info")
# HTTP statuses, words, and what they mean. They count only if neither Kling's code nor the relay's decides.
TEXTS = (
    ({400}, phrases("未指定模型", "model name not specified"), FailureKind.UNAVAILABLE),
    ({400}, phrases("ratio or price not set", "价格未配置"), FailureKind.UNAVAILABLE),
    ({400}, phrases("api_key"), FailureKind.CREDENTIAL_REFUSED),  # the relay's own key at Kling
    ({400, 422}, phrases("too fast|too many|rate limit|parallel|concurren|并发|频繁"), FailureKind.RATE_LIMITED),
    (
        {400, 401, 402, 403, 422},
        phrases("quota|arrears|resource pack|exhausted|balance (?:is )?not enough|account exception|额度|余额|欠费"),
        FailureKind.OUT_OF_CREDIT,
    ),
    ({400, 422}, phrases("white-?list|authentication|authoriz|鉴权"), FailureKind.CREDENTIAL_REFUSED),
    ({400, 422}, POLICY, FailureKind.CONTENT_POLICY),
    # From `/content`: the relay is not allowed to fetch the file.
    ({403}, phrases("request blocked"), FailureKind.UNAVAILABLE),
    ({404}, phrases("task[_ ]not[_ ](?:found|exist)"), FailureKind.TASK_LOST),
    ({500, 503}, phrases("no available channel|无可用渠道"), FailureKind.UNAVAILABLE),
)
# Kling's words for a refused parameter. The plug-in passes them on without Kling's code.
REFUSED_PARAMETER = phrases(
    r"is invalid|invalid (?:request )?param|illegal value|not supported|not support|unsupported|is required|must be",
    r"too (?:long|large|small)|cannot be (?:empty|blank|null)|mutually exclusive|not in a valid|model does not exist",
    r"invalid method|\bimage\b|\bpixel|参数|不支持|不能为空|无效的|图片|图像",
)
# Words that say that the plug-in could not read Kling's reply. Then a task may have been started.
UNREAD = phrases(r"(?<!submit)respon|reply|\bjson\b|task_?id|undefined|cannot read|\beof\b|time[d-]? ?out")
OF_MODEL_CODES = frozenset({"model_not_found", "model_mapping_failed", "model_price_error", "1103"})
OF_TRANSLATION = frozenset({"build_request_failed", "plugin_request_invalid", "plugin_usage_invalid"})
NOT_TAKEN = re.compile(r"1\d{3}|task_failed")  # under HTTP 200: Kling's code for a call that it did not accept
EMBEDDED_CODE = re.compile(r'\bcode"?\s{0,9}[:=]?\s{0,9}"?(\d{4})\b', re.IGNORECASE)
CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _of_codes(*, vague: bool, codes: frozenset[str] | None = None) -> tuple[Rule, Rule]:
    """The rules for the codes of both tables, either for the vague codes or for all others.

    Beside a 429 a code counts only if it says that the credit is exhausted: the relay overwrites the message of a 429.
    """
    table = {code: kind for code, kind in (CODES | KLING).items() if (code in VAGUE) is vague}
    credit = FailureKind.OUT_OF_CREDIT
    limited = {code: kind if kind is credit else FailureKind.RATE_LIMITED for code, kind in table.items()}
    return Rule(by_code=limited, statuses={429}, codes=codes), Rule(by_code=table, codes=codes)


OF_PLUG_IN = frozenset({NOT_A_TASK})
RULES = (
    *_of_codes(vague=False),
    # Under the plug-in's code, Kling's words mean what they mean beside a 400, although the plug-in sends a 502.
    *(Rule(kind=kind, codes=OF_PLUG_IN, phrases=words, unless=UNREAD) for at, words, kind in TEXTS if 400 in at),
    Rule(kind=FailureKind.INVALID_REQUEST, codes=OF_PLUG_IN, phrases=REFUSED_PARAMETER, unless=UNREAD),
    *_of_codes(vague=True, codes=OF_PLUG_IN),
    *(Rule(kind=kind, statuses=at, phrases=words) for at, words, kind in TEXTS),
    *_of_codes(vague=True),
    # A 404 ("Invalid URL") or a 405 means that the base URL is wrong.
    Rule(by_status=KIND_BY_STATUS | dict.fromkeys((404, 405), FailureKind.UNAVAILABLE)),
)
# Messages that are not a reason. Kling sends `"message": "SUCCEED"` even with a failed task.
NO_REASON = frozenset({"", "ok", "succeed", "success", "succeeded"})


def find_error(reply: HttpReply) -> ErrorReport | None:
    """The errors of a reply, the innermost first, or None if it is a success."""
    body = json_or_none(reply)
    if succeeded(reply) and (not isinstance(body, Mapping) or says_success(body)):
        return None
    codes, message = codes_and_message(body)
    not_taken = succeeded(reply) and any(NOT_TAKEN.fullmatch(code) for code in codes)
    return ErrorReport(
        errors=tuple((code,) for code in reversed(codes)),
        message=message,
        status=400 if not_taken else reply.status,  # the status with which the relay itself passes it on
        names_task=any(task_ids(fields) for fields in _error_bodies(body)),
        elsewhere=body is None,  # a body that is not JSON comes from a proxy before the relay, and so does its limit
    )


def layers_of(body: object) -> list[Mapping[str, object]]:
    """The body, its `data`, the `data` of that, and so on: envelopes and tasks, outermost first."""
    return nested(body, lambda layer: layer.get("data"))


def task_ids(body: object) -> list[str]:
    """Every task id in a body, outermost first."""
    layers, words = layers_of(body), text(mapping(body).get("data")).split()
    named = [layer.get(name) for layer in layers for name in ("task_id", "id")]
    if len(layers) == len(words) == 1:
        named += words  # `data` itself is the id if it is one word
    return [task_id for task_id in map(id_of, named) if task_id]


def says_success(body: object) -> bool:
    """Whether the `code` of a body says that the call succeeded; a body without one (OpenAI's form, a task) does."""
    code = mapping(body).get("code")
    return code is None or (isinstance(code, str | int | float) and str(code).strip().lower() in SUCCESS_CODES)


def _code(value: object) -> str:
    word = text(value).strip()
    return word if CODE.fullmatch(word) and word.lower() not in SUCCESS_CODES else ""


def _error_bodies(body: object) -> list[Mapping[str, object]]:
    """An error body, the error body in its message, the one in the message of that, and so on: outermost first."""
    return nested(body, lambda fields: error_body(fields).message)


def codes_and_message(body: object) -> tuple[list[str], str]:
    """The codes of an error body, outermost first, and its innermost message."""
    errors = [error_body(fields) for fields in _error_bodies(body)]
    codes = [code for error in errors if (code := first_text(_code(error.code), _code(error.type)))]
    message = first_text(*(error.message for error in reversed(errors)))
    return codes + EMBEDDED_CODE.findall(message)[:1], message


def task_failure(layers: Sequence[Mapping[str, object]]) -> Failed:
    """Why a task failed. `layers` are those of `layers_of`.

    Kling's own reason goes before the relay's: until 2025-12-26 the relay gave Kling's message there, always "SUCCEED".
    """
    errors = [mapping(layer.get("error")) for layer in layers]
    candidates = [
        *(layer.get("task_status_msg") for layer in reversed(layers)),
        *(layer.get("fail_reason") for layer in layers),
        *(error.get("message") for error in errors),
        *(layer.get("result_url") for layer in layers),  # some versions put the error text there
        *(layer.get("message") for layer in layers),
    ]
    reasons = (text(reason).strip() for reason in candidates)
    reason = next((reason for reason in reasons if reason.lower() not in NO_REASON and not http_url(reason)), "")
    codes, reason = codes_and_message({"message": reason})
    code = first_text(*reversed(codes), *(_code(fields.get("code")) for fields in (*errors, *reversed(layers))))
    internal = INTERNAL.search(reason)
    kind = KLING.get(code)
    if kind not in {FailureKind.CONTENT_POLICY, FailureKind.INVALID_REQUEST}:
        kind = match_phrase(OF_FAILURE[:1] if internal else OF_FAILURE, reason) or FailureKind.TASK_FAILED
    return failed(kind, internal[0] if internal and kind is FailureKind.TASK_FAILED else reason, code)


REFUSALS = Refusals(
    find=find_error,
    rules=RULES,
    # A refused read can be about these only. Any other refusal only says that the read failed.
    read_kinds={
        FailureKind.CREDENTIAL_REFUSED,
        FailureKind.OUT_OF_CREDIT,
        FailureKind.RATE_LIMITED,
        FailureKind.TASK_LOST,
    },
    # A field type that the relay cannot read is an error of this adapter. The plug-in refuses models and modes that it
    # does not have. "Invalid request" alone gives no reason. None of these says that the client's input is bad.
    elsewhere=Mark(OF_TRANSLATION, phrases(r"cannot unmarshal|\Ainvalid request\Z")),
    # A group or a key without this model, or a model without a channel: the account's other models may well work.
    of_model=Mark(OF_MODEL_CODES, phrases("无权访问模型|下模型|access to (?:the )?model|channel for model")),
)
