"""``python -m benchmarks``: measures on a Redis of its own, with the peer that is here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from benchmarks import page
from benchmarks.environments import HERE
from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.redis]

ROUND_TRIP_S = 0.02


@pytest.mark.timeout(240)
def test_benchmarks_measure_and_write_the_page(tmp_path: Path) -> None:
    """A tiny run ends well: all jobs ran once, all results were right, and the page has the figures."""
    figures, written = tmp_path / "run.json", tmp_path / "benchmarks.md"
    written.write_text(f"{page.BEGIN}\n{page.END}\n")
    told = ["--scale", "tiny", "--peers", "aiorq2", "--in-place", "--json", str(figures)]
    told += ["--only", "drain,pace,enqueue-64+2ms", "--write", str(written)]

    with PythonProcess(["-m", "benchmarks", *told], cwd=ROOT) as bench:
        status = bench.wait(200)
        assert status == 0, bench.output()

    found = json.loads(figures.read_text())["comparisons"]
    (drain,) = found["drain"]["rows"]["aiorq2"]["samples"]
    (pace,) = found["pace"]["rows"]["aiorq2"]["samples"]
    assert set(found) == {"drain", "pace", "enqueue-64+2ms"}
    assert drain["jobs_per_s"] > 0
    assert 0 < drain["round_trips"] < 1
    assert 0 < pace["start_p50_ms"] <= pace["start_p99_ms"]
    assert pace["start_p50_ms"] < pace["result_p99_ms"]
    assert "| aiorq2 |" in written.read_text()
    assert "Drain no-ops" in written.with_suffix(".svg").read_text()


def test_benchmarks_refuse_what_they_do_not_know() -> None:
    """A slip of the pen is told, with what there is."""
    with PythonProcess(["-m", "benchmarks", "--in-place", "--only", "drian"], cwd=ROOT) as bench:
        status = bench.wait(60)

        assert status == 1
        assert "'drian' is none of enqueue-one, " in bench.output()


@pytest.fixture
def far(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client whose round trips are longer."""
    told = [redis_server.host, str(redis_server.port), str(ROUND_TRIP_S)]
    command = [sys.executable, str(HERE / "latency.py"), *told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        with redis.Redis(port=int(proxy.stdout.readline())) as client:
            yield client
        proxy.kill()


def test_latency_is_added_to_each_round_trip(far: redis.Redis, key_prefix: str) -> None:
    """Every command waits that long, in the order in which they were sent, and a pipeline waits once."""
    far.ping()
    begun = time.monotonic()

    for number in range(5):
        far.rpush(f"{key_prefix}:list", number)
    one_by_one_s = time.monotonic() - begun
    with far.pipeline(transaction=False) as pipeline:
        for number in range(5, 200):
            pipeline.rpush(f"{key_prefix}:list", number)
        lengths = pipeline.execute()
    found = far.lrange(f"{key_prefix}:list", 0, -1)
    far.delete(f"{key_prefix}:list")

    assert one_by_one_s >= 5 * ROUND_TRIP_S
    assert lengths == list(range(6, 201))
    assert found == [b"%d" % number for number in range(200)]
