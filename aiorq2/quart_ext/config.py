"""The configuration of an application: its keys, and what they mean to an ``RQ``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiorq2.backends import connect
from aiorq2.backends.addresses import address_of, url_of
from aiorq2.backends.keys import PREFIX_PATTERN
from aiorq2.backends.shards import checked_count
from aiorq2.connections import DEFAULT
from aiorq2.cron import checked_zone
from aiorq2.errors import AiorqError, InvalidOption
from aiorq2.functions import JobFunctions
from aiorq2.options import as_names, checked_name
from aiorq2.quart_ext.job import QuartJob
from aiorq2.queue import Queue
from aiorq2.scheduler import Scheduler
from aiorq2.serializers import resolve
from aiorq2.settings import load_class
from aiorq2.signing import signed
from aiorq2.timing import seconds
from aiorq2.worker import Worker

HEADERS = ("traceparent", "tracestate", "x-request-id")
"""The headers of a request that travel with the jobs which it enqueues."""

_PARTS = ("URL", "HOST", "PORT", "USERNAME", "PASSWORD", "DB")
_RESERVED = {"RQ_REDIS_URL"}
_DASHBOARDS = "RQ_DASHBOARD_"
"""What the keys of rq-dashboard begin with: its addresses, and the user and the password of its page, are no connection."""


@dataclass(frozen=True)
class AppConfig:
    """What the configuration of one application says; ``settings`` holds attributes of an ``RQ`` by their names."""

    settings: Mapping[str, Any]
    headers: tuple[str, ...] = HEADERS
    embedded_worker: bool | Mapping[str, Any] | None = None
    """None: where jobs live in memory."""
    test_request_context: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


def read_config(config: Mapping[str, Any], connections: Mapping[str, Any]) -> AppConfig:
    """Return what the keys beginning with ``RQ_`` say.

    Args:
        connections: those that there are beside the configuration's, which beat them name by name.

    Raises:
        InvalidOption: a value that cannot be meant; the key is in the message.
    """
    _refuse_misspelt(config)
    settings = {
        attribute: _checked(key, check, config[key])
        for key, (attribute, check) in KEYS.items()
        if config.get(key) is not None
    }
    found = _connections(config)
    if DEFAULT in found:  # Flask-RQ's way to say what RQ_REDIS_URL says
        settings.setdefault("redis_url", found.pop(DEFAULT))
    settings["connections"] = {**connections, **found}
    if config.get("RQ_SIGN"):
        settings["serializer"] = _signed(config, settings.get("serializer"))
    return AppConfig(
        settings,
        headers=_checked("RQ_HEADERS", _headers, config.get("RQ_HEADERS", HEADERS)),
        embedded_worker=_checked("RQ_EMBEDDED_WORKER", _embedded, config.get("RQ_EMBEDDED_WORKER")),
        test_request_context=_checked(
            "RQ_TEST_REQUEST_CONTEXT", _truth, config.get("RQ_TEST_REQUEST_CONTEXT", False)
        ),
    )


def _checked(key: str, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except (AiorqError, ValueError, TypeError, LookupError, OSError) as error:
        raise InvalidOption(f"{key}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOption(f"a text is needed, not {type(value).__name__}")
    return value


def _url(value: Any) -> str:
    """Refuse what ``connect`` would; nothing is sent, and no memory is set aside. The prefix is one that does in a cluster as well:
    the app's is checked when it is used."""
    url = _text(value)
    try:
        if not url.startswith("memory://"):
            connect(url, key_prefix="{rq}")
    except InvalidOption:
        raise
    except ValueError:  # whose text may quote the password
        raise InvalidOption("the Redis URL cannot be read") from None
    return url


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(f"True or False is needed, not {value!r:.40}")
    return value


def _queues(value: Any) -> tuple[str, ...]:
    names = as_names(value, "queue")
    if not names:
        raise InvalidOption("at least one queue is needed")
    return names


def _duration(minimum: float, *, infinite: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        seconds(value, name="value", minimum=minimum, infinite=infinite)
        return value.total_seconds() if isinstance(value, timedelta) else value

    return check


def _class(base: type) -> Callable[[Any], Any]:
    return lambda value: load_class(value, base, "class")


def _job_class(value: Any) -> Any:
    theirs = value in ("rq.job.Job", "flask_rq2.job.FlaskJob", "aiorq2.job.Job")
    return QuartJob if theirs else load_class(value, QuartJob, "class")


def _client(value: Any) -> Any:
    address_of(None, value)
    return value


def _prefix(value: Any) -> str:
    if not PREFIX_PATTERN.fullmatch(_text(value)):
        raise InvalidOption(f"{value!r:.40}: letters, digits and _ . : {{ }} - are allowed")
    return str(value)


def _serializer(value: Any) -> Any:
    return resolve(value)


def _headers(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(one, str) for one in value):
        raise InvalidOption("a list of the names of headers is needed")
    return tuple(one.lower() for one in value)


def _embedded(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | Mapping):
        raise InvalidOption(
            f"True, False, or a dict of options for the worker is needed, not {value!r:.40}"
        )
    return value


KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "RQ_REDIS_URL": ("redis_url", _url),
    "RQ_CONNECTION_CLASS": ("connection_class", _client),
    "RQ_KEY_PREFIX": ("key_prefix", _prefix),
    "RQ_SHARDS": ("shards", checked_count),
    "RQ_QUEUES": ("queues", _queues),
    "RQ_ASYNC": ("is_async", _truth),
    "RQ_DEFAULT_QUEUE": ("default_queue", lambda value: checked_name(value, "queue")),
    "RQ_DEFAULT_TIMEOUT": ("default_timeout", _duration(0.001, infinite=True)),
    "RQ_DEFAULT_RESULT_TTL": ("default_result_ttl", _duration(0, infinite=True)),
    "RQ_SERIALIZER": ("serializer", _serializer),
    "RQ_TIMEZONE": ("timezone", checked_zone),
    "RQ_QUEUE_CLASS": ("queue_class", _class(Queue)),
    "RQ_WORKER_CLASS": ("worker_class", _class(Worker)),
    "RQ_JOB_CLASS": ("job_class", _job_class),
    "RQ_FUNCTIONS_CLASS": ("functions_class", _class(JobFunctions)),
    "RQ_SCHEDULER_CLASS": ("scheduler_class", _class(Scheduler)),
    "RQ_SCHEDULER_QUEUE": ("scheduler_queue", lambda value: checked_name(value, "queue")),
    "RQ_SCHEDULER_INTERVAL": ("scheduler_interval", _duration(0.001)),
}
"""Each key, the attribute of an ``RQ`` that it sets, and how its value is checked."""

OTHER_KEYS = ("RQ_SIGN", "RQ_EMBEDDED_WORKER", "RQ_HEADERS", "RQ_TEST_REQUEST_CONTEXT")


def _connections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the further connections: ``RQ_<NAME>_URL``, or its parts, ``RQ_<NAME>_HOST`` and so on."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in config.items():
        name, _, part = key.removeprefix("RQ_").rpartition("_")
        is_ours = key.startswith("RQ_") and not key.startswith(_DASHBOARDS)
        if is_ours and name and part in _PARTS and key not in _RESERVED:
            found.setdefault(name, {})[part.lower()] = value
    connections = {}
    for name, parts in found.items():
        told = {part: value for part, value in parts.items() if value is not None}
        for part in ("port", "db"):
            if part in told:
                told[part] = _checked(f"RQ_{name}_{part.upper()}", _number, told[part])
        if told:
            key = f"RQ_{name}_URL" if "url" in told else f"RQ_{name}_HOST"
            connections[name.lower()] = _checked(key, lambda parts: _url(url_of(parts)), told)
    return connections


def _number(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool | float) or not 0 <= number <= 65535:
        raise InvalidOption(f"{value!r:.40} is no such number")
    return number


def _signed(config: Mapping[str, Any], inner: Any) -> Any:
    _checked("RQ_SIGN", _truth, config["RQ_SIGN"])
    secret: Any = config.get("SECRET_KEY")
    if not secret:
        raise InvalidOption("RQ_SIGN: the app has no SECRET_KEY to sign with")
    fallbacks: Sequence[Any] = config.get("SECRET_KEY_FALLBACKS") or ()
    return signed(secret, inner, fallbacks=fallbacks)


def _refuse_misspelt(config: Mapping[str, Any]) -> None:
    """Refuse a key that is none of ours and looks like one; other packages have keys beginning with ``RQ_``, too."""
    known = [*KEYS, *OTHER_KEYS]
    for key in config:
        if key.startswith("RQ_") and key not in known and key.rpartition("_")[2] not in _PARTS:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
            if close:
                raise InvalidOption(f"{key}: there is no such key; {close[0]} is meant?")
