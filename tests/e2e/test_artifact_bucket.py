"""The contract of artifact stores, for a bucket on a real S3 server and for a folder."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import obstore
import pytest
from msgspec import structs
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.artifacts.bucket import ArtifactBucket
from gateway.artifacts.far_marker import AHEAD, BucketPlace, FarMarker
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.store import CHUNK_BYTES, ArtifactStore
from gateway.buckets.opening import bucket_of, probe
from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.domain.lineage import Marker
from gateway.settings.load import ArtifactSettings, Secret

from .conftest import IMAGE_URL, Gateway
from .s3_server import SECRET, S3Server, s3_server

VIDEO = "gen_01/0-1.mp4"
LARGE = 24 * 1024 * 1024 + 7  # several parts, the last of them small


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> ArtifactBucket:
    """An artifact store in the bucket; each test has a prefix of its own."""
    return opened(server.settings(tmp_path, url=f"s3://results/{abs(hash(request.node.name))}"))


@pytest.fixture(params=["folder", "bucket"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    store: ArtifactStore = ArtifactFolder(tmp_path) if request.param == "folder" else request.getfixturevalue("bucket")
    return store


def opened(settings: ArtifactSettings) -> ArtifactBucket:
    return ArtifactBucket(bucket_of(settings), settings.path)


async def put(artifacts: ArtifactStore, name: str, content: bytes, content_type: str = "video/mp4") -> Path:
    partial = artifacts.partial()
    partial.write_bytes(content)
    await artifacts.put(name, partial, content_type)
    return partial


async def read(artifacts: ArtifactStore, name: str, start: int, stop: int, chunks: list[bytes] | None = None) -> bytes:
    """Read the bytes. Each piece is in `chunks` too, also when the reading fails."""
    chunks = [] if chunks is None else chunks
    async for chunk in artifacts.read(name, start, stop):
        chunks.append(chunk)  # a comprehension would lose the pieces before an error
    return b"".join(chunks)


# --- all stores -------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_as_it_was_put(artifacts: ArtifactStore) -> None:
    partial = await put(artifacts, VIDEO, b"0123456789")
    assert not partial.exists()
    assert await artifacts.size(VIDEO) == 10
    for start, stop in ((0, 10), (0, 1), (3, 7), (9, 10), (4, 4)):
        assert await read(artifacts, VIDEO, start, stop) == b"0123456789"[start:stop]


async def test_a_large_file_comes_in_small_pieces(artifacts: ArtifactStore) -> None:
    content = os.urandom(LARGE)
    await put(artifacts, VIDEO, content)
    digest, largest = sha256(), 0
    async for chunk in artifacts.read(VIDEO, 0, LARGE):
        digest.update(chunk)
        largest = max(largest, len(chunk))
    assert digest.digest() == sha256(content).digest()
    assert largest <= CHUNK_BYTES
    middle = (CHUNK_BYTES - 5, 5 * CHUNK_BYTES + 5)
    assert await read(artifacts, VIDEO, *middle) == content[slice(*middle)]


async def test_a_missing_file_is_an_error(artifacts: ArtifactStore) -> None:
    assert await artifacts.size(VIDEO) is None
    with pytest.raises(FileNotFoundError):
        await read(artifacts, VIDEO, 0, 1)
    await artifacts.remove([VIDEO, "gen_02/0-1.jpg"])


async def test_only_the_named_files_are_removed(artifacts: ArtifactStore) -> None:
    names = ["gen_01/0-1.mp4", "gen_01/0-1.jpg", "gen_01/1-1.mp4", "gen_011/0-1.mp4"]
    for name in names:
        await put(artifacts, name, name.encode())
    await artifacts.remove([names[0], "gen_00/0-1.mp4", names[1]])
    assert [await artifacts.size(name) for name in names] == [None, None, 14, 15]
    assert await read(artifacts, names[2], 0, 14) == names[2].encode()


async def test_a_second_put_replaces_the_file(artifacts: ArtifactStore) -> None:
    await put(artifacts, VIDEO, b"first")
    await put(artifacts, VIDEO, b"second")
    assert await read(artifacts, VIDEO, 0, 6) == b"second"


@pytest.mark.parametrize("stop", [6, CHUNK_BYTES * 2])
async def test_a_file_that_is_too_short_is_an_error(artifacts: ArtifactStore, stop: int) -> None:
    await put(artifacts, VIDEO, b"short")
    got: list[bytes] = []
    with pytest.raises(StoreUnavailable):
        await read(artifacts, VIDEO, 0, stop, got)
    assert b"".join(got) == b"short"


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".partial/x", "a/.b", "a b", "a\0", "ä/b", "a\n"]
)
async def test_a_name_that_leads_elsewhere_is_refused(artifacts: ArtifactStore, name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        await put(artifacts, name, b"x")
    with pytest.raises(ValueError, match="not the name"):
        await artifacts.size(name)
    with pytest.raises(ValueError, match="not the name"):
        await read(artifacts, name, 0, 1)
    with pytest.raises(ValueError, match="not the name"):
        await artifacts.remove([name])


async def test_a_read_may_end_early(artifacts: ArtifactStore) -> None:
    await put(artifacts, VIDEO, b"x" * CHUNK_BYTES * 4)
    reading: Any = artifacts.read(VIDEO, 0, CHUNK_BYTES * 4)
    assert await anext(reading)
    await reading.aclose()
    assert await artifacts.size(VIDEO) == CHUNK_BYTES * 4


# --- the bucket -------------------------------------------------------------------------------------------------------


async def test_an_object_has_its_content_type(bucket: ArtifactBucket, server: S3Server, tmp_path: Path) -> None:
    bucket = opened(server.settings(tmp_path, url="s3://results/a/b"))
    await put(bucket, "gen_01/0-1.jpg", b"\xff\xd8\xff", "image/jpeg")
    stored = await obstore.get_async(server.store(), "a/b/gen_01/0-1.jpg")
    assert stored.attributes == {"Content-Type": "image/jpeg"}


@pytest.mark.parametrize("inline", [True, False])
async def test_a_link_gives_the_file_to_its_holder(bucket: ArtifactBucket, inline: bool) -> None:
    await put(bucket, VIDEO, b"0123456789", "application/octet-stream")
    url = await bucket.link(VIDEO, seconds=60, filename="a+b.mp4", content_type="video/mp4", inline=inline)
    assert url is not None
    async with httpx.AsyncClient() as client:
        whole = await client.get(url)
        part = await client.get(url, headers={"range": "bytes=2-4"})
        forged = await client.get(url.replace("a%2Bb", "virus"))
        bare = await client.get(url.partition("?")[0])
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"] == f'{"inline" if inline else "attachment"}; filename="a+b.mp4"'
    assert (part.status_code, part.content) == (206, b"234")
    assert (forged.status_code, bare.status_code) == (403, 403)
    assert SECRET not in url


async def test_a_folder_has_no_links(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path)
    await put(folder, VIDEO, b"x")
    assert await folder.link(VIDEO, seconds=60, filename="a", content_type="video/mp4", inline=True) is None


async def test_a_wrong_key_is_reported_to_the_operator_only(server: S3Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path, secret_access_key=Secret.of("another-secret-key"))
    with pytest.raises(StoreUnavailable) as putting:
        await put(opened(settings), VIDEO, b"x")
    error = putting.value
    assert error.reason == f"artifacts.url: {WRONG_SECRET}"
    assert server.endpoint not in error.detail
    assert error.retry_after


async def test_the_marker_of_the_ledger_in_a_bucket_recognises_a_copy(server: S3Server, tmp_path: Path) -> None:
    def place(**changes: Any) -> BucketPlace:
        settings = server.settings(tmp_path, url="s3://results/markers", **changes)
        return BucketPlace(bucket_of(settings, retries={"max_retries": 0}))

    at, other = Marker(lineage="a" * 32, position=7, file=1), Marker(lineage="b" * 32, position=1)
    assert place().read(at.lineage) == "missing"
    for marker in (at, replace(at, position=9)):
        await (far := FarMarker(place())).follow(marker)
        assert (far.trouble, place().read(at.lineage)) == (None, marker)
    await (far := FarMarker(place())).follow(at)
    assert (far.trouble, place().read(at.lineage)) == (AHEAD, replace(at, position=9)), "the later one stays"
    await FarMarker(place()).follow(other)
    assert place().read(at.lineage) == replace(at, position=9), "each lineage has its own"

    for changes in ({"secret_access_key": OTHER}, {"endpoint": "http://127.0.0.1:1"}):
        assert place(**changes).read(at.lineage) is None, "silence proves nothing"
        await (far := FarMarker(place(**changes))).follow(replace(at, position=11))
        assert far.trouble == "the marker of the ledger in the artifact store cannot be read"
    assert place().read(at.lineage) == replace(at, position=9)


OTHER = Secret.of("another-secret-key")
WRONG_SECRET = "the secret key is wrong; check artifacts.secret_access_key or AWS_SECRET_ACCESS_KEY"
NO_ROLE = "the machine's role was asked and gave none"
CHOICES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"url": "s3://nowhere"}, "the bucket does not exist; check artifacts.url"),
    ({"secret_access_key": OTHER}, WRONG_SECRET),
    (
        {"access_key_id": OTHER},
        "the access key is not known to the server; check artifacts.access_key_id or AWS_ACCESS_KEY_ID",
    ),
    (
        {"access_key_id": None, "secret_access_key": None},
        f"no credentials (artifacts.access_key_id or AWS_ACCESS_KEY_ID; {NO_ROLE})",
    ),
    ({"endpoint": "http://127.0.0.1:1"}, "no connection; check artifacts.endpoint"),
]


@pytest.mark.parametrize(("changes", "reason"), CHOICES)
async def test_a_probe_gives_the_reason_and_the_remedy(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str | None
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    assert await probe(bucket_of(server.settings(tmp_path, **changes))) == reason


async def test_another_cloud_does_not_get_the_settings_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCOUNT_NAME", "any"), ("ACCOUNT_KEY", "YWJj"), ("ENDPOINT", "https://127.0.0.1:1")):
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    assert await probe(bucket_of(ArtifactSettings(url="az://results"))) == "no connection"


async def test_an_endpoint_without_tls_is_reported(server: S3Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path, endpoint=server.endpoint.replace("http:", "https:"))
    assert await probe(bucket_of(settings)) == "it does not speak TLS; check the https of artifacts.endpoint"


async def answered(status: str, body: str, folder: Path, server: S3Server) -> str | None:
    """The result of a probe when the server gives this answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        return await probe(bucket_of(server.settings(folder, endpoint=endpoint)))


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("403 Forbidden", "AccessDenied", "access is forbidden; the credentials must allow to list the bucket and"),
        ("403 Forbidden", "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "the bucket is in another region; check artifacts.region"),
        ("401 Unauthorized", "Any", "the credentials are not accepted"),
        ("418 Teapot", "Any", "it answers with HTTP 418"),
    ],
)
async def test_an_error_of_a_bucket_is_reported_in_the_gateways_own_words(
    server: S3Server, tmp_path: Path, status: str, code: str, reason: str
) -> None:
    answer = await answered(status, f"<Error><Code>{code}</Code><Message>theirs</Message></Error>", tmp_path, server)
    assert (answer or "").startswith(reason)
    assert "theirs" not in (answer or "")


async def test_an_outage_of_a_bucket_and_its_end_are_logged_once(server: S3Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path, url="s3://made-later")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            await obstore.put_async(bucket_of(settings), "any", b"")  # makes the bucket

    with capture_logs() as logged:
        await opened(settings).report_outage(pause)
        await opened(server.settings(tmp_path)).report_outage(pause)
    assert [(event["event"], event.get("reason")) for event in logged] == [
        ("bucket_unreachable", "artifacts.url: the bucket does not exist; check artifacts.url"),
        ("bucket_works", None),
    ]
    assert pauses == [60.0] * 3


class Line:
    """A proxy for the server that cuts the connection after this many bytes from one side."""

    def __init__(self, server: S3Server) -> None:
        self._server = urlsplit(server.endpoint)
        self.left = {"up": 1 << 40, "down": 1 << 40}
        self.cuts = 0
        self.endpoint = ""
        self._carrying: set[Any] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Line"]:
        listening = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening:
            yield self
            for task in self._carrying:
                task.cancel()
            await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
        ways = [
            asyncio.create_task(self._pass("up", reader, far_writer)),
            asyncio.create_task(self._pass("down", far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when="FIRST_COMPLETED")
        finally:
            for side in (writer, far_writer):
                side.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            self.left[way] -= len(chunk)
            if self.left[way] < 0:
                self.cuts += 1
                return
            writer.write(chunk)
            await writer.drain()


async def test_an_upload_that_is_cut_off_leaves_no_object(server: S3Server, tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    async with Line(server).open() as line:
        broken = opened(server.settings(tmp_path, url="s3://results/cut", endpoint=line.endpoint))
        line.left["up"] = 12 * 1024 * 1024
        partial = broken.partial()
        partial.write_bytes(content)
        with pytest.raises(StoreUnavailable, match=r"The result cannot be stored now\.") as caught:
            await broken.put(VIDEO, partial, "video/mp4")
        assert line.cuts >= 2, "it was tried again"
        assert (caught.value.reason or "").startswith("artifacts.url: ")
        whole = opened(server.settings(tmp_path / "other", url="s3://results/cut"))
        assert await whole.size(VIDEO) is None
        line.left["up"] = 1 << 40
        await broken.put(VIDEO, partial, "video/mp4")
    assert sha256(await read(whole, VIDEO, 0, LARGE)).digest() == sha256(content).digest()


async def test_a_download_that_is_cut_off_is_an_error(server: S3Server, tmp_path: Path) -> None:
    content = os.urandom(4 * 1024 * 1024)
    async with Line(server).open() as line:
        bucket = opened(server.settings(tmp_path, url="s3://results/down", endpoint=line.endpoint))
        await put(bucket, VIDEO, content)
        line.left["down"] = 1024 * 1024
        got: list[bytes] = []
        with pytest.raises(StoreUnavailable, match=r"The result cannot be read now\."):
            await read(bucket, VIDEO, 0, len(content), got)
    assert content.startswith(b"".join(got))


async def test_without_its_server_the_store_is_unavailable(server: S3Server, tmp_path: Path) -> None:
    async with Line(server).open() as line:
        settings = server.settings(tmp_path, endpoint=line.endpoint)
    bucket = opened(settings)
    partial = bucket.partial()
    partial.write_bytes(b"x")
    calls: Sequence[Any] = (
        bucket.put(VIDEO, partial, "video/mp4"),
        bucket.size(VIDEO),
        read(bucket, VIDEO, 0, 1),
        bucket.remove([VIDEO]),
    )
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailable] * len(calls)
    assert partial.exists()


def test_incomplete_settings_of_a_bucket_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigurationError, match=r"artifacts\.url: az://results: .*Account must be specified"):
        bucket_of(ArtifactSettings(url="az://results"))


# --- a gateway with a bucket ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirect", [False, True])
async def test_a_gateway_archives_results_in_the_bucket(idle: Gateway, server: S3Server, redirect: bool) -> None:
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)
    prefix = f"gateway-{redirect}"
    inside = server.settings(idle.folder / "local", url=f"s3://results/{prefix}", redirect=redirect)
    usual = idle.settings
    idle.settings = lambda: structs.replace(usual(), artifacts=inside)  # type: ignore[method-assign]  # one more choice
    idle.route("foxapi/kling-v3-image-to-video")
    await idle.start()

    made = await idle.make(model="m", image=IMAGE_URL, duration=5)

    answer = await idle.client.get(made["data"][0]["url"])
    if redirect:
        assert answer.status_code == 302
        async with httpx.AsyncClient() as client:
            answer = await client.get(answer.headers["location"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert sha256(answer.content).hexdigest() == made["data"][0]["sha256"]
    paths = [entry["path"] for page in obstore.list(server.store(), prefix) for entry in page]
    results = [path for path in paths if "/lineage/" not in path]
    assert sorted(path.rpartition(".")[2] for path in results) == ["jpg", "mp4"]
    assert not any(path.is_file() for path in (idle.folder / "local").rglob("results/**/*"))
