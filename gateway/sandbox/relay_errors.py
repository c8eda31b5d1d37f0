"""The documented errors of the relay, in its three envelopes and in that of its task plug-in."""

from typing import Any

import msgspec

from gateway.sandbox.provider import Errors


def auth_error(message: str, code: str = "") -> dict[str, Any]:
    """The envelope of the key check and of the distributor."""
    return {
        "error": {"code": code, "message": f"{message} (request id: 2026022216000012345678)", "type": "new_api_error"}
    }


def task_error(code: str, message: str) -> dict[str, Any]:
    """The envelope of errors about a task."""
    return {"code": code, "message": message, "data": None}


def native_error(code: str, message: str) -> dict[str, Any]:
    """The envelope of the task plug-in's own routes."""
    return {"code": code, "message": message}


def kling_error(code: int, message: str) -> dict[str, Any]:
    """Kling's own envelope."""
    return {"code": code, "message": message, "request_id": "ace7625a"}


def refused_by_kling(regime: str, how: str, code: int, message: str) -> tuple[int, Any]:
    """How the relay passes on a refusal of Kling, which has an HTTP status of its own or 200."""
    if regime == "C":  # a status other than 2xx is passed on before the plug-in reads the body
        refused = (400, kling_error(code, message))
        return refused if how == "status" else (502, native_error("plugin_submit_response_failed", message))
    if how == "status":
        raw = msgspec.json.encode(kling_error(code, message)).decode()
        return 400, task_error("fail_to_fetch_task", raw)
    return 400, task_error("task_failed", message)


def general_error(status: int, message: str) -> dict[str, Any]:
    """What newer builds send instead of a code on the paths of the plug-in. They do not explain faults of their own."""
    codes = {401: "authentication_error", 403: "permission_denied", 404: "task_not_found", 429: "rate_limit_exceeded"}
    if status >= 500:
        return native_error("server_error", "Task request failed")
    return native_error(codes.get(status, "invalid_request"), message)


NO_MODEL = "未指定模型名称，模型名称不能为空"
DURATION_TEXT = "json: cannot unmarshal string into Go struct field TaskSubmitReq.duration of type int"
_DURATION_NUMBER = "json: cannot unmarshal number into Go struct field requestPayload.duration of type string"
_PANIC = "Panic detected, error: runtime error. Please submit a issue here: https://github.com/Calcium-Ion/new-api"
_LOAD = "当前分组上游负载已饱和，请稍后再试"
ERRORS: Errors = {
    "400": (400, task_error("invalid_request", "prompt is required")),
    "400_documented": (
        400,
        {"error": {"message": "string", "type": "invalid_request_error", "param": None, "code": None}},
    ),
    "400_model_name_missing": (400, auth_error(NO_MODEL)),
    "400_duration_string": (400, task_error("invalid_request", DURATION_TEXT)),
    "400_invalid_seconds": (400, task_error("invalid_seconds", "seconds must be between 1 and 3600")),
    "400_task_failed": (400, task_error("task_failed", "The content contains risk")),
    "content_refusal": (400, task_error("task_failed", "The content contains risk")),
    "400_kling": (
        400,
        task_error("fail_to_fetch_task", '{"code":1201,"message":"Image pixel is invalid","request_id":"ace7625a"}'),
    ),
    "400_task_not_exist": (400, task_error("task_not_exist", "task_not_exist")),
    "400_plugin_request": (400, native_error("plugin_request_invalid", "kling-v2-master does not support mode std")),
    "400_plugin_usage": (400, native_error("plugin_usage_invalid", "seconds must be a positive integer at most 3600")),
    "400_general": (400, general_error(400, "Invalid request")),
    "400_model_price": (400, native_error("model_price_error", "Model kling-v1 ratio or price not set")),
    "429_kling_parallel": (429, kling_error(1303, "parallel task over resource pack limit")),
    "502_plugin_refused": (
        502,
        native_error("plugin_submit_response_failed", "image_tail is not supported with mode std"),
    ),
    "502_plugin_policy": (502, native_error("plugin_submit_response_failed", "The content contains risk")),
    "502_plugin_credit": (502, native_error("plugin_submit_response_failed", "Account balance not enough")),
    "502_plugin_unknown": (502, native_error("plugin_submit_response_failed", "kling submit failed")),
    "502_plugin_no_id": (502, native_error("plugin_submit_response_failed", "missing task_id")),
    "502_plugin_invalid": (
        502,
        native_error("plugin_submit_response_invalid", "plugin returned an empty taskId"),
    ),
    "502_general": (502, general_error(502, "")),
    "504_task_timeout": (504, native_error("task_timeout", "task did not finish in time")),
    "404_task_not_found": (404, native_error("task_not_found", "Task not found")),
    "401": (401, auth_error("无效的令牌")),
    "401_english": (401, auth_error("Invalid token")),
    "401_missing": (401, auth_error("未提供令牌")),
    "401_expired": (401, auth_error("该令牌已过期")),
    "401_quota_exhausted": (401, auth_error("该令牌额度已用尽 TokenStatusExhausted[sk-abc***xyz]")),
    "403": (403, task_error("insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000")),
    "402": (403, task_error("insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000")),  # 402 is not used
    "no_credit": (403, task_error("insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000")),
    "403_pre_consume": (
        403,
        task_error("insufficient_user_quota", "预扣费额度失败, 用户剩余额度: ＄0.100000, 需要预扣费额度: ＄0.500000"),
    ),
    "403_subscription": (
        403,
        task_error("insufficient_user_quota", "订阅额度不足或未配置订阅: no active subscription"),
    ),
    "403_token_quota": (
        403,
        task_error(
            "pre_consume_token_quota_failed",
            "token quota is not enough, token remain quota: ＄0.100000, need quota: ＄0.500000",
        ),
    ),
    "403_quota_not_enough": (403, task_error("quota_not_enough", "user quota is not enough")),
    "403_ip": (403, auth_error("您的 IP 不在令牌允许访问的列表中", "access_denied")),
    "403_banned": (403, auth_error("用户已被封禁")),
    "403_model": (403, auth_error("该令牌无权访问模型 kling-v1-6")),
    "403_query_model": (403, auth_error("该令牌无权访问模型 ")),
    "404": (
        404,
        {
            "error": {
                "message": "Invalid URL (POST /kling/v1/videos/omni-video)",
                "type": "invalid_request_error",
                "param": "",
                "code": "",
            }
        },
    ),
    "413": (413, task_error("read_request_body_failed", "request body too large")),
    "429": (429, task_error("fail_to_fetch_task", _LOAD)),
    "429_empty": (429, None),
    "500": (500, task_error("do_request_failed", 'Post "https://***.com/***": context deadline exceeded')),
    "500_old_text": (500, task_error("do_request_failed", "请求上游地址失败")),
    "500_build_request": (500, task_error("build_request_failed", f"unmarshal metadata failed: {_DURATION_NUMBER}")),
    "500_no_channel": (500, task_error("get_channel_failed", "获取分组 default 下模型 kling-v1-6 的可用渠道失败")),
    "500_read_response": (500, task_error("read_response_body_failed", "unexpected EOF")),
    "500_panic": (500, {"error": {"message": _PANIC, "type": "new_api_panic"}}),
    "503": (503, auth_error("分组 default 下模型 kling-v1-6 无可用渠道（distributor）", "model_not_found")),
    "503_no_channel": (503, auth_error("分组 default 下模型 kling-v1-6 无可用渠道（distributor）", "model_not_found")),
    "503_english": (
        503,
        auth_error("No available channel for model kling-v1-6 under group default (distributor)", "model_not_found"),
    ),
}
