"""Options as frozen values: checked once, and what they become."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
import redis
import rq
from hypothesis import given, settings
from hypothesis import strategies as st

from aiorq2.errors import InvalidOption
from aiorq2.options import (
    OPTION_NAMES,
    EnqueueOptions,
    Retry,
    as_names,
    checked_job_id,
    checked_name,
)

quick = settings(max_examples=30, deadline=None)
NOWHERE = redis.Redis()
"""A connection that is never made, for rq's classes, which insist on one."""


# -- names -------------------------------------------------------------------------------------------


@quick
@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,300}"))
def test_job_id_is_accepted_if_and_only_if_rq_accepts_it(text: str) -> None:
    """rq raises on reading a job with another id; ours may not be longer than 255 characters, too."""
    try:
        rq.job.Job(id=text, connection=NOWHERE)
        is_fine = 0 < len(text) <= 255
    except ValueError:
        is_fine = False

    try:
        checked_job_id(text)
        is_accepted = True
    except InvalidOption:
        is_accepted = False

    assert is_accepted == is_fine


@quick
@given(st.text(max_size=300))
def test_name_that_is_accepted_can_be_printed_and_sent(text: str) -> None:
    """One line, no control characters, UTF-8."""
    try:
        name = checked_name(text, "queue")
    except InvalidOption:
        return

    assert name == text == name.strip()
    assert len(name.splitlines()) == 1
    assert name.encode()


@pytest.mark.parametrize("name", ["q:intermediate", "q:executions"])
def test_names_that_rq_keeps_for_itself_are_refused(name: str) -> None:
    """A queue of that name would be one of rq's own lists."""
    with pytest.raises(InvalidOption, match="rq keeps"):
        checked_name(name, "queue")


def test_several_names_lose_their_repetitions_and_keep_their_order() -> None:
    """One name stands for a list of one."""
    assert as_names(["b", "a", "b"], "queue") == ("b", "a")
    assert as_names("ab", "queue") == ("ab",)
    assert as_names([], "queue") == ()


# -- the options of one enqueue ----------------------------------------------------------------------


def test_options_have_durations_in_seconds() -> None:
    """Whatever form they were given in; the ttls in whole ones, rounded up, because Redis and rq count those."""
    options = EnqueueOptions.checked(
        job_timeout="250ms", ttl=0.001, result_ttl=timedelta(seconds=1.2), failure_ttl="1d"
    )

    assert options.job_timeout == 0.25
    assert (options.ttl, options.result_ttl, options.failure_ttl) == (1, 2, 86400)


def test_limits_that_do_not_exist_are_minus_one() -> None:
    """RQ's word for it; not for ``ttl``, where None says the same."""
    options = EnqueueOptions.checked(job_timeout=-1, result_ttl=-1, failure_ttl="-1")

    assert (options.job_timeout, options.result_ttl, options.failure_ttl) == (-1, -1, -1)
    with pytest.raises(InvalidOption, match="ttl"):
        EnqueueOptions.checked(ttl=-1)


def test_zero_is_a_ttl_but_not_a_timeout() -> None:
    """Results may be thrown away at once; a run that may take no time cannot be meant."""
    assert EnqueueOptions.checked(result_ttl=0, failure_ttl=0).result_ttl == 0
    with pytest.raises(InvalidOption, match="job_timeout"):
        EnqueueOptions.checked(job_timeout=0)


def test_options_are_frozen_and_their_names_are_the_reserved_ones() -> None:
    """RQ's words but for ``pipeline``, and some of ours."""
    options = EnqueueOptions.checked()

    assert set(OPTION_NAMES) == {
        *("job_timeout", "result_ttl", "ttl", "failure_ttl", "description", "job_id"),
        *("at_front", "meta", "retry", "unique", "redeliver", "offload"),
        *("depends_on", "on_parent_failure", "repeat", "on_success", "on_failure", "on_stopped"),
        *("rate_limit", "webhooks", "durable"),
    }
    with pytest.raises(FrozenInstanceError):
        options.job_id = "x"  # type: ignore[misc]


def test_rqs_retry_is_taken_without_importing_rq() -> None:
    """Anything with its attributes is."""
    options = EnqueueOptions.checked(retry=rq.Retry(3, [1, 2], enqueue_at_front=True))  # type: ignore[arg-type]

    assert options.retry == Retry(3, [1, 2], enqueue_at_front=True)
    assert EnqueueOptions.checked(retry=2).retry == Retry(2)


def test_description_can_always_be_sent() -> None:
    """Half a surrogate pair is written out."""
    assert EnqueueOptions.checked(description="a\ud800b").description == "a\\ud800b"
    assert EnqueueOptions.checked(description="é\n").description == "é\n"


# -- Retry -------------------------------------------------------------------------------------------

RETRIES = [
    Retry(1),
    Retry(3, [1, 2.5, "1m"], True),
    Retry(2, "10s", backoff=2, max_interval=60, jitter=0.5, on=(ValueError, "my.Error")),
]


@pytest.mark.parametrize("retry", RETRIES)
def test_retry_survives_pickling(retry: Retry) -> None:
    """A job in a process can return one."""
    again = pickle.loads(pickle.dumps(retry))

    assert again == retry
    assert hash(again) == hash(retry)
    assert vars(again) == vars(retry)


def test_retries_are_equal_by_their_terms() -> None:
    """And to nothing else."""
    assert Retry(1) == Retry(1, 0)
    assert Retry(1) != Retry(2)
    assert Retry(1) != Retry(1, on=ValueError)
    assert Retry(1) != 1


def test_retry_shows_its_terms() -> None:
    """It may be raised, and then it stands in a traceback."""
    assert str(Retry(3, interval=10)) == "Retry(max=3, interval=10)"


@pytest.mark.parametrize(
    ("on", "names"),
    [
        (ValueError, ("builtins.ValueError",)),
        ("ValueError", ("builtins.ValueError",)),
        ("my.Error", ("my.Error",)),
        ([KeyError, "my.Error"], ("builtins.KeyError", "my.Error")),
        ((), ()),
    ],
)
def test_exceptions_are_kept_by_name(on: Any, names: tuple[str, ...]) -> None:
    """The worker need not be able to import them."""
    assert Retry(1, on=on).on == names
