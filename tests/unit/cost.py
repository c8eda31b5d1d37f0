"""Processor time of one thing beside that of another: what a busy machine does not change."""

import time
from collections.abc import Callable


def ratio(tried: Callable[[], object], beside: Callable[[], object], *, times: int = 1, rounds: int = 5) -> float:
    """How many times as much `tried` takes: in turns, `times` in a row, the best of each."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for place, each in enumerate((tried, beside)):
            began = time.thread_time()
            for _ in range(times):
                each()
            best[place] = min(best[place], time.thread_time() - began)
    return best[0] / best[1]
