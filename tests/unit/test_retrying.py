"""Whether and when a run is repeated."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
import redis
import rq

from aiorq2.backends import wire
from aiorq2.backends.base import Claim, JobRecord
from aiorq2.failure import Failure
from aiorq2.options import EnqueueOptions, JobSpec, Retry
from aiorq2.outcome import Failed, Retried
from aiorq2.retrying import Asked, as_asked, retry_after_failure, retry_as_asked

FAILURE = Failure(
    "my.Error",
    ("my.Error", "builtins.ValueError", "builtins.Exception", "builtins.object"),
    "Traceback…",
)


def claimed(retry: Retry | None = None, **fields: Any) -> Claim:
    """Return a claim of a job that was enqueued with these terms, changed by hand."""
    options = EnqueueOptions.checked(retry=retry)
    spec = JobSpec("j", "f", "q", b"", options, "", 180, "", "token")
    told = {name: str(value).encode() for name, value in fields.items()}
    record = JobRecord("j", {**wire.record_of_spec(spec).fields, **told})
    return Claim("j", "e", "q", "w", 0.0, record)


def delays(retry: Retry) -> list[float]:
    """Return the delays of one failure after the other, until there is no retry left."""
    found, left = [], retry.max
    while retried := retry_after_failure(claimed(retry, retries_left=left), FAILURE, 7.0):
        found.append(retried.delay)
        assert retried.retries_left == left - 1
        left -= 1
    return found


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (Retry(2), [0, 0]),
        (Retry(3, 5), [5, 5, 5]),
        (Retry(3, [1, 2, 3]), [1, 2, 3]),
        (Retry(3, [1, 2]), [1, 1, 2]),  # RQ counts the list from its end
        (Retry(2, [1, 2, 3]), [2, 3]),
        (Retry(2, [0.25, 0.5]), [0.25, 0.5]),
        (Retry(4, 1, backoff=2), [1, 2, 4, 8]),
        (Retry(4, 1, backoff=10, max_interval=50), [1, 10, 50, 50]),
        (Retry(3, 0, backoff=10), [0, 0, 0]),
    ],
)
def test_delays_follow_the_terms(retry: Retry, expected: list[float]) -> None:
    """Fractions of a second included, which RQ's own field cannot hold."""
    assert delays(retry) == expected


@pytest.mark.parametrize("intervals", [[5], [1, 2, 3], [1, 2], [7, 8, 9, 10]])
def test_delays_are_those_of_rq(intervals: list[int]) -> None:
    """By rq's own arithmetic."""
    expected = []
    for left in (3, 2, 1):
        job = rq.job.Job("j", connection=redis.Redis())  # which is never connected
        job.retry_intervals, job.retries_left = intervals, left
        expected.append(job.get_retry_interval())

    assert delays(Retry(3, intervals)) == expected


def test_jitter_takes_away_a_share_at_random() -> None:
    """Never more than that."""
    found = {delays(Retry(1, 100, jitter=0.2))[0] for _ in range(50)}

    assert len(found) > 1
    assert all(80 <= delay <= 100 for delay in found)


def test_retry_carries_on_what_happened() -> None:
    """The entry of the attempt needs it, and the queue whether it goes to the front."""
    claim = claimed(Retry(2, enqueue_at_front=True))

    assert retry_after_failure(claim, FAILURE, 7.0) == Retried(
        7.0, "my.Error", "Traceback…", 0, at_front=True, retries_left=1
    )


@pytest.mark.parametrize("left", [0, -1, "", "nonsense", "nan", "inf"])
def test_no_retry_without_retries_left(left: Any) -> None:
    """Nor with a field that is no number."""
    assert retry_after_failure(claimed(Retry(2), retries_left=left), FAILURE, 7.0) is None
    assert retry_after_failure(claimed(), FAILURE, 7.0) is None


@pytest.mark.parametrize(
    ("on", "is_retried"),
    [
        ("my.Error", True),
        (ValueError, True),
        (Exception, True),
        (KeyError, False),
        (["no.Such", ValueError], True),
        ("your.Error", False),
        ((), True),
    ],
)
def test_retry_on_a_class_or_its_bases(on: Any, is_retried: bool) -> None:
    """Names are compared: the class itself may be in another process."""
    found = retry_after_failure(claimed(Retry(1, on=on)), FAILURE, 7.0)

    assert (found is not None) == is_retried


@pytest.mark.parametrize(
    "garbage", ["", "nonsense", "[1]", "null", '{"on": 5}', '{"intervals": []}', "\ufffd"]
)
def test_terms_that_cannot_be_read_are_those_of_rq(garbage: str) -> None:
    """A plain retry remains."""
    claim = claimed(Retry(2, 5), aio_retry=garbage)

    assert retry_after_failure(claim, FAILURE, 7.0) == Retried(
        7.0, "my.Error", "Traceback…", 5, at_front=False, retries_left=1
    )


@pytest.mark.parametrize("garbage", ["nonsense", "{}", '["a", null]', "5"])
def test_intervals_that_cannot_be_read_are_none(garbage: str) -> None:
    """The retry comes at once."""
    found = retry_after_failure(claimed(Retry(2, 5), retry_intervals=garbage), FAILURE, 7.0)

    assert found is not None
    assert found.delay == 0


# -- asked for by the job ----------------------------------------------------------------------------


def test_returned_retry_is_counted_apart() -> None:
    """RQ's arithmetic: ``max`` more runs, intervals from the start of the list, the last one again."""
    retry = Retry(3, [1, 2])
    found = [
        retry_as_asked(claimed(Retry(9), number_of_retries=had), Asked(retry), 7.0)
        for had in range(4)
    ]

    assert [(one.delay, one.number_of_retries) for one in found if isinstance(one, Retried)] == [
        (1, 1),
        (2, 2),
        (2, 3),
    ]
    assert isinstance(found[3], Failed)
    assert found[3].is_exhausted
    assert "max is 3" in found[3].exc_info


def test_only_retries_are_retries() -> None:
    """Ours and rq's."""
    asked = as_asked(rq.Retry(2, [3], enqueue_at_front=True))

    assert asked is not None
    assert asked.retry == Retry(2, [3], True)
    assert as_asked(asked) is asked
    assert as_asked(Retry(1)) == Asked(Retry(1))
    assert as_asked(None) is None
    assert as_asked(json) is None
    assert as_asked(Retry) is None
    assert as_asked(ValueError()) is None


@pytest.mark.parametrize(
    ("types", "is_known"),
    [
        ({"SUCCESSFUL": 1, "FAILED": 2}, (False, False)),  # rq 1
        ({"SUCCESSFUL": 1, "RETRIED": 4}, (True, False)),  # rq 2
        ({"RETRIED": 4, "MAX_RETRIES_EXCEEDED": 5}, (True, True)),
    ],
)
def test_rq_is_told_in_words_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, types: dict[str, int], is_known: tuple[bool, bool]
) -> None:
    """Whoever asks with an ``rq.Retry`` has readers of that version; of ours nobody knows which they are."""
    monkeypatch.setattr("rq.results.Result.Type", Enum("Type", types))

    asked = as_asked(rq.Retry(1))

    assert asked is not None
    for by, wanted in ((asked, is_known), (Asked(Retry(1)), (False, False))):
        found = [
            retry_as_asked(claimed(Retry(9), number_of_retries=had), by, 7.0) for had in (0, 1)
        ]
        assert tuple(one.is_known_to_rq for one in found) == wanted
