"""What is stored of an answer to a submit must not decide what becomes of its tasks, which are paid for."""

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.redaction import Redactor
from gateway.engine.submit import _answer_of

REPLY = HttpReply(status=400, body=b'{"code": 1201, "message": "refused: key 0123456789abcdef"}')


class Broken(Redactor):
    """A redactor with a defect."""

    def words(self, text: str) -> str:
        raise ValueError(text)


def test_a_defect_in_hiding_secrets_loses_the_words_of_an_answer_alone() -> None:
    assert _answer_of(REPLY, Redactor()).message is not None
    assert _answer_of(REPLY, Broken()) == UpstreamAnswer(status=400)
