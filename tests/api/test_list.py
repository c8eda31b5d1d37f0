"""Lists of generations: pages, filters, and owners."""

from typing import Any

import pytest

VIDEOS = "/v1/videos/generations"


async def walk(gateway: Any, way: str, **params: Any) -> list[str]:
    """The ids of all pages in their order, read by `after` or by `before`."""
    listed: list[str] = []
    for _ in range(50):
        page = (await gateway.client.get(VIDEOS, params=params)).json()
        ids = [generation["id"] for generation in page["data"]]
        assert (page["first_id"], page["last_id"]) == (ids[0] if ids else None, ids[-1] if ids else None)
        assert page["object"] == "list"
        listed = listed + ids if way == "after" else ids + listed
        if not page["has_more"]:
            return listed
        params[way] = page["last_id"] if way == "after" else page["first_id"]
    pytest.fail("the pages do not end")


async def made(gateway: Any, count: int, **body: Any) -> list[str]:
    """Create generations; their ids, the oldest first."""
    return [(await gateway.create(**body))["id"] for _ in range(count)]


async def test_an_empty_list(gateway: Any) -> None:
    page = (await gateway.client.get(VIDEOS)).json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
async def test_every_page_size_gives_all_in_order(gateway: Any, limit: int) -> None:
    ids = await made(gateway, 7)
    assert await walk(gateway, "after", limit=limit, order="asc") == ids
    assert await walk(gateway, "after", limit=limit) == ids[::-1]
    assert await walk(gateway, "before", limit=limit, before="gen_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", order="asc") == ids
    assert await walk(gateway, "before", limit=limit, before="gen_00000000000000000000000000") == ids[::-1]


async def test_the_newest_twenty_come_first(gateway: Any) -> None:
    ids = await made(gateway, 22)
    page = (await gateway.client.get(VIDEOS)).json()
    assert [generation["id"] for generation in page["data"]] == ids[:1:-1]
    assert page["has_more"]


async def test_new_generations_do_not_disturb_a_client_that_reads_page_by_page(gateway: Any) -> None:
    ids = await made(gateway, 6)
    for order, expected in (("desc", ids[::-1]), ("asc", ids)):
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 2, "order": order}
        while True:
            page = (await gateway.client.get(VIDEOS, params=params)).json()
            seen += [generation["id"] for generation in page["data"]]
            if not page["has_more"] or len(seen) > 30:
                break
            params["after"] = page["last_id"]
            if len(seen) < 7:
                await gateway.create()
        assert seen[: len(expected)] == expected
        assert len(set(seen)) == len(seen)
        ids = await walk(gateway, "after", order="asc")


async def test_a_page_continues_after_a_generation_that_was_deleted(gateway: Any) -> None:
    ids = await made(gateway, 3)
    await gateway.finish()
    await gateway.client.delete(f"{VIDEOS}/{ids[1]}")
    page = (await gateway.client.get(VIDEOS, params={"after": ids[1]})).json()
    assert [generation["id"] for generation in page["data"]] == [ids[0]]


async def test_another_key_sees_nothing(gateway: Any) -> None:
    (mine,) = await made(gateway, 1)
    (theirs,) = await made(gateway, 1, client=gateway.other)
    for client, own in ((gateway.client, mine), (gateway.other, theirs)):
        page = (await client.get(VIDEOS)).json()
        assert [generation["id"] for generation in page["data"]] == [own]
    for cursor in ("after", "before"):
        page = (await gateway.other.get(VIDEOS, params={cursor: mine})).json()
        assert mine not in [generation["id"] for generation in page["data"]]


async def ids_of(gateway: Any, params: Any) -> set[str]:
    response = await gateway.client.get(VIDEOS, params=params)
    assert response.status_code == 200, response.text
    return {generation["id"] for generation in response.json()["data"]}


async def test_filters_by_status_model_and_provider(gateway: Any) -> None:
    done = (await gateway.create())["id"]
    await gateway.finish()
    gateway.upstream.word = "processing"
    relayed = (await gateway.create(model="kling_relay/kling-v1"))["id"]
    await gateway.begin(relayed)
    assert await ids_of(gateway, {"status": "completed"}) == {done}
    assert await ids_of(gateway, {"status": "in_progress"}) == {relayed}
    assert await ids_of(gateway, {"status": "expired"}) == set()
    assert await ids_of(gateway, {"model": "kling_relay/kling-v1"}) == {relayed}
    assert await ids_of(gateway, {"model": "kling"}) == set()
    assert await ids_of(gateway, {"provider": "foxapi"}) == {done}
    assert await ids_of(gateway, {"provider": "foxapi", "status": "in_progress"}) == set()


async def test_filters_by_the_time_of_creation(gateway: Any) -> None:
    first = await gateway.create()
    await gateway.clock.advance(100)
    second = await gateway.create()
    between = (first["created_at"] + second["created_at"]) // 2
    assert await ids_of(gateway, {"created_after": between}) == {second["id"]}
    assert await ids_of(gateway, {"created_before": between}) == {first["id"]}
    assert await ids_of(gateway, {"created_after": between, "created_before": between}) == set()
    assert await ids_of(gateway, {"created_after": 0, "created_before": 253402300799}) == {first["id"], second["id"]}


ODD = [
    "order",
    "a.b",
    "a]b",
    "a[b]",
    'a"b',
    "a'b",
    "a b",
    "a&b=c",
    "%",
    "$",
    "$.x",
    "é",
    "视频",
    "\\",
    "0",
    "😀",
    "null",
]


async def test_filters_by_metadata_whatever_its_characters(gateway: Any) -> None:
    plain = (await gateway.create())["id"]
    by_name = {name: (await gateway.create(metadata={name: f"v{name}", "other": "1"}))["id"] for name in ODD}
    for name, expected in by_name.items():
        assert await ids_of(gateway, {f"metadata[{name}]": f"v{name}"}) == {expected}
        assert await ids_of(gateway, {f"metadata[{name}]": f"v{name}", "metadata[other]": "1"}) == {expected}
        assert await ids_of(gateway, {f"metadata[{name}]": f"v{name}", "metadata[other]": "2"}) == set()
        assert await ids_of(gateway, {f"metadata[{name}]": ""}) == set()
    assert await ids_of(gateway, {"metadata[other]": "1"}) == set(by_name.values())
    assert plain not in await ids_of(gateway, {"metadata[other]": "1"})


async def test_an_empty_metadata_value_is_a_value(gateway: Any) -> None:
    with_empty = (await gateway.create(metadata={"a": ""}))["id"]
    await gateway.create()
    assert await ids_of(gateway, {"metadata[a]": ""}) == {with_empty}


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "invalid_parameter", "limit"),
        ("limit=101", "invalid_parameter", "limit"),
        ("limit=-1", "invalid_parameter", "limit"),
        ("limit=", "invalid_parameter", "limit"),
        ("limit=1.0", "invalid_parameter", "limit"),
        ("limit=%D9%A3", "invalid_parameter", "limit"),  # an Arabic digit
        ("limit=+5", "invalid_parameter", "limit"),
        ("limit=1&limit=2", "invalid_parameter", "limit"),
        ("limit=99999999999999999999999999", "invalid_parameter", "limit"),
        ("order=up", "invalid_parameter", "order"),
        ("order=DESC", "invalid_parameter", "order"),
        ("status=done", "invalid_parameter", "status"),
        ("status=", "invalid_parameter", "status"),
        ("after=x", "invalid_parameter", "after"),
        ("before=gen_1", "invalid_parameter", "before"),
        ("after=gen_01jdkq00000000000000000000", "invalid_parameter", "after"),
        ("before=gen_01JDKQU0000000000000000000", "invalid_parameter", "before"),
        ("after=gen_01JDKQ00000000000000000000%00", "invalid_parameter", "after"),
        (
            "after=gen_01JDKQ00000000000000000000&before=gen_01JDKQ00000000000000000000",
            "invalid_parameter",
            "before",
        ),
        ("created_after=yesterday", "invalid_parameter", "created_after"),
        ("created_before=-1", "invalid_parameter", "created_before"),
        ("created_after=253402300800", "invalid_parameter", "created_after"),
        ("model=%00", "invalid_parameter", "model"),
        ("model=" + "a" * 257, "invalid_parameter", "model"),
        ("metadata[a]=" + "a" * 513, "invalid_parameter", "metadata[a]"),
        ("metadata[]=1", "unknown_parameter", "metadata[]"),
        ("metadata=1", "unknown_parameter", "metadata"),
        ("metadata[a]=1&metadata[a]=2", "invalid_parameter", "metadata[a]"),
        ("statsu=completed", "unknown_parameter", "statsu"),
        ("%ff=1", "unknown_parameter", "�"),
    ],
)
async def test_a_bad_query_parameter_is_named(
    gateway: Any, check_error: Any, query: str, code: str, param: str
) -> None:
    message = check_error(await gateway.client.get(f"{VIDEOS}?{query}"), 400, code, param)
    if query.startswith("statsu"):
        assert "Did you mean `status`?" in message
    if query.startswith("created_after"):
        assert message == "`created_after` must be a time in whole Unix seconds, from 0 to 253402300799."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", VIDEOS),
        ("GET", f"{VIDEOS}/x"),
        ("DELETE", f"{VIDEOS}/x"),
        ("POST", f"{VIDEOS}/x/cancel"),
        ("GET", f"{VIDEOS}/x/content"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/kling"),
    ],
)
async def test_no_path_takes_a_parameter_it_does_not_have(
    gateway: Any, check_error: Any, method: str, path: str
) -> None:
    check_error(await gateway.client.request(method, f"{path}?dryrun=1"), 400, "unknown_parameter", "dryrun")


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=x", "wait=1.5", "wait="])
async def test_wait_is_0_to_60_seconds(gateway: Any, check_error: Any, query: str) -> None:
    check_error(await gateway.client.get(f"{VIDEOS}/x?{query}"), 400, "invalid_parameter", "wait")


async def test_a_list_takes_sixteen_filters_and_no_more(gateway: Any) -> None:
    pairs = {f"k{number}": "v" for number in range(16)}
    made = (await gateway.create(metadata=pairs))["id"]
    filters = {f"metadata[{name}]": value for name, value in pairs.items()}
    assert await ids_of(gateway, filters) == {made}
    answer = await gateway.client.get(VIDEOS, params={**filters, "status": "queued"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_parameter", "metadata")
    assert "at most 16 filters; this request has 17" in error["message"]


async def test_a_search_that_is_too_long_says_how_to_go_on(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.sql.search.STEPS_MAX", 3)
    wanted = (await gateway.create(metadata={"a": "1", "b": "1"}))["id"]
    for _ in range(3):
        await gateway.create(metadata={"a": "1"})
        await gateway.create(metadata={"b": "1"})
    params = {"metadata[a]": "1", "metadata[b]": "1"}
    refusals = 0
    while (answer := await gateway.client.get(VIDEOS, params=params)).status_code == 503:
        refusals += 1
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("search_too_long", "after")
        params["after"] = error["message"].partition("`after=")[2].partition("`")[0]
        assert refusals < 10
    assert refusals > 0
    assert [generation["id"] for generation in answer.json()["data"]] == [wanted]
