"""What the relay and Kling accept, and from which part of the body each regime of the relay reads it."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from gateway.sandbox.relay_errors import DURATION_TEXT, ERRORS, NO_MODEL, auth_error, native_error, task_error
from gateway.sandbox.state import State
from gateway.sandbox.wire import Reply, Request, any_reply

PROMPT_LENGTH = 2500
RATIOS = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
SIZES = {"1280x720": "16:9", "1920x1080": "16:9", "720x1280": "9:16", "1080x1920": "9:16"}
SHORT_SIDES = {"std": 720, "pro": 1080}
TEXTS = ("negative_prompt", "mode", "duration", "aspect_ratio", "image", "image_tail", "static_mask")
DEFAULTS: dict[str, Any] = {"mode": "std", "duration": "5", "aspect_ratio": "1:1", "cfg_scale": 0.5}
CLASHES = ("static_mask", "dynamic_masks", "camera_control")  # fields that exclude a last image


class RefusedError(Exception):
    """A submit that the relay refuses, with the whole reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class RefusedByKlingError(Exception):
    """A submit that Kling refuses. The reply of the relay depends on the regime."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def model_of(request: Request, state: State, body: Mapping[str, Any], regime: str) -> str:
    """The requested model. Raises `RefusedError` if it is missing or the relay has no channel for it."""
    english = in_english(request, state)
    by_name = (body.get("model_name") or body.get("model")) if regime in {"A", "C"} else body.get("model")
    if not isinstance(by_name, str) or not by_name.strip():
        if regime == "C":
            _refused_by_plugin("model is required" if request.json() is not None else "JSON body required")
        words = "Model name not specified, model name cannot be empty" if english else NO_MODEL
        raise RefusedError(any_reply(400, auth_error(words)))
    if by_name not in state.settings.relay_models:
        words = f"No available channel for model {by_name} under group default (distributor)"
        if not english:
            words = f"分组 default 下模型 {by_name} 无可用渠道（distributor）"
        raise RefusedError(any_reply(503, auth_error(words, "model_not_found")))
    return by_name


def prompt_in(body: Mapping[str, Any], regime: str, action: str) -> str:
    """The prompt. Raises `RefusedError` if it is missing; the plug-in does not check that."""
    prompt = body.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    if regime != "C":
        raise RefusedError(any_reply(*ERRORS["400"]))
    if prompt or action == "text2video":
        refused_by_kling("prompt is required" if not prompt else "prompt is invalid")
    return ""


def check_types(body: Mapping[str, Any], regime: str) -> None:
    """Raise `RefusedError` for a type that the relay cannot decode; nothing was sent to Kling then."""
    if regime == "C":
        return
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


def payload_of(body: Mapping[str, Any], regime: str, model: str, action: str) -> tuple[str, dict[str, Any]]:
    """What the relay sends to Kling, and the action: the fields by Kling's names, from the part that this regime reads.

    The defaults that the relay adds are not included.
    """
    if regime == "C":  # the path decides the action, and the whole body is passed on unchecked
        given = {name: value for name, value in body.items() if value not in (None, "")}
        return action, given | {"mode": _mode_in_plugin(model, given.get("mode"))}
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
    given = {name: value for name, value in given.items() if value not in (None, "")}
    return "image2video" if "image" in given else "text2video", given


def check_given(model: str, action: str, prompt: str, given: Mapping[str, Any]) -> None:
    """Raise `RefusedByKlingError` for what Kling itself refuses, in every regime."""
    version = _version(model)
    payload = DEFAULTS | dict(given)
    negative = given.get("negative_prompt", "")
    if not isinstance(negative, str) or len(prompt) > PROMPT_LENGTH or len(negative) > PROMPT_LENGTH:
        refused_by_kling("prompt is too long")
    durations = tuple(map(str, range(3, 16))) if version >= (3, 0) else ("5", "10")
    for name, values in (("duration", durations), ("aspect_ratio", tuple(RATIOS)), ("mode", tuple(SHORT_SIDES))):
        if str(payload[name]) not in values:
            refused_by_kling(f"{name} value '{payload[name]}' is invalid")
    if payload["mode"] == "std" and (model == "kling-v2-1-master" or version == (2, 5)):
        refused_by_kling(f"mode value 'std' is not supported by {model}")
    if "cfg_scale" in given and version[0] == 2:  # the default that the relay adds is ignored
        refused_by_kling(f"cfg_scale is not supported by {model}")
    scale = payload["cfg_scale"]
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale <= 1:
        refused_by_kling("cfg_scale is invalid")
    if given.get("sound") == "on" and (version < (2, 6) or payload["mode"] != "pro"):
        refused_by_kling(f"sound is not supported by {model} with mode {payload['mode']}")
    if action == "text2video":
        return
    if not (given.get("image") or given.get("image_tail")):
        refused_by_kling("image is required")
    if "image_tail" in given:
        if payload["mode"] != "pro" and version < (3, 0):
            refused_by_kling("image_tail is not supported with mode std")
        for name in CLASHES:
            if name in given:
                refused_by_kling(f"image_tail and {name} are mutually exclusive")


def refused_by_kling(message: str, code: int = 1201) -> NoReturn:
    """Raise `RefusedByKlingError` for a parameter."""
    raise RefusedByKlingError(code, message)


def in_english(request: Request, state: State) -> bool:
    """Whether messages are in English: since 2026-02-05, which certainly includes regimes B and C."""
    accepted = request.headers.get("accept-language", "en")
    return state.settings.relay_regime in {"B", "C"} and not accepted.startswith("zh")


def _mode_in_plugin(model: str, mode: object) -> str:
    name = str(mode or "").strip().lower()
    if model == "kling-v2-master":
        if name == "std":
            _refused_by_plugin("kling-v2-master does not support mode std")
        if name not in {"", "pro"}:
            _refused_by_plugin("mode must be pro")
        return "pro"
    if name not in {"", *SHORT_SIDES}:
        _refused_by_plugin("mode must be std or pro")
    return name or "std"


def _refused_by_plugin(message: str) -> NoReturn:
    raise RefusedError(any_reply(400, native_error("plugin_request_invalid", message)))


def _version(model: str) -> tuple[int, int]:
    """The version in a model name: (2, 5) for `kling-v2-5-turbo`, (2, 0) for `kling-v2-master`."""
    match = re.match(r"kling-v(\d+)(?:-(\d+))?", model)
    return (int(match[1]), int(match[2] or 0)) if match else (3, 0)


def _go(value: object) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
