"""How commands fail: one sentence, an exit status, and never a password."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from aiorq2 import __version__
from aiorq2.backends.redis import RedisBackend
from aiorq2.cli import commands
from tests.flow.cli_stage import Stage, is_one_sentence
from tests.support.processes import PythonProcess
from tests.support.redis_server import RedisServer

CANARY = "c4nary-passw0rd"
NOWHERE = f"redis://:{CANARY}@127.0.0.1:1/0"


@pytest.fixture
def stage(redis_url: str, key_prefix: str) -> Stage:
    """The test's Redis with a command line."""
    return Stage(redis_url, key_prefix)


def test_no_command_shows_the_help(stage: Stage) -> None:
    """And ``--version`` the version."""
    assert "Commands:" in stage.run().stdout
    assert "Exit status: 0" in stage.run("--help").stdout
    assert stage.run("--version").stdout == f"aiorq2, version {__version__}\n"


@pytest.mark.parametrize(
    "args", [["nosuch"], ["info", "--nosuch"], ["resume", "extra"], ["worker", "--name"]]
)
def test_usage_error_is_one_sentence(stage: Stage, args: list[str]) -> None:
    """With status 2 and the way to the help."""
    assert is_one_sentence(stage.run(*args), 2)


EVERY_COMMAND: list[list[str]] = [
    ["info"],
    ["worker", "--burst"],
    ["worker", "--burst", "--processes", "2"],
    ["enqueue", "f.g"],
    ["cancel", "x"],
    ["requeue", "x"],
    ["requeue", "--all"],
    ["empty", "q", "--yes"],
    ["empty", "--all", "--yes"],
    ["suspend"],
    ["resume"],
]


@pytest.fixture(scope="module")
def locked_server() -> Iterator[RedisServer]:
    """A Redis with a password."""
    with RedisServer(requirepass=CANARY) as server:
        yield server


def run_process(*args: str, **env: str) -> tuple[int, str]:
    """Run a command in a process of its own; return its status and everything it said."""
    with PythonProcess(["-m", "aiorq2", *args], env=env) as process:
        return process.wait(60), process.output()


@pytest.mark.parametrize(
    ("args", "is_verbose"),
    [*((one, False) for one in EVERY_COMMAND), (["info"], True), (["worker"], True)],
)
def test_wrong_password_is_one_sentence_without_it(
    locked_server: RedisServer, args: list[str], is_verbose: bool
) -> None:
    """Status 2: waiting does not help. A traceback comes only with ``-v``, without the password as well."""
    url = locked_server.url.replace(CANARY, f"{CANARY}-wrong")

    status, output = run_process(*(["-v"] if is_verbose else []), *args, AIORQ2_URL=url)

    assert status == 2
    assert "refuses" in output
    assert CANARY not in output
    assert ("Traceback" in output) == is_verbose


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(one, marks=[] if one == ["info"] else pytest.mark.slow)
        for one in EVERY_COMMAND
        if "--processes" not in one
    ],
)
def test_redis_that_is_away_fails_in_bounded_time(args: list[str]) -> None:
    """Status 1 within some seconds, the place without the password in the message."""
    status, output = run_process(*args, "--url", NOWHERE)

    assert status == 1
    told = [line for line in output.splitlines() if line.startswith("aiorq2: ")]
    assert any("Redis at 127.0.0.1:1/0 cannot be reached" in line for line in told), output
    assert CANARY not in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{CANARY}@host",
        f"{CANARY}@host:6379",
        f"redis://:{CANARY}@host:99999/0",
        f"redis://:{CANARY}@host:port/0",
        f"redis://:{CANARY}/word@host:6379",
        f"redis://:{CANARY}#word@host:6379",
        f"redis://:[{CANARY}@host:6379",
        f"redis://:{CANARY}@host?nosuch={CANARY}",
        f"redis://:{CANARY}@host?db={CANARY}",
        "redis//host",
        "",
    ],
)
def test_wrong_url_is_refused_without_being_shown(stage: Stage, url: str) -> None:
    """Status 2; nothing of the URL but its scheme is in the message."""
    result = stage.run("info", "--url", url)

    assert is_one_sentence(result, 2), result.output
    assert CANARY not in result.output


def test_password_in_the_wrong_place_is_not_shown(stage: Stage) -> None:
    """Where a URL is given as something else."""
    url = f"redis://:{CANARY}@host/0"

    for args in (
        ["info", url],
        ["suspend", url],
        [url],
        ["cancel", url],
        ["enqueue", "f.g", "--queue", url],
    ):
        result = stage.run(*args)
        assert result.exit_code in (1, 2)
        assert CANARY not in result.output


def test_url_is_read_from_three_variables(redis_url: str, key_prefix: str) -> None:
    """``AIORQ2_URL`` before ``RQ_REDIS_URL`` before ``REDIS_URL``; an empty one counts as none."""
    wrong = "http://nowhere"

    def status(**env: str) -> int:
        settings = {
            "AIORQ2_URL": None,
            "RQ_REDIS_URL": None,
            "REDIS_URL": None,
            "RQ_KEY_PREFIX": key_prefix,
        }
        return CliRunner().invoke(commands, ["info"], env={**settings, **env}).exit_code

    assert status(AIORQ2_URL=redis_url, RQ_REDIS_URL=wrong, REDIS_URL=wrong) == 0
    assert status(AIORQ2_URL="", RQ_REDIS_URL=redis_url, REDIS_URL=wrong) == 0
    assert status(REDIS_URL=redis_url) == 0
    assert status(RQ_REDIS_URL=wrong, REDIS_URL=redis_url) == 2


def test_garbage_in_a_variable_is_named(stage: Stage) -> None:
    """The message says which variable it was."""
    result = stage.run("worker", env={"AIORQ2_CONCURRENCY": "many"})

    assert is_one_sentence(result, 2)
    assert "AIORQ2_CONCURRENCY" in result.stderr


def test_every_option_has_a_variable_and_a_sentence() -> None:
    """Named after the option alone, not after the command, and shown by ``--help``."""
    for command in [commands, *commands.commands.values()]:
        for parameter in command.params:
            if (
                not isinstance(parameter, click.Option)
                or parameter.hidden
                or parameter.name == "version"
            ):
                continue
            long = next(name for name in parameter.opts if name.startswith("--"))
            variable = f"AIORQ2_{long.removeprefix('--').replace('-', '_').upper()}"
            assert parameter.help
            assert isinstance(parameter.envvar, list)
            assert parameter.envvar[0] == variable
            assert parameter.show_envvar


def test_bug_is_one_sentence_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called by its name; ``-v`` shows where."""

    async def broken(backend: RedisBackend) -> None:
        raise ZeroDivisionError(f"at redis://:{CANARY}@host")

    monkeypatch.setattr("aiorq2.suspension.resume", broken)

    short, long = stage.run("resume"), stage.run("-v", "resume")

    assert is_one_sentence(short, 1)
    assert "unexpected ZeroDivisionError" in short.stderr
    assert "Traceback" in long.stderr
    assert CANARY not in short.output + long.output
