"""Kling relay (api.xiexus.cn, an instance of QuantumNous/new-api): translation only.

Sources: the relay's own pages (apidoc.xiexus.cn, a copy of new-api's generic document), the source of new-api up to
2026-07 and of its task plug-ins since 2026-08 (plugins/tasks/kling/plugin.js, relay/channel/task/jsplugin), Kling's
pages of error codes, the rules of Kling's models as vercel/ai's packages/klingai states them, and the exchanges under
tests/exchanges/kling_relay/, which win where they disagree. Which version of new-api answers is unknown, so every form
that any version gave is read, and the body that is sent works in every version.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.domain.adapter.contract import Adapter, Capability, HttpCall, HttpReply, ImageForm, ImageLimits, Polling
from gateway.domain.adapter.decoding import (
    first_text,
    http_url,
    items,
    json_object,
    json_or_none,
    mapping,
    nested,
    progress,
    read_json,
    text,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.refusals import ErrorReport, Mark, Refusals, Rule, classify
from gateway.domain.adapter.replies import (
    KIND_BY_STATUS,
    artifact,
    by_code,
    error_body,
    id_of,
    match_phrase,
    pending,
    phrases,
    succeeded,
    unique_by_url,
    without_result,
)
from gateway.domain.adapter.request import ImageToVideo, InputKind, Settings, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed, Failed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

HEADERS = {"Accept-Language": "en"}  # no Content-Type on a GET: old builds answer 400
TEXT_PATH, IMAGE_PATH = "text2video", "image2video"
MODES = {"std": "720p", "pro": "1080p"}
SIZES = {  # for the versions that read the ratio from `size`; what they do not know is 1:1 there
    "16:9": {"720p": "1280x720", "1080p": "1920x1080"},
    "9:16": {"720p": "720x1280", "1080p": "1080x1920"},
    "1:1": {"720p": "720x720", "1080p": "1080x1080"},
}
DEFAULT_SECONDS = 5
MASKS = frozenset({"static_mask", "dynamic_masks"})


def _options_fit_the_images(request: UpstreamRequest) -> str | None:
    frames = request.input if isinstance(request.input, ImageToVideo) else None
    clash = sorted((MASKS | {"camera_control"}) & set(request.options))
    if clash and frames is not None and frames.last_frame is not None:
        return f"A last image cannot be used with {clash[0]}."
    masks = sorted(MASKS & set(request.options))
    return f"{masks[0]} needs an image." if masks and frames is None else None


def _mode_makes_the_resolution(request: UpstreamRequest) -> str | None:
    made, asked = MODES.get(request.settings.mode or ""), request.settings.resolution
    if made is None:  # a configured model may have more resolutions than there are modes to ask for them
        return None if asked is None or asked in MODES.values() else f"No mode makes {asked}."
    return None if asked in {None, made} else f"Mode {request.settings.mode} makes {made}, not {asked}."


def _sound_needs_mode_pro(request: UpstreamRequest) -> str | None:
    settings = request.settings
    if not settings.generate_audio or "pro" in {settings.mode, _mode_of(settings)}:
        return None
    return f"Sound needs mode pro, which makes {MODES['pro']}."


# Seed, fps, width, height and n are documented and have no effect; audio is in no stock version. Where the
# configuration says that a model has sound, Kling makes it in mode `pro` alone.
STD_OR_PRO = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
    durations=frozenset({5, 10}),
    resolutions=frozenset(MODES.values()),
    aspect_ratios=frozenset({"16:9", "9:16", "1:1"}),
    prompt_max=2500,
    negative_prompt_max=2500,
    modes=MODES,
    assumes={"mode": "std", "duration_seconds": DEFAULT_SECONDS},
    # `callback_url` is left out: Kling would send its own task id, which the relay does not know.
    options=MASKS | {"camera_control", "external_task_id"},
    images=ImageLimits(max_bytes=10_000_000, min_side=300, max_ratio=2.5),
    image_forms=(ImageForm.BASE64, ImageForm.URL),
    rules=(_options_fit_the_images, _mode_makes_the_resolution, _sound_needs_mode_pro),
)
# Kling takes a last frame in mode `pro` alone (vercel/ai, packages/klingai, `imageTail`). Nothing that was asked for is
# dropped for it: this row says `pro` where no mode and no resolution was asked for, which the client reads as
# `defaulted`, and a request for `std` or 720p is left out.
PRO = replace(
    STD_OR_PRO,
    resolutions=frozenset({MODES["pro"]}),
    modes={"pro": MODES["pro"]},
    last_frame=True,
    defaults={"mode": "pro"},
    assumes={**STD_OR_PRO.assumes, "mode": "pro"},
)
V1 = (replace(STD_OR_PRO, cfg_scale=(0, 1)), replace(PRO, cfg_scale=(0, 1)))
# The relay's task plug-in (1.0.2) refuses `std` for `kling-v2-master` and makes `pro` of no mode at all; older versions
# make `std` of it. `pro` is taken by all of them.
CAPABILITIES = {"kling-v1": V1, "kling-v1-6": V1, "kling-v2-master": (PRO,)}
# Models that only some relays have: they are asked for only where the configuration names them. From v2 on Kling takes
# no `cfg_scale`; `kling-v2-1-master` and v2-5 are made in mode `pro` alone; of v3 nothing says that a last
# frame needs it (vercel/ai, packages/klingai).
CONFIGURABLE = {
    "kling-v2-1": (STD_OR_PRO, PRO),
    "kling-v2-1-master": (PRO,),
    "kling-v2-5": (PRO,),
    "kling-v2-5-turbo": (PRO,),
    "kling-v2-6": (STD_OR_PRO, PRO),
    "kling-v3": tuple(replace(row, durations=frozenset(range(3, 16)), last_frame=True) for row in (STD_OR_PRO, PRO)),
}

SUCCESS_CODES = frozenset({"", "0", "0.0", "success"})
PENDING: dict[str, Status] = {"": Status.QUEUED} | by_code(
    {Status.QUEUED: "not_start submitted queued unknown", Status.IN_PROGRESS: "in_progress processing running"}
)
DONE = frozenset({"success", "succeed", "succeeded", "completed"})
FAILURE = frozenset({"failure", "failed", "error"})
ENDED = {
    **dict.fromkeys(("cancelled", "canceled"), failed(FailureKind.TASK_FAILED, "The provider cancelled the task.")),
    "expired": failed(FailureKind.TIMED_OUT),
}
SURE = frozenset((*PENDING, *DONE, *FAILURE, *ENDED)) - {"", "unknown", "error"}
KLING: dict[str, FailureKind] = by_code(  # Kling's own codes, which the relay hands on (Kling, "General Information")
    {
        FailureKind.CREDENTIAL_REFUSED: "1000 1001 1002 1003 1004 1103 1304",  # of the relay's key at Kling
        FailureKind.OUT_OF_CREDIT: "1100 1101 1102",
        FailureKind.INVALID_REQUEST: "1200 1201 1202 1203",
        FailureKind.CONTENT_POLICY: "1300 1301",
        FailureKind.RATE_LIMITED: "1302 1303",
        FailureKind.AMBIGUOUS: "5000 5001 5002",
    }
)
CODES: dict[str, FailureKind] = by_code(  # the relay's own words, as they answer a submit
    {
        FailureKind.OUT_OF_CREDIT: "insufficient_user_quota pre_consume_token_quota_failed quota_not_enough",
        FailureKind.CREDENTIAL_REFUSED: "access_denied",
        FailureKind.INVALID_REQUEST: "invalid_request invalid_seconds invalid_multipart_form read_request_body_failed "
        "build_request_failed plugin_request_invalid plugin_usage_invalid",
        # its configuration, and what fails before anything is sent
        FailureKind.UNAVAILABLE: "model_mapping_failed model_price_error invalid_api_platform "
        "model_not_found get_channel_failed gen_relay_info_failed",
        # a panic comes at any moment, so also after sending
        FailureKind.AMBIGUOUS: "do_request_failed read_response_body_failed unmarshal_response_failed "
        "unmarshal_response_body_failed get_task_failed new_api_panic plugin_submit_response_failed "
        "plugin_submit_response_invalid task_timeout",
        FailureKind.TASK_LOST: "task_not_exist task_not_found",
    }
)
# The plug-in could not make a task of Kling's HTTP 200. Mostly Kling refused, and the message has Kling's words.
NOT_A_TASK = "plugin_submit_response_failed"
# Codes that stand for many things: the words beside them decide first. The host of the plug-in answers every 400 on its
# native routes with `invalid_request`, whatever it is about.
VAGUE = frozenset({"invalid_request", "plugin_request_invalid", "plugin_usage_invalid", NOT_A_TASK})
POLICY = phrases(r"\brisk|policy|sensitive|safety|violat|strategy of the platform", "审核|敏感|违规|风控")
BAD_INPUT = phrases(r"\bimage|\bpixel|\bformat|\bsize\b", "图片|图像|像素|格式|尺寸")
OF_FAILURE = ((POLICY, FailureKind.CONTENT_POLICY), (BAD_INPUT, FailureKind.INVALID_REQUEST))
INTERNAL = phrases(r"任务超时(?:（\d+分钟）)?", r"upstream returned \w+(?: message)?", "failed to get channel info")
TEXTS = (  # HTTP statuses, words, what they mean: only where neither Kling's code nor the relay's decides
    ({400}, phrases("未指定模型", "model name not specified"), FailureKind.UNAVAILABLE),
    ({400}, phrases("ratio or price not set", "价格未配置"), FailureKind.UNAVAILABLE),
    ({400}, phrases("api_key"), FailureKind.CREDENTIAL_REFUSED),  # of the relay at Kling
    ({400, 422}, phrases("too fast|too many|rate limit|parallel|concurren|并发|频繁"), FailureKind.RATE_LIMITED),
    (
        {400, 401, 402, 403, 422},
        phrases("quota|arrears|resource pack|exhausted|balance (?:is )?not enough|account exception|额度|余额|欠费"),
        FailureKind.OUT_OF_CREDIT,
    ),
    ({400, 422}, phrases("white-?list|authentication|authoriz|鉴权"), FailureKind.CREDENTIAL_REFUSED),
    ({400, 422}, POLICY, FailureKind.CONTENT_POLICY),
    ({403}, phrases("request blocked"), FailureKind.UNAVAILABLE),  # of `/content`: the relay may not fetch the file
    ({404}, phrases("task[_ ]not[_ ](?:found|exist)"), FailureKind.TASK_LOST),
    ({500, 503}, phrases("no available channel|无可用渠道"), FailureKind.UNAVAILABLE),
)
# Kling's refusal of a parameter, in the words that the plug-in hands on without Kling's code.
REFUSED_PARAMETER = phrases(
    r"is invalid|invalid (?:request )?param|illegal value|not supported|not support|unsupported|is required|must be",
    r"too (?:long|large|small)|cannot be (?:empty|blank|null)|mutually exclusive|not in a valid|model does not exist",
    r"invalid method|\bimage\b|\bpixel|参数|不支持|不能为空|无效的|图片|图像",
)
# Words which say that the plug-in could not read Kling's reply. That proves nothing about the task.
UNREAD = phrases(r"(?<!submit)respon|reply|\bjson\b|task_?id|undefined|cannot read|\beof\b|time[d-]? ?out")
OF_MODEL_CODES = frozenset({"model_not_found", "model_mapping_failed", "model_price_error", "1103"})
OF_TRANSLATION = frozenset({"build_request_failed", "plugin_request_invalid", "plugin_usage_invalid"})
NOT_TAKEN = re.compile(r"1\d{3}|task_failed")  # under HTTP 200: Kling's word for a call that it did not take
EMBEDDED_CODE = re.compile(r'\bcode"?\s*[:=]?\s*"?(\d{4})\b', re.IGNORECASE)
CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
CONTENT_PATH = re.compile(r"/v1/(?:videos/[^/]+|tasks/[^/]+/artifacts/[^/]+)/content/?$", re.IGNORECASE)


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
    # The plug-in sends 502 with Kling's words: they mean what they mean beside a 400.
    *(Rule(kind=kind, codes=OF_PLUG_IN, phrases=words, unless=UNREAD) for at, words, kind in TEXTS if 400 in at),
    Rule(kind=FailureKind.INVALID_REQUEST, codes=OF_PLUG_IN, phrases=REFUSED_PARAMETER, unless=UNREAD),
    *_of_codes(vague=True, codes=OF_PLUG_IN),
    *(Rule(kind=kind, statuses=at, phrases=words) for at, words, kind in TEXTS),
    *_of_codes(vague=True),
    Rule(by_status=KIND_BY_STATUS | dict.fromkeys((404, 405), FailureKind.UNAVAILABLE)),  # "Invalid URL": a wrong base
)
NO_REASON = frozenset({"", "ok", "succeed", "success", "succeeded"})  # Kling's `message` on a failure too


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The call that starts a task.

    Versions before 2026-01-30 read the top level, with Kling's names; later ones a few fields there and the rest in
    `metadata`; the task plug-in, since 2026-08, the top level again: so everything is said in both. Until the plug-in
    the presence of `image` decided whether text or an image is the source, since then the path does: both say the same.
    """
    settings, image = request.settings, request.input if isinstance(request.input, ImageToVideo) else None
    mode = settings.mode or _mode_of(settings)
    resolution = settings.resolution or MODES.get(mode or "std", "")
    named = {
        "aspect_ratio": settings.aspect_ratio,
        "image_tail": image.last_frame if image else None,
        "negative_prompt": settings.negative_prompt,
        "cfg_scale": settings.cfg_scale,
        "sound": "on" if settings.generate_audio else None,  # of forks and Kling from v2.6 on; silence is the default
        **request.options,
    }
    body: dict[str, Any] = {
        "model": request.model,
        "model_name": request.model,
        "prompt": request.prompt,
        "image": image.first_frame if image else None,
        "mode": mode,
        "size": SIZES.get(settings.aspect_ratio or "", {}).get(resolution),
        **named,
    }
    metadata: dict[str, Any] = dict(named)
    if settings.duration_seconds not in {None, DEFAULT_SECONDS}:  # 5 unsaid is 5 everywhere, and no type can be wrong
        metadata["duration"] = str(settings.duration_seconds)
        body["duration"] = settings.duration_seconds if request.form == "number" else metadata["duration"]
    body["metadata"] = {name: value for name, value in metadata.items() if value is not None} or None
    return HttpCall(
        method="POST",
        path=f"/kling/v1/videos/{IMAGE_PATH if image else TEXT_PATH}",
        headers=HEADERS,
        json={name: value for name, value in body.items() if value is not None},
    )


def _mode_of(settings: Settings) -> str | None:
    """The mode that makes the resolution which was asked for."""
    return next((mode for mode, made in MODES.items() if made == settings.resolution), None)


def amend(call: HttpCall, reply: HttpReply) -> str | None:
    """The other form of `duration` when the relay refused its type, which it does before it sends anything.

    Kling's own complaint about a duration, which the plug-in hands on as `invalid_request` too, is not about a type.
    """
    duration, body = mapping(call.json).get("duration"), mapping(json_or_none(reply))
    before_sending = (reply.status, text(body.get("code"))) in {(500, "build_request_failed"), (400, "invalid_request")}
    if duration is None or not before_sending or "duration" not in text(body.get("message")).lower():
        return None
    if any(code in KLING for code in _codes_and_message(body)[0]):
        return None
    return "number" if isinstance(duration, str) else "string"


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """The one task of a submit, by the outermost id: inner ones are the relay's supplier's."""
    body = read_json(reply)
    ids = _task_ids(body) if _succeeded(body) else []
    if not ids:
        raise UnreadableReply("kling_relay: a submit's reply names no task")
    return (TaskRef(id=ids[0], path=IMAGE_PATH if call.path.endswith(IMAGE_PATH) else TEXT_PATH),)


def poll(ref: TaskRef) -> HttpCall:
    """The read of a task."""
    path = f"/kling/v1/videos/{ref.path or TEXT_PATH}/{quote(ref.id, safe='')}"
    return HttpCall(method="GET", path=path, headers=HEADERS)


def refresh(ref: TaskRef) -> HttpCall:
    """The same task in OpenAI's form, with the relay's own status.

    The plug-in's native route shows the last that Kling said. Of a task that the relay itself failed (its time-out, 20
    failed polls, Kling's 404 or 410) that is "processing" for ever. This form names no file of a finished task.
    """
    return HttpCall(method="GET", path=f"/v1/videos/{quote(ref.id, safe='')}", headers=HEADERS)


def content(ref: TaskRef) -> HttpCall:
    """The file of a task that names none: only ever from our own base, whatever host the relay prints."""
    return HttpCall(method="GET", path=f"/v1/videos/{quote(ref.id, safe='')}/content", headers=HEADERS)


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """The task at one reading, in any form of any version: the outermost status counts, inner ones may lag."""
    body = read_json(reply)
    layers = _layers(body) if _succeeded(body) else []
    outer, raw = _status(layers)
    word = raw.strip().lower()
    if word in DONE:
        artifacts = _artifacts(layers, outer)
        return Completed(artifacts) if artifacts else without_result(raw, progress(outer.get("progress")))
    if word in FAILURE:
        return _failure(layers)
    return ENDED.get(word) or pending(raw, PENDING, progress(outer.get("progress")))


def find_error(reply: HttpReply) -> ErrorReport | None:
    """The errors of a reply, the innermost first, or None if it is a success."""
    body = json_or_none(reply)
    if succeeded(reply) and (not isinstance(body, Mapping) or _succeeded(body)):
        return None
    codes, message = _codes_and_message(body)
    not_taken = succeeded(reply) and any(NOT_TAKEN.fullmatch(code) for code in codes)
    return ErrorReport(
        errors=tuple((code,) for code in reversed(codes)),
        message=message,
        status=400 if not_taken else reply.status,  # as the relay itself passes it on
        names_task=any(_task_ids(fields) for fields in _error_bodies(body)),
        elsewhere=body is None,  # a body that is not JSON comes from a proxy before the relay, and so does its limit
    )


def _layers(body: object) -> list[Mapping[str, object]]:
    """The body, its `data`, the `data` of that, …: envelopes and tasks in turn."""
    return nested(body, lambda layer: layer.get("data"))


def _task_ids(body: object) -> list[str]:
    """Every id that a body names, outermost first."""
    layers, words = _layers(body), text(mapping(body).get("data")).split()
    named = [layer.get(name) for layer in layers for name in ("task_id", "id")]
    if len(layers) == len(words) == 1:
        named += words  # `data` itself is an id when it is one word
    return [task_id for task_id in map(id_of, named) if task_id]


def _succeeded(body: object) -> bool:
    code = mapping(body).get("code")
    return code is None or (isinstance(code, str | int | float) and str(code).strip().lower() in SUCCESS_CODES)


def _code(value: object) -> str:
    word = text(value).strip()
    return word if CODE.fullmatch(word) and word.lower() not in SUCCESS_CODES else ""


def _error_bodies(body: object) -> list[Mapping[str, object]]:
    """An error body, the one that its message holds, the one in the message of that, …: outermost first."""
    return nested(body, lambda fields: error_body(fields).message)


def _codes_and_message(body: object) -> tuple[list[str], str]:
    """The codes of an error body, outermost first, and its innermost message."""
    errors = [error_body(fields) for fields in _error_bodies(body)]
    codes = [code for error in errors if (code := first_text(_code(error.code), _code(error.type)))]
    message = first_text(*(error.message for error in reversed(errors)))
    return codes + EMBEDDED_CODE.findall(message)[:1], message


def _status(layers: Sequence[Mapping[str, object]]) -> tuple[Mapping[str, object], str]:
    """The outermost layer that has a task's status, and its word; a task without one has not started.

    A body that names no task is an envelope or no relay's: a word of its own counts where it can be nothing else.
    """
    tasks = [layer for layer in layers if first_text(layer.get("task_id"), layer.get("id"))]
    doubtful: list[tuple[Mapping[str, object], str]] = []
    for layer in layers:
        words = [layer[name] for name in ("status", "task_status") if isinstance(layer.get(name), str)]
        word = first_text(*words)[:100]
        if words and (layer is not layers[0] or layer in tasks):
            return layer, word
        if words and word.strip().lower() in SURE:
            doubtful.append((layer, word))
    if not doubtful and not tasks:
        raise UnreadableReply("kling_relay: a poll's reply holds no task")
    return doubtful[0] if doubtful else (tasks[0], "")


def _artifacts(layers: Sequence[Mapping[str, object]], outer: Mapping[str, object]) -> tuple[Artifact, ...]:
    """Every video that is named; the outer level names the first alone, or the relay's own `/content`, or nothing."""
    first = outer.get("result_url") or outer.get("fail_reason")
    for layer in layers:
        videos = map(mapping, items(mapping(json_object(layer.get("task_result"))).get("videos")))
        if listed := unique_by_url(_artifact(video.get("url"), video) for video in videos):
            return tuple(sorted(listed, key=lambda found: found.url != first))
    inner = [layer for layer in layers if layer is not outer]
    named = [
        *((layer.get("result_url"), layer) for layer in (*inner, outer)),
        *((layer.get("fail_reason"), layer) for layer in (outer, *inner)),  # before 2026-02-22
        *((layer.get("url"), layer) for layer in (outer, *inner)),
        *((mapping(layer.get("metadata")).get("url"), layer) for layer in (outer, *inner)),
    ]
    return unique_by_url(_artifact(url, layer) for url, layer in named)[:1]


def _artifact(url: object, about: Mapping[str, object]) -> Artifact | None:
    if CONTENT_PATH.search(urlsplit(http_url(url) or "").path):
        return None
    return artifact(url, about, mapping(about.get("metadata")))


def _failure(layers: Sequence[Mapping[str, object]]) -> Failed:
    """Why a task failed: Kling's own reason before the relay's, which for long was Kling's "SUCCEED"."""
    errors = [mapping(layer.get("error")) for layer in layers]
    told = [
        *(layer.get("task_status_msg") for layer in reversed(layers)),
        *(layer.get("fail_reason") for layer in layers),
        *(error.get("message") for error in errors),
        *(layer.get("result_url") for layer in layers),  # falls back to the error text
        *(layer.get("message") for layer in layers),
    ]
    reasons = (text(reason).strip() for reason in told)
    reason = next((found for found in reasons if found.lower() not in NO_REASON and not http_url(found)), "")
    codes, reason = _codes_and_message({"message": reason})
    code = first_text(*reversed(codes), *(_code(fields.get("code")) for fields in (*errors, *reversed(layers))))
    internal = INTERNAL.search(reason)
    kind = KLING.get(code)
    if kind not in {FailureKind.CONTENT_POLICY, FailureKind.INVALID_REQUEST}:
        kind = match_phrase(OF_FAILURE[:1] if internal else OF_FAILURE, reason) or FailureKind.TASK_FAILED
    return failed(kind, internal[0] if internal and kind is FailureKind.TASK_FAILED else reason, code)


REFUSALS = Refusals(
    find=find_error,
    rules=RULES,
    # All that the refusal of a read can be about. Any other refusal says no more than that the read failed.
    read_kinds={
        FailureKind.CREDENTIAL_REFUSED,
        FailureKind.OUT_OF_CREDIT,
        FailureKind.RATE_LIMITED,
        FailureKind.TASK_LOST,
    },
    # A type that cannot be read is the fault of our translation. What the plug-in refuses is a model or a mode that it
    # does not have. "Invalid request" alone names no reason.
    elsewhere=Mark(OF_TRANSLATION, phrases(r"cannot unmarshal|\Ainvalid request\Z")),
    # A group or a key without this model, or a model without a channel: the account's other models may well work.
    of_model=Mark(OF_MODEL_CODES, phrases("无权访问模型|下模型|access to (?:the )?model|channel for model")),
)
ADAPTER = Adapter(
    name="kling_relay",
    base_url="https://api.xiexus.cn",
    capabilities=CAPABILITIES,
    configurable=CONFIGURABLE,
    default_row="kling-v2-master",  # what no table has is of v2 or later: no cfg_scale, and all of them take `pro`
    polling=Polling(  # the relay itself looks every 15 s
        first_poll_seconds=15,
        poll_seconds=15,
        poll_max_seconds=30,
        attempt_timeout_seconds=1500,
        grace_seconds=60,
        submit_timeout_seconds=120,  # it tries other channels first
        result_seconds=86400,
    ),
    rate_limit_seconds=30,  # it never sends Retry-After
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=partial(classify, refusals=REFUSALS),
    refresh=refresh,
    refresh_every=4,  # once in one to two minutes
    content=content,
    forms=("string", "number"),
    amend=amend,
    known_task=lambda request, task_id: TaskRef(id=task_id, path=to_upstream(request).path.rpartition("/")[2]),
)
