"""What an error of PostgreSQL means for a write, and how it is explained to the operator."""

import pytest

from gateway.store.postgres.errors import TooManyNotificationsError, explain, is_lost, not_written


@pytest.mark.parametrize("at_commit", [True, False])
def test_a_full_queue_of_notifications_is_a_state_of_the_database(at_commit: bool) -> None:
    error = TooManyNotificationsError()
    assert "queue of notifications" in str(explain(error))
    refusal = not_written(error, at_commit=at_commit)
    assert "nothing was accepted" in refusal.detail
    assert "pg_stat_activity" in str(refusal.reason)


@pytest.mark.parametrize("error", [TimeoutError(), TimeoutError(110, "Connection timed out")])
def test_a_time_out_leads_to_the_server_and_to_a_pool_that_is_too_small(error: TimeoutError) -> None:
    assert "default_pool_size" in str(explain(error))
    assert is_lost(error)
