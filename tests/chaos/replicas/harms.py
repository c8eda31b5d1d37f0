"""What a run does to its gateways. Each harm is over when what was hurt works again."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from ..card import KILLS
from .cluster import DRAIN_SECONDS, READY_SECONDS, Cluster, Replica
from .proxy import Flow

BEYOND_SECONDS = (22.0, 27.0)  # longer than the 20 s after which the database says that a replica is dead
FIRES_SECONDS = 20.0  # until a gateway reaches a failpoint


class HarmError(Exception):
    """A gateway did not bear it."""


class Hurt(NamedTuple):
    """What a harm gets: the victims, in the order in which they were chosen, and a source of chance.

    `short_seconds` are the shortest and the longest time of what nobody takes for a death.
    """

    cluster: Cluster
    victims: Sequence[Replica]
    random: random.Random
    short_seconds: tuple[float, float]


async def kill(hurt: Hurt) -> None:
    """Kill the victims and start them again after a moment."""
    await asyncio.gather(*(hurt.cluster.kill(replica) for replica in hurt.victims))
    await asyncio.sleep(hurt.random.random() * 2)
    await asyncio.gather(*(replica.revive() for replica in hurt.victims))


async def kill_in_window(hurt: Hurt) -> None:
    """Let a victim kill itself at a dangerous moment after a drain."""
    (replica,) = hurt.victims
    window, nth = hurt.random.choice(KILLS), hurt.random.randint(1, 6)
    await _terminate(replica)
    await replica.start(f"{window}:{nth}")
    code = await replica.ended(FIRES_SECONDS)
    if code is None:  # it has not got the work that leads there
        await replica.kill()
    elif code != -signal.SIGKILL:
        raise HarmError(f"{window}: gateway {replica.number} ended with {code}: {replica.last_words()}")
    await replica.revive()


async def drain(hurt: Hurt) -> None:
    """Stop a victim with SIGTERM, and start it again."""
    for replica in hurt.victims:
        await _terminate(replica)
    await asyncio.gather(*(replica.revive() for replica in hurt.victims))


async def freeze(hurt: Hurt) -> None:
    """Stop the victims with SIGSTOP for a short time."""
    await _frozen(hurt, hurt.short_seconds)


async def freeze_beyond(hurt: Hurt) -> None:
    """Stop the victims until others have taken over what they had."""
    await _frozen(hurt, BEYOND_SECONDS)


async def freeze_and_kill(hurt: Hurt) -> None:
    """Kill a victim that was declared dead while it was stopped."""
    for replica in hurt.victims:
        replica.freeze()
    await asyncio.sleep(hurt.random.uniform(*BEYOND_SECONDS))
    for replica in hurt.victims:
        replica.is_frozen = False
        await replica.kill()
    await asyncio.gather(*(replica.revive() for replica in hurt.victims))


async def restart_database(hurt: Hurt) -> None:
    """Restart PostgreSQL as an upgrade does."""
    await hurt.cluster.restart_database(crash=False, seconds=hurt.random.choice((0.0, 0.0, 3.0)))
    await _ready(hurt.cluster)


async def crash_database(hurt: Hurt) -> None:
    """Let PostgreSQL crash and start again."""
    await hurt.cluster.restart_database(crash=True, seconds=hurt.random.choice((0.0, 0.0, 7.0)))
    await _ready(hurt.cluster)


async def crash_database_and_kill(hurt: Hurt) -> None:
    """Kill victims while PostgreSQL is down; they start before it is back."""
    crashing = asyncio.create_task(hurt.cluster.restart_database(crash=True, seconds=hurt.random.random() * 4))
    await asyncio.sleep(hurt.random.random())
    await kill(hurt)
    await crashing
    await _ready(hurt.cluster)


async def refuse(hurt: Hurt) -> None:
    """Break the connections of the victims and refuse new ones."""
    for replica in hurt.victims:
        await hurt.cluster.proxies.refuse(replica.number)
    await _healed(hurt, hurt.short_seconds)


async def reset(hurt: Hurt) -> None:
    """Reset all connections of the victims a few times."""
    for _ in range(hurt.random.randint(1, 4)):
        for replica in hurt.victims:
            await hurt.cluster.proxies.reset(replica.number)
        await asyncio.sleep(hurt.random.random())
    await _healed(hurt, (0.0, 0.0))


async def hole(hurt: Hurt) -> None:
    """Pass nothing between the victims and PostgreSQL."""
    await _held(hurt, Flow.HOLD, Flow.HOLD, hurt.short_seconds)


async def hole_beyond(hurt: Hurt) -> None:
    """Pass nothing until others have taken over."""
    await _held(hurt, Flow.HOLD, Flow.HOLD, BEYOND_SECONDS)


async def hole_up(hurt: Hurt) -> None:
    """Pass nothing to PostgreSQL."""
    await _held(hurt, Flow.HOLD, Flow.PASS, hurt.random.choice((hurt.short_seconds, BEYOND_SECONDS)))


async def hole_down(hurt: Hurt) -> None:
    """Pass nothing from PostgreSQL: what the victims send is carried out, and they never learn of it."""
    await _held(hurt, Flow.PASS, Flow.HOLD, hurt.random.choice((hurt.short_seconds, BEYOND_SECONDS)))


async def slow(hurt: Hurt) -> None:
    """Let everything arrive late."""
    await _held(hurt, Flow.SLOW, Flow.SLOW, hurt.short_seconds)


async def refuse_and_kill(hurt: Hurt) -> None:
    """Cut off the first victim and kill the second meanwhile."""
    first, *others = hurt.victims
    cutting = asyncio.create_task(refuse(hurt._replace(victims=[first])))
    await asyncio.sleep(hurt.random.random() * 2)
    await kill(hurt._replace(victims=others))
    await cutting


class Harm(NamedTuple):
    """A harm, how many victims it has, and how many rounds of 200 it has. A long one goes on during later rounds."""

    do: Callable[[Hurt], Awaitable[None]]
    victims: int
    rounds: int
    is_long: bool = False


HARMS: Mapping[str, Harm] = {
    "kill": Harm(kill, 1, 30),
    "kill_two": Harm(kill, 2, 12),
    "kill_all": Harm(kill, 3, 4),
    "kill_in_window": Harm(kill_in_window, 1, 26),
    "drain": Harm(drain, 1, 14),
    "freeze": Harm(freeze, 1, 12),
    "freeze_beyond": Harm(freeze_beyond, 1, 14, is_long=True),
    "freeze_two_beyond": Harm(freeze_beyond, 2, 2, is_long=True),
    "freeze_and_kill": Harm(freeze_and_kill, 1, 4, is_long=True),
    "restart_database": Harm(restart_database, 0, 10),
    "crash_database": Harm(crash_database, 0, 10),
    "crash_database_and_kill": Harm(crash_database_and_kill, 1, 6),
    "refuse": Harm(refuse, 1, 8),
    "refuse_all": Harm(refuse, 3, 2),
    "reset": Harm(reset, 1, 8),
    "hole": Harm(hole, 1, 8),
    "hole_beyond": Harm(hole_beyond, 1, 10, is_long=True),
    "hole_up": Harm(hole_up, 1, 5, is_long=True),
    "hole_down": Harm(hole_down, 1, 5, is_long=True),
    "slow": Harm(slow, 1, 6),
    "refuse_and_kill": Harm(refuse_and_kill, 2, 4),
}


async def _terminate(replica: Replica) -> None:
    replica.signal(signal.SIGTERM)
    if (code := await replica.ended(DRAIN_SECONDS + 15)) != 0:
        raise HarmError(f"the drain of gateway {replica.number} ended with {code}: {replica.last_words()}")


async def _frozen(hurt: Hurt, seconds: tuple[float, float]) -> None:
    for replica in hurt.victims:
        replica.freeze()
    await asyncio.sleep(hurt.random.uniform(*seconds))
    for replica in hurt.victims:
        replica.thaw()
    await _ready(hurt.cluster, hurt.victims)


async def _held(hurt: Hurt, up: Flow, down: Flow, seconds: tuple[float, float]) -> None:
    for replica in hurt.victims:
        await hurt.cluster.proxies.flow(replica.number, up, down)
    await _healed(hurt, seconds)


async def _healed(hurt: Hurt, seconds: tuple[float, float]) -> None:
    await asyncio.sleep(hurt.random.uniform(*seconds))
    is_forgotten = hurt.random.random() < 0.5  # the network knows the old connections no longer
    for replica in hurt.victims:
        if is_forgotten:
            await hurt.cluster.proxies.reset(replica.number)
        await hurt.cluster.proxies.heal(replica.number)
    await _ready(hurt.cluster, hurt.victims)


async def _ready(cluster: Cluster, replicas: Sequence[Replica] | None = None) -> None:
    """Wait until these are ready again; by default all that nothing else is being done to."""
    if replicas is None:
        replicas = [replica for replica in cluster.replicas if not replica.is_hurt]
    for replica in replicas:
        await replica.ready(READY_SECONDS)
