"""The relay's documented errors, in its three envelopes."""

from typing import Any

from gateway.sandbox.provider import Errors


def auth_error(message: str, code: str = "") -> dict[str, Any]:
    """The envelope of the key check and of the distributor."""
    return {
        "error": {"code": code, "message": f"{message} (request id: 2026022216000012345678)", "type": "new_api_error"}
    }


def task_error(code: str, message: str) -> dict[str, Any]:
    """The envelope of errors about a task."""
    return {"code": code, "message": message, "data": None}


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
    "401": (401, auth_error("无效的令牌")),
    "401_english": (401, auth_error("Invalid token")),
    "401_missing": (401, auth_error("未提供令牌")),
    "401_expired": (401, auth_error("该令牌已过期")),
    "401_quota_exhausted": (401, auth_error("该令牌额度已用尽 TokenStatusExhausted[sk-abc***xyz]")),
    "403": (403, task_error("insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000")),
    "402": (403, task_error("insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000")),  # there is no 402 here
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
