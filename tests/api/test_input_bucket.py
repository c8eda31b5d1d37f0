"""Images of clients in a bucket on a real S3 server: any gateway can use what another one has received."""

import asyncio
import os
import shutil
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
import pytest

from gateway.buckets.opening import bucket_of
from gateway.domain.errors import StoreUnavailable
from gateway.inputs import blob_bucket
from gateway.inputs.blob_cache import DamagedBlob
from gateway.inputs.blobs import CHUNK
from gateway.settings.toml import Secret

from ..e2e.s3_server import KEY, SECRET, S3Server, s3_server
from ..postgres_databases import execute
from ..processes import until
from .blob_replicas import CONTENT, DIGEST, HOUR, LARGEST, NOW, Replicas, read, silent
from .test_files import FILES, MODEL, PNG, VIDEOS, link, picture, uploaded


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def replicas(server: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Replicas:
    return Replicas(server, tmp_path, request.node.name)


# --- the places of a blob ---------------------------------------------------------------------------------------------


async def test_what_one_replica_has_put_every_other_one_reads_once(replicas: Replicas) -> None:
    first, second, third = replicas.open("1"), replicas.open("2"), replicas.open("3")
    assert await asyncio.gather(*(blobs.put(CONTENT) for blobs in (first, second, first))) == [DIGEST] * 3
    assert replicas.objects() == [f"inputs/{DIGEST[:2]}/{DIGEST}/2026-03-02T12Z"]
    assert await third.get(DIGEST) == CONTENT
    fourth = replicas.open("4")
    assert await read(fourth) == CONTENT

    obstore.delete(replicas.bucket, replicas.objects())
    for blobs in (first, second, third, fourth):
        assert await blobs.get(DIGEST) == await read(blobs) == CONTENT, "from its cache"
    other = replicas.open("5")
    assert (await other.get(DIGEST), await other.has(DIGEST)) == (None, False)


async def test_equal_bytes_are_sent_once_an_hour(replicas: Replicas) -> None:
    blobs = replicas.open("1")
    await blobs.put(CONTENT)
    (name,) = replicas.objects()
    sent = obstore.head(replicas.bucket, name)["last_modified"]
    obstore.delete(replicas.bucket, name)
    await blobs.put(CONTENT)
    assert replicas.objects() == [], "this process has put it, and nothing may remove it in this hour"
    replicas.clock.moment += HOUR
    await blobs.put(CONTENT)
    assert replicas.objects() == [f"inputs/{DIGEST[:2]}/{DIGEST}/2026-03-02T13Z"]
    assert sent <= obstore.head(replicas.bucket, replicas.objects()[0])["last_modified"]


async def test_without_room_for_a_cache_everything_is_read_from_the_bucket(replicas: Replicas) -> None:
    (replicas.folder / "file").write_bytes(b"")
    for blobs in (replicas.open("1", cache_bytes=0), replicas.open("file")):
        await blobs.put(CONTENT)
        assert await blobs.get(DIGEST) == await read(blobs) == CONTENT
    assert not (replicas.folder / "1").exists()


async def test_a_cache_that_is_emptied_while_a_copy_is_written_loses_no_image(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replicas.open("1").put(CONTENT)
    rename = Path.rename

    def emptied(path: Path, target: Path) -> Path:
        path.unlink()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", emptied)
    blobs = replicas.open("2")
    assert await blobs.get(DIGEST) == await read(blobs) == CONTENT


async def test_the_cache_has_a_bound_and_what_was_not_used_for_longest_gives_way(replicas: Replicas) -> None:
    blobs = replicas.open("1", cache_bytes=10_000)
    others = replicas.folder / "1" / "cache" / "00" / f".{DIGEST}.0123abcd"
    others.parent.mkdir(parents=True)
    others.write_bytes(b"half of a copy that another process is writing")
    os.utime(others, (0, 0))
    digests = []
    for number in range(12):
        replicas.clock.moment += timedelta(seconds=1)
        digests.append(await blobs.put(bytes([number]) * 2000))
        await blobs.get(digests[0])
    assert others.exists()
    others.unlink()
    copies = {path.name: path.stat().st_size for path in (replicas.folder / "1" / "cache").rglob("*") if path.is_file()}
    assert sum(copies.values()) <= 10_000
    assert {digests[0], digests[-1]} <= set(copies)
    assert digests[1] not in copies
    assert await blobs.get(digests[1]) == b"\x01" * 2000


# --- removals ---------------------------------------------------------------------------------------------------------


async def test_a_blob_goes_when_nothing_names_it_and_its_hour_is_over_for_an_hour(replicas: Replicas) -> None:
    first, second = replicas.open("1"), replicas.open("2")
    await first.put(CONTENT)
    replicas.named = {await first.put(b"named")}
    for minutes in (0, 60):
        replicas.clock.moment = NOW + timedelta(minutes=minutes)
        assert await replicas.sweep(second) == 0
        assert len(replicas.objects()) == 2, minutes
    replicas.clock.moment = NOW + timedelta(minutes=61)
    assert await replicas.sweep(second, of_all=False) == 0, "it is the turn of another gateway"
    assert await asyncio.gather(replicas.sweep(first), replicas.sweep(second)) != [0, 0]
    assert [await first.get(DIGEST), await second.get(DIGEST)] == [None, None]
    replicas.named = set()
    assert await replicas.sweep(second) == 1
    assert replicas.objects() == []


async def test_of_a_named_blob_the_newest_object_stays(replicas: Replicas) -> None:
    blobs = replicas.open("1")
    for _ in range(4):
        replicas.named = {await blobs.put(CONTENT), await blobs.put(b"other")}
        replicas.clock.moment += HOUR
    replicas.clock.moment += 2 * HOUR
    assert await asyncio.gather(replicas.sweep(blobs), replicas.sweep(replicas.open("2"))) == [0, 0]
    assert [name.rpartition("/")[2] for name in replicas.objects()] == ["2026-03-02T15Z"] * 2
    assert await replicas.open("3").get(DIGEST) == CONTENT


async def test_a_removal_never_meets_the_put_of_a_create(replicas: Replicas) -> None:
    first, second = replicas.open("1"), replicas.open("2")
    await first.put(CONTENT)
    replicas.clock.moment += 3 * HOUR

    async def named(digests: Sequence[str]) -> set[str]:
        await second.put(CONTENT)  # after the list of objects was read, by a create whose file is not stored yet
        return set()

    await replicas.sweep(first, named=named)
    assert [name.rpartition("/")[2] for name in replicas.objects()] == ["2026-03-02T15Z"]
    assert await replicas.open("3").get(DIGEST) == CONTENT


async def test_an_object_that_goes_after_it_was_listed_is_looked_for_again(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas.open("1"), replicas.open("2")
    await first.put(CONTENT)
    (old,) = replicas.objects()
    objects = second._objects

    async def listed(digest: str) -> list[str]:
        names = await objects(digest)
        if old in names:
            obstore.copy(replicas.bucket, old, old.replace("T12Z", "T14Z"))
            obstore.delete(replicas.bucket, old)
        return names

    monkeypatch.setattr(second, "_objects", listed)
    assert await second.get(DIGEST) == CONTENT


async def test_a_stop_ends_a_sweep_before_anything_is_removed(replicas: Replicas) -> None:
    blobs = replicas.open("1")
    await blobs.put(CONTENT)
    replicas.clock.moment += 3 * HOUR
    assert await replicas.sweep(blobs, going=lambda: False) == 0
    assert len(replicas.objects()) == 1


# --- a gateway that had no bucket before ------------------------------------------------------------------------------


async def test_the_first_sweep_copies_what_is_named_and_was_in_the_folder(replicas: Replicas) -> None:
    first, other = replicas.open("1"), replicas.open("2")
    before = replicas.before("1")
    replicas.named = {await before.put(CONTENT)}
    nobodys = await before.put(b"nobody's")
    damaged = await before.put(b"whole")
    path = replicas.folder / "1" / "inputs" / damaged[:2] / damaged
    path.write_bytes(b"half")
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    replicas.named.add(damaged)
    assert await first.get(DIGEST) == await read(first) == CONTENT
    assert await first.get(damaged) is None
    assert await other.get(DIGEST) is None

    await replicas.sweep(first, of_all=False)
    assert replicas.objects() == [f"inputs/{DIGEST[:2]}/{DIGEST}/2026-03-02T12Z"]
    assert await other.get(DIGEST) == CONTENT
    assert sorted(path.name for path in (replicas.folder / "1" / "inputs").rglob("*") if path.is_file()) == sorted(
        (DIGEST, nobodys, damaged)
    )
    replicas.named, replicas.clock.moment = set(), NOW + 3 * HOUR
    assert await replicas.sweep(first) == 4, "three in the folder, and one in the bucket"


async def test_an_image_that_another_gateway_may_still_copy_is_awaited(replicas: Replicas) -> None:
    """After a move of the ledger any gateway may be started first: a generation must not fail for that."""
    early = replicas.open("2", has_others=True)
    replicas.named = {await replicas.before("1").put(CONTENT)}
    for call in (early.get(DIGEST), early.has(DIGEST)):
        with pytest.raises(StoreUnavailable) as refusal:
            await call
    assert f"the image {DIGEST} is not in the bucket" in str(refusal.value.reason)

    await replicas.sweep(replicas.open("1", has_others=True), of_all=False)
    assert await early.get(DIGEST) == CONTENT

    lost = sha256(b"lost").hexdigest()
    replicas.clock.moment += blob_bucket.COPIED_WITHIN
    assert (await early.get(lost), await early.has(lost)) == (None, False)


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_damaged_bytes_are_never_given(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_bucket, "IMAGE_MAX", LARGEST)
    first, second = replicas.open("1"), replicas.open("2")
    await first.put(CONTENT)
    (name,) = replicas.objects()
    for damaged in (CONTENT[:-1], bytes(LARGEST + CHUNK)):
        obstore.put(replicas.bucket, name, damaged)
        assert (await second.get(DIGEST), await second.has(DIGEST)) == (None, False)
        without = replicas.open("3", cache_bytes=0)
        with pytest.raises(DamagedBlob):
            assert b"".join([chunk async for chunk in without.chunks(DIGEST)]) != CONTENT
    assert not any(path.is_file() for path in (replicas.folder / "2").rglob("*"))

    await second.put(CONTENT)
    assert await replicas.open("4").get(DIGEST) == CONTENT, "another put repairs it"


async def test_a_damaged_copy_is_read_again_from_the_bucket(replicas: Replicas) -> None:
    blobs = replicas.open("1")
    await blobs.put(CONTENT)
    copy = replicas.folder / "1" / "cache" / DIGEST[:2] / DIGEST
    copy.write_bytes(CONTENT[1:])
    assert await blobs.get(DIGEST) == CONTENT
    copy.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(DamagedBlob):
        await read(blobs)
    assert await read(blobs) == CONTENT


async def test_a_bucket_that_fails_is_unavailable_and_copies_are_read_all_the_same(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with silent() as gone:
        pass
    async with silent() as slow:
        monkeypatch.setattr(blob_bucket, "PUT_SECONDS", 0.1)
        monkeypatch.setattr(blob_bucket, "READ_SECONDS", 0.1)
        cases: dict[str, dict[str, Any]] = {
            "no connection; check artifacts.endpoint": {"endpoint": gone},
            "it did not answer within 0.1 seconds": {"endpoint": slow},
        }
        for reason, changes in cases.items():
            await check_failing(replicas, reason, changes)
    monkeypatch.undo()
    await check_failing(replicas, "the secret key is wrong", {"secret_access_key": Secret.of("another-secret-key")})
    assert replicas.objects() == [], "so that nothing was stored"


async def check_failing(replicas: Replicas, reason: str, changes: dict[str, Any]) -> None:
    failing = replicas.open(reason.replace("/", " "), **changes)
    calls = [failing.put(CONTENT), failing.get(DIGEST), failing.has(DIGEST), replicas.sweep(failing)]
    errors = await asyncio.gather(*calls[:3], return_exceptions=True)
    if "seconds" not in reason:  # a sweep has all the time
        errors += await asyncio.gather(calls[3], return_exceptions=True)
    else:
        calls[3].close()
    for error in errors:
        assert isinstance(error, StoreUnavailable), error
        assert error.retry_after == 5
        assert reason in (error.reason or "")
    await failing._cache.put(DIGEST, CONTENT)
    assert await failing.get(DIGEST) == await read(failing) == CONTENT


async def test_callers_share_one_put_that_goes_on_without_them(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = replicas.open("1")
    sent, gate = [], asyncio.Event()
    put_async = obstore.put_async

    async def slow(*arguments: Any, **named: Any) -> Any:
        sent.append(arguments[1])
        await gate.wait()
        return await put_async(*arguments, **named)

    monkeypatch.setattr(obstore, "put_async", slow)
    puts = [asyncio.create_task(blobs.put(CONTENT)) for _ in range(3)]
    await until(lambda: sent)
    puts[0].cancel()
    await asyncio.gather(puts[0], return_exceptions=True)
    gate.set()
    assert await asyncio.gather(*puts[1:]) == [DIGEST] * 2
    assert len(sent) == 1


# --- gateways ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def begin(start: Any, server: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Starts gateways with one place in the bucket, each with a folder of its own."""
    count = 0

    async def starts(endpoint: str = server.endpoint, **environ: str) -> Any:
        nonlocal count
        count += 1
        toml = (
            f'artifacts.folder = "{tmp_path / str(count)}"\nartifacts.endpoint = "{endpoint}"\n'
            'artifacts.access_key_id = "env:S3_KEY"\nartifacts.secret_access_key = "env:S3_SECRET"\n'
        )
        names = {"VIDEO_GATEWAY_ARTIFACTS": f"s3://results/{request.node.name}", "S3_KEY": KEY, "S3_SECRET": SECRET}
        return await start(toml, environ={**names, **environ})

    return starts


async def test_gateways_on_one_ledger_use_each_others_images(begin: Any, postgres_url: str) -> None:
    first, second = [await begin(VIDEO_GATEWAY_DATABASE_URL=postgres_url) for _ in range(2)]
    first.application.engine.begin = lambda _: None  # it dies just before it would begin
    file = await uploaded(first)
    for answer in (
        await second.client.get(f"{FILES}/{file['id']}/content"),
        await second.client_of(None).get(link(second, file["id"])),
    ):
        assert (answer.status_code, answer.content) == (200, PNG)

    inline = picture("JPEG", 500)
    text = f"data:image/jpeg;base64,{b64encode(inline).decode()}"
    made = [await first.create(model=MODEL, image=image) for image in (file["id"], text)]
    await execute(postgres_url, "update generations set replica = null")
    await second.application.engine.take([generation["id"] for generation in made])
    for generation in made:
        await second.begin(generation["id"])
    bodies = [submit.content.decode() for submit in second.upstream.submits]
    assert sorted(b64encode(content).decode() in body for content in (PNG, inline) for body in bodies) == [
        False,
        False,
        True,
        True,
    ]
    assert first.upstream.submits == []


async def test_a_generation_waits_until_the_gateway_with_the_folder_of_before_has_copied_its_image(
    begin: Any, server: S3Server, tmp_path: Path, request: pytest.FixtureRequest, postgres_url: str
) -> None:
    early = await begin(VIDEO_GATEWAY_DATABASE_URL=postgres_url)
    file = await uploaded(early)
    bucket = bucket_of(server.settings(tmp_path, url=f"s3://results/{request.node.name}"))
    for name in [entry["path"] for page in obstore.list(bucket, blob_bucket.FOLDER) for entry in page]:
        obstore.delete(bucket, name)
    shutil.rmtree(tmp_path / "1" / "cached-inputs")
    digest = sha256(PNG).hexdigest()
    path = tmp_path / "2" / "inputs" / digest[:2] / digest
    path.parent.mkdir(parents=True)
    path.write_bytes(PNG)

    made = await early.create(model=MODEL, image=file["id"])
    await early.clock.advance(60)
    assert (await early.stored(made["id"])).status == "queued"
    await begin(VIDEO_GATEWAY_DATABASE_URL=postgres_url)
    await early.begin(made["id"])
    assert b64encode(PNG).decode() in early.upstream.submits[0].content.decode()


async def test_an_image_leaves_the_bucket_when_its_generations_have_ended(
    begin: Any, server: S3Server, request: pytest.FixtureRequest
) -> None:
    gateway = await begin()
    text = f"data:image/png;base64,{b64encode(PNG).decode()}"
    for _ in range(2):
        await gateway.create(model=MODEL, image=text)

    def images() -> list[str]:
        prefix = f"{request.node.name}/inputs"
        return [entry["path"] for page in obstore.list(server.store(), prefix) for entry in page]

    assert len(images()) == 1
    await gateway.finish()
    for _ in range(50):  # each hour has a round of the sweeper, which may be in the middle of the one before
        await gateway.clock.advance(3600)
        if not images():
            return
    pytest.fail("the image stays in the bucket")


async def test_without_its_bucket_a_gateway_takes_no_image_and_everything_else(begin: Any) -> None:
    async with silent() as gone:
        pass
    gateway = await begin(endpoint=gone)
    data = {"model": MODEL, "prompt": "A beach.", "image": f"data:image/png;base64,{b64encode(PNG).decode()}"}
    create = await gateway.client.post(VIDEOS, json=data)
    upload = await gateway.client.post(FILES, data={"purpose": "vision"}, files={"file": ("a.png", PNG, "image/png")})
    for answer in (create, upload):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == "store_unavailable"
        assert "The input cannot be stored now." in answer.json()["error"]["message"]
    rows = gateway.rows()
    assert (rows["generations"], rows["files"]) == (0, 0)
    assert (await gateway.create())["status"] == "queued"
