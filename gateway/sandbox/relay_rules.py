"""What the relay and Kling behind it accept, and from which place of the body each regime reads it."""

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from gateway.sandbox.relay_errors import DURATION_TEXT, ERRORS, NO_MODEL, auth_error, task_error
from gateway.sandbox.state import State
from gateway.sandbox.wire import Reply, Request, any_reply

PROMPT_LENGTH = 2500
RATIOS = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
SIZES = {"1280x720": "16:9", "1920x1080": "16:9", "720x1280": "9:16", "1080x1920": "9:16"}
SHORT_SIDES = {"std": 720, "pro": 1080}
TEXTS = ("negative_prompt", "mode", "duration", "aspect_ratio", "image", "image_tail", "static_mask")
DEFAULTS = {"mode": "std", "duration": "5", "aspect_ratio": "1:1", "cfg_scale": 0.5}


class RefusedError(Exception):
    """A submit that the relay or Kling refuses; holds the whole reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def model_of(request: Request, state: State, body: Mapping[str, Any], regime: str) -> str:
    """The model that is asked for. Raises RefusedError when there is none, or no channel for it."""
    english = in_english(request, state)
    model = (body.get("model_name") or body.get("model")) if regime == "A" else body.get("model")
    if not isinstance(model, str) or not model:
        words = "Model name not specified, model name cannot be empty" if english else NO_MODEL
        raise RefusedError(any_reply(400, auth_error(words)))
    if model not in state.settings.relay_models:
        words = f"No available channel for model {model} under group default (distributor)"
        if not english:
            words = f"分组 default 下模型 {model} 无可用渠道（distributor）"
        raise RefusedError(any_reply(503, auth_error(words, "model_not_found")))
    return model


def prompt_in(body: Mapping[str, Any]) -> str:
    """The prompt. Raises RefusedError when there is none."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise RefusedError(any_reply(*ERRORS["400"]))
    return prompt


def check_types(body: Mapping[str, Any], regime: str) -> None:
    """What the relay's own decoding refuses, before anything goes to Kling."""
    texts = ["prompt", "image", "mode", "size"]
    for name in texts if regime != "A" else ["prompt"]:
        if body.get(name) is not None and not isinstance(body[name], str):
            word = f"json: cannot unmarshal {_go(body[name])} into Go struct field TaskSubmitReq.{name} of type string"
            raise RefusedError(any_reply(400, task_error("invalid_request", word)))
    duration = body.get("duration")
    if regime == "A" or duration is None:
        return
    if isinstance(duration, str) and (regime == "B-old" or not duration.isdecimal()):
        raise RefusedError(any_reply(*ERRORS["400_duration_string"]))
    if not isinstance(duration, str | int) or isinstance(duration, bool):
        word = DURATION_TEXT.replace("string", _go(duration), 1)
        raise RefusedError(any_reply(400, task_error("invalid_request", word)))
    if regime == "B" and not 0 <= int(duration) <= 3600:
        raise RefusedError(any_reply(*ERRORS["400_invalid_seconds"]))


def payload_of(body: Mapping[str, Any], regime: str) -> dict[str, Any]:
    """What goes to Kling: its own names, from the place where this regime looks for them."""
    if regime == "A":
        given = {name: value for name, value in body.items() if name in {*TEXTS, *DEFAULTS}}
    else:
        given = {name: body[name] for name in ("image", "mode") if body.get(name)}
        given["aspect_ratio"] = SIZES.get(body.get("size") or "", "1:1")
        if body.get("duration"):
            given["duration"] = str(int(body["duration"]))
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            word = f"json: cannot unmarshal {_go(metadata)} into Go struct field TaskSubmitReq.metadata of type map"
            raise RefusedError(any_reply(400, task_error("invalid_request", word)))
        given |= {name: value for name, value in metadata.items() if name in {*TEXTS, *DEFAULTS} - {"image"}}
    for name, value in given.items():
        kind = "float64" if name == "cfg_scale" else "string"
        fits = (
            isinstance(value, float | int) and not isinstance(value, bool)
            if kind == "float64"
            else isinstance(value, str)
        )
        if value is not None and not fits:
            word = f"json: cannot unmarshal {_go(value)} into Go struct field requestPayload.{name} of type {kind}"
            raise RefusedError(any_reply(500, task_error("build_request_failed", f"unmarshal metadata failed: {word}")))
    return DEFAULTS | {name: value for name, value in given.items() if value not in (None, "")}


def check_payload(prompt: str, payload: Mapping[str, Any]) -> None:
    """What Kling itself refuses."""
    if len(prompt) > PROMPT_LENGTH or len(payload.get("negative_prompt", "")) > PROMPT_LENGTH:
        refused_by_kling("prompt is too long")
    for name, values in (("duration", ("5", "10")), ("aspect_ratio", tuple(RATIOS)), ("mode", tuple(SHORT_SIDES))):
        if payload[name] not in values:
            refused_by_kling(f"{name} value '{payload[name]}' is invalid")
    if not 0 <= payload["cfg_scale"] <= 1:
        refused_by_kling("cfg_scale is invalid")
    if "image_tail" in payload and "static_mask" in payload:
        refused_by_kling("image_tail and static_mask are mutually exclusive")


def refused_by_kling(message: str) -> NoReturn:
    """Raise what the relay makes of Kling's refusal of a parameter."""
    raw = msgspec.json.encode({"code": 1201, "message": message, "request_id": "ace7625a"}).decode()
    raise RefusedError(any_reply(400, task_error("fail_to_fetch_task", raw)))


def in_english(request: Request, state: State) -> bool:
    """Since 2026-02-05, which only regime B has for certain."""
    accepted = request.headers.get("accept-language", "en")
    return state.settings.relay_regime == "B" and not accepted.startswith("zh")


def _go(value: object) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
