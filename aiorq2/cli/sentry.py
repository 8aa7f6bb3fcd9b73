"""What reports runs that fail to Sentry."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from aiorq2.errors import InvalidOption


def reporter(dsn: str) -> Callable[..., None]:
    """Connect this process to Sentry, and return the exception handler that reports there.

    Raises:
        InvalidOption: the package ``sentry-sdk`` is not there, or cannot make anything of the DSN.
    """
    try:
        sdk = importlib.import_module("sentry_sdk")
    except ImportError as error:
        raise InvalidOption(
            f"--sentry-dsn: {error}; the package is needed: pip install sentry-sdk"
        ) from error
    try:
        sdk.init(dsn)
    except ValueError as error:  # of it, sdk.utils.BadDsn is one
        raise InvalidOption(f"--sentry-dsn: {error}") from error

    def report(job: Any, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        sdk.capture_exception(error)

    return report
