"""Words for the state of a task in many spellings and languages, and words that must stay unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.adapter.status_words import State, state_of, status_field

from ....cases import every

WORDS = {
    State.DONE: """
        done|COMPLETE|Finished|TASK_STATUS_SUCCEED|generation_completed|Success.|✅ done|成功|任务完成
        완료|完了しました|terminé|Готово|abgeschlossen|completed successfully|Completed (100%)|COMPLETED_WITH_WARNINGS
        已生成|ｓｕｃｃｅｓｓ|สำเร็จ|hoàn_thành
        """,
    State.FAILED: """
        FAIL|failure|TASK_STATUS_FAILED|generation_failed|INTERNAL_ERROR|error: GPU lost|Failed: timeout
        rendering_failed|rejected_by_moderation|NSFW|permission_denied|失败|审核不通过|系统错误|실패|失敗しました|fehlgeschlagen|échoué|中断
        """,
    State.CANCELLED: "canceled|CANCELLED|user_cancelled|cancelled by user|已取消|キャンセル|annullato|abandoned",
    State.EXPIRED: "expired|timeout|TIMED_OUT|timed out|task_timeout|超时|已过期",
    State.RUNNING: """
        running|in-progress|IN_PROGRESS|processing (45%)|generating_video|post_processing|almost_done|not_completed
        处理中|生成中...|正在生成|失败重试中|未完成|진행 중|en cours|retry_after_error|failed_retrying
        """,
    State.QUEUED: """
        queued|IN_QUEUE|NOT_START|waiting_for_worker|Queue position 3|排队中|任务提交成功|待处理|대기중|pendiente
        """,
}
SAID = [(word.strip(), state) for state, table in WORDS.items() for word in table.replace("\n", "|").split("|")]


@every(("word", "state"), [row for row in SAID if row[0]])
def test_a_word_means_the_same_in_any_spelling(word: str, state: State) -> None:
    for spelled in (word, f" {word}\n", word.upper(), word.lower(), word.replace("_", " "), word.replace("_", "-")):
        assert state_of(spelled) is state, spelled


def test_words_are_separated_at_capital_letters() -> None:
    assert state_of("taskSucceeded") is State.DONE
    assert state_of("JobStateFailed") is State.FAILED


@every(
    "word",
    [
        *("", " ", "___", "123", "uploading", "published", "weitergereicht", "ready", "available", "ok", "not_found"),
        *(
            "no_error",
            "last_error",
            "failed_over",
            "partial_failure",
            "submit_failed",
            "success: false",
            "done?!failed",
        ),
    ],
)
def test_a_word_that_may_mean_two_things_is_unknown(word: str) -> None:
    assert state_of(word) is None


@given(st.text(max_size=300))
def test_any_text_is_a_state_or_none(word: str) -> None:
    assert state_of(word) in {*State, None}


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ({"status": "DONE"}, ("status", "DONE")),
        ({"TaskStatus": "succeed", "message": "x"}, ("TaskStatus", "succeed")),
        ({"task-state": "running"}, ("task-state", "running")),
        ({"status": {"state": "failed", "code": 1}}, ("status", "failed")),
        ({"status": 200, "state": "queued"}, ("state", "queued")),
        ({"status": 200}, None),
        ({"isFinished": True}, ("isFinished", "done")),
        ({"finished": False}, ("finished", "running")),
        ({"finished": 1}, None),
        ({"status": None}, None),
        ({str(number): "x" for number in range(1001)} | {"status": "done"}, None),
    ],
)
def test_the_field_of_the_state_is_found(task: dict[str, object], field: tuple[str, str] | None) -> None:
    assert status_field(task) == field
