"""Makes completed generations with archived files directly in the stores, without running a provider."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from gateway.app import Application
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.generation.model import (
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Route,
    Task,
)
from gateway.ids import new_id

ARTIFACT = Artifact(url="https://cdn.example/a.mp4", thumbnail_url="https://cdn.example/a.jpg", duration_seconds=4.0)


def kept_generation(
    owner: str,
    now: datetime,
    content: bytes,
    *,
    content_type: str = "video/mp4",
    thumbnail: bool = False,
    **changes: Any,
) -> Generation:
    """A generation of the key `owner` with one archived output; `changes` replace fields of the output."""
    name = new_id("gen_", now)
    archived = ArchivedFile(
        name=f"{name}/0-1.mp4",
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
        content_type=content_type,
        kept_until=now + timedelta(days=30),
        duration_seconds=5.0,
        width=1280,
        height=720,
        thumbnail=f"{name}/0-1.jpg" if thumbnail else None,
        thumbnail_type="image/jpeg" if thumbnail else None,
    )
    attempt = Attempt(
        id=f"att_{name[4:]}_1",
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.COMPLETED,
        reserved_at=now,
        accepted_at=now,
        ended_at=now,
        tasks=(Task(ref=TaskRef(id="t"), slot=0, status=Status.COMPLETED),),
    )
    output = Output(index=0, status=Status.COMPLETED, attempt_id=attempt.id, artifact=ARTIFACT, kept=archived)
    output = replace(output, expires_at=now + timedelta(days=1), **changes)
    ended = output.status is Status.COMPLETED
    return Generation(
        id=name,
        owner=owner,
        kind="video",
        request=GenerationRequest(model="any", input=TextInput(), prompt="A beach."),
        plan=Plan(routes=(Route(provider="foxapi", model="kling-v3-text-to-video", capability_name="x"),)),
        status=Status.COMPLETED if ended else Status.IN_PROGRESS,
        created_at=now,
        deadline_at=now + timedelta(hours=1),
        outputs=(output,),
        attempts=(attempt,),
        completed_at=now if ended else None,
    )


async def keep(application: Application, generation: Generation, content: bytes, picture: bytes = b"") -> None:
    """Put the files into the artifact store and the generation into the ledger."""
    archived = generation.outputs[0].kept
    if archived is not None:
        for name, data in ((archived.name, content), (archived.thumbnail, picture)):
            if name is not None:
                partial = application.artifact_store.partial()
                partial.write_bytes(data)
                await application.artifact_store.put(name, partial, archived.content_type)
    await application.store.create(generation)
