"""Objects that are named on the command line: ``package.module:attribute``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from aiorq2.errors import AiorqError, InvalidOption


def load_target(target: str, folders: Sequence[str] = ()) -> Any:
    """Return the object that is meant; modules are found in the current folder and in ``folders`` as well.

    Raises:
        InvalidOption: there is no such module or attribute.
        AiorqError: the module raised when it was imported.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise InvalidOption(f"{target[:100]!r}: a target is written module:attribute")
    find_modules_in(folders)
    found: Any = import_for(module_name, repr(target[:100]))
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InvalidOption(
                f"{target[:100]!r}: there is no {part!r} in {found!r:.100}"
            ) from None
    return found


def find_modules_in(folders: Sequence[str] = ()) -> None:
    """Make the current folder and others importable, as ``python -m`` does."""
    sys.path[:0] = [os.getcwd(), *(os.path.abspath(folder) for folder in folders)]


def import_for(module_name: str, asked: str) -> ModuleType:
    """Return a module; ``asked`` is what stands before an error.

    Raises:
        InvalidOption: there is no such module, or it lacks another one.
        AiorqError: it raised when it was imported.
    """
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidOption(f"{asked}: {error}") from error
    except (Exception, SystemExit) as error:
        raise AiorqError(f"{asked}: it raised {type(error).__name__}: {error}") from error
