"""What a producer does: with nobody at work, and with the clock running only once it is connected and warm."""

from __future__ import annotations

from benchmarks.meters import Counters
from benchmarks.setting import Failed, Sample, Setting

CALLERS = 64


def one_by_one(setting: Setting) -> Sample:
    """Enqueue one after the other, each awaited before the next."""
    return _produce(setting, setting.scale.enqueued, "one", setting.scale.enqueued)


def bulk(setting: Setting) -> Sample:
    """Enqueue all at once."""
    jobs = max(setting.scale.enqueued, setting.share(setting.scale.bulk))
    return _produce(setting, jobs, "bulk", jobs)


def together(setting: Setting) -> Sample:
    """Enqueue by callers that each await their own, as the requests of a web server do."""
    return _produce(setting, setting.scale.enqueued, "together", setting.scale.enqueued, CALLERS)


def _produce(setting: Setting, jobs: int, action: str, *arguments: int) -> Sample:
    peer = setting.environment.peer
    with setting.started(action, setting.url, *arguments) as producer:
        warm = peer.waiting(setting.redis)
        before = Counters.of(setting.redis)
        took = producer.go()
        after = Counters.of(setting.redis)
    if (waiting := peer.waiting(setting.redis) - warm) != jobs:
        raise Failed(f"{waiting} of {jobs} jobs wait")
    costs = after.since(before, looks=1).per_job(jobs, took["cpu_s"])
    return {"jobs_per_s": jobs / took["seconds"], **costs}
