"""Both libraries on a database of their own: rq's old versions know no other prefix than ``rq``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from aiorq2.backends.redis import RedisBackend
from tests.interop.peer import Peer
from tests.interop.sides import Direction, Ours, Side, Theirs
from tests.support.left_behind import check_and_delete
from tests.support.redis_server import RedisServer

VERSIONS = ("3.0", "2.6", "1.16")
DATABASE = 7


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker by which a test says what it needs of rq."""
    config.addinivalue_line("markers", "since(version): rq has it since this version")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what meets rq with each version that can do it; the old ones, which need environments of their own, are slow."""
    if "peer" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("since")
        oldest = _numbers(marker.args[0] if marker else "1.16")
        fitting = [one for one in VERSIONS if _numbers(one) >= oldest]
        metafunc.parametrize(
            "peer",
            [
                pytest.param(one, marks=[] if one == "3.0" else [pytest.mark.slow])
                for one in fitting
            ],
            indirect=True,
            scope="session",
            ids=[f"rq{one}" for one in fitting],
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.fixture(scope="session")
def database_url(redis_server: RedisServer) -> str:
    """The URL of the database that the tests of this folder share, one after the other."""
    return f"redis://{redis_server.host}:{redis_server.port}/{DATABASE}"


@pytest.fixture(scope="session")
def peer(request: pytest.FixtureRequest, database_url: str) -> Iterator[Peer]:
    """The driver of one version of rq."""
    peer = Peer(request.param, database_url)
    yield peer
    peer.close()


@pytest.fixture
def key_prefix() -> str:
    """The only prefix that all versions of rq know."""
    return "rq"


@pytest.fixture
def redis_client(database_url: str) -> Iterator[redis.Redis]:
    """A blocking client, to look and to plant things."""
    with redis.Redis.from_url(database_url) as client:
        yield client


@pytest.fixture
def redis_url(
    database_url: str, redis_client: redis.Redis, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL; what is left behind is checked as everywhere, and all of it deleted."""
    redis_client.flushdb()
    yield database_url
    check_and_delete(redis_client, "rq", request)
    redis_client.flushdb()


@pytest.fixture
def ours(redis_backend: RedisBackend) -> Ours:
    """aiorq2."""
    return Ours(redis_backend)


@pytest.fixture
def theirs(peer: Peer, redis_url: str) -> Theirs:
    """rq."""
    return Theirs(peer)


@pytest.fixture(params=["aiorq2 to rq", "rq to aiorq2"])
def across(request: pytest.FixtureRequest, ours: Ours, theirs: Theirs) -> Direction:
    """Both directions over the border in turn."""
    sides: tuple[Side, Side] = (ours, theirs)
    return Direction(*(sides if request.param == "aiorq2 to rq" else sides[::-1]))
