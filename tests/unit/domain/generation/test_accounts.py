"""Several accounts of one provider: which of them are tried after a failure at one of them."""

import msgspec
from msgspec.structs import replace

from gateway.domain.adapter.failure import REACH, FailureKind, Reach
from gateway.domain.adapter.messages import failed
from gateway.domain.generation.model import AttemptState, Generation, Plan, Policy, Route
from gateway.domain.generation.next_attempt import NextTry, next_try

from ....cases import every
from ...builders import World, generation

# Accounts `a` and `b` are at the same service, `c` has the same adapter at another address, `d` is another company.
ROUTES = ("a/one", "b/one", "b/two", "c/one", "d/one")
GOES_ON = Policy(on_content_policy="fall_back", on_ambiguous="fall_back")
KEY_TROUBLE = {FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT, FailureKind.RATE_LIMITED}


def planned(*routes: str) -> Generation:
    made = generation(*(routes or ROUTES), policy=GOES_ON)
    served = [replace(route, service="a" if route.provider == "b" else "") for route in made.plan.routes]
    return replace(made, plan=replace(made.plan, routes=tuple(served)))


def tried_after(kind: FailureKind, *routes: str) -> list[str]:
    """The routes of the attempts, if each ends with this failure as long as another route is tried at once."""
    world = World(planned(*routes))
    for number in range(1, len(world.generation.plan.routes) + 1):
        if len(world.generation.attempts) < number:
            break
        if kind is FailureKind.AMBIGUOUS:
            world.unknown(number)
        else:
            world.end(number, kind, elsewhere=True)
    tried = (world.generation.route(attempt) for attempt in world.generation.attempts)
    return [f"{route.provider}/{route.model}" for route in tried]


def test_every_kind_says_how_far_it_reaches() -> None:
    assert set(REACH) == set(FailureKind)


@every("kind", sorted(KEY_TROUBLE))
def test_what_is_wrong_with_one_key_goes_on_to_the_next_account_of_the_service(kind: FailureKind) -> None:
    assert tried_after(kind)[:2] == ["a/one", "b/one"]


@every("kind", [FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT])
def test_an_account_that_is_refused_is_not_tried_with_another_model(kind: FailureKind) -> None:
    assert tried_after(kind) == ["a/one", "b/one", "c/one", "d/one"]


@every("kind", [FailureKind.INVALID_REQUEST, FailureKind.CONTENT_POLICY])
def test_what_the_service_refuses_is_not_repeated_with_another_of_its_keys(kind: FailureKind) -> None:
    """Another model, another address and another company may judge otherwise."""
    assert tried_after(kind) == ["a/one", "b/two", "c/one", "d/one"]
    assert tried_after(kind, "a/one", "b/one") == ["a/one"]


def test_an_unclear_answer_falls_back_to_the_next_account_as_to_another_provider() -> None:
    assert tried_after(FailureKind.AMBIGUOUS) == ["a/one", "b/one", "c/one", "d/one"]


def test_a_broken_adapter_is_not_tried_again_on_another_account() -> None:
    assert REACH[FailureKind.ADAPTER_FAILED] is Reach.MODEL
    assert tried_after(FailureKind.ADAPTER_FAILED, "a/one", "b/one") == ["a/one"]


def test_a_model_that_one_key_may_not_use_is_tried_at_the_next_account() -> None:
    world = World(planned("a/one", "a/two", "b/one"))
    attempt = world.attempt(1)
    refusal = failed(FailureKind.CREDENTIAL_REFUSED, of_model=True)
    refused = replace(attempt, state=AttemptState.REFUSED, failure=refusal)
    after = replace(world.generation, attempts=(refused,))

    assert next_try(after, 0) == NextTry(1)
    assert next_try(replace(after, plan=replace(after.plan, routes=after.plan.routes[::2])), 0) == NextTry(1)


def test_a_plan_of_before_reads_as_it_was_and_a_plan_without_services_is_stored_as_before() -> None:
    stored = b'{"routes":[{"provider":"a","model":"one","row":"one"}]}'
    read = msgspec.json.decode(stored, type=Plan)

    assert read == Plan(routes=(Route(provider="a", model="one", capability_name="one"),))
    assert msgspec.json.encode(read) == stored
