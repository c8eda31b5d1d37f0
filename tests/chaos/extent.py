"""How much a chaos run does: the full extent for `make chaos`, the short one for the test suite."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The size of a run."""

    rounds: int
    random_kills: int  # in all rounds together, with those that end a stop or follow a failure
    drains: int
    stops: int
    downtimes: int
    slow_reads: int
    slow_drains: int
    contradictions: int
    clients: int
    open_least: int  # open generations at every action, at least
    task_seconds: float
    attempt_seconds: float
    slow_submit_seconds: float  # a slow submit takes this long before it is accepted, after that, or both
    deadline_seconds: int  # deadline of every generation
    waits_for_late: bool  # whether the end waits for late results, which the gateway archives within half a minute
    stuck: float  # share of the tasks that never end
    held: float  # share of the generations that wait for an operator after an unclear answer; no operator decides


FULL = Extent(
    rounds=25,
    random_kills=100,
    drains=30,
    stops=10,
    downtimes=5,
    slow_reads=5,
    slow_drains=6,
    contradictions=5,
    clients=320,
    open_least=200,
    task_seconds=10,
    attempt_seconds=20,
    slow_submit_seconds=5,
    deadline_seconds=120,
    waits_for_late=True,
    stuck=0.01,
    held=0.02,
)
SHORT = Extent(
    rounds=2,
    random_kills=7,
    drains=2,
    stops=1,
    downtimes=1,
    slow_reads=1,
    slow_drains=1,
    contradictions=1,
    clients=60,
    open_least=40,
    task_seconds=2,
    attempt_seconds=4,
    slow_submit_seconds=1.5,
    deadline_seconds=60,
    waits_for_late=False,
    stuck=0,
    held=0,
)
