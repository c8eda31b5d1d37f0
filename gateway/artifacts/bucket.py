"""An artifact store in a bucket: S3 and services with its API, Google Cloud Storage, or Azure."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gateway.artifacts.store import CHUNK_BYTES, RETRY_AFTER_SECONDS, Spool, checked
from gateway.buckets.opening import NO_BUCKET, Bucket, probe, reason_of
from gateway.domain.errors import StoreUnavailable
from gateway.failpoints import reach

log = structlog.get_logger()
PROBE_SECONDS = 60.0  # between the probes of a bucket that does not work
PART_BYTES = 5 * 1024 * 1024  # of an upload; S3 takes no smaller parts, and at most 10,000 of them
PARTS_AT_ONCE = 1  # each part that is uploaded at the same time takes memory
LINK_SECONDS_MAX = 7 * 86_400  # S3, "Presigned URLs"


class ArtifactBucket:
    """An `ArtifactStore` in a bucket. A file is in a local folder until it is uploaded."""

    flushes = False

    def __init__(self, bucket: Bucket, folder: Path, *, alone: bool = False) -> None:
        """`alone`: no other gateway uses the local folder."""
        self._bucket = bucket
        self._spool = Spool(folder / "results" / ".partial", alone=alone)

    def partial(self) -> Path:
        """See `ArtifactStore`."""
        return self._spool.partial()

    async def put(self, name: str, partial: Path, content_type: str) -> None:
        """See `ArtifactStore`. The parts of a broken upload stay until a lifecycle rule of the bucket removes them."""
        with _answering("stored"):
            reach("file_written")
            await obstore.put_async(
                self._bucket,
                checked(name),
                partial,
                attributes={"Content-Type": content_type},  # its SHA-256 is in the ledger
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            reach("renamed")
            await asyncio.to_thread(partial.unlink)

    async def size(self, name: str) -> int | None:
        """See `ArtifactStore`."""
        with _answering("read"):
            try:
                return (await obstore.head_async(self._bucket, checked(name)))["size"]
            except FileNotFoundError:
                return None

    async def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `ArtifactStore`."""
        if start >= stop:
            return
        with _answering("read"):
            answer = await obstore.get_async(self._bucket, checked(name), options={"range": (start, stop)})
            async for block in answer.stream(CHUNK_BYTES // 4):
                for place in range(0, len(block), CHUNK_BYTES):
                    chunk = bytes(block[place : place + CHUNK_BYTES])
                    start += len(chunk)
                    yield chunk
        if start < stop:
            raise _unavailable("read", "the object is shorter than it was")

    async def remove(self, names: Sequence[str]) -> None:
        """See `ArtifactStore`."""
        with _answering("removed"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._bucket, checked(name))

    async def link(self, name: str, *, seconds: int, filename: str, content_type: str, inline: bool) -> str | None:
        """See `ArtifactStore`.

        Only with the secret key of an S3 service can the link set a type and a file name. Without it, `inline` gets a
        link with the type that was stored, and a download gets `None`.
        """
        lasts = timedelta(seconds=min(seconds, LINK_SECONDS_MAX))
        try:
            url = await obstore.sign_async(self._bucket, "GET", checked(name), lasts)
        except BaseError:  # these credentials cannot sign
            return None
        secret = self._bucket.config.get("secret_access_key") if isinstance(self._bucket, S3Store) else None
        if secret is None:
            return url if inline else None
        disposition = f'{"inline" if inline else "attachment"}; filename="{filename}"'
        headers = {"response-content-type": content_type, "response-content-disposition": disposition}
        return _signed_again(url, str(secret), headers)

    async def report_outage(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Return when the bucket works. Each reason why it does not is logged once, and so is the recovery."""
        last_reason = None
        while (reason := await probe(self._bucket)) is not None:
            if reason != last_reason:
                log.warning("bucket_unreachable", reason=f"artifacts.url: {reason}")
            last_reason = reason
            await sleep(PROBE_SECONDS)
        if last_reason is not None:
            log.info("bucket_works")

    async def close(self) -> None:
        """See `ArtifactStore`."""


@contextlib.contextmanager
def _answering(done: str) -> Iterator[None]:
    """Raise an error of the bucket as `StoreUnavailable`; a missing file in a read stays `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError as error:
        if done == "read":
            raise
        raise _unavailable(done, NO_BUCKET) from error
    except (BaseError, OSError) as error:
        raise _unavailable(done, reason_of(error)) from error


def _unavailable(done: str, reason: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"The result cannot be {done} now.", retry_after=RETRY_AFTER_SECONDS, reason=f"artifacts.url: {reason}"
    )


def _signed_again(url: str, secret: str, more: Mapping[str, str]) -> str:
    """A pre-signed URL with more parameters, signed again.

    As in the S3 documentation, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
    """
    parts = urlsplit(url)
    query = {name: value for name, value in parse_qsl(parts.query) if name != "X-Amz-Signature"} | dict(more)
    canonical = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
    request = f"GET\n{parts.path}\n{canonical}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = query["X-Amz-Credential"].split("/", 1)[1]  # day/region/s3/aws4_request
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{canonical}&X-Amz-Signature={key.hex()}"
