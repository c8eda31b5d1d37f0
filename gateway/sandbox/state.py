"""What the sandbox stores: uploads, tasks, and counters of what was bought."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from gateway.sandbox.faults import Fault, Faults
from gateway.sandbox.journal import Journal
from gateway.sandbox.media import THUMBNAIL, Spec
from gateway.sandbox.settings import Clock, Settings
from gateway.sandbox.wire import Reading

PROVIDERS = ("keevx", "kling_relay", "foxapi")
OPERATIONS = ("submit", "poll", "upload", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A task as one poll reports it."""

    phase: Literal["queued", "running", "done", "failed", "cancelled", "lost"]
    progress: float = 0.0
    word: str | None = None  # a status word that is not documented
    has_url: bool = False
    reason: str = ""  # of a failure: the name of the fault that caused it
    message: str | None = None
    code: str | None = None


@dataclass(slots=True, kw_only=True)
class Task:
    """One task that was started, and therefore paid."""

    id: str
    provider: str
    model: str
    prompt: str
    request: Mapping[str, Any]
    fingerprint: str
    base: str
    created_at: float
    running_at: float
    ends_at: float
    keep_seconds: float
    spec: Spec
    action: str = ""  # the provider's word for the kind of task, for example text2video
    fate: Fault | None = None
    callback_url: str | None = None
    polls: int = 0
    polls_since_done: int = 0
    downloads: int = 0
    synced: bool = False
    shown: View | None = None  # what the newest poll reported

    @property
    def result_url(self) -> str:
        """The URL of the result."""
        return f"{self.base}/files/results/{self.id}.{self.spec.extension}"

    @property
    def thumbnail_url(self) -> str:
        """The URL of the thumbnail."""
        return f"{self.base}/files/results/{self.id}.{THUMBNAIL}"


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file."""

    name: str
    data: bytes
    content_type: str
    expires_at: float


@dataclass(slots=True)
class State:
    """Everything that one sandbox stores."""

    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=Clock)
    journal: Journal | None = None
    faults: Faults = field(default_factory=Faults)
    tasks: dict[str, Task] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)  # by "id/name"
    received: Counter[tuple[str, str]] = field(default_factory=Counter)  # by provider and operation
    started: Counter[str] = field(default_factory=Counter)  # tasks, by provider
    submits_started: Counter[tuple[str, str]] = field(default_factory=Counter)  # by provider and fingerprint
    prompts_started: Counter[tuple[str, str]] = field(default_factory=Counter)  # by provider and prompt
    callbacks: list[dict[str, Any]] = field(default_factory=list)  # all that were sent
    trapped: list[dict[str, Any]] = field(default_factory=list)  # requests that followed a redirect to the trap

    def start(self, draft: Task, count: int, new_id: Callable[[], str]) -> list[Task]:
        """Start the tasks of an accepted submit. They are counted and in the journal when this returns."""
        fault = self.faults.take(draft.provider, "submit", "fate", prompt=draft.prompt)
        tasks = []
        for index in range(count):
            fate = fault if fault and int(fault.args.get("only", index)) == index else None
            seconds = float(fate.args.get("seconds", 60)) if fate and fate.name == "slow_task" else 0.0
            task = _copy(draft, id=new_id(), fate=fate, ends_at=draft.ends_at + seconds)
            self.tasks[task.id] = task
            tasks.append(task)
        self.started[draft.provider] += count
        self.submits_started[draft.provider, draft.fingerprint] += 1
        self.prompts_started[draft.provider, draft.prompt] += 1
        if self.journal is not None:
            done_at = {task.id: _done_at(task) for task in tasks}
            self.journal.note("start", {"tasks": list(done_at), "done_at": done_at, **_view(tasks[0])})
        return tasks

    def receive(self, provider: str, model: str, prompt: str, count: int) -> None:
        """Write a submit to the journal after it was read and before it is handled."""
        if self.journal is not None:
            about = {"provider": provider, "model": model, "prompt": prompt, "count": count}
            self.journal.note("submit", about | {"created_at": self.clock.now()})

    def withhold(self, provider: str, tasks: Sequence[str]) -> None:
        """Write to the journal which started tasks the reply to their submit does not name."""
        if self.journal is not None and tasks:
            self.journal.note("withheld", {"provider": provider, "tasks": tasks})

    def note_reading(self, provider: str, reading: Reading, *, has_left: bool) -> None:
        """Write the answer to a poll to the journal."""
        if self.journal is not None:
            about = {"provider": provider, "task": reading.task, "at": reading.at, "says": reading.says}
            self.journal.note("read", about | {"answered_at": self.clock.now() if has_left else None})

    def new_task(
        self,
        provider: str,
        body: Mapping[str, Any],
        *,
        model: str,
        prompt: str,
        base: str,
        keep: float,
        spec: Spec,
        action: str = "",
    ) -> Task:
        """The task that a submit would start now; it has no id yet."""
        now = self.clock.now()
        return Task(
            id="",
            provider=provider,
            model=model,
            prompt=prompt,
            request=body,
            fingerprint=fingerprint(body),
            base=self.settings.public_url or base,
            created_at=now,
            running_at=now + self.settings.queued_seconds,
            ends_at=now + self.settings.total_seconds,
            keep_seconds=keep,
            spec=spec,
            action=action,
        )

    def poll(self, provider: str, task_id: str, *, synced: bool = False) -> tuple[Task | None, View]:
        """Read and count a task as the poll of a client does."""
        task = self.tasks.get(task_id)
        if task is None or task.provider != provider:
            return None, View(phase="lost")
        task.polls += 1
        task.synced |= synced
        fault = self.faults.take(provider, "poll", "fate", prompt=task.prompt, key=task.id)
        if self.ended(task):
            task.polls_since_done += 1
        task.shown = self.look(task, fault)
        return task, task.shown

    def ended(self, task: Task) -> bool:
        """Whether the task has ended, successfully or not."""
        return self.clock.now() >= task.ends_at

    def look(self, task: Task, fault: Fault | None = None) -> View:
        """The task as it is now. A fault of this poll overrides the fate of the task."""
        now = self.clock.now()
        span = task.ends_at - task.running_at
        progress = min(max((now - task.running_at) / span, 0.0), 0.99) if span > 0 else 0.0
        phase: Literal["queued", "running"] = "queued" if now < task.running_at else "running"
        fate = fault or task.fate
        name = fate.name if fate else ""
        args: Mapping[str, Any] = fate.args if fate else {}
        if name == "lost":
            return View(phase="lost")
        if name == "stuck":
            stuck_at: Literal["queued", "running"] = "queued" if args.get("phase") == "queued" else phase
            return View(phase=stuck_at, progress=0.0 if stuck_at == "queued" else min(progress, 0.5))
        if name == "unknown_status" and (fault or not self.ended(task)):
            return View(phase="running", word=str(args.get("word", "ARCHIVING")), progress=progress)
        if fault is None and not self.ended(task):
            return View(phase=phase, progress=progress)
        if name in {"fail", "fail_content", "fail_image"}:
            return View(phase="failed", reason=name, message=args.get("message"), code=args.get("code"))
        if name == "given_up":
            of_relay = task.provider == "kling_relay"
            return View(phase="failed", reason=name if of_relay else "fail", message=args.get("message"))
        if name == "cancelled":
            return View(phase="cancelled")
        if name == "no_url" and not _url_has_come(task, args):
            return View(phase="done", progress=0.5)
        if not self.ended(task):
            return View(phase=phase, progress=progress)
        return View(phase="done", progress=1.0, has_url=True)

    def report(self, *, with_tasks: bool = True) -> dict[str, Any]:
        """Counters and tasks, for `GET /_sandbox/state`."""
        providers = {}
        for name in PROVIDERS:
            providers[name] = {
                **{f"{operation}s": self.received[name, operation] for operation in OPERATIONS},
                "tasks_started": self.started[name],
                "submits_started_by_fingerprint": {
                    key: n for (provider, key), n in self.submits_started.items() if provider == name
                },
                "submits_started_by_prompt": {
                    key: n for (provider, key), n in self.prompts_started.items() if provider == name
                },
            }
        tasks = [_view(task) for task in self.tasks.values()] if with_tasks else []
        return {
            "now": self.clock.now(),
            "providers": providers,
            "tasks": tasks,
            "callbacks": self.callbacks,
            "trapped": self.trapped,
        }

    def reset(self) -> None:
        """Forget tasks, uploads and counters. Settings, clock and faults stay."""
        for held in (self.tasks, self.uploads, self.received, self.started, self.submits_started, self.prompts_started):
            held.clear()
        self.callbacks.clear()
        self.trapped.clear()


def fingerprint(body: Mapping[str, Any]) -> str:
    """Equal for two submits that request the same. The callback URL is ignored, because each attempt has its own."""
    same = {key: value for key, value in body.items() if key != "callback_url"}
    return hashlib.sha256(msgspec.json.encode(same, order="deterministic")).hexdigest()


def _done_at(task: Task) -> float | None:
    """When a task will have a usable file; `None` if it never has one, or if that depends on polls."""
    return task.ends_at if task.fate is None or task.fate.name in {"slow_task", "unknown_status"} else None


def _url_has_come(task: Task, args: Mapping[str, Any]) -> bool:
    if args.get("until_sync"):
        return task.synced
    return "polls" in args and task.polls_since_done > int(args["polls"])


def _copy(task: Task, **changes: Any) -> Task:
    fields = {name: getattr(task, name) for name in Task.__dataclass_fields__}
    return Task(**(fields | changes))


def _view(task: Task) -> dict[str, Any]:
    names = ("id", "provider", "model", "prompt", "request", "fingerprint", "created_at", "polls", "downloads")
    action = {"action": task.action} if task.action else {}
    return {name: getattr(task, name) for name in names} | action | {"fate": task.fate.name if task.fate else None}
