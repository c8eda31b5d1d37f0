"""Every statement of the ledger, for tests of how a database reads and plans them."""

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.request import InputKind
from gateway.store import sql as package
from gateway.store.port import Query
from gateway.store.sql import attempts, files, usage, webhooks
from gateway.store.sql.search import Search
from gateway.store.usage import UsageQuery
from gateway.store.webhooks import DeliveryQuery

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
_VERBS = ("select ", "insert ", "update ", "delete ", "with ")


def statements() -> Iterator[tuple[str, str]]:
    """Every constant of `gateway/store/sql` that is a statement, and those that queries build."""
    for module in pkgutil.iter_modules(package.__path__):
        for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items():
            for text in value if isinstance(value, tuple) else [value]:
                if isinstance(text, str) and text.startswith(_VERBS) and "{" not in text:
                    yield f"{module.name}.{name}", text
    day = NOW.date()
    for groups in ((), ("day",), ("client", "model"), ("day", "client", "model", "provider")):
        query = UsageQuery(reader="", first_day=day, last_day=day, group_by=groups, owner="a", model="m", provider="p")
        where, _ = usage._conditions(query)
        yield f"usage {groups}", usage._TIMES.format(names=usage._groups(query), where=where)
    filters: list[dict[str, Any]] = [
        {},
        {"status": "failed"},
        {"model": "m", "provider": "p"},
        {"status": "failed", "created_after": NOW, "created_before": NOW + timedelta(1), "offset": 3},
        {"failures": tuple(FailureKind)[:2]},
        {"failures": tuple(FailureKind)[:1], "fell_back": True, "maybe_billed": True},
    ]
    of_key = [*filters, {"metadata": {"a": "b", "c": "d"}, "inputs": tuple(InputKind)[:2]}]
    for key, kind, some in (("alice", "video", of_key), (None, None, filters), (None, "image", filters)):
        for order in ("asc", "desc"):
            for chosen in some:
                query_ = Query(key=key, kind=kind, limit=3, order=order, **chosen)  # type: ignore[arg-type]
                yield f"search {chosen}", Search(query_).statement()[0]
    yield "completions", attempts.completions(1000)
    for open_only in (False, True):
        yield f"unknown {open_only}", attempts.unknown(10, None, open_only=open_only)[0]
    for index, more in (("files_of_library", "id < ?"), ("files_of_purpose", "id < ? and purpose = ?")):
        yield f"files {more}", f"{files._PAGE.format(index=index)} and {more} order by id desc limit ?"  # of constants
    for key_, endpoint, generation, state, after in product(
        (None, "k"), (None, "e"), (None, "g"), (None, "dead"), (None, "d")
    ):
        deliveries = DeliveryQuery(
            key=key_,
            limit=9,
            endpoint_id=endpoint,
            generation_id=generation,
            state=state,  # type: ignore[arg-type]
            after=after,
        )
        where, _ = webhooks._conditions(deliveries)
        sql = f"select id from deliveries where {where} order by id desc limit ?"  # noqa: S608  # of constants
        yield f"deliveries {where}", sql
