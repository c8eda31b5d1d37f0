"""Results and uploads under `/files/`, with byte ranges, until they expire."""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from gateway.sandbox import media
from gateway.sandbox.faults import mangle, reply_instead
from gateway.sandbox.inputs import UPLOADS
from gateway.sandbox.state import State, Task
from gateway.sandbox.wire import Reply, Request, text_reply

RESULTS = "/files/results/"
CACHED = 64  # drawn results in memory
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(slots=True)
class Files:
    """Serves files. A result is drawn at the first download, and once for all tasks that look the same."""

    state: State
    _drawn: dict[str, "asyncio.Task[bytes]"] = field(default_factory=dict)

    async def serve(self, request: Request) -> Reply:
        """The file at a path, or an error reply."""
        if request.method not in {"GET", "HEAD"}:
            return text_reply("method not allowed", 405)
        if request.path.startswith(UPLOADS):
            upload = self.state.uploads.get(unquote(request.path.removeprefix(UPLOADS)))
            if upload is None or upload.expires_at < self.state.clock.now():
                return text_reply("no such file", 404)
            return ranged(Reply(body=upload.data, content_type=upload.content_type), request)
        name = request.path.removeprefix(RESULTS)
        task = self.task_of(name)
        if task is not None:
            self.state.received[task.provider, "result"] += 1
            return await self._served(task, name, request)
        return text_reply("no such file", 404)

    def task_of(self, name: str) -> Task | None:
        """The task whose result has this file name."""
        return self.state.tasks.get(name.partition(".")[0])

    async def result(self, name: str, request: Request) -> Reply:
        """A result or its thumbnail as its provider stores it, without any fault."""
        task = self.task_of(name)
        if task is None:
            return text_reply("no such file", 404)
        suffix = name.partition(".")[2]
        if not self.state.look(task).has_url or suffix not in {task.spec.extension, media.THUMBNAIL}:
            return text_reply("no such file", 404)
        if self.state.clock.now() > task.ends_at + task.keep_seconds:
            return text_reply("the link has expired", 403 if task.provider == "keevx" else 404)
        task.downloads += 1
        try:
            body = await self._draw(task, thumbnail=suffix == media.THUMBNAIL)
        except media.MissingExtraError as error:
            return text_reply(str(error), 501)
        kind = "image/webp" if suffix == media.THUMBNAIL else task.spec.content_type
        return ranged(Reply(body=body, content_type=kind), request)

    async def close(self) -> None:
        """Wait for running drawings, because a thread cannot be stopped."""
        await asyncio.gather(*self._drawn.values(), return_exceptions=True)

    async def _served(self, task: Task, name: str, request: Request) -> Reply:
        agent = request.headers.get("user-agent", "")
        if self.state.settings.files_for_browsers and not agent.startswith("Mozilla/5.0 ("):
            return text_reply("error code: 1010", 403)
        take = self.state.faults.take
        fault = take(task.provider, "result", "instead", prompt=task.prompt, key=task.id)
        if fault is not None:
            return reply_instead(fault, {}, trap=f"{request.base}/_sandbox/trap", now=self.state.clock.now())
        reply = await self.result(name, request)
        if reply.status >= 400:
            return reply
        fault = take(task.provider, "result", "after", prompt=task.prompt, key=task.id)
        return reply if fault is None else mangle(fault, reply)

    async def _draw(self, task: Task, *, thumbnail: bool) -> bytes:
        make = media.thumbnail if thumbnail else media.render
        spec = replace(task.spec, prompt="", image=None) if self.state.settings.plain_results else task.spec
        key = f"{make.__name__}:{spec.key()}"
        drawing = self._drawn.get(key)
        if drawing is None:
            if len(self._drawn) >= CACHED:
                self._drawn.pop(next(name for name, drawn in self._drawn.items() if drawn.done()), None)
            drawing = self._drawn[key] = asyncio.create_task(asyncio.to_thread(make, spec))
        return await asyncio.shield(drawing)  # a client that disconnects must not stop the drawing for the others


def ranged(reply: Reply, request: Request) -> Reply:
    """The byte range that the request asks for. Without one, or with several, the whole reply."""
    tag = f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'
    reply = replace(reply, headers=(*reply.headers, ("accept-ranges", "bytes"), ("etag", tag)))
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if request.headers.get("if-range", tag) != tag:
        return reply
    if wanted is None or not (wanted[1] or wanted[2]):
        return reply
    size = len(reply.body)
    first = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
    last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
    if first > last:
        return Reply(status=416, content_type="", headers=(("content-range", f"bytes */{size}"),))
    part = ("content-range", f"bytes {first}-{last}/{size}")
    return replace(reply, status=206, body=reply.body[first : last + 1], headers=(*reply.headers, part))
