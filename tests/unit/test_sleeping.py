"""How long idle workers that watch nothing sleep: the more there are, the longer each."""

from __future__ import annotations

import pytest

from aiorq2.pump import CROWD, MAX_SLEEP_S, SLEEP_S, sleep_s


@pytest.mark.parametrize("crowd", [0, 1, 2, CROWD])
def test_few_sleep_for_less_than_a_second(crowd: int) -> None:
    """Where a watcher is killed, one of them takes over within two seconds: the lease of its watch and this."""
    assert all(0.7 < sleep_s(crowd) <= SLEEP_S for _ in range(200))


@pytest.mark.parametrize("crowd", [16, 50, 200, 100_000])
def test_many_look_together_as_often_as_few(crowd: int) -> None:
    """A fleet looks some ten times a second whatever its size, until each of it sleeps as long as any may."""
    lengths = [sleep_s(crowd) for _ in range(4000)]
    assert min(lengths) > 0.7
    assert max(lengths) <= MAX_SLEEP_S
    looks_per_s = crowd / (sum(lengths) / len(lengths))
    assert looks_per_s > 9
    assert looks_per_s < 16 or crowd >= CROWD * MAX_SLEEP_S


def test_many_do_not_stay_in_step() -> None:
    """Workers that were started at once look at different times from the first sleep on."""
    lengths = [sleep_s(80) for _ in range(400)]
    assert max(lengths) - min(lengths) > MAX_SLEEP_S / 2
