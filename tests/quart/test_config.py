"""What the configuration of an application says, and what it cannot mean."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from quart import Quart, Response

from aiorq2 import InvalidOption, Scheduler, Worker
from aiorq2.errors import NotConfigured
from aiorq2.quart_ext import RQ, QuartJob
from tests.flow.hub_jobs import nothing

_apps: list[Quart] = []
"""An ``RQ`` holds its applications weakly; a test may only have the ``RQ``."""


def _rq(kind: type[RQ] = RQ, /, **config: Any) -> RQ:
    app = Quart("config")
    _apps.append(app)
    app.config.update(config)
    return kind(app)


class MyWorker(Worker):
    """One of the user's own."""


def test_rq_without_an_app_takes_jobs_and_refuses_a_connection() -> None:
    """The message says what is missing."""
    rq = RQ()

    assert rq.queues == ("default",)
    for ask in (lambda: rq.connection, rq.get_queue, rq.get_worker):
        with pytest.raises(RuntimeError, match="Was it initialized with a Quart app"):
            ask()


def test_defaults_are_flask_rq2s() -> None:
    """Without a word in the configuration."""
    rq = _rq()

    assert (rq.default_queue, rq.default_timeout, rq.default_result_ttl) == ("default", 180, 500)
    assert (rq.scheduler_queue, rq.scheduler_interval, rq.is_async) == ("default", 60, True)
    assert rq.get_queue().job_class is QuartJob
    assert rq.get_queue() is rq.get_queue("default")
    assert "redis://localhost:6379/0" in rq.redis_url
    assert "localhost:6379/0" in repr(rq.backend)


def test_every_key_is_read() -> None:
    """And reaches what it is for."""
    rq = _rq(
        RQ_REDIS_URL="redis://:secret@localhost:1/3",
        RQ_QUEUES=["high", "low"],
        RQ_ASYNC=False,
        RQ_SCHEDULER_CLASS="rq_scheduler.Scheduler",
        RQ_SCHEDULER_QUEUE="scheduled",
        RQ_SCHEDULER_INTERVAL=1,
        RQ_WORKER_CLASS="tests.quart.test_config.MyWorker",
        RQ_JOB_CLASS="flask_rq2.job.FlaskJob",
        RQ_QUEUE_CLASS="rq.queue.Queue",
        RQ_DEFAULT_TIMEOUT=7,
        RQ_DEFAULT_RESULT_TTL=0,
        RQ_KEY_PREFIX="mine",
        RQ_TIMEZONE="Europe/Berlin",
        RQ_SERIALIZER="pickle",
    )

    queue, worker, scheduler = rq.get_queue("low"), rq.get_worker(), rq.get_scheduler()
    assert (queue.is_async, queue.default_timeout, queue.serializer.name) == (False, 7, "pickle")
    assert queue.backend.key_prefix == "mine"
    assert isinstance(worker, MyWorker)
    assert worker.queues == ("high", "low")
    assert isinstance(scheduler, Scheduler)
    assert (scheduler.queue_name, scheduler.interval) == ("scheduled", 1)
    assert "secret" not in repr(rq.backend) + repr(rq) + repr(rq.connection)


def test_what_is_given_to_the_object_beats_the_configuration() -> None:
    """By keyword, or by setting an attribute later."""
    app = Quart("config")
    app.config.update(RQ_ASYNC=True, RQ_QUEUES=["a"])
    rq = RQ(app, 911, is_async=False)

    rq.queues = ["b"]

    assert (rq.is_async, rq.default_timeout, rq.queues) == (False, 911, ["b"])


def test_configuration_beats_what_a_subclass_says() -> None:
    """Which beats the defaults."""

    class Mine(RQ):
        default_queue = "mine"
        queues = ("mine",)

    app = Quart("config")
    app.config["RQ_QUEUES"] = ["theirs"]
    rq = Mine(app)

    assert (rq.default_queue, rq.queues) == ("mine", ("theirs",))


@pytest.mark.parametrize("in_environment", ["", "redis://environment:1/0"])
def test_redis_is_where_the_nearest_word_says(
    in_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration, in Flask-RQ's words as well, beats a subclass, and that the environment; localhost is for want of all."""
    for name in ("AIORQ2_URL", "RQ_REDIS_URL", "REDIS_URL"):
        monkeypatch.setenv(name, in_environment if name == "REDIS_URL" else "")

    class Mine(RQ):
        redis_url = "redis://mine:1/3"

    class Named(RQ):
        connections: Mapping[str, Any] = {
            "default": {"host": "named"},
            "archive": "redis://archive:1/0",
        }

    def place(kind: type[RQ], **config: Any) -> str:
        return _rq(kind, **config).backend.location

    usual = "environment:1/0" if in_environment else "localhost:6379/0"
    assert place(RQ) == usual
    assert place(RQ, RQ_OTHER_URL="redis://other:1/0") == usual
    for kind in (RQ, Mine, Named):
        assert place(kind, RQ_DEFAULT_HOST="legacy", RQ_DEFAULT_DB=2) == "legacy:6379/2"
        assert place(kind, RQ_DEFAULT_URL="redis://legacy:1/2") == "legacy:1/2"
        assert place(kind, RQ_REDIS_URL="redis://told:1/0", RQ_DEFAULT_HOST="x") == "told:1/0"
    assert place(Mine) == place(Mine, RQ_OTHER_URL="redis://other:1/0") == "mine:1/3"
    assert place(Named) == place(Named, RQ_OTHER_URL="redis://other:1/0") == "named:6379/0"


def test_connections_of_the_configuration_join_those_of_a_subclass() -> None:
    """Of the same name, the configuration's is meant."""

    class Mine(RQ):
        connections: Mapping[str, Any] = {
            "archive": "redis://archive:1/0",
            "other": "redis://mine:1/0",
        }

    rq = _rq(Mine, RQ_OTHER_URL="redis://theirs:1/0")

    assert rq.get_backend("archive").location == "archive:1/0"
    assert rq.get_backend("other").location == "theirs:1/0"


def test_parts_of_an_address_are_a_connection() -> None:
    """``RQ_OTHER_HOST`` and so on, or ``RQ_OTHER_URL``; Flask-RQ's way."""
    rq = _rq(
        RQ_OTHER_HOST="localhost",
        RQ_OTHER_PORT="6380",
        RQ_OTHER_PASSWORD=None,
        RQ_OTHER_DB=2,
        RQ_THIRD_URL="redis://third:1/0",
    )

    assert "localhost:6380/2" in repr(rq.get_queue("low", connection="other").backend)
    assert "third:1/0" in repr(rq.get_queue("low", connection="third").backend)
    with pytest.raises(InvalidOption, match="'third'"):
        rq.get_queue(connection="fourth")


async def test_queues_may_be_spread_over_shards() -> None:
    """A job is followed in whichever it is, and the worker inside of the application serves all of them."""
    rq = _rq(RQ_REDIS_URL=f"memory://{uuid4().hex}", RQ_SHARDS=3, RQ_QUEUES=["a", "b", "c", "d"])
    shards = rq.get_shards()
    assert shards is not None
    assert len({shards.of(name) for name in rq.queues}) > 1
    job = rq.job(nothing)

    @rq.app.get("/<job_id>")
    async def follow(job_id: str) -> Response:
        return await rq.stream(job_id)

    async with rq.app.test_app() as serving, rq.app.app_context():
        for name in rq.queues:
            sent = await job.queue(queue=name)
            answer = await serving.test_client().get(f"/{sent.id}")
            assert '"status": "finished"' in await answer.get_data(as_text=True)
        assert (await serving.test_client().get("/nobody")).status_code == 404


def test_fakeredis_class_means_memory() -> None:
    """As Flask-RQ2's documentation has it for tests."""
    rq = _rq(RQ_CONNECTION_CLASS="fakeredis.FakeStrictRedis")

    assert repr(rq.backend).startswith("<")
    assert rq.backend.location.startswith("memory://")
    assert _rq(RQ_CONNECTION_CLASS="redis.StrictRedis").backend.location == "localhost:6379/0"


def test_secret_key_signs() -> None:
    """With the keys of before still accepted."""
    old = _rq(RQ_SIGN=True, SECRET_KEY="old").get_queue().serializer
    new = _rq(RQ_SIGN=True, SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]).get_queue().serializer

    assert new.loads(old.dumps(1)) == 1
    with pytest.raises(Exception, match="signature"):
        old.loads(new.dumps(1))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"RQ_REDIS_URL": 5}, "RQ_REDIS_URL: a text"),
        ({"RQ_REDIS_URL": "localhost:6379"}, "RQ_REDIS_URL: .*redis://"),
        ({"RQ_REDIS_URL": "redis://localhost/name"}, "RQ_REDIS_URL: .*database"),
        ({"RQ_REDIS_URL": "redis+sentinel://a,b"}, "RQ_REDIS_URL: .*master"),
        ({"RQ_OTHER_URL": "localhost:6380"}, "RQ_OTHER_URL: .*redis://"),
        ({"RQ_OTHER_URL": "redis://x?no_such=1"}, "RQ_OTHER_URL: .*no_such"),
        ({"RQ_OTHER_HOST": "a/b"}, "RQ_OTHER_HOST: "),
        ({"RQ_DEFAULT_URL": "localhost"}, "RQ_DEFAULT_URL: "),
        ({"RQ_QUEUES": []}, "RQ_QUEUES: at least one"),
        ({"RQ_QUEUES": [""]}, "RQ_QUEUES: "),
        ({"RQ_ASYNC": "no"}, "RQ_ASYNC: True or False"),
        ({"RQ_SCHEDULER_INTERVAL": 0}, "RQ_SCHEDULER_INTERVAL: "),
        ({"RQ_SCHEDULER_CLASS": "no.such.Thing"}, "RQ_SCHEDULER_CLASS: .*no.such.Thing"),
        ({"RQ_WORKER_CLASS": "aiorq2.Queue"}, "RQ_WORKER_CLASS: .*Worker"),
        ({"RQ_JOB_CLASS": "aiorq2.Worker"}, "RQ_JOB_CLASS: .*QuartJob"),
        (
            {"RQ_CONNECTION_CLASS": "pymongo.MongoClient"},
            "RQ_CONNECTION_CLASS: .*redis.asyncio.Redis",
        ),
        ({"RQ_KEY_PREFIX": "a b"}, "RQ_KEY_PREFIX: "),
        ({"RQ_SHARDS": 0}, "RQ_SHARDS: shards=0"),
        ({"RQ_SHARDS": "4"}, "RQ_SHARDS: shards='4'"),
        ({"RQ_SHARD": 4}, "RQ_SHARD: .*RQ_SHARDS"),
        ({"RQ_TIMEZONE": "Europe/Atlantis"}, "RQ_TIMEZONE: "),
        ({"RQ_SERIALIZER": "yaml"}, "RQ_SERIALIZER: "),
        ({"RQ_OTHER_PORT": "many"}, "RQ_OTHER_PORT: "),
        ({"RQ_OTHER_URL": "redis://x", "RQ_OTHER_HOST": "y"}, "RQ_OTHER_URL: "),
        ({"RQ_SIGN": True}, "RQ_SIGN: .*SECRET_KEY"),
        ({"RQ_SIGN": 1, "SECRET_KEY": "x"}, "RQ_SIGN: True or False"),
        ({"RQ_EMBEDDED_WORKER": "yes"}, "RQ_EMBEDDED_WORKER: "),
        ({"RQ_EMBEDDED_WORKER": {"concurency": 5}}, "RQ_EMBEDDED_WORKER: .*'concurrency'"),
        ({"RQ_EMBEDDED_WORKER": {"backend": "redis://x"}}, "RQ_EMBEDDED_WORKER: .*'backend'"),
        ({"RQ_EMBEDDED_WORKER": {1: 2}}, "RQ_EMBEDDED_WORKER: .* 1; there are"),
        ({"RQ_EMBEDDED_WORKER": {"grace": "soon"}}, "RQ_EMBEDDED_WORKER: grace: 'soon'"),
        ({"RQ_EMBEDDED_WORKER": {"concurrency": 0}}, "RQ_EMBEDDED_WORKER: .*concurrency"),
        ({"RQ_EMBEDDED_WORKER": {"concurrency": "5"}}, "RQ_EMBEDDED_WORKER: "),
        ({"RQ_EMBEDDED_WORKER": {"queues": []}}, "RQ_EMBEDDED_WORKER: .*one queue"),
        ({"RQ_EMBEDDED_WORKER": {"worker_ttl": 5}}, "RQ_EMBEDDED_WORKER: .*left out.*lease"),
        ({"RQ_HEADERS": "traceparent"}, "RQ_HEADERS: a list"),
        ({"RQ_QUEUE": ["low"]}, "RQ_QUEUE: .*RQ_QUEUES"),
        ({"RQ_SCHEDULER_INTERVALL": 1}, "RQ_SCHEDULER_INTERVAL"),
    ],
)
def test_wrong_value_is_refused_with_its_key(config: Mapping[str, Any], told: str) -> None:
    """When the app is initialised, not at the first job."""
    with pytest.raises(InvalidOption, match=told):
        _rq(**config)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@localhost",
        "http://me:secret@\u2100",  # which urlsplit refuses, with all of it in its words
        "redis://:secret@\u2100:1/0",
        "redis://:secret@localhost:port/0",
        "redis+cluster://:secret@localhost:0",
        "redis+sentinel://:secret@localhost",
    ],
)
def test_password_of_a_refused_url_is_not_told(url: str) -> None:
    """Nor by an exception that stands behind."""
    with pytest.raises(InvalidOption, match="RQ_OTHER_URL") as caught:
        _rq(RQ_OTHER_URL=url)

    assert "secret" not in "".join(traceback.format_exception(caught.value, chain=True))


@pytest.mark.parametrize("url", ["unix:///run/redis", "rediss://x:1/2", "redis+cluster://a,b"])
def test_url_is_checked_for_itself(url: str) -> None:
    """Whatever prefix the keys are to have, and without asking anybody."""
    assert _rq(RQ_REDIS_URL=url, RQ_KEY_PREFIX="{mine}").redis_url == url


async def test_app_does_not_begin_with_what_cannot_be_meant() -> None:
    """What was set after ``init_app`` is found when serving begins, even where a Redis is away: that may come back, not this."""
    rq = _rq(RQ_REDIS_URL="redis://127.0.0.1:1/0")
    rq.connections = {"other": "localhost:6380"}

    with pytest.raises(InvalidOption, match="redis://"):
        await rq.app.startup()


class ColouredWorker(MyWorker):
    """One with an option of its own, and its own idea of another one."""

    def __init__(self, *args: Any, colour: str, concurrency: str | int = 1, **options: Any) -> None:
        super().__init__(*args, concurrency=int(concurrency), **options)
        self.colour = colour


@pytest.mark.parametrize("by_keyword", [True, False])
def test_embedded_worker_may_have_options_of_its_own_class(by_keyword: bool) -> None:
    """Wherever the class is named."""
    options = {"colour": "red", "concurrency": "5", "grace": "5s"}
    app = Quart("config")
    app.config["RQ_EMBEDDED_WORKER"] = options
    if by_keyword:
        RQ(app, worker_class=ColouredWorker)
    else:
        app.config["RQ_WORKER_CLASS"] = ColouredWorker
        RQ(app)

    app.config["RQ_EMBEDDED_WORKER"] = {**options, "color": "red"}
    with pytest.raises(InvalidOption, match="did you mean 'colour'"):
        app.extensions["rq2"].init_app(app)


class WorkerOfAnyColour(MyWorker):
    """One that names none of its options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.colour = options.pop("colour")
        super().__init__(*args, **options)


def test_embedded_worker_may_have_options_that_its_class_does_not_name() -> None:
    """Which of them there are only the class knows; those that are ours are checked."""
    app = Quart("config")
    app.config["RQ_WORKER_CLASS"] = WorkerOfAnyColour
    app.config["RQ_EMBEDDED_WORKER"] = {"colour": "red", "concurrency": 5}
    RQ(app)

    app.config["RQ_EMBEDDED_WORKER"] = {"colour": "red", "concurrency": 0}
    with pytest.raises(InvalidOption, match=r"RQ_EMBEDDED_WORKER: .*concurrency"):
        app.extensions["rq2"].init_app(app)


def test_keys_of_other_packages_are_left_alone() -> None:
    """Such as rq-dashboard's."""
    assert _rq(RQ_DASHBOARD_USERNAME_HINT="x", RQ_POLL_INTERVAL=1).get_queue().name == "default"
    dashboards = {
        "RQ_DASHBOARD_REDIS_URL": ["redis://a", "redis://b"],
        "RQ_DASHBOARD_USERNAME": "me",
    }
    assert _rq(**dashboards).connections == {}


def test_second_rq_of_an_app_is_refused() -> None:
    """The same one may be told twice: its configuration is read again."""
    app = Quart("config")
    rq = RQ(app)

    app.config["RQ_QUEUES"] = ["b"]
    rq.init_app(app)

    assert rq.queues == ("b",)
    assert app.extensions["rq2"] is rq
    with pytest.raises(InvalidOption, match="has an RQ already"):
        RQ(app)


def test_something_else_than_an_app_is_refused() -> None:
    """With a word on what is meant for other programs."""
    with pytest.raises(InvalidOption, match=r"aiorq2\.RQ\(url\)"):
        RQ("redis://localhost")  # type: ignore[arg-type]


async def test_one_rq_serves_several_apps() -> None:
    """Each with its own configuration; which one is meant, the app context says."""
    rq, one, two = RQ(), Quart("one"), Quart("two")
    one.config["RQ_QUEUES"], two.config["RQ_QUEUES"] = ["1"], ["2"]
    rq.init_app(one)
    rq.init_app(two)

    async with one.app_context():
        first = rq.queues, rq.get_queue()
    async with two.app_context():
        second = rq.queues, rq.get_queue()

    assert (first[0], second[0]) == (("1",), ("2",))
    assert first[1] is not second[1]
    with pytest.raises(NotConfigured, match="2 applications"):
        rq.get_queue()
