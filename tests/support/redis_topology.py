"""More than one ``redis-server``: replicas, a master under three sentinels, a cluster of three nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Self

import redis

from tests.support.redis_server import RedisServer, RedisServerError, is_free

SLOTS = 16384
DOWN_AFTER_MS = 3000
"""How long a master must be silent before the sentinels replace it: longer than a busy machine holds anybody up."""
QUICKLY_MS = 500
"""The same once a test is about to take the master away."""
NODE_TIMEOUT_MS = 1000
AT_ONCE = ["--repl-diskless-sync-delay", "0"]
"""For a master: a new replica is not to wait for others that may come."""
_BUS = 10_000
"""How far a node's second port, for the other nodes, is from its first."""


def until(predicate: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    """Block until ``predicate`` is true; errors of Redis count as not yet.

    Raises:
        RedisServerError: it was not in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        with suppress(redis.RedisError, OSError):
            if predicate():
                return
        if time.monotonic() > deadline:
            raise RedisServerError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def in_step(master: RedisServer, replicas: int = 1) -> float:
    """Block until so many replicas have what the master has now. Return a moment before that (monotonic seconds): what was
    acknowledged until then is not lost with the master.

    Raises:
        RedisServerError: it was not in time.
    """
    moment = time.monotonic()
    with master.client() as client:

        def have_all() -> bool:
            client.set("{rq}in-step", 1)  # WAIT asks for what its own connection has written
            reached: Any = client.wait(replicas, 1000)
            return bool(reached >= replicas)

        until(have_all, f"{replicas} replicas are in step")
    return moment


class Replica(RedisServer):
    """A replica of another server."""

    def __init__(self, master: RedisServer, *, extra: Sequence[str] = (), **options: Any) -> None:
        replicates = ["--replicaof", master.host, str(master.port)]
        super().__init__(extra=[*replicates, *AT_ONCE, *extra], **options)

    def start(self) -> None:
        """Start, and return when all that the master has is here."""
        super().start()
        self.wait_for_link()

    def wait_for_link(self) -> None:
        """Block until the replication is up."""
        until(lambda: self.info()["master_link_status"] == "up", "the replica is in step")

    def info(self) -> dict[str, Any]:
        """Return what the server says about its replication."""
        with self.client() as client:
            found: Any = client.info("replication")
        return dict(found)


class Sentinel(RedisServer):
    """One sentinel that watches a master under the name ``mymaster``."""

    def __init__(
        self,
        master: RedisServer,
        *,
        password: str | None = None,
        master_password: str | None = None,
        watcher: str | None = None,
        tls: Sequence[str] = (),
    ) -> None:
        super().__init__(requirepass=password, tls=tls)
        self._lines = [
            f"sentinel monitor mymaster {master.host} {master.port} 2",
            f"sentinel down-after-milliseconds mymaster {DOWN_AFTER_MS}",
            "sentinel failover-timeout mymaster 4000",
            "sentinel parallel-syncs mymaster 1",
        ]
        if password:  # the others' as well
            self._lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        if watcher:
            self._lines.append(f"sentinel auth-user mymaster {watcher}")
            self._lines.append(f"sentinel auth-pass mymaster {watcher}")
        elif master_password:
            self._lines.append(f"sentinel auth-pass mymaster {master_password}")

    @property
    def master(self) -> tuple[str, int]:
        """Where it says that the master is."""
        host, port = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return host.decode(), int(port)

    def facts(self) -> dict[str, str]:
        """Return what it knows of the master."""
        with self.client() as client:
            execute: Any = client.execute_command
            flat = execute("SENTINEL", "MASTER", "mymaster")
        if isinstance(flat, dict):
            return {_text(name): _text(value) for name, value in flat.items()}
        pairs = iter(map(_text, flat))
        return dict(zip(pairs, pairs, strict=True))

    def _arguments(self) -> list[str]:
        path = self.directory / "sentinel.conf"
        if not path.exists():  # it writes down what it learns
            ports = ["port 0", f"tls-port {self.port}"] if self._tls else [f"port {self.port}"]
            head = [*ports, f"bind {self.host}", f"dir {self.directory}"]
            pairs = zip(self._tls[::2], self._tls[1::2], strict=True)
            head += [f"{name.removeprefix('--')} {value}" for name, value in pairs]
            head.append(f"logfile {self.directory / 'redis.log'}")
            path.write_text("\n".join([*head, *self._lines]) + "\n")
        return [str(path), "--sentinel"]


class SentinelTrio:
    """A master with replicas, and three sentinels that watch them.

    ``servers[0]`` is the master at the beginning; ``master`` is whoever it is now. ``watcher`` is a user for the sentinels alone
    (there must be a ``password`` as well), whose name is his password::

        with SentinelTrio() as trio:
            trio.judge_quickly()
            trio.master.kill()
            trio.wait_for_switch(trio.servers[0])
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        password: str | None = None,
        sentinel_password: str | None = None,
        watcher: str | None = None,
        extra: Sequence[str] = (),
        tls: Sequence[str] = (),
    ) -> None:
        self._watcher = watcher
        self._tls = [*tls, "--tls-replication", "yes"] if tls else []
        self._stack = ExitStack()
        self._replicas = replicas
        self._password = password
        self._sentinel_password = sentinel_password
        self._extra = [*AT_ONCE, *extra]
        self.servers: list[RedisServer] = []
        self.sentinels: list[Sentinel] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """``redis+sentinel://…`` with the passwords, if there are any."""
        credentials = f":{self._password}@" if self._password else ""
        places = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}+sentinel://{credentials}{places}/mymaster{query}"

    @property
    def master(self) -> RedisServer:
        """The server that most sentinels take for the master."""
        said = [one.master for one in self.sentinels if one.is_running]
        where = max(set(said), key=said.count)
        return next(one for one in self.servers if (one.host, one.port) == where)

    def judge_quickly(self) -> None:
        """Have the sentinels replace a master that is silent sooner; to be called when it is about to be."""
        for one in self.sentinels:
            one.command("SENTINEL", "SET", "mymaster", "down-after-milliseconds", QUICKLY_MS)

    def wait_for_switch(self, old: RedisServer, timeout: float = 20.0) -> RedisServer:
        """Block until the sentinels have made another server the master, and it takes writes; return it."""

        def has_switched() -> bool:
            new = self.master
            return new is not old and new.command("ROLE")[0] == b"master"

        until(has_switched, "the sentinels have chosen another master", timeout)
        return self.master

    def fail_over(self) -> None:
        """Have the sentinels change places in good order; they begin at once."""

        def has_begun() -> bool:
            return bool(self.sentinels[0].command("SENTINEL", "FAILOVER", "mymaster"))

        until(has_begun, "the sentinels take the order to fail over")

    def wait_until_settled(self) -> None:
        """Block until all sentinels know one another and the replicas, and all replicas are in step."""
        until(lambda: all(map(self._is_settled, self.sentinels)), "the sentinels know everybody")

    def _start(self) -> None:
        extra = list(self._extra)
        if self._password:
            extra += ["--masterauth", self._password]
        if self._watcher:
            extra += ["--user", self._watcher, "on", f">{self._watcher}", "~*", "&*", "+@all"]
        options: dict[str, Any] = {
            "requirepass": self._password,
            "extra": extra,
            "tls": self._tls,
        }
        master = self._stack.enter_context(RedisServer(**options))
        self.servers = [master]
        for _ in range(self._replicas):
            self.servers.append(self._stack.enter_context(Replica(master, **options)))
        for _ in range(3):
            sentinel = Sentinel(
                master,
                password=self._sentinel_password,
                master_password=self._password,
                watcher=self._watcher,
                tls=self._tls,
            )
            self.sentinels.append(self._stack.enter_context(sentinel))
        self.wait_until_settled()

    def _is_settled(self, sentinel: Sentinel) -> bool:
        facts = sentinel.facts()
        return (
            facts["flags"] == "master"
            and int(facts["num-other-sentinels"]) == 2
            and int(facts["num-slaves"]) >= self._replicas
        )


class Node(RedisServer):
    """One node of a cluster."""

    ports = range(15_000, 22_000)

    def __init__(self, *, extra: Sequence[str] = (), **options: Any) -> None:
        if options.get("tls"):
            both = ("--tls-cluster", "yes", "--tls-replication", "yes")
            options["tls"] = [*options["tls"], *both]
        cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        super().__init__(extra=[*cluster, *extra], **options)

    @property
    def id(self) -> str:
        """The name of the node among the others."""
        return str(self.command("CLUSTER", "MYID").decode())

    def cluster_info(self) -> dict[str, str]:
        """Return what the node thinks of the cluster."""
        text = self.command("CLUSTER", "INFO")
        lines = (text if isinstance(text, str) else text.decode()).split()
        return dict(line.split(":", 1) for line in lines)

    def _is_free(self) -> bool:
        return super()._is_free() and is_free(self.host, self.port + _BUS)


class Cluster:
    """Three masters that share the slots evenly, each with so many replicas::

    with Cluster() as cluster:
        slot = cluster.slot("{rq}")
        cluster.move(slot, cluster.owner(slot), cluster.nodes[2])
    """

    BOUNDS = (0, 5461, 10923, SLOTS)
    """Where the slots of each node begin, and where the last one's end."""

    def __init__(self, *, replicas: int = 0, extra: Sequence[str] = (), **options: Any) -> None:
        self._stack = ExitStack()
        self._replicas = replicas
        self._options = {
            "extra": [*AT_ONCE, "--cluster-require-full-coverage", "no", *extra],
            **options,
        }
        self.nodes: list[Node] = []
        self.replicas: list[Node] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """``redis+cluster://…`` with the addresses of the masters."""
        password = self._options.get("requirepass")
        credentials = f":{password}@" if password else ""
        scheme = "rediss" if self._options.get("tls") else "redis"
        return f"{scheme}+cluster://{credentials}" + ",".join(
            f"{one.host}:{one.port}" for one in self.nodes
        )

    def slot(self, key: str) -> int:
        """Return the slot of a key."""
        return int(self._living().command("CLUSTER", "KEYSLOT", key))

    def owner(self, slot: int) -> Node:
        """Return the node that serves a slot."""
        for first, last, (_, port, *_), *_ in self._living().command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(one for one in [*self.nodes, *self.replicas] if one.port == port)
        raise LookupError(f"nobody serves slot {slot}")

    def open_slot(self, slot: int, source: Node, target: Node) -> None:
        """Begin to move a slot: from now on a key is looked for at both ends."""
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: Node, target: Node) -> int:
        """Move the keys that lie in a slot; returns how many."""
        moved = 0
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            reply = source.command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
            assert reply in (b"OK", b"NOKEY", "OK", True), reply
        return moved

    def close_slot(self, slot: int, source: Node, target: Node) -> None:
        """End the move of a slot: it is the target's."""
        for node in (target, source, *(one for one in self.nodes if one not in (source, target))):
            if node.is_running:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def move(self, slot: int, source: Node, target: Node) -> int:
        """Move a slot with its keys from one node to another, as redis-cli does; returns how many keys."""
        self.open_slot(slot, source, target)
        moved = self.move_keys(slot, source, target)
        self.close_slot(slot, source, target)
        return moved

    def flush(self) -> None:
        """Delete everything."""
        for node in self.nodes:
            if node.is_running and node.command("ROLE")[0] == b"master":
                node.command("FLUSHALL")

    def _living(self) -> Node:
        return next(one for one in [*self.nodes, *self.replicas] if one.is_running)

    def _start(self) -> None:
        for _ in range(3):
            self.nodes.append(self._stack.enter_context(Node(**self._options)))
        for node, first, end in zip(self.nodes, self.BOUNDS[:-1], self.BOUNDS[1:], strict=True):
            node.command("CLUSTER", "ADDSLOTS", *range(first, end))
        self._meet(self.nodes)
        until(lambda: all(self._is_up(one) for one in self.nodes), "the cluster is up")
        for node in self.nodes:
            for _ in range(self._replicas):
                self._add_replica(node)

    def _meet(self, nodes: Sequence[Node]) -> None:
        first = self.nodes[0]
        for number, node in enumerate(nodes):
            if node is not first:
                node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                node.command("CLUSTER", "MEET", first.host, first.port)

    def _add_replica(self, master: Node) -> None:
        replica = self._stack.enter_context(Node(**self._options))
        self.replicas.append(replica)
        replica.command("CLUSTER", "MEET", master.host, master.port)
        until(
            lambda: replica.command("CLUSTER", "REPLICATE", master.id),
            "the replica knows its master",
        )
        with replica.client() as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "it is in step")

    def _is_up(self, node: Node) -> bool:
        info = node.cluster_info()
        return (
            info["cluster_state"] == "ok"
            and info["cluster_known_nodes"] == "3"
            and info["cluster_slots_ok"] == str(SLOTS)
        )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
