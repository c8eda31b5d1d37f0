"""`/v1/usage` and `/v1/admin/usage`: what was made and bought, as JSON or CSV."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from litestar import Request, route
from litestar.datastructures import State
from litestar.datastructures.headers import Accept
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from gateway.api.usage.csv_text import MEDIA_TYPE, csv_of
from gateway.api.usage.views import UsageAnswer, usage_view, without
from gateway.api.web.answers import GET, disposition, json_answer
from gateway.api.web.client import OPERATOR
from gateway.api.web.context import Context, admin_context_of, context_of
from gateway.api.web.headers import header
from gateway.api.web.operation import Operation
from gateway.api.web.owners import owner_of
from gateway.api.web.query import Params
from gateway.domain.clients import Sight
from gateway.domain.errors import InvalidParameter
from gateway.store.usage import GROUPS, Group, UsageQuery, UsageRow

DAYS_MAX = 400
ROWS_MAX = 3000
_DAYS = 30  # of an answer without `from`
_FORMATS = ("json", "csv")
_MEDIA_TYPES = {"application/json": "json", "text/csv": "csv"}
_OF_CLIENT: tuple[Group, ...] = tuple(group for group in GROUPS if group != "client")
_DAY = re.compile(r"(?:19[7-9]|[2-9]\d\d)\d-\d\d-\d\d", re.ASCII)  # from 1970 on

Call = Request[Any, Any, State]


def _query_of(groups: Sequence[Group]) -> Mapping[str, Mapping[str, Any]]:
    """The query of an operation, for the document."""
    day = {"type": "string", "format": "date"}
    names = "|".join(groups)
    return {
        "from": {**day, "description": f"the first day, in UTC; without it {_DAYS} days are read"},
        "to": {**day, "description": f"the last day, in UTC; default: today; at most {DAYS_MAX} days after `from`"},
        "model": {"type": "string", "maxLength": 256, "description": "only this model, as requests name it"},
        "provider": {"type": "string", "maxLength": 256, "description": "only this provider"},
        "group_by": {
            "type": "string",
            "pattern": f"^({names})(,({names}))*$",
            "default": "day",
            "description": f"one or more of {', '.join(groups)}, separated by commas",
        },
        "format": {
            "type": "string",
            "enum": list(_FORMATS),
            "description": "default: CSV if `Accept` prefers `text/csv`, else JSON",
        },
    }


@route(
    "/v1/usage",
    http_method=GET,
    operation=Operation(
        id="readUsage",
        summary="Add up what the generations of the key made and cost, by day, model or provider",
        query=_query_of(_OF_CLIENT),
        answer=UsageAnswer,
        has_csv=True,
        errors=(400, 503),
    ),
)
async def usage(request: Call) -> ASGIResponse:
    """The usage of the client itself."""
    context, owner = await context_of(request)
    params = Params.of(request)
    query = replace(_requested(params, context, _OF_CLIENT), owner=owner, reader=owner)
    if not context.clients.sees(owner, "provider"):
        for name, is_used in (("group_by", "provider" in query.group_by), ("provider", query.provider is not None)):
            if is_used:
                raise InvalidParameter(f"`{name}`: your key may not see providers; leave them out.", param=name)
    return await _answer(request, params, context, query)


@route(
    "/v1/admin/usage",
    http_method=GET,
    operation=Operation(
        id="readAdminUsage",
        summary="Add up what the generations of all clients made and cost, by day, client, model or provider; needs an"
        " admin key",
        query={
            **_query_of(GROUPS),
            "client": {
                "type": "string",
                "maxLength": 256,
                "description": "only this client: its name, or the id of a key as `client` shows it",
            },
        },
        answer=UsageAnswer,
        has_csv=True,
        errors=(400, 503),
    ),
)
async def admin_usage(request: Call) -> ASGIResponse:
    """The usage of all clients, or of one."""
    context = admin_context_of(request)
    params = Params.of(request)
    client = params.text("client")
    owner = None if client is None else owner_of(client)
    query = replace(_requested(params, context, GROUPS), owner=owner, reader=OPERATOR)
    return await _answer(request, params, context, query)


def _requested(params: Params, context: Context, groups: tuple[Group, ...]) -> UsageQuery:
    """What the query asks for; raises `InvalidParameter`."""
    last = _day(params, "to") or context.clock.now().date()
    first = _day(params, "from") or last - timedelta(days=_DAYS - 1)
    if first > last:
        raise InvalidParameter(f"`from` must not be after `to`, which is {last}.", param="from")
    if (last - first).days >= DAYS_MAX:
        raise InvalidParameter(
            f"`from` to `to` must be at most {DAYS_MAX} days; ask for the earlier days separately.", param="from"
        )
    return UsageQuery(
        first_day=first,
        last_day=last,
        model=params.text("model"),
        provider=params.text("provider"),
        group_by=_grouping(params, groups),
    )


def _day(params: Params, name: str) -> date | None:
    value = params.text(name)
    if value is None:
        return None
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidParameter(f"`{name}` must be a day in UTC from 1970 on, such as 2026-05-17.", param=name)


def _grouping(params: Params, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups in their usual order, whatever the order of the query."""
    value = params.text("group_by")
    names = ["day"] if value is None else value.split(",")
    if len(set(names)) < len(names) or not set(names) <= set(groups):
        raise InvalidParameter(
            f"`group_by` must be one or more of {', '.join(groups)}, separated by commas, each once.", param="group_by"
        )
    return tuple(group for group in groups if group in names)


async def _answer(request: Call, params: Params, context: Context, query: UsageQuery) -> ASGIResponse:
    wanted = params.choice("format", _FORMATS) or _preferred(request)
    params.done()
    rows = await context.usage.rows(query, ROWS_MAX + 1)
    if len(rows) > ROWS_MAX:
        raise InvalidParameter(
            f"The answer would have more than {ROWS_MAX:,} rows. Ask for fewer days, for one model or provider, or"
            " group by less.",
            param="group_by",
        )
    total = await context.usage.rows(replace(query, group_by=()), 1)
    # On a thread: thousands of rows take longer than other requests should wait.
    return await asyncio.to_thread(_rendered, query, rows, next(iter(total), None), wanted, context.clients.sees)


def _rendered(
    query: UsageQuery,
    rows: Sequence[UsageRow],
    total: UsageRow | None,
    wanted: str,
    sees: Callable[[str, Sight], bool],
) -> ASGIResponse:
    view = usage_view(query, rows, total)
    if query.owner is not None and query.reader == query.owner:
        view = without(view, costs=not sees(query.owner, "costs"), attempts=not sees(query.owner, "attempts"))
    if wanted == "json":
        return json_answer(view)
    name = f"usage-{view.first_day}-{view.last_day}.csv"
    headers = {"content-disposition": disposition(name, inline=False)}
    return ASGIResponse(body=csv_of(view).encode(), media_type=MEDIA_TYPE, headers=headers)


def _preferred(request: Call) -> str:
    best = Accept(header(request, "accept") or "*/*").best_match(list(_MEDIA_TYPES))
    return _MEDIA_TYPES.get(best or "", "json")
