"""Scripts with a fault put into them, to see whether it is found: a checker that finds nothing proves nothing.

``python -m tests.faults.mutants NAME worker …`` is the command line of aiorq2 on such scripts.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiorq2.backends import scripts
from aiorq2.backends.redis import RedisBackend

_FENCED = "  if not held then"
_MINDFUL = "  if not (from[status] or is_misnamed(run.id, run.origin, status)) then"

MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    "no fencing": [("include/settle", _FENCED, "  if false then")],
    "no lease": [
        ("include/take", "deadline = now + ARG.lease", "deadline = now - 1"),
        ("extend", "'XX', now + ARG.lease", "'XX', now - 1"),
    ],
    "settles twice": [
        ("include/settle", _FENCED, "  if false then"),
        ("include/settle", _MINDFUL, "  if false then"),
    ],
    "forgets a job": [
        ("include/take", "if not has.status or", "if string.sub(execution, 1, 1) == '0' or not has.status or")
    ],
    "no lease in the end": [("include/end_runs", "    redis.call('ZREM', K.wip(origin), unpack(members, first))\n", "")],
    "starts what was cancelled": [("cancel", "forget(ARG.id, origin, status, found[5], ARG.now_iso)", "")],
    "counts no deaths": [("reap", "(tonumber(found[9]) or 0) + 1", "1")],
    "burns attempts": [("give_back", "redis.call('HINCRBY', key, 'aio_attempt', -1)", "")],
    "requeues what runs": [("requeue", "not VERB.requeue.from[status]", "status == STATUS.queued")],
    "keeps places in rate limits": [
        ("include/end_runs", "      leave(run.id, run.rate, run.ended_at)\n", "")
    ],
    "frees children of failed parents": [
        ("include/parents", "      if BAD[status] then", "      if BAD[status] and thorough then"),
        ("include/parents", "FORGIVEN = {wait = {}", "FORGIVEN = {wait = BAD"),
    ],
    "forgets who waits": [("include/dependents", "  for _, child in ipairs(found[2]) do", "  for _, child in ipairs({}) do")],
    "promotes too early": [
        ("include/promote", "string.format('%.6f', now)", "'+inf'")
    ],
    "adds twice": [
        ("add", "old[3] == ARG.token or redis.call('EXISTS', K.replay(ARG.token)) == 1", "false"),
    ],
}  # fmt: skip
"""By name: the script (or include), what stands there, and what stands there instead."""


def names() -> list[str]:
    """Return the names of all mutants."""
    return list(MUTANTS)


@contextmanager
def at_work(name: str) -> Iterator[None]:
    """Have every script that is loaded inside be the mutant's."""
    original = scripts._ROOT
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(str(original)), folder, dirs_exist_ok=True)
        for script, old, new in MUTANTS[name]:
            path = Path(folder) / f"{script}.lua"
            text = path.read_text()
            assert text.count(old) == 1, f"{script}.lua: {old!r} is there {text.count(old)} times"
            path.write_text(text.replace(old, new))
        _load_from(Path(folder))
        try:
            yield
        finally:
            _load_from(original)


def _load_from(root: Any) -> None:
    scripts._ROOT = root
    scripts.load.cache_clear()
    for name in scripts.all_names():
        scripts.load(name)


def _settle_twice() -> None:
    """Send every outcome once more, a little later."""
    settle: Any = RedisBackend.settle

    async def again(backend: RedisBackend, seat: Any, ended: Sequence[Any], *rest: Any) -> Any:
        claimed = await settle(backend, seat, ended, *rest)
        if ended:
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, lambda: loop.create_task(settle(backend, seat, ended)))
        return claimed

    RedisBackend.settle = again  # type: ignore[assignment, method-assign]


def main(name: str, arguments: Sequence[str]) -> None:
    """Run the command line of aiorq2 with a mutant's scripts."""
    from aiorq2.cli import main as command_line

    if name == "settles twice":
        _settle_twice()
    with at_work(name):
        sys.argv = ["aiorq2", *arguments]
        command_line()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
