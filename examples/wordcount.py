"""Count the words of Python's standard library, one job a file, and check every result.

Run it as it is, and a worker in this process counts on ``memory://``. With ``--redis redis://localhost:6379/0`` worker processes
do it: they are started here, and stopped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from wordcount_jobs import Count, count, count_in_a_thread, count_on_the_loop

from aiorq2 import AiorqError, Job, JobFailed, Queue, Worker, connect

JOBS = (count_on_the_loop, count_in_a_thread)
QUEUE = "wordcount"
CONCURRENCY = 16
THREADS = 2
"""Few: parsing is bound by Python's lock, and many would only take it from one another and from the loop."""
SHOWN = 10
"""How many wrong results are printed."""

Result = Count | str
"""What a job returned, or why it failed."""

console = Console()


def main() -> int:
    """Run the demo; returns the exit status."""
    options = parse_arguments()
    warnings.simplefilter("ignore", SyntaxWarning)  # old escapes in the files that are parsed
    gc.disable()  # syntax trees are large and free of cycles; to look for some takes a third of the time
    paths = standard_library()[: options.limit]
    try:
        results, took = asyncio.run(run(paths, options))
    except TimeoutError:
        return complain(f"the jobs were not done in {options.time_limit:g} s (--time-limit)")
    except AiorqError as error:
        return complain(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return complain("interrupted; the workers are stopped") + 129
    return conclude(paths, results, took)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    option = parser.add_argument
    option("--redis", metavar="URL", help="use this Redis, and processes")
    option("--workers", type=positive, default=2, metavar="N", help="how many processes (2)")
    option("--limit", type=positive, metavar="N", help="how many files (all)")
    option("--time-limit", type=float, default=300, metavar="S", help="seconds to wait (300)")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def standard_library() -> list[Path]:
    """Return every ``.py`` file of the running Python's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    others = {"site-packages", "dist-packages"}
    return sorted(path for path in root.rglob("*.py") if not others & set(path.parts))


# -- the jobs ----------------------------------------------------------------------------------------------------------------


async def run(paths: Sequence[Path], options: argparse.Namespace) -> tuple[list[Result], float]:
    """Enqueue one job a path, have them run, and return their results and how many seconds that took."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, interrupt, asyncio.current_task())
    prefix = f"wordcount:{token_hex(4)}"  # a namespace of our own in a Redis that others use
    backend = connect(options.redis or "memory://wordcount", key_prefix=prefix)
    queue = Queue(QUEUE, backend=backend)
    if options.redis:
        workers = processes(options.redis, prefix, options.workers)
    else:
        workers = worker_in_here(queue)
    jobs: list[Job] = []
    try:
        async with asyncio.timeout(options.time_limit):
            jobs = await enqueue(queue, paths)
            async with workers as ending:
                return await collect(jobs, ending)
    finally:
        await clean_up(queue, jobs)
        await backend.close()


async def enqueue(queue: Queue, paths: Sequence[Path]) -> list[Job]:
    """Enqueue one job a path, coroutines and plain functions in turn."""
    started_at = time.perf_counter()
    jobs = await queue.enqueue_many(
        [Queue.prepare_data(JOBS[i % 2], [str(path)]) for i, path in enumerate(paths)]
    )
    console.print(f"enqueued {len(jobs)} jobs in {time.perf_counter() - started_at:.2f} s")
    return jobs


async def collect(jobs: Sequence[Job], workers: asyncio.Task[str]) -> tuple[list[Result], float]:
    """Return the results in the order of the jobs, and how long they took.

    Raises:
        AiorqError: the workers ended before the jobs did.
    """
    waiting = asyncio.create_task(wait_for_each(jobs))
    try:
        await asyncio.wait([waiting, workers], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise AiorqError(f"no worker is left, and jobs are: {workers.result()}")
        return waiting.result()
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


async def wait_for_each(jobs: Sequence[Job]) -> tuple[list[Result], float]:
    started_at = time.perf_counter()
    results: list[Result] = []
    with progress_bar() as progress:
        for job in progress.track(jobs, description="counting"):
            try:
                results.append(await job.wait())
            except JobFailed as failure:
                results.append(str(failure).partition("\n")[0])
    return results, time.perf_counter() - started_at


async def clean_up(queue: Queue, jobs: Sequence[Job]) -> None:
    """Leave nothing in somebody's Redis."""
    with suppress(AiorqError):
        await queue.delete()
        await asyncio.gather(*[job.delete() for job in jobs], return_exceptions=True)


# -- the workers -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def worker_in_here(queue: Queue) -> AsyncIterator[asyncio.Task[str]]:
    """Run a worker beside us, on the same event loop; yields the task that tells why it has ended, should it."""
    worker = Worker(
        [queue],
        queue.backend,
        concurrency=CONCURRENCY,
        sync_concurrency=THREADS,
        handle_signals=False,
    )
    working = asyncio.create_task(worker.work())
    ending = asyncio.create_task(ending_of(working))
    try:
        yield ending
    finally:
        working.cancel()
        await asyncio.wait([ending])


async def ending_of(working: asyncio.Task[bool]) -> str:
    await asyncio.wait([working])
    return "it was cancelled" if working.cancelled() else repr(working.exception())


@asynccontextmanager
async def processes(url: str, prefix: str, number: int) -> AsyncIterator[asyncio.Task[str]]:
    """Run worker processes; yields the task that tells how they have ended, should they all."""
    command = [sys.executable, "-m", "aiorq2", "worker", QUEUE, "--quiet"]
    environment = {
        **os.environ,
        "AIORQ2_URL": url,  # not on the command line, where all can read it: there may be a password in it
        "AIORQ2_KEY_PREFIX": prefix,
        "AIORQ2_PATH": str(Path(__file__).parent),
        "AIORQ2_MAX_IDLE_TIME": "30",  # they do not outlive us by more, even if we are killed
        "AIORQ2_GRACE": "2",
        "AIORQ2_CONCURRENCY": str(CONCURRENCY),
        "AIORQ2_SYNC_CONCURRENCY": str(THREADS),
        "PYTHONWARNINGS": "ignore::SyntaxWarning",
    }
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(number):
            # In a session of its own: Ctrl-C is for us, and we stop it.
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
            started.append(process)
        yield asyncio.create_task(endings_of(started))
    finally:
        await stop(started)


async def endings_of(started: Sequence[asyncio.subprocess.Process]) -> str:
    codes = await asyncio.gather(*[process.wait() for process in started])
    return f"exit status {', '.join(map(str, codes))}"


async def stop(started: Sequence[asyncio.subprocess.Process]) -> None:
    """Ask the processes to stop, and kill those that do not."""
    running = [process for process in started if process.returncode is None]
    for process in running:
        process.terminate()
    try:
        async with asyncio.timeout(8):
            await asyncio.gather(*[process.wait() for process in running])
    except TimeoutError:
        for process in running:
            with suppress(ProcessLookupError):
                process.kill()


# -- the end -----------------------------------------------------------------------------------------------------------------


def conclude(paths: Sequence[Path], results: Sequence[Result], took: float) -> int:
    """Print the totals, compute every result once more without any queue, and return the exit status."""
    console.print(totals(results))
    console.print(f"{len(results)} jobs in {took:.1f} s: {len(results) / took:.0f} jobs/s")
    with progress_bar() as progress:
        expected = {
            str(path): count(path.read_bytes())
            for path in progress.track(paths, description="checking")
        }
    wrong = differences(expected, results)
    if wrong:
        console.print(*wrong[:SHOWN], sep="\n", markup=False)
        return complain(f"{len(wrong)} of {len(expected)} results differ from a direct computation")
    console.print(f"{len(expected)} of {len(expected)} results are equal to a direct computation")
    return 0


def differences(expected: Mapping[str, Count], results: Sequence[Result]) -> list[str]:
    """Return a line for every result that is not as expected, and for every one that is missing or too many."""
    lines = [
        f"{path}: expected {right}, got {result}"
        for (path, right), result in zip(expected.items(), results, strict=False)
        if result != right
    ]
    if len(results) != len(expected):
        lines.append(f"{len(results)} results for {len(expected)} files")
    return lines


def totals(results: Sequence[Result]) -> Table:
    """Return the sums as a table, by kind of job."""
    table = Table("jobs", "files", "words", "lines", "names", "unparsable", "failed")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, some in [
        ("async def", results[::2]),
        ("def, in threads", results[1::2]),
        ("both", results),
    ]:
        counts = [one for one in some if not isinstance(one, str)]
        numbers = (
            len(some),
            sum(one["words"] for one in counts),
            sum(one["lines"] for one in counts),
            sum(one["names"] or 0 for one in counts),
            sum(one["names"] is None for one in counts),
            len(some) - len(counts),
        )
        table.add_row(name, *[f"{number:,}" for number in numbers], end_section=some is not results)
    return table


def progress_bar() -> Progress:
    """Return a bar with a text, the number done and the time."""
    text = TextColumn("{task.description}")
    return Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)


def complain(message: str) -> int:
    """Print an error and return the exit status 1."""
    print(f"wordcount: {message}", file=sys.stderr)
    return 1


def interrupt(task: asyncio.Task[object] | None) -> None:
    """Do what Ctrl-C does."""
    if task is not None:
        task.cancel()


if __name__ == "__main__":
    sys.exit(main())
