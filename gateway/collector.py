"""When Python's garbage collector runs.

A collection stops everything while it looks at every object that it knows. With 20,000 open generations, Python's
defaults make it look at all of them again and again, and each time nothing is answered for a second. Almost all of
what the gateway creates is freed by reference counts alone, so the collector may run seldom, and it need not look at
objects that live as long as the process or as a generation.
"""

import gc

# A collection of the youngest objects runs after so many more allocations than releases; every fifth one includes the
# middle generation, which therefore never has more than five times as many objects. Python's defaults are 700, 10, 10.
THRESHOLDS = (50_000, 5, 400)


def suspend() -> None:
    """Collect nothing until `resume`, because the objects that are made meanwhile stay."""
    gc.disable()


def resume() -> None:
    """Collect seldom from now on, and never look at the objects that exist now. Cycles among them are never freed."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
