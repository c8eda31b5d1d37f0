"""What a client is told of a generation's transitions: the public name of each row that has one."""

from collections.abc import Mapping

from gateway.domain.adapter.task import Status

# By the type of the row; the kind of the generation, `video` or `image`, goes before the name. What attempts go
# through shows in the generation itself; that a file is on its way, nowhere.
PUBLIC_EVENTS: Mapping[str, str] = {
    **{f"generation.{status}": f"generation.{status}" for status in Status},
    **{f"output.{status}": f"generation.output.{status}" for status in (Status.COMPLETED, Status.FAILED)},
}
PROGRESS = "generation.progress"  # no row: it is told while it happens, and not again
ENDS = frozenset(f"generation.{status}" for status in Status if status.terminal)
