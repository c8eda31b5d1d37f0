"""Looks at the ledger from outside during a run: generations without a gateway, connections, places for submits."""

import asyncio
import time

from .cluster import NARROW, Cluster

# Open generations whose replica is dead by the database's clock, or which belong to none.
_UNDRIVEN = (
    "select id from generations where status in ('queued', 'in_progress')"
    " and (replica is null or not replica_lives(replica))"
)
_CONNECTIONS = "select count(*) from pg_stat_activity where application_name = 'video-gateway'"
# Submits under way to the account that takes one at a time, and attempts that wait for its place.
_PLACES = (
    "select count(*) filter (where state = 'submitting'),"
    " count(*) filter (where state = 'reserved' and status in ('queued', 'in_progress'))"
    " from attempts as a join generations as g on g.id = generation_id"
    " where state in ('submitting', 'reserved') and plan::json -> 'routes' -> route::int ->> 'provider' = $1"
)


class Lookout:
    """`longest` is the longest time, `connections` the largest number of connections of all gateways.

    `narrow` is the largest number of submits to the account that takes one at a time, `waiting` of those that wait.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.longest = 0.0
        self.connections = 0
        self.narrow = self.waiting = 0
        self.undriven = 0  # how many there are at the moment

    def start(self) -> None:
        """Look every second from now on."""
        self._task = asyncio.create_task(self._look_again())

    async def stop(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look_again(self) -> None:
        while True:
            ids = {row[0] for row in await self._cluster.rows(_UNDRIVEN)}
            now = time.monotonic()
            if all(replica.is_hurt for replica in self._cluster.replicas):
                self._since.clear()  # no gateway could take anything over
            self._since = {name: self._since.get(name, now) for name in ids}
            self.undriven = len(ids)
            self.longest = max([self.longest, *(now - since for since in self._since.values())])
            self.connections = max(self.connections, await self._cluster.count(_CONNECTIONS))
            narrow, waiting = (await self._cluster.rows(_PLACES, NARROW))[0]
            self.narrow, self.waiting = max(self.narrow, narrow), max(self.waiting, waiting)
            await asyncio.sleep(1)
