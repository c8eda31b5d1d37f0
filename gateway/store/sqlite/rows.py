"""Rows to domain values and back, the same for every database: columns of plain types, JSON for what has structure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.task import Artifact, Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.model import (
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Kept,
    Output,
    Plan,
    Task,
)
from gateway.domain.routing.image_limits import ImageFacts
from gateway.store.port import Event, StoredFile

GENERATION = (
    "id, key, kind, status, request, plan, created_at, deadline_at, progress, provider, provider_model, failure,"
    " completed_at, fence, version"
)
GENERATION_WRITTEN = f"{GENERATION}, model, lease_until, digest"
OUTPUT = "number, status, extra, late, attempt_id, artifact, expires_at, failure, kept"
OUTPUT_WRITTEN = f"{OUTPUT}, unkept_until"
FILE = "id, key, sha256, facts, created_at, inline, filename, purpose, expires_at"
ATTEMPT = (
    "id, number, route, slots, state, form, reserved_at, sent_at, accepted_at, ended_at, tasks, failure, billed,"
    " retry_after_seconds, amend_form, decision, adopted, upstream"
)

Row = Sequence[Any]
_request = msgspec.json.Decoder(GenerationRequest)
_plan = msgspec.json.Decoder(Plan)
_failed = msgspec.json.Decoder(Failed)
_artifact = msgspec.json.Decoder(Artifact)
_kept = msgspec.json.Decoder(Kept)
_tasks = msgspec.json.Decoder(tuple[Task, ...])
_facts = msgspec.json.Decoder(ImageFacts)
_answer = msgspec.json.Decoder(UpstreamAnswer)
_slots = msgspec.json.Decoder(tuple[int, ...])
_encode = msgspec.json.Encoder().encode


def to_json(value: object) -> str | None:
    """JSON text of a value; `None` stays `None`."""
    return None if value is None else _encode(value).decode()


def seconds(moment: datetime | None) -> float | None:
    """Unix seconds of an aware moment."""
    return None if moment is None else moment.timestamp()


def moment(value: float | None) -> datetime | None:
    """The aware moment of Unix seconds."""
    return None if value is None else datetime.fromtimestamp(value, UTC)


def _must(value: float) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def generation_of(row: Row, outputs: Sequence[Row], attempts: Sequence[Row]) -> Generation:
    """A generation from the columns `GENERATION`, `OUTPUT` and `ATTEMPT`."""
    return Generation(
        id=row[0],
        key=row[1],
        kind=row[2],
        status=Status(row[3]),
        request=_request.decode(row[4]),
        plan=_plan.decode(row[5]),
        created_at=_must(row[6]),
        deadline_at=_must(row[7]),
        progress=row[8],
        provider=row[9],
        provider_model=row[10],
        failure=_failed.decode(row[11]) if row[11] else None,
        completed_at=moment(row[12]),
        fence=row[13],
        version=row[14],
        outputs=tuple(map(_output_of, outputs)),
        attempts=tuple(map(_attempt_of, attempts)),
    )


def _output_of(row: Row) -> Output:
    return Output(
        index=row[0],
        status=Status(row[1]),
        extra=bool(row[2]),
        late=bool(row[3]),
        attempt_id=row[4],
        artifact=_artifact.decode(row[5]) if row[5] else None,
        expires_at=moment(row[6]),
        failure=_failed.decode(row[7]) if row[7] else None,
        kept=_kept.decode(row[8]) if row[8] else None,
    )


def _attempt_of(row: Row) -> Attempt:
    return Attempt(
        id=row[0],
        number=row[1],
        route=row[2],
        slots=_slots.decode(row[3]),
        state=AttemptState(row[4]),
        form=row[5],
        reserved_at=_must(row[6]),
        sent_at=moment(row[7]),
        accepted_at=moment(row[8]),
        ended_at=moment(row[9]),
        tasks=_tasks.decode(row[10]),
        failure=_failed.decode(row[11]) if row[11] else None,
        billed=Billed(row[12]) if row[12] else None,
        retry_after_seconds=row[13],
        amend_form=row[14],
        decision=row[15],
        adopted=row[16],
        upstream=_answer.decode(row[17]) if row[17] else None,
    )


def generation_values(generation: Generation, lease_until: float, digest: bytes | None) -> tuple[Any, ...]:
    """The values of the columns `GENERATION_WRITTEN`, in their order."""
    return (
        generation.id,
        generation.key,
        generation.kind,
        generation.status.value,
        to_json(generation.request),
        to_json(generation.plan),
        seconds(generation.created_at),
        seconds(generation.deadline_at),
        generation.progress,
        generation.provider,
        generation.provider_model,
        to_json(generation.failure),
        seconds(generation.completed_at),
        generation.fence,
        generation.version,
        generation.request.model,
        lease_until,
        digest,
    )


def output_values(output: Output) -> tuple[Any, ...]:
    """The values of the columns `OUTPUT_WRITTEN`, in their order."""
    is_unkept = output.artifact is not None and output.kept is None
    return (
        output.index,
        output.status.value,
        int(output.extra),
        int(output.late),
        output.attempt_id,
        to_json(output.artifact),
        seconds(output.expires_at),
        to_json(output.failure),
        to_json(output.kept),
        seconds(output.expires_at) if is_unkept else None,
    )


def attempt_values(attempt: Attempt) -> tuple[Any, ...]:
    """The values of the columns `ATTEMPT`, in their order."""
    return (
        attempt.id,
        attempt.number,
        attempt.route,
        to_json(attempt.slots),
        attempt.state.value,
        attempt.form,
        seconds(attempt.reserved_at),
        seconds(attempt.sent_at),
        seconds(attempt.accepted_at),
        seconds(attempt.ended_at),
        to_json(attempt.tasks),
        to_json(attempt.failure),
        attempt.billed.value if attempt.billed else None,
        attempt.retry_after_seconds,
        attempt.amend_form,
        attempt.decision,
        attempt.adopted,
        to_json(attempt.upstream),
    )


def file_of(row: Row) -> StoredFile:
    """A file from the columns `FILE`."""
    name, key, digest, facts, created_at, inline, filename, purpose, expires_at = row
    return StoredFile(
        id=name,
        key=key,
        sha256=digest,
        facts=_facts.decode(facts),
        created_at=_must(created_at),
        inline=bool(inline),
        filename=filename,
        purpose=purpose,
        expires_at=moment(expires_at),
    )


def file_values(file: StoredFile) -> tuple[Any, ...]:
    """The values of the columns `FILE`, in their order."""
    held = (file.id, file.key, file.sha256, to_json(file.facts), seconds(file.created_at), int(file.inline))
    return *held, file.filename, file.purpose, seconds(file.expires_at)


def event_from(row: Row) -> Event:
    """An event from its columns `seq, generation_id, type, data, at`."""
    seq, generation_id, kind, data, at = row
    return Event(seq=seq, generation_id=generation_id, type=kind, data=msgspec.json.decode(data), at=_must(at))
