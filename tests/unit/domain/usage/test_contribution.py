"""What a generation counts for, and where."""

from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Artifact, Completed, Status
from gateway.domain.generation.archiving import FileArchived
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.summary import usage_of
from gateway.domain.usage.completion_times import bucket_of
from gateway.domain.usage.contribution import NO_PROVIDER, NOTHING, Counts, contribution, counts_alike, differences
from gateway.domain.usd import micros

from ...builders import World, archived_file, done, generation


def priced(*routes: str, count: int = 1) -> Generation:
    """A new generation: its first route costs 0.1 USD for one output, the second 0.2, …; each makes five seconds."""
    start = generation(*routes, count=count)
    plan = [
        replace(route, cost_usd=0.1 * number, settings=Settings(duration_seconds=5))
        for number, route in enumerate(start.plan.routes, start=1)
    ]
    return replace(start, plan=replace(start.plan, routes=tuple(plan)))


def test_a_new_generation_counts_for_no_provider_and_reserves() -> None:
    made = contribution(priced("acme/one", "bolt/two"))
    assert made.counts == {NO_PROVIDER: Counts(queued=1, reserved=300_000)}
    assert made.time is None


def test_what_is_not_reported_to_the_rows_changes_nothing() -> None:
    """A submit that begins and the usual reply to it are not reported, so they must not change what is counted."""
    world = World(priced("acme/one*2", "bolt/two", count=2))
    reserved = contribution(world.generation)
    assert reserved.counts == {"acme": Counts(queued=1, attempts=1, reserved=600_000)}
    world.send(1)
    assert contribution(world.generation) == reserved
    world.take(1, "t1", "t2")
    assert contribution(world.generation) == reserved


def test_a_completed_generation_counts_its_output_cost_and_time() -> None:
    world = World(priced("acme/one", "bolt/two"))
    world.accept(1)
    world.read(1, done("a"))
    made = contribution(world.generation)
    assert made.counts == {"acme": Counts(completed=1, attempts=1, outputs=1, milliseconds=5000, cost=100_000)}
    assert world.generation.completed_at is not None
    took = world.generation.completed_at - world.generation.created_at
    assert made.time == ("acme", bucket_of(took.total_seconds()))


def test_the_measured_length_counts_before_the_promised_one() -> None:
    for promised, measured, counted in (
        (None, None, 5000),
        (4.5, None, 4500),
        (4.5, 4.875, 4875),
        (1e300, None, 10**9),
    ):
        world = World(priced("acme/one"), keeps=False)
        world.accept(1)
        world.read(1, Completed((Artifact(url="https://files.example/a.mp4", duration_seconds=promised),)))
        world.file(FileArchived(0, replace(archived_file(), duration_seconds=measured)))
        assert contribution(world.generation).counts["acme"].milliseconds == counted


def test_money_and_attempts_count_where_they_went_after_a_fallback() -> None:
    world = World(priced("acme/one", "bolt/two"))
    world.accept(1)
    world.fail(1, FailureKind.TASK_FAILED)
    world.accept(2)
    world.read(2, done("a"))
    assert contribution(world.generation).counts == {
        "acme": Counts(attempts=1, cost=100_000, maybe=100_000),
        "bolt": Counts(completed=1, fallbacks=1, attempts=1, outputs=1, milliseconds=5000, cost=200_000),
    }
    assert usage_of(world.generation).cost_usd == 0.3


def test_a_failed_generation_counts_for_the_last_provider_that_accepted_it() -> None:
    world = World(priced("acme/one", "bolt/two"))
    world.accept(1)
    world.fail(1, FailureKind.TASK_FAILED)
    world.end(2, FailureKind.CONTENT_POLICY)
    counts = contribution(world.generation).counts
    assert (counts["acme"].failed, counts["acme"].fallbacks) == (1, 1)
    assert counts["bolt"] == Counts(attempts=1)


def test_a_generation_that_nobody_accepted_counts_for_the_last_one_that_was_tried() -> None:
    world = World(priced("acme/one", "bolt/two"))
    world.end(1, FailureKind.OUT_OF_CREDIT)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert contribution(world.generation).counts == {
        "acme": Counts(attempts=1),
        "bolt": Counts(failed=1, fallbacks=1, attempts=1),
    }


def test_a_retry_on_the_same_route_is_no_fallback() -> None:
    world = World(priced("acme/one"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=3)
    world.step(wait=100)
    assert len(world.generation.attempts) == 2
    assert contribution(world.generation).counts["acme"].fallbacks == 0


def test_a_purchase_without_a_price_is_counted_as_such() -> None:
    world = World(generation("acme/one"))
    world.accept(1)
    world.read(1, done("a"))
    counts = contribution(world.generation).counts["acme"]
    assert (counts.cost, counts.unpriced) == (0, 1)


def test_a_late_result_settles_what_may_have_been_billed() -> None:
    world = World(priced("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(2, done("a"))
    before = contribution(world.generation)
    assert before.counts["acme"] == Counts(attempts=1, cost=100_000, maybe=100_000)
    world.read(1, done("b"))
    assert dict(differences(before, contribution(world.generation))) == {
        "acme": Counts(maybe=-100_000, outputs=1, milliseconds=5000)
    }


def test_differences_lead_from_one_contribution_to_the_other() -> None:
    new = contribution(priced("acme/one"))
    assert dict(differences(NOTHING, new)) == dict(new.counts)
    assert list(differences(new, new)) == []
    assert micros(0.1) == new.counts[NO_PROVIDER].reserved


def test_only_progress_counts_alike() -> None:
    """Every other change is computed: a change that is taken for progress by mistake would never be counted."""
    world = World(priced("acme/one", "bolt/two"))
    world.accept(1)
    (attempt,) = world.generation.attempts
    (task,) = attempt.tasks

    def alike(**of_task: object) -> bool:
        moved = replace(attempt, tasks=(replace(task, **of_task),))
        return counts_alike(world.generation, replace(world.generation, attempts=(moved,), progress=0.5))

    assert alike(status=Status.IN_PROGRESS, raw_status="rendering", progress=0.5)
    assert not alike(status=Status.COMPLETED)
    assert not alike(billed=Billed.NO)
    assert not alike(failure=failed(FailureKind.TASK_FAILED))
    for name, value in {
        "attempts": (replace(attempt, state=AttemptState.UNKNOWN),),
        "outputs": (replace(world.generation.outputs[0], status=Status.COMPLETED),),
        "status": Status.CANCELLED,
        "provider": "bolt",
    }.items():
        assert not counts_alike(world.generation, replace(world.generation, **{name: value})), name
    assert not counts_alike(world.generation, replace(world.generation, attempts=()))
