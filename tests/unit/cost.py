"""The processor time of one function relative to another one, which does not depend on how busy the machine is."""

import time
from collections.abc import Callable


def ratio(tried: Callable[[], object], beside: Callable[[], object], *, times: int = 1, rounds: int = 5) -> float:
    """The processor time of `tried` divided by that of `beside`.

    Both run alternately in `rounds`, with `times` calls in each. The shortest round of each function counts.
    """
    best = [float("inf")] * 2
    for _ in range(rounds):
        for place, each in enumerate((tried, beside)):
            began = time.thread_time()
            for _ in range(times):
                each()
            best[place] = min(best[place], time.thread_time() - began)
    return best[0] / best[1]
