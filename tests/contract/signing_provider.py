"""An invented provider that signs calls with two secrets and can cancel tasks: its adapter, and the provider itself.

The adapter is what a third party would write. The provider checks every signature over the bytes that arrive.
"""

import hmac
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from urllib.parse import quote

import httpx
from msgspec import structs

from gateway.domain.adapter import messages, replies
from gateway.domain.adapter.contract import (
    Adapter,
    Capability,
    Credential,
    FilePart,
    HttpCall,
    HttpReply,
    ImageTransport,
    KeyTest,
    Polling,
)
from gateway.domain.adapter.decoding import json_or_none, mapping, read_json, text
from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.key_test import by_missing_task
from gateway.domain.adapter.refusals import ErrorReport, Refusals, Rule, classify
from gateway.domain.adapter.request import FramesInput, InputKind, UpstreamRequest
from gateway.domain.adapter.task import Completed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

URL = "https://api.signing.example"
WORDS = {"queued": Status.QUEUED, "running": Status.IN_PROGRESS}


def signature(secret: str, time: str, method: str, target: str, body: bytes) -> str:
    """What both sides compute: HMAC-SHA256 over the time, the method, the path with its query, and the body."""
    return hmac.digest(secret.encode(), f"{time}\n{method}\n{target}\n".encode() + body, "sha256").hex()


def authorize(call: HttpCall, credential: Credential, now: datetime) -> HttpCall:
    """The call with its signature over exactly what is sent."""
    time = str(int(now.timestamp()))
    made = signature(credential.secrets["secret_key"], time, call.method, call.target, call.body)
    headers = {"X-Access-Key": credential.secrets["access_key"], "X-Time": time, "X-Signature": made}
    return structs.replace(call, headers={**call.headers, **headers})


def to_upstream(request: UpstreamRequest) -> HttpCall:
    image = request.input.first_frame if isinstance(request.input, FramesInput) else None
    body = {"prompt": request.prompt, "image": image}
    sent = {name: value for name, value in body.items() if value is not None}
    return HttpCall(method="POST", path="/tasks", query={"model": request.model, "note": "ü &"}, json=sent)


def task_refs(_: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    task_id = replies.id_of(mapping(read_json(reply)).get("id"))
    if not task_id:
        raise UnreadableReply("signing: the reply to a submit has no task id")
    return (TaskRef(id=task_id),)


def poll(ref: TaskRef) -> HttpCall:
    return HttpCall(method="GET", path=f"/tasks/{quote(ref.id, safe='')}")


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    task = mapping(read_json(reply))
    match word := text(task.get("status")):
        case "":
            raise UnreadableReply("signing: the reply to a poll has no status")
        case "done":
            file = replies.artifact(task.get("url"), task)
            return Completed((file,)) if file else replies.without_result(word)
        case "cancelled":
            return messages.failed(FailureKind.TASK_FAILED, "The task was cancelled.", word)
        case _:
            return replies.pending(word, WORDS)


def find_error(reply: HttpReply) -> ErrorReport | None:
    if replies.succeeded(reply):
        return None
    error = replies.error_body(json_or_none(reply))
    return ErrorReport(errors=((error.code,),), message=error.message)


def upload(part: FilePart) -> HttpCall:
    return HttpCall(method="POST", path="/files", file=structs.replace(part, field="file"), fields={"keep": "1 day"})


def uploaded_url(reply: HttpReply) -> str:
    return text(mapping(read_json(reply)).get("url"))


def cancel(ref: TaskRef) -> HttpCall:
    return HttpCall(method="POST", path=f"/tasks/{quote(ref.id, safe='')}/cancel", json={"reason": "not needed"})


def read_cancel(reply: HttpReply) -> Billed | None:
    """The provider says whether it charges; anything else proves nothing."""
    charged = mapping(json_or_none(reply)).get("charged")
    return {True: Billed.YES, False: Billed.NO}[charged] if isinstance(charged, bool) else None


REFUSALS = Refusals(
    find=find_error,
    rules=(
        Rule(by_code={"no_such_task": FailureKind.TASK_LOST}, statuses={404}),
        Rule(by_status=replies.KIND_BY_STATUS),
    ),
)


def read_probe(reply: HttpReply) -> KeyTest:
    return by_missing_task(reply, classify(reply, REFUSALS))


ADAPTER = Adapter(
    name="signing",
    base_url=URL,
    capabilities={
        "one": (
            Capability(
                inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
                prompt_max=1000,
                image_transports=(ImageTransport.UPLOAD,),
            ),
        )
    },
    polling=Polling(first_poll_seconds=0.01, poll_seconds=0.01, poll_max_seconds=0.02),
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=partial(classify, refusals=REFUSALS),
    authorize=authorize,
    secrets={"access_key": True, "secret_key": True, "region": False},
    upload=upload,
    uploaded_url=uploaded_url,
    cancel=cancel,
    read_cancel=read_cancel,
    probe=lambda: poll(TaskRef(id="no-such-task")),
    read_probe=read_probe,
)


class SigningProvider:
    """The provider. Each account numbers its own tasks from 1, so two accounts have tasks with equal ids."""

    def __init__(self, secrets: dict[str, str]) -> None:
        """`secrets`: the secret key of each access key."""
        self.secrets = secrets
        self.calls: Counter[tuple[str, str, str]] = Counter()  # by access key, method and path
        self.tasks: Counter[str] = Counter()  # by access key: how many were started, and so are charged
        self.cancelled: set[tuple[str, str]] = set()  # access key and task
        self.on_cancel: Callable[[], httpx.Response] = lambda: httpx.Response(200, json={"charged": False})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a call. A signature that does not fit every byte of it is refused."""
        key, time = request.headers.get("x-access-key", ""), request.headers.get("x-time", "")
        target = request.url.raw_path.decode()
        made = signature(self.secrets.get(key, ""), time, request.method, target, request.content)
        if not hmac.compare_digest(made, request.headers.get("x-signature", "")):
            return httpx.Response(401, json={"code": "bad_signature", "message": "no"})
        self.calls[key, request.method, request.url.path] += 1
        match (request.method, request.url.path.split("/")[1:]):
            case ("POST", ["tasks"]):
                assert json.loads(request.content)
                self.tasks[key] += 1
                return httpx.Response(200, json={"id": f"t-{self.tasks[key]}"})
            case ("POST", ["files"]):
                return httpx.Response(200, json={"url": "https://files.signing.example/a.jpg"})
            case ("POST", ["tasks", task, "cancel"]):
                self.cancelled.add((key, task))
                return self.on_cancel()
            case ("GET", ["tasks", task]) if task.removeprefix("t-").isdecimal():
                return httpx.Response(200, json={"status": "cancelled" if (key, task) in self.cancelled else "running"})
        return httpx.Response(404, json={"code": "no_such_task", "message": "no"})
