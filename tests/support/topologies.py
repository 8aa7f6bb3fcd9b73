"""On what the tests of this run stand (``--topology=…``): one server, a master under sentinels, a cluster, or a cluster and workers
of shards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from redis.crc import key_slot

from tests.support.redis_server import RedisServer
from tests.support.redis_topology import Cluster, SentinelTrio

TOPOLOGIES = ("single", "sentinel", "cluster", "shards")
current = TOPOLOGIES[0]


@dataclass(frozen=True)
class Topology:
    """Where the keys of the tests are, and how a backend gets there."""

    server: RedisServer
    url: str


@contextmanager
def started(name: str) -> Iterator[Topology]:
    """Start the servers of a topology."""
    if name == "sentinel":
        with SentinelTrio() as trio:
            yield Topology(trio.servers[0], trio.url)
    elif name in ("cluster", "shards"):
        with Cluster() as cluster:
            yield Topology(cluster.nodes[0], cluster.url)
    else:
        with RedisServer() as server:
            yield Topology(server, server.url)


def new_prefix(name: str) -> str:
    """Return a key prefix that no other test has; in a cluster one in braces, whose keys lie at the first node."""
    while True:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        if name not in ("cluster", "shards"):
            return prefix
        if key_slot(prefix.encode()) < Cluster.BOUNDS[1]:
            return f"{{{prefix}}}"
