"""No read of the ledger goes through a table that grows with the history."""

from collections.abc import Iterator
from itertools import product

import apsw
import pytest

from gateway.store import migrations
from gateway.store.sql import (
    accounts,
    attempts,
    clients,
    files,
    idempotency,
    money,
    purchases,
    restored,
    retention,
    store,
    uploads,
    usage,
    webhooks,
)
from gateway.store.sqlite import clock as sqlite_clock
from gateway.store.webhooks import DeliveryQuery

STATEMENTS = {
    "open_ids": store.OPEN_IDS,
    "unfollowed": attempts.UNFOLLOWED,
    "completions": attempts.completions(1000),
    "unknown": attempts.unknown(10, None, open_only=False)[0],
    "unknown_open": attempts.unknown(10, None, open_only=True)[0],
    "events": store._EVENTS,
    "permission": store._PERMISSION.format(has_place="1 = 1"),
    "begin_submit": store._BEGIN_SUBMIT.format(has_place="1 = 1"),
    "generation": f"{store.SELECT} where id = ?",
    "generations": store._OF_IDS,
    "file": store._FILE,
    "named_blobs": store._NAMED_BLOBS,
    "file_totals": files._TOTALS,
    "file_page": files._PAGE.format(index="files_of_library") + " and id > ? order by id limit ?",
    "file_page_of_purpose": files._PAGE.format(index="files_of_purpose") + " and purpose = ? order by id limit ?",
    "files_expired": files._EXPIRED,
    "uploads_expire": uploads._EXPIRE,
    "client_named": clients._CLIENT_NAMED,
    "keys_of_client": clients._KEYS_OF,
    "key_of_client": clients._KEY_OF,
    "open_of_client": clients._COUNT_OPEN,
    "outputs_of_day": clients._OUTPUTS,
    "outputs_created": clients._OUTPUTS_CREATED,
    "client_days_forget": clients._FORGET_DAYS,
    "spent": accounts.SPENT,
    "account": accounts._ROW,
    "accounts_missing": money._MISSING,
    "accounts_of_open": money._ALL_OPEN,
    "accounts_has_closable": money._HAS_CLOSABLE,
    "accounts_closable": money._CLOSABLE,
    "restored": restored.COUNT_HELD,
    "restored_page": restored.HELD_IDS,
    "open_to_hold": restored._OPEN_IDS,
    "purchases_expire": purchases._EXPIRE,
    "forgettable": idempotency.FORGETTABLE,
    "forget_keys": idempotency._FORGET_KEYS,
    "forget_deleted": idempotency._FORGET_DELETED,
    "repeat": idempotency._NEWEST_EQUAL,
    "pending_test": webhooks._PENDING_TEST,
    "pending": webhooks._PENDING,
    "deliveries_of_endpoint": webhooks._DELETE_BATCH,
    "deliveries_expire": webhooks._EXPIRE,
    "deliveries_due": webhooks._DUE,
    "webhook_keys": webhooks._KEYS,
    "next_due": webhooks._NEXT_DUE,
    "deliveries_old": webhooks._REMOVE_OLD,
    "ended_generations": retention._ENDED,
    "events_to_remove": retention._EVENTS,
    "usage_expire": usage._EXPIRED,
    "usage_to_count": usage._NEXT_UNCOUNTED,
    "usage_of_all": "select sum(cost) from usage where day between ? and ?",
    "usage_of_client": "select sum(cost) from usage where day between ? and ? and key = ?",
    "usage_times_of_all": "select sum(number) from usage_times where day between ? and ?",
    "usage_times_of_client": "select sum(number) from usage_times where day between ? and ? and key = ?",
    **{f"newest_{number}": statement for number, statement in enumerate(sqlite_clock._NEWEST[:-1])},
}
for chosen in product((None, "k"), (None, "e"), (None, "g"), (None, "dead"), (None, "d")):
    key, endpoint, generation, state, after = chosen
    query = DeliveryQuery(
        key=key,
        limit=9,
        endpoint_id=endpoint,
        generation_id=generation,
        state=state,
        after=after,  # type: ignore[arg-type]
    )
    conditions = webhooks._conditions(query)[0]
    STATEMENTS[f"deliveries_{chosen}"] = f"select * from deliveries where {conditions} order by id desc limit ?"  # noqa: S608
# What is read in the order of its key up to a limit, and what the index itself keeps short: open generations and tasks.
SHORT = {
    "SCAN generations USING INDEX generations_open",
    "SCAN g USING INDEX generations_open",
    "SCAN attempts USING INDEX attempts_live",
    "SCAN generations",
    "SCAN deliveries",
    "SCAN events",
    "SCAN g",
    "SCAN provider_holds",
    "SCAN k",
    "SCAN open_ones",  # up to the limit of open generations of a client
    "SCAN equal",
    "SCAN oldest",  # one row
    "SCAN oldest_deleted",
    "SCAN accounts_missing",  # one row
    "SCAN generations USING INDEX generations_restored",
}
SORTED = {"open_ids", "unfollowed", "completions", "repeat"}  # by design: what is sorted is short


@pytest.fixture(scope="module")
def ledger() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for migration in migrations.load("sqlite"):
        connection.execute(migration.sql)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_reads_along_an_index(ledger: apsw.Connection, name: str) -> None:
    sql = STATEMENTS[name]
    plan = [row[3] for row in ledger.execute(f"explain query plan {sql}", (None,) * sql.count("?"))]
    scans = {line for line in plan if line.startswith("SCAN") and "VIRTUAL TABLE" not in line}
    assert scans <= SHORT, plan
    if scans & {"SCAN generations", "SCAN events", "SCAN deliveries"}:
        assert " limit " in sql, "the scan ends after a few rows, because it goes in the wanted order"
    if name not in SORTED:
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan


def test_a_plan_through_the_whole_history_is_found(ledger: apsw.Connection) -> None:
    """The check above can fail: no index has this state."""
    plan = [row[3] for row in ledger.execute("explain query plan select id from attempts where state = 'completed'")]
    assert not {line for line in plan if line.startswith("SCAN")} <= SHORT
