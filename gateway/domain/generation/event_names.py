"""The public names of a generation's events: which events of the ledger clients see, and under which name."""

from collections.abc import Mapping

from gateway.domain.adapter.task import Status

# Event type in the ledger → public name, to which the kind of the generation is added: `video.generation.completed`.
# Events of attempts have no public name: the generation shows its attempts. Events of archiving have none either.
PUBLIC_EVENTS: Mapping[str, str] = {
    **{f"generation.{status}": f"generation.{status}" for status in Status},
    **{f"output.{status}": f"generation.output.{status}" for status in (Status.COMPLETED, Status.FAILED)},
}
PROGRESS = "generation.progress"  # not stored: it is sent while it happens, and is not repeated to later listeners
ENDS = frozenset(f"generation.{status}" for status in Status if status.terminal)
