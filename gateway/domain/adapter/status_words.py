"""Words for the state of a task in every case, spelling and language that was met in practice. Pure tables.

An adapter's own table of documented words comes first. Relays, forks and new versions use other words for the same, and
these tables are for them. Nothing here guesses: a word that is missing stays unknown, and words with two meanings
(`ready`, `available`, `ok`) are left out, because "done" without a file ends a task after a grace.
"""

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum

from gateway.domain.adapter.decoding import first_text
from gateway.domain.adapter.field_names import camel_apart, plain, words

_WORD_MAX = 100  # characters of a status word
_FIELDS_MAX = 1000  # fields of one object; an object with more is not a task


class State(StrEnum):
    """What a status word means."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_WORDS = {
    State.QUEUED: """
        queued queue queueing queuing in_queue enqueued pending waiting wait submitted submitting submit created new
        accepted received scheduled scheduling starting init initial initialized initializing initialising initialised
        not_start not_started unstarted todo to_do prepared preparing on_hold hold held paused backlog delayed
        throttled registered acknowledged assigned dispatched dispatching
        pendiente en_cola creado en_attente ausstehend wartend pendente в_очереди ожидание ожидает menunggu beklemede
        """,
    State.RUNNING: """
        running run in_progress inprogress progress progressing processing process generating rendering working active
        started executing creating making producing drawing sampling denoising diffusing upscaling interpolating
        encoding transcoding training inferencing inferring computing calculating moderating reviewing in_review
        under_review checking verifying validating retrying retry resumed resuming busy loading streaming polling
        almost nearly
        ongoing doing underway under_way not_done not_finished not_complete not_completed
        en_proceso procesando en_cours in_bearbeitung läuft em_andamento processando обработка выполняется в_процессе
        in_corso diproses işleniyor w_toku zpracovává_se
        """,
    State.DONE: """
        done success succeed succeeds succeeded successed successful successfully succes sucess succeded suceeded
        suceed sucessful complete completes completed completely finish finished finishes finalized fulfilled
        completado completada terminado terminada éxito exitoso terminé terminée réussi réussie succès fertig
        abgeschlossen erledigt erfolgreich concluído concluido concluída completo sucesso готово завершено завершён
        завершен выполнено успешно completato riuscito selesai berhasil tamamlandı başarılı hoàn_thành thành_công
        voltooid klaar zakończone ukończone gotowe dokončeno hotovo slutförd valmis færdig ferdig kész finalizat
        ολοκληρώθηκε успішно виконано הושלם مكتمل اكتمل تم สำเร็จ เสร็จสิ้น पूर्ण
        """,
    State.FAILED: """
        failed fail fails failure failured faild error errored errors err exception rejected reject rejection refused
        denied declined aborted abort crashed crash terminated killed dead dead_letter invalid unsuccessful unsuccess
        not_success not_successful fault faulted fatal panic broken interrupted blocked banned forbidden flagged
        moderated nsfw filtered content_filtered content_policy_violation policy_violation violation sensitive unsafe
        insufficient_credits insufficient_balance insufficient_quota oom out_of_memory quota_exceeded
        content_moderated
        fallido fallida falló échec échoué échouée fehlgeschlagen fehler falhou falha erro ошибка не_удалось неудача
        fallito errore gagal başarısız hata thất_bại mislukt nieudane błąd selhalo chyba misslyckades epäonnistui
        mislykkedes sikertelen eșuat απέτυχε помилка נכשל فشل ล้มเหลว विफल
        """,
    State.CANCELLED: """
        cancelled canceled cancel cancellation abandoned stopped stop revoked withdrawn deleted discarded skipped
        cancelado cancelada annulé annulée abgebrochen storniert отменено отменён annullato dibatalkan iptal
        iptal_edildi geannuleerd
        """,
    State.EXPIRED: """
        expired expire expiry timeout timed_out time_out timedout timeouted overtime deadline_exceeded ttl_expired
        expirado expirada expiré abgelaufen истекло истек scaduto kedaluwarsa
        """,
}
_STATES = {unicodedata.normalize("NFKC", word): state for state, table in _WORDS.items() for word in words(table)}
# Words that name the thing that has a state, and not the state.
_NEUTRAL = frozenset(
    words("""
        task tasks status state job jobs video videos image images media generation generations generate process
        processing render rendering request operation workflow run execution is was has been the it all work prediction
        pipeline phase stage result item inference synthesis creation create kling final user by system
        """)
)
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
# Tried in this order, because "未完成" (not done) contains "完成" (done), and "提交成功" (submitted) "成功" (success).
_EAST_ASIAN_WORDS = (
    (State.RUNNING, "(?:重试|重試|再試行)中|재시도 ?중"),
    (
        State.FAILED,
        "失败|失敗|错误|錯誤|异常|異常|出错|出錯|违规|違規|敏感|不通过|不通過|未通过|未通過|拒绝|拒絕|驳回|駁回",
    ),
    (State.FAILED, "不合规|崩溃|中断|中斷|エラー|拒否|실패|오류|에러|거부"),
    (State.CANCELLED, "取消|终止|終止|中止|撤销|撤銷|キャンセル|취소|중단"),
    (State.EXPIRED, "超时|超時|过期|過期|逾期|失效|タイムアウト|期限切れ|시간 ?초과|만료"),
    (
        State.QUEUED,
        "排队|排隊|等待|待|未开始|未開始|未启动|已提交|提交成功|已创建|创建成功|受理|已接收|隊列|队列|順番|대기|접수",
    ),
    (State.RUNNING, "中[.。…]*$|正在|进行|進行|开始|開始|未完成|未完了|생성 ?중|처리 ?중|진행"),
    (State.DONE, "成功|完成|完毕|完畢|完了|已生成|生成済|완료|성공"),
)
_EAST_ASIAN_STATES = tuple((re.compile(pattern), state) for state, pattern in _EAST_ASIAN_WORDS)
# One of these words decides if it is the first or the last: "upload_failed", "Error: no GPU".
_DECISIVE = frozenset(
    words("""
        failed failure fail error errored rejected refused denied aborted crashed exception cancelled canceled expired
        timeout
        """)
)
# Beside one of these a word for failure does not mean that the task failed: "retry_after_error", "no_error".
_WEAKENING = frozenset(
    words("""
        no not non without zero none retry retrying after before if until recovered recovering ignored over safe
        partial partially some maybe possible previous last first
        """)
)
_ACTIVE = frozenset(words("queue queued retry almost nearly"))  # like words that end in "ing": "processing (45%)"
_STATUS_NAMES = words("""
    status taskstatus state taskstate jobstatus jobstate videostatus generationstatus runstatus phase statusname
    statustext statusdesc statusstr progressstatus currentstatus currentstate executionstatus processstatus taskphase
    """)
_FINISHED_NAMES = words("done isdone finished isfinished completed iscompleted iscomplete")


def state_of(word: str) -> State | None:
    """What a status word means; None if no table decides."""
    spelled = unicodedata.normalize("NFKC", word[:_WORD_MAX]).strip()
    if _EAST_ASIAN.search(spelled):
        return next((state for pattern, state in _EAST_ASIAN_STATES if pattern.search(spelled)), None)
    parts = [part for part in re.split(r"[^\w\u0e00-\u0e7f\u0900-\u097f]+|_+", camel_apart(spelled).casefold()) if part]
    lettered = [part for part in parts if not part.isdigit()]
    left = [part for part in lettered if part not in _NEUTRAL]
    for candidate in ("_".join(parts), "".join(parts), "_".join(lettered), "_".join(left)):
        if candidate in _STATES:
            return _STATES[candidate]
    active = (_STATES.get(part) for part in lettered if part.endswith("ing") or part in _ACTIVE)
    going_on = next((state for state in active if state in {State.RUNNING, State.QUEUED}), None)
    return (_of_several(left) if left else None) or going_on


def _of_several(parts: list[str]) -> State | None:
    """What several words mean together; None if they contradict one another or only some of them are in a table."""
    states = [_STATES.get(part) for part in parts]
    if len(set(states)) == 1:
        return states[0]  # also None, if no word is in a table
    ends = {State.FAILED, State.CANCELLED, State.EXPIRED}
    if set(states) <= ends:
        return State.FAILED  # "failed: timeout"
    if _WEAKENING.isdisjoint(parts):
        for position in (-1, 0):
            allowed = {None, *ends, *([] if position == 0 else [State.RUNNING])}
            if parts[position] in _DECISIVE and set(states) <= allowed:
                return states[position]
    if states[0] is State.DONE and parts[1] == "with":
        return State.DONE  # "completed_with_warnings"
    return None


def status_field(task: Mapping[str, object]) -> tuple[str, str] | None:
    """The name and the word of the field with the status of a task, or None if the object has no such field."""
    named: dict[str, str] = {}
    for name in task if len(task) <= _FIELDS_MAX else ():
        named.setdefault(plain(name), name)
    for plain_name in _STATUS_NAMES:
        if plain_name not in named:
            continue
        value = task[named[plain_name]]
        if isinstance(value, Mapping):
            value = first_text(*(value.get(inner) for inner in ("state", "status", "value", "name")))
        if isinstance(value, str) and any(character.isalpha() for character in value):
            return named[plain_name], value.strip()[:_WORD_MAX]
    for plain_name in _FINISHED_NAMES:
        if plain_name in named and isinstance(value := task[named[plain_name]], bool):
            return named[plain_name], "done" if value else "running"
    return None
