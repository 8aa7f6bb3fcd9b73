"""A Redis that the tests start themselves, a key prefix per test, and a leak check after every test that used either backend."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
import redis
from fakeredis import FakeStrictRedis

from aiorq2.backends import connect
from aiorq2.backends.memory import _server as memory_server
from aiorq2.backends.redis import RedisBackend
from tests.support import jobs, topologies
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import gates
from tests.support.left_behind import FAILED, check_and_delete
from tests.support.redis_server import RedisServer
from tests.support.topologies import TOPOLOGIES, Topology, new_prefix, started


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run stand on something else than one server."""
    parser.addoption(
        "--topology",
        choices=TOPOLOGIES,
        default="single",
        help="what the tests that take a Redis get: one server, a master under sentinels, a cluster, or one with sharded workers",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that belong to the fixtures of this file."""
    topologies.current = config.getoption("topology")
    config.addinivalue_line(
        "markers", "leaks_allowed(reason): do not check the keys that the test leaves in its Redis"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs the real server, so that ``-m 'not redis'`` runs without one; leave out what has nothing to do with the
    topology that was asked for."""
    if config.getoption("topology") != "single":
        elsewhere = [item for item in items if not _stands_on_topology(item)]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
    for item in items:
        if "redis_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.redis)


def _stands_on_topology(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and callspec.params.get("backend_url") == "memory":
        return False
    return not {"topology", "backend_url"}.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which test failed: what it leaves behind says nothing."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def _clean_jobs() -> Iterator[None]:
    """Forget what job functions noted down, and let go those that still wait at a gate."""
    yield
    gates.reset()
    jobs.reset()


@pytest.fixture(scope="session")
def topology(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """The servers of this test run."""
    with started(request.config.getoption("topology")) as topology:
        yield topology


@pytest.fixture(scope="session")
def redis_server(topology: Topology) -> RedisServer:
    """The server of this test run, or the one among them that has the keys of all tests; a test that breaks the server makes a
    ``RedisServer`` of its own."""
    return topology.server


@pytest.fixture
def key_prefix(request: pytest.FixtureRequest) -> str:
    """What the keys of this test begin with."""
    return new_prefix(request.config.getoption("topology"))


@pytest.fixture
def redis_url(
    redis_server: RedisServer, topology: Topology, key_prefix: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of the real Redis; what the test leaves there under ``key_prefix`` is checked and deleted."""
    yield topology.url
    with redis_server.client() as client:
        check_and_delete(client, key_prefix, request)


@pytest.fixture
def memory_url(key_prefix: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A ``memory://`` URL that no other test has; checked as above."""
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    with FakeStrictRedis(server=memory_server(name)) as client:
        check_and_delete(client, key_prefix, request)


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "memory"])
def backend_url(request: pytest.FixtureRequest) -> str:
    """The real Redis and ``memory://`` in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def backend(backend_url: str, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend on the real Redis and one in memory in turn."""
    backend = connect(backend_url, key_prefix=key_prefix)
    yield backend
    await backend.close()


@pytest.fixture
async def redis_backend(redis_url: str, key_prefix: str) -> AsyncIterator[RedisBackend]:
    """A backend on the real Redis."""
    backend = connect(redis_url, key_prefix=key_prefix)
    yield backend
    await backend.close()


@pytest.fixture
def redis_client(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    """A blocking client of redis-py, to look and to plant things under ``key_prefix``."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def chaos_proxy(redis_url: str, redis_server: RedisServer) -> Iterator[ChaosProxy]:
    """A proxy before the real Redis, the one that has the keys."""
    with ChaosProxy(redis_server.url) as proxy:
        yield proxy
