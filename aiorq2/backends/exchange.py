"""Send pipelines until they are answered: what is transient is repeated, a missing script is loaded, the rest becomes our error.

Repeating is safe because every script may run twice (design D4).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from redis.exceptions import AskError, MovedError, NoScriptError, ResponseError, TryAgainError

from aiorq2.backends import scripts
from aiorq2.backends.line import (
    Command,
    Line,
    distrust,
    is_out_of_memory,
    is_refusal,
    is_transient,
)
from aiorq2.backends.routes import UNTRUSTWORTHY, NoRoute
from aiorq2.errors import BackendError, BackendFull, BackendRefused, BackendUnavailable
from aiorq2.timing import backoff

log = logging.getLogger("aiorq2.backend")

COMPLAIN_EVERY_S = 60.0
MAX_REDIRECTIONS = 5
"""How often a pipeline goes on at once to where the nodes of a cluster say."""


class Exchange:
    """Pipelines to one server, and patience with it.

    Args:
        location: what errors call the server; without a password.
        retry_for: seconds for which a pipeline is repeated while Redis is away; None for ever.
        given_clock: the scripts are those that are told the time.
    """

    def __init__(
        self, location: str, retry_for: float | None, *, given_clock: bool = False
    ) -> None:
        self._location = location
        self.retry_for = retry_for
        self._given_clock = given_clock
        self.reloads = 0
        """How often scripts were missing: then a command may have run before those that stood before it in its pipeline."""
        self.outlasts_refusals = False
        """Whether a refusal is waited out like an absence: who has been at work gives nothing up while somebody edits an ACL."""
        self._complained_at = -math.inf

    async def send(
        self,
        line: Line,
        commands: Sequence[Command],
        *,
        retry_for: float | None = -1,
        is_whole: bool = False,
        patience: float = 0.0,
    ) -> list[Any]:
        """Send a pipeline until every command has a final reply; error replies of the commands' own come back as exceptions.

        Args:
            retry_for: seconds to go on while Redis is away or not ready; -1 the backend's, None for ever, 0 not at all.
            is_whole: what is repeated is the whole pipeline, since its last command is about those before it.
            patience: further seconds to wait for the replies, for commands that block.

        Raises:
            BackendUnavailable: it was away for longer.
            BackendRefused: it does not want us.
        """
        retry_for = self.retry_for if retry_for == -1 else retry_for
        loop = asyncio.get_running_loop()
        deadline = None if retry_for is None else loop.time() + retry_for
        replies: list[Any] = [None] * len(commands)
        open_ = list(range(len(commands)))
        attempt = redirections = 0
        while open_:
            # A peer that is silent takes no more than is left, but for the only try where nothing is repeated.
            within = None if deadline is None or not retry_for else deadline - loop.time()
            left, error = await self._round(line, commands, replies, open_, patience, within)
            open_ = open_ if left and is_whole else left
            if error is None:
                continue
            if isinstance(error, MovedError) and redirections < MAX_REDIRECTIONS:
                redirections += 1  # it has not run, and we know where it is to
                continue
            attempt += 1
            pause = backoff(attempt, base=0.02, cap=1.0)
            if deadline is not None and loop.time() + pause > deadline:
                raise BackendUnavailable(
                    f"Redis at {self._location} {_plain(error)}; the call can be repeated"
                ) from error
            if is_refusal(error):
                self._complain(error)
            elif attempt == 3:
                log.warning("Redis at %s %s; trying again", self._location, _plain(error))
            await line.pause(pause)
        if attempt >= 3:
            log.info("Redis at %s is back", self._location)
        return replies

    async def _round(
        self,
        line: Line,
        commands: Sequence[Command],
        replies: list[Any],
        open_: list[int],
        patience: float,
        within: float | None,
    ) -> tuple[list[int], BaseException | None]:
        """Send the commands that are open; returns those that still are, and why (None: only their scripts were missing)."""
        still_open = [commands[index] for index in open_]
        try:
            answers = await line.run(still_open, patience=patience, within=within)
        except Exception as error:
            if self._passes(error):
                return open_, error
            final = self.final(error)
            if final is error:  # none is its own cause
                raise
            raise final from error
        if not any(isinstance(answer, BaseException) for answer in answers):
            for index, answer in zip(open_, answers, strict=True):
                replies[index] = answer
            return [], None
        answers = await _follow(line, still_open, answers)
        still: list[int] = []
        is_missing = False
        reason: BaseException | None = None
        for index, answer in zip(open_, answers, strict=True):
            if isinstance(answer, NoScriptError):
                still.append(index)
                is_missing = True
            elif isinstance(answer, BaseException) and self._passes(answer):
                still.append(index)
                reason = answer
            else:
                replies[index] = self.final(answer) if isinstance(answer, BaseException) else answer
        if is_missing and reason is None:
            self.reloads += 1
            reason = await self._load(line)
        return still, reason

    async def _load(self, line: Line) -> BaseException | None:
        """Send the text of all scripts: Redis is new, or has forgotten them."""
        texts = [self._script(name).text for name in scripts.all_names()]
        try:
            for answer in await line.run([["SCRIPT", "LOAD", text] for text in texts]):
                if isinstance(answer, BaseException):
                    if self._passes(answer):
                        return answer
                    raise self.final(answer)
        except Exception as error:
            if not self._passes(error):
                raise self.final(error) from error
            return error
        return None

    def _passes(self, error: BaseException) -> bool:
        is_lacking = "unknown command" in str(error)  # that does not change
        return is_transient(error) or (
            self.outlasts_refusals and is_refusal(error) and not is_lacking
        )

    def _complain(self, error: BaseException) -> None:
        """Say that Redis refuses us, once a minute."""
        now = asyncio.get_running_loop().time()
        if now - self._complained_at > COMPLAIN_EVERY_S:
            self._complained_at = now
            log.error("%s; trying again until it does not", self.final(error))

    def _script(self, name: str) -> scripts.Script:
        return scripts.load(name, given_clock=self._given_clock)

    def final(self, error: BaseException) -> BaseException:
        """Translate an error that is not repeated into one of ours."""
        if isinstance(error, BackendError | asyncio.CancelledError):
            return error
        if is_out_of_memory(error):
            return BackendFull(
                f"Redis at {self._location} is out of memory (maxmemory); nothing was enqueued"
            )
        if reason := distrust(error):
            return BackendRefused(f"Redis at {self._location} {UNTRUSTWORTHY}: {reason}")
        if is_refusal(error):
            reason = "it wants a password" if _wants_password(error) else str(error)
            return BackendRefused(f"Redis at {self._location} refuses: {reason}")
        if is_transient(error):
            return BackendUnavailable(
                f"Redis at {self._location} {_plain(error)}; the call can be repeated"
            )
        if isinstance(error, ResponseError):
            message = str(error)
            for name in scripts.all_names():
                script = self._script(name)
                if script.sha in message or f"f_{script.sha}" in message:
                    message = script.place(message)
            return BackendError(f"Redis at {self._location}: {message}")
        return error


async def _follow(line: Line, commands: Sequence[Command], answers: list[Any]) -> list[Any]:
    """Ask the other node for the keys that have gone there, while the slot is on its way. A script has to wait for all of them."""
    for index, (command, answer) in enumerate(zip(commands, answers, strict=True)):
        if (
            isinstance(answer, AskError)
            and not isinstance(answer, MovedError)
            and command[0] != "EVALSHA"
        ):
            other = line.beside((answer.host, answer.port))
            try:
                answers[index] = (await other.run([["ASKING"], command]))[1]
            except Exception as error:  # noqa: BLE001  judged like an error of this line's
                answers[index] = error
            finally:
                await other.close()
    return answers


def _wants_password(error: BaseException) -> bool:
    return any(
        word in str(error) for word in ("NOAUTH", "unauthenticated", "Authentication required")
    )


def _plain(error: BaseException) -> str:
    """Say what is wrong without what redis-py adds (it may quote the URL)."""
    if isinstance(error, NoRoute):
        return str(error)
    if isinstance(error, AskError | TryAgainError):
        return "is handing these keys over to another node"
    if isinstance(error, ResponseError):
        text = str(error)
        if text.startswith("Error running script"):  # Redis 6.2 wraps what went wrong inside
            text = text.rpartition(" -")[2]
        return f"is not ready ({text[:120]})"
    return f"cannot be reached ({type(error).__name__})"
