"""Call the URLs that a job names for its end, beside the worker's loop. Needs httpx (``pip install 'aiorq2[webhook]'``)."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiorq2.backends.base import JobRecord
from aiorq2.errors import InvalidOption
from aiorq2.payloads import function_name
from aiorq2.terms import Webhook, WebhookStatus, webhooks_of

if TYPE_CHECKING:
    from httpx import AsyncClient

log = logging.getLogger("aiorq2.worker")

AT_ONCE = 16
"""How many calls are under way at the same time."""
BACKLOG = 1000
"""How many wait for that; beyond, they are dropped."""


@dataclass(frozen=True, slots=True)
class End:
    """How a job has ended, as far as its webhooks are concerned."""

    record: JobRecord
    status: WebhookStatus
    ended_at: float
    exc_info: str = ""


class Webhooks:
    """Sends webhooks, a few at a time; what goes wrong is logged and has no further effect, as in RQ."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._is_told = False

    def send(self, end: End) -> None:
        """Have the webhooks called that a job names for this end; returns at once."""
        for webhook in _webhooks_for(end):
            if len(self._tasks) >= AT_ONCE + BACKLOG:
                log.error("job %s: too many webhooks wait; this one is dropped", end.record.id)
                return
            task = asyncio.get_running_loop().create_task(
                self._call(webhook, end), context=contextvars.Context()
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self, within: float) -> None:
        """Wait so many seconds for what is under way, and give up the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        for task in self._tasks:
            task.cancel()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _call(self, webhook: Webhook, end: End) -> None:
        where = urlsplit(webhook.url).hostname  # the rest of a URL is often a secret
        try:
            async with self._slots, asyncio.timeout(webhook.timeout_s):
                client = await self._connected()
                if client is None:
                    return
                async with client.stream(
                    webhook.method, webhook.url, **_request(webhook, end)
                ) as response:
                    if response.is_error:
                        log.warning(
                            "job %s: the webhook at %s answered %s",
                            end.record.id,
                            where,
                            response.status_code,
                        )
        except Exception as error:  # noqa: BLE001  whatever a network, a URL or a server can do
            log.warning("job %s: the webhook at %s failed: %r", end.record.id, where, error)

    async def _connected(self) -> AsyncClient | None:
        async with self._lock:
            if self._client is None:
                try:
                    self._client = await asyncio.to_thread(_make_client)  # it reads certificates
                except ImportError:
                    if not self._is_told:
                        log.error(
                            "webhooks are not sent: httpx is not installed (pip install 'aiorq2[webhook]')"
                        )
                    self._is_told = True
            return self._client


def _make_client() -> AsyncClient:
    from httpx import AsyncClient

    return AsyncClient(follow_redirects=True, timeout=None)


def _webhooks_for(end: End) -> list[Webhook]:
    try:
        found = webhooks_of(end.record.text("webhooks"))
    except InvalidOption as error:
        log.warning("job %s: its webhooks cannot be read: %s", end.record.id, error)
        return []
    return [one for one in found if one.job_status == end.status]


def _request(webhook: Webhook, end: End) -> dict[str, Any]:
    headers = dict(webhook.headers or {})
    if webhook.method == "GET":
        return {"headers": headers}
    content = json.dumps(_payload(end)).encode()
    return {"content": content, "headers": {"Content-Type": "application/json", **headers}}


def _payload(end: End) -> dict[str, Any]:
    """Return RQ's payload."""
    record = end.record
    enqueued_at = record.time("enqueued_at")
    payload = {
        "job_id": record.id,
        "func_name": function_name(record.fields.get("data", b"")),
        "status": end.status,
        "enqueued_at": enqueued_at.isoformat() if enqueued_at else None,
        "ended_at": datetime.fromtimestamp(end.ended_at, UTC).isoformat(),
    }
    return payload | {"exc_info": end.exc_info} if end.status == "failed" else payload
