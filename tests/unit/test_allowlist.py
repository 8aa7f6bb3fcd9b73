"""What a worker may run: registered functions, project code, and what is allowed by name."""

from __future__ import annotations

import functools
import logging
import os
import sys
import types
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest

from aiorq2 import allowlist
from aiorq2.allowlist import AllowList, register, warn_if_not_allowed
from aiorq2.callables import name_of
from aiorq2.errors import FunctionNotAllowed, InvalidFunction, InvalidOption, UnknownFunction
from tests.unit import sample_functions
from tests.unit.sample_functions import Basket, Greeter

HERE = "tests.unit.sample_functions"

WriteModule = Callable[..., str]


def main_function() -> None:
    """Pretend to be in __main__."""


main_function.__module__ = "__main__"


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "sys.exit", "subprocess.run", "os.path.join"),
        *("builtins.eval", "builtins.exec", "importlib.import_module", "test.support.run_code"),
        *("rq.job.Job.fetch", "anyio.run", "click.echo", "aiorq2.callables.resolve", "__main__.f"),
    ],
)
def test_functions_of_others_are_refused(name: str) -> None:
    """The standard library, installed packages, aiorq2 itself and __main__ are not project code."""
    with pytest.raises(FunctionNotAllowed, match=rf"^function '{name}' is .*--allow"):
        AllowList().check(name)
    with pytest.raises(FunctionNotAllowed):
        AllowList().resolve_allowed(name)


def test_project_code_is_allowed() -> None:
    """What lies beside the tests, or beside any program, needs no entry."""
    allow = AllowList()

    for func in (sample_functions.add, sample_functions.cached, Basket.make, Basket.weigh):
        name = name_of(func).name
        allow.check(name)
        assert allow.resolve_allowed(name) == func
        assert allow.resolve_allowed(name) == func
    assert allow.resolve_allowed(f"{HERE}.greeter")("you") == "hello you"
    assert allow.resolve_allowed(f"{HERE}.run_add")(2) == 3


@pytest.mark.parametrize("name", ["system", "run_shell"])
def test_function_of_others_is_refused_under_a_projects_name(name: str) -> None:
    """Importing a function, or making a partial of it, does not make it project code; a pattern does not help either."""
    for allow in (AllowList(), AllowList(["tests.*"])):
        with pytest.raises(
            FunctionNotAllowed,
            match=rf"{name}' is really (posix|nt|subprocess)\.\w+, which is part of Python",
        ):
            allow.resolve_allowed(f"{HERE}.{name}")


def test_method_of_a_projects_text_is_refused() -> None:
    """The way through a value of the project leads to a method of its type, which is not the project's."""
    with pytest.raises(
        FunctionNotAllowed, match=r"is really builtins\.str\.upper, which is part of Python"
    ):
        AllowList().resolve_allowed(f"{HERE}.text.upper")


def test_function_of_others_is_allowed_by_its_exact_name_or_home() -> None:
    """An entry without wildcards is taken at its word, and a pattern for the place of definition serves too."""
    assert AllowList([f"{HERE}.system"]).resolve_allowed(f"{HERE}.system") is os.system
    assert AllowList(["posix.*", "nt.*"]).resolve_allowed(f"{HERE}.system") is os.system


def test_methods_of_plain_data_are_refused() -> None:
    """A forged payload cannot call methods of the strings and dicts that JSON can carry."""
    for instance, name in (("{}", "format"), ({}, "clear"), ([], "append"), (1, "bit_length")):
        with pytest.raises(FunctionNotAllowed, match="is part of Python"):
            AllowList().resolve_allowed(name, instance)


def test_methods_of_project_objects_are_allowed() -> None:
    """An object of a project class may be called; one of somebody else's class needs an entry."""
    assert AllowList().resolve_allowed("size", Basket())() == 0
    assert AllowList().resolve_allowed("make", Basket)("x") == Basket(("x",))
    with pytest.raises(FunctionNotAllowed):
        AllowList().resolve_allowed("is_file", Path())
    assert AllowList(["pathlib.*"]).resolve_allowed("is_file", Path("nosuch"))() is False


def test_missing_module_is_unknown_and_not_forbidden() -> None:
    """A module that does not exist (yet) passes the check, and is reported by resolving."""
    AllowList().check("nosuchmodule.f")
    with pytest.raises(UnknownFunction):
        AllowList().resolve_allowed("nosuchmodule.f")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b.c", "a\x00.b", "print", "." * 500, "\ud800.f", "tests..f"]
)
def test_malformed_name_is_unknown(name: str) -> None:
    """Junk in a payload ends as an UnknownFunction, whatever it is."""
    with pytest.raises(UnknownFunction):
        AllowList().resolve_allowed(name)


@pytest.mark.parametrize(
    "entry", ["click.*", "cli*", "click.utils.echo", "*.echo", "click.utils.ech?", "*"]
)
def test_allow_entry_covers(entry: str) -> None:
    """A star stands for any text, dots included, a question mark for one character."""
    AllowList(["nothing.here", entry]).check("click.utils.echo")


@pytest.mark.parametrize(
    "entry",
    [
        "click",
        "click.utils",
        "click.utils.ech",
        "Click.*",
        "lick.*",
        "click.?",
        "rq.*",
        "clickxutils.echo",
    ],
)
def test_allow_entry_does_not_cover(entry: str) -> None:
    """An entry covers a whole name: no prefix, no other case, and without wildcards only itself."""
    with pytest.raises(FunctionNotAllowed):
        AllowList(["nothing.here", entry]).check("click.utils.echo")


def test_allow_takes_one_string_for_one_entry() -> None:
    """A string in place of a list is not taken apart into its letters."""
    AllowList("click.*").check("click.echo")
    with pytest.raises(FunctionNotAllowed):
        AllowList("o*s.x").check("os.system")


@pytest.mark.parametrize("bad", ["", " ", None, 5])
def test_allow_refuses_entries_that_are_none(bad: Any) -> None:
    """An empty entry is a mistake in the configuration."""
    with pytest.raises(InvalidOption, match="allow"):
        AllowList([bad])


def test_trust_all_lifts_the_list() -> None:
    """With unsigned pickle there is nothing left to protect."""
    assert AllowList(trust_all=True).resolve_allowed("os.system") is os.system
    assert AllowList(["*"]).resolve_allowed("upper", "x")() == "X"


def test_registered_function_is_allowed_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated function needs no entry, even in an installed package."""
    monkeypatch.setattr(allowlist, "_registered", set())
    with pytest.raises(FunctionNotAllowed):
        AllowList().resolve_allowed(f"{os.getpid.__module__}.getpid")

    name = register(os.getpid)

    assert AllowList().resolve_allowed(name) is os.getpid


def test_register_takes_functions_of_main_but_no_classes() -> None:
    """A decorator runs in __main__ too; what is no function cannot be decorated."""
    assert register(main_function) == "__main__.main_function"
    for bad in (Basket, Greeter(), functools.partial(sample_functions.add), 5):
        with pytest.raises(InvalidFunction):
            register(bad)  # type: ignore[arg-type]


def test_check_imports_nothing(write_module: WriteModule) -> None:
    """Judging a name does not run the module."""
    write_module("explosive_e/__init__.py", "raise SystemExit")
    write_module("explosive_e/mod.py", "raise SystemExit")

    AllowList().check("explosive_e.mod.f")
    warn_if_not_allowed("explosive_e.mod.f")

    assert "explosive_e" not in sys.modules


def test_site_packages_inside_the_project_are_not_project_code(write_module: WriteModule) -> None:
    """A virtual environment below the project folder holds installed code all the same."""
    write_module("installed_f.py", "def f(): ...", root="project/.venv/lib/python3/site-packages")
    write_module("installed_g.py", "def f(): ...", root="project/vendor/dist-packages")
    write_module("own_f.py", "def f(): ...\nfrom installed_f import f as g", root="project")

    AllowList().check("own_f.f")
    for name in ("installed_f.f", "installed_g.f"):
        with pytest.raises(FunctionNotAllowed, match="is installed code"):
            AllowList().check(name)
    with pytest.raises(FunctionNotAllowed, match=r"is really installed_f\.f"):
        AllowList().resolve_allowed("own_f.g")


def test_namespace_package_is_judged_by_its_parts(write_module: WriteModule) -> None:
    """Of a package that is spread over several places, each part counts by where it lies."""
    write_module("shared_h/team/own/mod.py", "def f(): ...", root="project")
    write_module("shared_h/other/mod.py", "def f(): ...", root="site-packages")

    AllowList().check("shared_h.team.own.mod.f")
    AllowList().resolve_allowed("shared_h.team.own.mod.f")
    with pytest.raises(FunctionNotAllowed, match="is installed code"):
        AllowList().check("shared_h.other.mod.f")
    AllowList().check("shared_h.nosuch.f")


def test_module_in_a_zip_file_is_project_code(
    tmp_path: Path, write_module: WriteModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is shipped as a zip file counts by where that lies."""
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_i.py", "def f(): return 1")
    monkeypatch.syspath_prepend(str(archive))

    assert AllowList().resolve_allowed("zipped_i.f")() == 1


def test_editable_install_is_project_code(
    tmp_path: Path, write_module: WriteModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable install is found by a finder of its own and counts by where its source lies."""
    source = tmp_path / "checkout"
    source.mkdir()
    (source / "editable_j.py").write_text("def f(): return 1")

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return PathFinder.find_spec(name, [str(source)]) if name == "editable_j" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])

    assert AllowList().resolve_allowed("editable_j.f")() == 1


def test_module_made_by_hand_is_project_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the program itself put into sys.modules has no file, and is its own; os.system in it is not."""
    module = types.ModuleType("handmade_k")
    exec("def f(): return 1", module.__dict__)  # noqa: S102
    module.__dict__["system"] = os.system
    monkeypatch.setitem(sys.modules, "handmade_k", module)

    assert AllowList().resolve_allowed("handmade_k.f")() == 1
    with pytest.raises(FunctionNotAllowed):
        AllowList().resolve_allowed("handmade_k.system")


def test_function_whose_home_cannot_be_found_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that claims to come from nowhere is refused, unless it is named exactly."""

    def stray() -> None: ...

    stray.__module__ = "nowhere_l"
    monkeypatch.setattr(sample_functions, "stray", stray, raising=False)

    with pytest.raises(FunctionNotAllowed, match="in no module that can be found"):
        AllowList().resolve_allowed(f"{HERE}.stray")
    assert AllowList([f"{HERE}.stray"]).resolve_allowed(f"{HERE}.stray") is stray

    stray.__module__ = None  # type: ignore[assignment]
    with pytest.raises(FunctionNotAllowed, match="does not tell where"):
        AllowList().resolve_allowed(f"{HERE}.stray")


def test_replaced_function_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was allowed under a name does not vouch for another function under the same name."""
    allow = AllowList()
    allow.resolve_allowed(f"{HERE}.add")
    monkeypatch.setattr(sample_functions, "add", os.system)

    with pytest.raises(FunctionNotAllowed):
        allow.resolve_allowed(f"{HERE}.add")


def test_producer_is_warned_once(caplog: pytest.LogCaptureFixture) -> None:
    """Enqueueing a function that workers will refuse is logged the first time, with the option."""
    warn_if_not_allowed.cache_clear()
    with caplog.at_level(logging.WARNING, "aiorq2"):
        for name in ("os.system", "os.system", f"{HERE}.add", "nosuchmodule.f"):
            warn_if_not_allowed(name)

    (record,) = caplog.records
    assert "'os.system' is part of Python" in record.getMessage()
    assert "--allow" in record.getMessage()
