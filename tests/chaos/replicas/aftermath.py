"""What somebody needs who looks for the reason of a failed run."""

import re

from .cluster import Cluster

_GENERATION = re.compile(r"gen_[0-9A-Z]{26}")
_GENERATIONS_MAX = 3
_LINES_MAX = 60
_LOG_BYTES = 2000
_ROWS = {
    "generation": "select id, status, replica, fence, version, created_at, completed_at, deadline_at"
    " from generations where id = $1",
    "attempt": "select id, state, route, sent_at, accepted_at, tasks from attempts where generation_id = $1"
    " order by number",
    "event": "select seq, type, data, at from events where generation_id = $1 order by seq",
    "delivery": "select * from deliveries where generation_id = $1",
}
_STATE = {
    "replica": "select *, replica_lives(id) as lives, clock_timestamp() - heartbeat_at as silent from replicas",
    "job": "select id, status, attempts, created, updated, heartbeat, execute_after from pgqueuer order by id limit 20",
    "session": "select pid, state, wait_event, now() - xact_start as open, left(query, 120) as query"
    " from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
}


async def described(cluster: Cluster, text: str) -> str:
    """The rows and log lines of the generations that the text names, the replicas, jobs and sessions of the moment."""
    lines: list[str] = []
    try:
        for kind, sql in _STATE.items():
            lines += [f"{kind}: {dict(row)}" for row in await cluster.rows(sql)]
        for name in list(dict.fromkeys(_GENERATION.findall(text)))[:_GENERATIONS_MAX]:
            for kind, sql in _ROWS.items():
                lines += [f"{kind}: {dict(row)}" for row in await cluster.rows(sql, name)]
            for replica in cluster.replicas:
                log = (replica.folder / "gateway.log").read_text().splitlines()
                lines += [f"gateway {replica.number}: {line}" for line in log if name in line][:_LINES_MAX]
    except Exception as error:  # noqa: BLE001  # the reason of the failure itself must be shown in any case
        lines.append(f"the ledger cannot be read: {type(error).__name__}: {error}")
    for replica in cluster.replicas:
        readiness = await replica.readiness() if replica.lives and not replica.is_frozen else None
        words = replica.last_words()[-_LOG_BYTES:]
        lines.append(f"gateway {replica.number}: readiness {readiness}, hurt {replica.is_hurt}, last words\n{words}")
    return "\n".join(lines)
