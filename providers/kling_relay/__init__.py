"""Kling relay (api.xiexus.cn, an instance of QuantumNous/new-api): translation only.

`models.py` says what its models accept, `errors.py` why it refuses calls and fails tasks.

Sources: the relay's own pages (apidoc.xiexus.cn, a copy of new-api's generic document), the source code of new-api up
to 2026-07 and of its task plug-ins since 2026-08 (plugins/tasks/kling/plugin.js, relay/channel/task/jsplugin), and
Kling's pages of error codes. tests/exchanges/kling_relay/ has one file for each form, with its source.

Nobody knows which version of new-api answers. So the forms of all versions are read, and the body of a submit is one
that every version understands.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.domain.adapter.contract import Adapter, HttpCall, HttpReply, KeyTest, Polling
from gateway.domain.adapter.decoding import (
    first_text,
    http_url,
    items,
    json_object,
    json_or_none,
    mapping,
    progress,
    read_json,
    text,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.key_test import key_test
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.refusals import classify
from gateway.domain.adapter.replies import (
    artifact,
    by_code,
    pending,
    succeeded,
    unique_by_url,
    without_result,
)
from gateway.domain.adapter.request import FramesInput, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply
from providers.kling_relay.errors import (
    KLING,
    REFUSALS,
    codes_and_message,
    layers_of,
    says_success,
    task_failure,
    task_ids,
)
from providers.kling_relay.models import CAPABILITIES, CONFIGURABLE, DEFAULT_SECONDS, MODES, mode_of

# A GET must not have a Content-Type: builds before 2025-09-11 answer 400 to it.
HEADERS = {"Accept-Language": "en"}
TEXT_PATH, IMAGE_PATH = "text2video", "image2video"
SIZES = {  # for the versions that read the ratio from `size`, where every other value means 1:1
    "16:9": {"720p": "1280x720", "1080p": "1920x1080"},
    "9:16": {"720p": "720x1280", "1080p": "1080x1920"},
    "1:1": {"720p": "720x720", "1080p": "1080x1080"},
}
PENDING: dict[str, Status] = {"": Status.QUEUED} | by_code(
    {Status.QUEUED: "not_start submitted queued unknown", Status.IN_PROGRESS: "in_progress processing running"}
)
CONTENT_PATH = re.compile(r"/v1/(?:videos/[^/]+|tasks/[^/]+/artifacts/[^/]+)/content/?$", re.IGNORECASE)
DONE = frozenset({"success", "succeed", "succeeded", "completed"})
FAILURE = frozenset({"failure", "failed", "error"})
ENDED = {  # words for an end, and the failure that they mean
    **dict.fromkeys(("cancelled", "canceled"), failed(FailureKind.TASK_FAILED, "The provider cancelled the task.")),
    "expired": failed(FailureKind.TIMED_OUT),
}
# Words that can only be the status of a task, even if no id is beside them.
SURE = frozenset((*PENDING, *DONE, *FAILURE, *ENDED)) - {"", "unknown", "error"}


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The call that starts a task.

    Versions before 2026-01-30 read Kling's names at the top level. Later versions read a few fields there and the rest
    in `metadata`. The task plug-in (since 2026-08) reads the top level again. So every field is sent in both places.
    Until the plug-in, the presence of `image` decided between text and image as the source; since then the path does.
    Here both always agree.
    """
    settings, image = request.settings, request.input if isinstance(request.input, FramesInput) else None
    mode = settings.mode or mode_of(settings)
    resolution = settings.resolution or MODES.get(mode or "std", "")
    named = {
        "aspect_ratio": settings.aspect_ratio,
        "image_tail": image.last_frame if image else None,
        "negative_prompt": settings.negative_prompt,
        "cfg_scale": settings.cfg_scale,
        "sound": "on" if settings.generate_audio else None,  # of forks, and of Kling since v2.6; the default is silence
        **_options(request),
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
    # Versions disagree about the type of `duration`. Left out, it means 5 seconds in all of them.
    if settings.duration_seconds not in {None, DEFAULT_SECONDS}:
        metadata["duration"] = str(settings.duration_seconds)
        body["duration"] = settings.duration_seconds if request.variant == "number" else metadata["duration"]
    body["metadata"] = {name: value for name, value in metadata.items() if value is not None} or None
    return HttpCall(
        method="POST",
        path=f"/kling/v1/videos/{IMAGE_PATH if image else TEXT_PATH}",
        headers=HEADERS,
        json={name: value for name, value in body.items() if value is not None},
    )


def _options(request: UpstreamRequest) -> dict[str, Any]:
    """The client's options. Its id of the task gets the name of the client in front.

    All clients share one account at the relay, where Kling refuses an id that it has already: without the prefix a
    client could find out the ids of another one, or block them.
    """
    external = request.options.get("external_task_id")
    if external is None or not request.client:
        return dict(request.options)
    return {**request.options, "external_task_id": f"{request.client}-{external}"}


def next_variant(call: HttpCall, reply: HttpReply) -> str | None:
    """The other form of `duration` ("number" or "string") if the relay refused its type, else None.

    The relay does that before it sends anything to Kling, so the submit may be sent again without buying twice. A
    refusal with a code of Kling, which the plug-in passes on as `invalid_request` too, is about the length instead.
    """
    duration, body = mapping(call.json).get("duration"), mapping(json_or_none(reply))
    before_sending = (reply.status, text(body.get("code"))) in {(500, "build_request_failed"), (400, "invalid_request")}
    if duration is None or not before_sending or "duration" not in text(body.get("message")).lower():
        return None
    if any(code in KLING for code in codes_and_message(body)[0]):
        return None
    return "number" if isinstance(duration, str) else "string"


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """The one task of a submit. The outermost id is the relay's; inner ids belong to the relay's supplier."""
    body = read_json(reply)
    ids = task_ids(body) if says_success(body) else []
    if not ids:
        raise UnreadableReply("kling_relay: the reply to a submit has no task id")
    return (TaskRef(id=ids[0], path=IMAGE_PATH if call.path.endswith(IMAGE_PATH) else TEXT_PATH),)


def poll(ref: TaskRef) -> HttpCall:
    """The call that reads a task, on Kling's own path."""
    path = f"/kling/v1/videos/{ref.path or TEXT_PATH}/{quote(ref.id, safe='')}"
    return HttpCall(method="GET", path=path, headers=HEADERS)


def refresh(ref: TaskRef) -> HttpCall:
    """The call that reads the same task in OpenAI's form, with the relay's own status.

    Kling's path shows the last reply of Kling under the task plug-in. A task that the relay itself has failed (its
    time-out, 20 failed polls, Kling's 404 or 410) therefore shows "processing" forever. OpenAI's form has no link to
    the file of a finished task, so it is read only now and then.
    """
    return HttpCall(method="GET", path=f"/v1/videos/{quote(ref.id, safe='')}", headers=HEADERS)


def content(ref: TaskRef) -> HttpCall:
    """The call that fetches the file of a finished task for which no URL was named.

    It always goes to the configured base URL. The host that the relay prints in such a link is not used.
    """
    return HttpCall(method="GET", path=f"/v1/videos/{quote(ref.id, safe='')}/content", headers=HEADERS)


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """The state of a task, in any form of any version. The outermost status counts: inner ones may be older."""
    body = read_json(reply)
    layers = layers_of(body) if says_success(body) else []
    outer, raw = _status(layers)
    word = raw.strip().lower()
    if word in DONE:
        artifacts = _artifacts(layers, outer)
        return Completed(artifacts) if artifacts else without_result(raw, progress(outer.get("progress")))
    if word in FAILURE:
        return task_failure(layers)
    return ENDED.get(word) or pending(raw, PENDING, progress(outer.get("progress")))


def _status(layers: Sequence[Mapping[str, object]]) -> tuple[Mapping[str, object], str]:
    """The outermost layer with the status of a task, and the status word; "" (not started) for a task without one.

    A layer that has no task id is an envelope, or does not come from the relay. Its word counts only if no other layer
    has a status and the word can only be that of a task. Raises `UnreadableReply` if there is neither.
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
        raise UnreadableReply("kling_relay: the reply to a poll has no task")
    return doubtful[0] if doubtful else (tasks[0], "")


def _artifacts(layers: Sequence[Mapping[str, object]], outer: Mapping[str, object]) -> tuple[Artifact, ...]:
    """The files of a finished task.

    `task_result.videos` lists all of them. The outer level has only the first, or the relay's own `/content`, or none.
    """
    first = outer.get("result_url") or outer.get("fail_reason")
    for layer in layers:
        videos = map(mapping, items(mapping(json_object(layer.get("task_result"))).get("videos")))
        if listed := unique_by_url(_artifact(video.get("url"), video) for video in videos):
            return tuple(sorted(listed, key=lambda file: file.url != first))
    inner = [layer for layer in layers if layer is not outer]
    named = [
        *((layer.get("result_url"), layer) for layer in (*inner, outer)),
        *((layer.get("fail_reason"), layer) for layer in (outer, *inner)),  # before 2026-02-22
        *((layer.get("url"), layer) for layer in (outer, *inner)),
        *((mapping(layer.get("metadata")).get("url"), layer) for layer in (outer, *inner)),
    ]
    return unique_by_url(_artifact(url, layer) for url, layer in named)[:1]


def _artifact(url: object, about: Mapping[str, object]) -> Artifact | None:
    """The file at a URL, or None if the URL is the relay's own API call for the file (see `content`)."""
    if CONTENT_PATH.search(urlsplit(http_url(url) or "").path):
        return None
    return artifact(url, about, mapping(about.get("metadata")))


def probe() -> HttpCall:
    """The list of the models that the key may use, in OpenAI's form (apidoc.xiexus.cn, "listmodels")."""
    return HttpCall(method="GET", path="/v1/models", headers=HEADERS)


def read_probe(reply: HttpReply) -> KeyTest:
    """What the reply to `probe` proves. Recent builds answer 401 for a valid key without credit, too."""
    listed = mapping(json_or_none(reply)).get("data")
    names = [mapping(model).get("id") for model in items(listed)]
    is_list = succeeded(reply) and isinstance(listed, list)
    proof = f"the relay lists {len(names)} models for it" if is_list else None
    leaves_open = "whether the account has credit, and whether a channel is free for a model"
    return key_test(reply, classify(reply, REFUSALS), proof=proof, leaves_open=leaves_open)


ADAPTER = Adapter(
    name="kling_relay",
    base_url="https://api.xiexus.cn",
    capabilities=CAPABILITIES,
    configurable=CONFIGURABLE,
    default_capability_name="kling-v2-master",  # unknown models are v2 or later: no cfg_scale, and all take mode `pro`
    polling=Polling(  # the relay polls Kling every 15 s
        first_poll_seconds=15,
        poll_seconds=15,
        poll_max_seconds=30,
        attempt_timeout_seconds=1500,
        grace_seconds=60,
        submit_timeout_seconds=120,  # the relay may try several channels before it answers
        result_seconds=86400,
    ),
    rate_limit_seconds=30,  # the relay never sends Retry-After
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=partial(classify, refusals=REFUSALS),
    refresh=refresh,
    refresh_every=4,  # every one to two minutes
    content=content,
    variants=("string", "number"),
    next_variant=next_variant,
    known_task=lambda request, task_id: TaskRef(id=task_id, path=to_upstream(request).path.rpartition("/")[2]),
    probe=probe,
    read_probe=read_probe,
)
