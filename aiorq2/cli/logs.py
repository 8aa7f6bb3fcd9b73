"""What a worker process logs: one line per event on stderr, as text or as JSON, without secrets and at most 2 KB long."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

from aiorq2.cli.plain_text import MAX_LINE, cut, one_line, printable, without_passwords
from aiorq2.timing import to_iso

LogFormat = Literal["text", "json"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MAX_FIELD = 600


def configure(level: str, log_format: LogFormat, *, label: str = "") -> None:
    """Send what this process logs from ``level`` on to stderr.

    Args:
        label: the name of this process among several, in each line of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(label))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """``2024-05-01T12:00:00.123Z INFO    message``; a traceback follows on the same line, its end if it is long."""

    def __init__(self, label: str = "") -> None:
        super().__init__()
        self._label = f"[{label}] " if label else ""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_moment(record)} {record.levelname:<7} {self._label}"
        trace = _trace(self, record)
        if not trace:
            return one_line(head + _message(record))
        told = one_line(head + _message(record), MAX_LINE // 2)
        return (
            f"{told} | {_tail(one_line(trace, len(trace) * 10), MAX_LINE - len(told.encode()) - 3)}"
        )


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, logger, pid, message, what the event adds in ``extra``, and the end of the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": without_passwords(_message(record)),
        }
        event |= {
            name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD
        }
        trace = _trace(self, record)
        if trace:
            event["exception"] = without_passwords(trace)
        return _fitted(event)


def _fitted(event: dict[str, Any]) -> str:
    """Return the event as JSON of at most ``MAX_LINE`` bytes: long texts are cut, and what is too much is left out."""
    limit = _MAX_FIELD * 2
    while len(line := json.dumps(event)) > MAX_LINE and limit > 8:
        event = {name: _shortened(name, value, limit) for name, value in event.items()}
        limit //= 2
    if len(line) > MAX_LINE:
        line = json.dumps(
            {name: event[name] for name in ("time", "level", "logger", "pid", "message")}
        )
    return line


def _shortened(name: str, value: Any, limit: int) -> Any:
    if not isinstance(value, str):
        return value
    return _tail(value, limit) if name == "exception" else cut(value, limit)


def _tail(text: str, limit: int) -> str:
    raw = text.encode("utf-8", "backslashreplace")
    return (
        text if len(raw) <= limit else "…" + raw[len(raw) - limit + 3 :].decode("utf-8", "ignore")
    )


def _moment(record: logging.LogRecord) -> str:
    return to_iso(record.created)[:23] + "Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit the format: show both
        return f"{record.msg!r} % {record.args!r}"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return cut(without_passwords(printable(str(value))), _MAX_FIELD)
