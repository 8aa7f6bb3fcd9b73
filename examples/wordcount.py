"""Count the words of Python's standard library, one job a file, and check every result.

Run it as it is, and a worker in this process counts on ``memory://``. With ``--redis redis://localhost:6379/0`` worker processes
do it: they are started here, and stopped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
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
SHOWN = 10
"""How many wrong results are printed."""

Result = Count | str
"""What a job returned, or why it failed."""

console = Console()


def main() -> int:
    """Run the demo; returns the exit status."""
    options = parse_arguments()
    warnings.simplefilter("ignore", SyntaxWarning)  # old escapes in the files that are parsed
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
    parser.add_argument("--redis", metavar="URL", help="work on this Redis, in processes")
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="how many processes (2)")
    parser.add_argument("--limit", type=positive, metavar="N", help="how many files (all)")
    parser.add_argument("--time-limit", type=float, default=300, metavar="S", help="seconds (300)")
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
    workers = processes(options, prefix) if options.redis else worker_in_here(queue)
    jobs: list[Job] = []
    try:
        async with asyncio.timeout(options.time_limit):
            jobs = await enqueue(queue, paths)
            async with workers as first_to_end:
                return await collect(jobs, first_to_end)
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


async def collect(
    jobs: Sequence[Job], first_to_end: asyncio.Future[str]
) -> tuple[list[Result], float]:
    """Return the results in the order of the jobs, and how long they took.

    Raises:
        AiorqError: a worker ended before the jobs did.
    """
    collecting = asyncio.create_task(wait_for_each(jobs))
    await asyncio.wait({collecting, first_to_end}, return_when=asyncio.FIRST_COMPLETED)
    if not collecting.done():
        collecting.cancel()
        raise AiorqError(f"a worker ended before the jobs did: {await first_to_end}")
    return await collecting


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
async def worker_in_here(queue: Queue) -> AsyncIterator[asyncio.Future[str]]:
    """Run a worker beside us, on the same event loop."""
    # Parsing is bound by Python's lock: many threads would only take it from one another, and from the loop.
    worker = Worker([queue], queue.backend, concurrency=16, sync_concurrency=4, handle_signals=False)
    working = asyncio.create_task(worker.work())
    try:
        yield asyncio.ensure_future(ending_of(working))
    finally:
        working.cancel()
        await asyncio.wait({working})


async def ending_of(working: asyncio.Task[bool]) -> str:
    await asyncio.wait({working})
    return "cancelled" if working.cancelled() else repr(working.exception())


@asynccontextmanager
async def processes(
    options: argparse.Namespace, prefix: str
) -> AsyncIterator[asyncio.Future[str]]:
    """Run worker processes, in sessions of their own: Ctrl-C is for us, and we stop them."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "aiorq2", "worker", QUEUE, "--quiet", "--path", str(here)]
    # They do not outlive us, even if we are killed.
    command += ["--concurrency", "16", "--sync-concurrency", "4", "--max-idle-time", "30", "--grace", "2"]
    environment = {
        **os.environ,
        "AIORQ2_URL": options.redis,  # not on the command line: it may hold a password
        "AIORQ2_KEY_PREFIX": prefix,
        "PYTHONWARNINGS": "ignore::SyntaxWarning",
    }
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(options.workers):
            started.append(
                await asyncio.create_subprocess_exec(
                    *command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
                )
            )
        yield asyncio.ensure_future(first_exit(started))
    finally:
        await stop(started)


async def first_exit(started: Sequence[asyncio.subprocess.Process]) -> str:
    endings = {asyncio.create_task(process.wait()) for process in started}
    done, _ = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
    return f"exit status {done.pop().result()}"


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
        expected = [count(path.read_bytes()) for path in progress.track(paths, description="checking")]
    wrong = differences({str(path): one for path, one in zip(paths, expected, strict=True)}, results)
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
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)


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
