"""The examples as a user starts them: a real server, a real Redis, workers in processes of their own."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.quart.serving import EXAMPLES, free_place, served
from tests.support.processes import ROOT, PythonProcess
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow


@contextmanager
def _worker(folder: Path, env: dict[str, str], *queues: str) -> Iterator[PythonProcess]:
    arguments = ["-m", "aiorq2", "worker", "--app", "app", *queues]
    with PythonProcess(
        arguments, env={**env, "PYTHONPATH": f"{folder}:{ROOT}"}, cwd=folder
    ) as worker:
        worker.wait_for_output("listening on", 30)
        yield worker
        worker.terminate()
        assert worker.wait(30) == 0, worker.output()


def _get(url: str, data: dict[str, str] | None = None) -> str:
    encoded = None if data is None else urlencode(data).encode()
    with urllib.request.urlopen(url, encoded, timeout=30) as response:
        text: str = response.read().decode()
        return text


def _until(server: PythonProcess, text: str) -> None:
    server.wait_for_output(text, 20)


@pytest.fixture
def server_of_its_own() -> Iterator[RedisServer]:
    """A Redis for processes that choose their own keys."""
    with RedisServer() as server:
        yield server


def test_first_application_of_the_walkthrough(server_of_its_own: RedisServer) -> None:
    """Every route answers as it did, and the jobs run."""
    folder, env = EXAMPLES / "seed" / "first", {"SEED_RQ_REDIS_URL": server_of_its_own.url}
    with served(folder, env) as (url, server), server_of_its_own.client() as redis:
        assert _get(url) == "Home"
        for number in range(1, 7):
            assert _get(f"{url}/doit{number}") == f"Success{number}"
        _until(server, ": app.takes_a_while('do it')>")
        assert "app.takes_a_while('do it 2', connection='other', name='low')>" in server.output()
        assert _get(f"{url}/doit7") == "Success7"
        _until(server, "True")

        assert redis.zcard("rq:finished:default") == 1
        assert redis.zcard("rq:failed:default") == 1  # it was given what it does not take
        assert redis.zcard("rq:finished:low") == 1
        with _worker(folder, env):
            _get(f"{url}/doit1")
            _get(f"{url}/doit3")
            _until_count(redis, "rq:finished:default", 2)
            _until_count(redis, "rq:finished:low", 2)


def test_second_application_of_the_walkthrough(server_of_its_own: RedisServer) -> None:
    """Every route, with what it prints."""
    folder, env = EXAMPLES / "seed" / "second", {"SEED_RQ_REDIS_URL": server_of_its_own.url}
    with served(folder, env) as (url, server), server_of_its_own.client() as redis:
        assert _get(url) == "Hello World!"
        assert _get(f"{url}/doit1") == "ok"
        assert _get(f"{url}/doit2") == "Success2"
        _until(server, "<Queue low>")
        assert "None\n" in server.output()
        assert _get(f"{url}/doit3") == "Success doit3"
        assert redis.hget("rq:job:qwe", "status") == b"scheduled"
        assert _get(f"{url}/doit4") == "Success4"
        _until(server, "<QuartJob qwe: somewhere.add(1, 2)>")
        assert redis.zcard("rq:scheduled:low") == 0  # enqueued anew, it waits for no time any more
        assert _get(f"{url}/doit5") == "Success5"
        _until(server, "meta: ")
        told = server.output()
        for line in (
            "status: queued",
            "result: 3",
            "finished",
            "(1, 2)",
            "exc_info: None",
            "QuartJob",
        ):
            assert line in told, told
        assert "'handled_by': " in told
        assert "'': None" in told


def test_second_application_starts_without_the_command_line(
    server_of_its_own: RedisServer,
) -> None:
    """``python run.py``, on Quart's own server, and Ctrl-C ends it."""
    folder, place = EXAMPLES / "seed" / "second", free_place()
    env = {
        "SEED_RQ_REDIS_URL": server_of_its_own.url,
        "PORT": place.split(":")[1],
        "PYTHONPATH": f"{folder}:{ROOT}",
    }
    with PythonProcess(["-u", "run.py"], env=env, cwd=folder) as server:
        server.wait_for_output(
            "INFO in logging: Running on", 30
        )  # hypercorn's word for it, after Quart's own
        assert _get(f"http://{place}") == "Hello World!"
        assert _get(f"http://{place}/doit5") == "Success5"
        _until(server, "result: 3")
        server.signal_group(signal.SIGINT)
        server.wait(30)
        assert "Traceback" not in server.output(), server.output()


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_words_are_counted(where: str, server_of_its_own: RedisServer) -> None:
    """A text goes in, its progress is streamed, and its words come out; with Redis by a worker of its own."""
    folder = EXAMPLES / "quart_app"
    env = {"WORDS_RQ_REDIS_URL": server_of_its_own.url} if where == "redis" else {}
    with served(folder, env) as (url, _):
        if where == "redis":
            with _worker(folder, env):
                _count_words(url)
        else:
            _count_words(url)


def _count_words(url: str) -> None:
    assert "<textarea" in _get(url)
    text = "\n".join(["<b>one</b> two two"] * 100)
    request = urllib.request.Request(url, urlencode({"text": text}).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        page = response.url

    events = _get(f"{page}/events")

    assert '"text": "100 of 100 lines"' in events
    assert events.rstrip().endswith("event: end\ndata: {}")
    assert '["two", 200]' in _get(f"{page}/result").replace(" ", "").replace(",", ", ")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _get(f"{url}/jobs/nobody")


def _until_count(redis: object, key: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while redis.zcard(key) < count:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, f"{key} has {redis.zcard(key)}"  # type: ignore[attr-defined]
        time.sleep(0.05)
