"""Operations are written beside their handlers, and no handler of the public API goes without one."""

from typing import Any

import pytest
from litestar import Controller, delete, get, route
from litestar.enums import HttpMethod

from gateway.api.web.operation import Described, Operation, described

READ, HEAD, LIST, REMOVE = (Operation(id=name, summary=name) for name in ("read", "head", "list", "remove"))


@route("/content/{name:path}", http_method=(HttpMethod.GET, HttpMethod.HEAD), operation=READ, head_operation=HEAD)
async def content() -> None: ...


class Things(Controller):
    path = "/things"

    @get(operation=LIST)
    async def page(self) -> None: ...

    @delete("/{thing_id:str}", operation=REMOVE)
    async def a_remove(self) -> None: ...


def test_an_operation_has_the_method_and_the_path_of_its_handler_in_the_order_of_the_source() -> None:
    assert list(described((content, Things))) == [
        Described("get", "/content/{name}", READ),
        Described("head", "/content/{name}", HEAD),
        Described("get", "/things", LIST),
        Described("delete", "/things/{thing_id}", REMOVE),
    ]


def test_a_handler_without_an_operation_is_refused() -> None:
    @get("/things/count")
    async def count() -> None: ...

    handlers: Any = (content, count)
    with pytest.raises(LookupError, match="get /things/count has no `operation=`"):
        list(described(handlers))
