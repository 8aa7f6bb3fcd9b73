"""Names of functions, finding them again, describing calls, and what a worker may run."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.utils import get_call_string, import_attribute, resolve_function_reference

from aiorq2 import callables
from aiorq2.callables import (
    MAX_DESCRIPTION,
    AllowList,
    FunctionRef,
    describe_call,
    is_coroutine_callable,
    name_of,
    register,
    resolve,
    warn_if_not_allowed,
)
from aiorq2.errors import FunctionNotAllowed, InvalidFunction, InvalidOption, UnknownFunction
from tests.unit import sample_functions
from tests.unit.sample_functions import AsyncGreeter, Basket, Greeter, Shy

HERE = "tests.unit.sample_functions"
quick = settings(max_examples=50, deadline=None)

WriteModule = Callable[..., str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """A function that writes a module below a folder on ``sys.path`` and returns its folder; forgotten after the test."""
    before = set(sys.modules)

    def write(path: str, source: str = "", root: str = "") -> str:
        folder = tmp_path / root
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        if str(folder) not in sys.path:
            monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return str(folder)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    for cache in (callables._located, callables._outside_project):
        cache.cache_clear()


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (sample_functions.add, f"{HERE}.add"),
        (sample_functions.add_later, f"{HERE}.add_later"),
        (sample_functions.cached, f"{HERE}.cached"),
        (Basket.weigh, f"{HERE}.Basket.weigh"),
        (Basket.make, f"{HERE}.Basket.make"),
        (Basket.Label.text, f"{HERE}.Basket.Label.text"),
        (Basket.size, f"{HERE}.Basket.size"),
        (len, "builtins.len"),
        (dict.fromkeys, "builtins.dict.fromkeys"),
        (str.upper, "builtins.str.upper"),
        ("myapp.tasks.send", "myapp.tasks.send"),
        ("größe.maß", "größe.maß"),
    ],
)
def test_name_of_a_function_is_its_dotted_name(func: Any, name: str) -> None:
    """Functions, static methods and classmethods are named by the way that leads to them; a string is taken as it is."""
    assert name_of(func) == FunctionRef(name, None)


@pytest.mark.parametrize(
    "func", [sample_functions.add, Basket(("a",)).size, sample_functions.greeter, len, "a.b"]
)
def test_name_of_agrees_with_rq(func: Any) -> None:
    """Where RQ has a name for it that works, ours is the same."""
    instance, name = resolve_function_reference(func)

    assert name_of(func) == FunctionRef(name, instance)


def test_name_of_a_bound_method_comes_with_its_object() -> None:
    """A method travels as its object and its bare name, a callable object as itself and __call__."""
    basket, greeter = Basket(), Greeter()

    assert name_of(basket.size) == ("size", basket)
    assert name_of("text".upper) == ("upper", "text")
    assert name_of(greeter) == ("__call__", greeter)


def test_name_of_a_classmethod_is_found_by_rq() -> None:
    """JSON cannot carry the class, and rq finds the classmethod by the dotted name as well."""
    found = import_attribute(name_of(Basket.make).name)

    assert found("x") == Basket(("x",))


class Renamed:
    """A class with a method whose function has another name."""

    def method(self) -> None:
        """Do nothing."""

    other = lambda self: None  # noqa: E731


def main_function() -> None:
    """Pretend to be in __main__."""


class MainCallable:
    """Pretend to be in __main__, too."""

    def __call__(self) -> None:
        """Do nothing."""

    def method(self) -> None:
        """Do nothing."""


for _pretender in (main_function, MainCallable, MainCallable.method):
    _pretender.__module__ = "__main__"


def local() -> Callable[[], None]:
    """Return a closure."""

    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("func", "reason"),
    [
        (lambda: 1, "lambda .* write a function with def"),
        (
            local(),
            r"local\.<locals>\.inner is defined inside a function.* move it to the top level",
        ),
        (main_function, "__main__.* move it to a module that both can import"),
        (MainCallable(), "__main__"),
        (MainCallable().method, "__main__"),
        ("__main__.f", "__main__"),
        (Basket, "is a class; enqueue a function that makes and uses the object"),
        (
            functools.partial(sample_functions.add, 1),
            "pass the function and all its arguments to enqueue",
        ),
        (sample_functions.count_up, "yields"),
        (sample_functions.count_up_later, "yields"),
        (Renamed().other, "is not what its object has under the name '<lambda>'"),
        (None, "None is neither a function"),
        (5, "5 is neither a function"),
        (b"app.f", "neither"),
        (sample_functions.count_up(), "neither"),
        (Shy(), "<unprintable> is neither"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_name_of_refuses_what_a_worker_could_not_find(func: Any, reason: str) -> None:
    """Each refusal says why and what to do instead."""
    with pytest.raises(InvalidFunction, match=reason):
        name_of(func)


def test_name_of_a_coroutine_shows_the_mistake() -> None:
    """Somebody wrote enqueue(f()): the error shows how to write it, and Python does not warn of a lost coroutine."""
    with pytest.raises(
        InvalidFunction, match=r"add_later\(…\) was called already .* enqueue\(add_later, …\)"
    ):
        name_of(sample_functions.add_later(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *("", "f", ".", "a.", ".a", "a..b", "a b.c", "a.b c", "a-b.c", "a.b\n", "a.1b", "a.b()"),
        *("a:b", "a\x00.b", "a.\ud800", "a." * 200 + "b"),
    ],
    ids=repr,
)
def test_name_of_refuses_a_string_that_is_no_dotted_name(text: str) -> None:
    """The shape of a name is checked before anything is sent; the error is short and shows the form."""
    with pytest.raises(InvalidFunction, match=r"write 'module\.function'") as caught:
        name_of(text)

    assert len(str(caught.value)) < 250


def test_name_of_a_string_imports_nothing(write_module: WriteModule) -> None:
    """A producer need not have the code of its workers, and does not run it."""
    write_module("explosive_a.py", "raise SystemExit")

    assert name_of("explosive_a.f").name == "explosive_a.f"
    warn_if_not_allowed("explosive_a.f")
    assert "explosive_a" not in sys.modules


# -- finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "func",
    [
        *(sample_functions.add, sample_functions.cached, len),
        *(Basket.weigh, Basket.make, Basket.Label.text, Basket(("a",)).size, Basket().size),
    ],
)
def test_resolve_undoes_name_of(func: Any) -> None:
    """A worker finds the very function, on a falsy object too, where RQ loses it."""
    assert resolve(*name_of(func)) == func


def test_resolve_of_a_callable_object_can_be_called() -> None:
    """An object with __call__ is called."""
    assert resolve(*name_of(Greeter()))("you") == "hello you"
    assert resolve(f"{HERE}.greeter")("you") == "hello you"


def test_resolve_sees_a_function_that_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the way is remembered: a function that a test patches is found."""
    assert resolve(f"{HERE}.add") is sample_functions.add
    monkeypatch.setattr(sample_functions, "add", max)

    assert resolve(f"{HERE}.add") is max


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nosuchmodule.f", "there is no module 'nosuchmodule'"),
        ("nosuchmodule.sub.f", "there is no module 'nosuchmodule'"),
        ("tests.nosuchmodule.f", "has no attribute 'nosuchmodule'"),
        (f"{HERE}.nosuch", "has no attribute 'nosuch'"),
        (f"{HERE}.Basket.nosuch", "has no attribute 'nosuch'"),
        (f"{HERE}.Basket", "is a class"),
        (f"{HERE}.not_callable", "is a int and cannot be called"),
        (f"{HERE}.subprocess.run", "'subprocess' is another module"),
        ("tests.unit", "'unit' is another module"),
        (f"{HERE}.add.__globals__.clear", "'__globals__' is no name"),
        (f"{HERE}.Basket.__init__", "'__init__' is no name"),
        ("print", "not the dotted name"),
        ("", "not the dotted name"),
        ("a b.c", "not the dotted name"),
        ("a." * 500 + "b", "not the dotted name"),
    ],
)
def test_resolve_says_what_is_missing(name: str, reason: str) -> None:
    """A name that leads nowhere, or out of its module, is an UnknownFunction with the reason."""
    with pytest.raises(UnknownFunction, match=reason) as caught:
        resolve(name)

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name", ["nosuch", "__class__", "__init__", "items", "a.b", "", "x" * 500, "_Basket__x"]
)
def test_resolve_says_what_an_object_lacks(name: str) -> None:
    """The same holds for the method of an instance."""
    with pytest.raises(UnknownFunction):
        resolve(name, Basket())


@pytest.mark.parametrize(
    ("source", "cause", "text"),
    [
        ("import nosuchdependency", ModuleNotFoundError, "No module named 'nosuchdependency'"),
        ("from os import nosuch", ImportError, "cannot import name 'nosuch'"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("def", SyntaxError, "invalid syntax"),
        ("import sys; sys.exit(3)", SystemExit, "SystemExit: 3"),
        ("def f(): f()\nf()", RecursionError, "recursion"),
    ],
)
def test_resolve_reports_an_error_inside_the_module_as_what_it_is(
    write_module: WriteModule, source: str, cause: type[BaseException], text: str
) -> None:
    """RQ hides an import error behind "invalid attribute name"; here the cause is named and chained."""
    write_module("broken_b/__init__.py")
    write_module("broken_b/mod.py", source)

    with pytest.raises(UnknownFunction, match=text) as caught:
        resolve("broken_b.mod.f")

    assert "broken_b.mod" in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)


def test_resolve_tries_again_after_a_failed_import(write_module: WriteModule) -> None:
    """A failure is not remembered: the module may arrive with the next deploy."""
    with pytest.raises(UnknownFunction):
        resolve("arriving_c.f")
    write_module("arriving_c.py", "def f(): return 7")

    assert resolve("arriving_c.f")() == 7


def test_resolve_reports_an_attribute_that_raises(write_module: WriteModule) -> None:
    """A module or an object whose attribute access raises gives the same error."""
    write_module("lazy_d.py", "def __getattr__(name): raise ZeroDivisionError")

    with pytest.raises(UnknownFunction, match="ZeroDivisionError"):
        resolve("lazy_d.f")


# -- coroutine or not ------------------------------------------------------------------------------


def test_coroutine_functions_are_recognised() -> None:
    """Coroutine functions count as such bare, bound, partial and as a callable object."""

    class Service:
        async def run(self) -> None: ...

    for func in (
        sample_functions.add_later,
        Service().run,
        functools.partial(functools.partial(sample_functions.add_later, 1), 2),
        AsyncGreeter(),
        AsyncGreeter().__call__,
        functools.partial(AsyncGreeter(), "x"),
    ):
        assert is_coroutine_callable(func)


def test_plain_functions_are_not_coroutine_functions() -> None:
    """Plain functions are not, and neither is one that wraps a coroutine function: it may run a loop of its own."""

    @functools.wraps(sample_functions.add_later)
    def runs_it(x: int, y: int) -> int:
        return asyncio.run(sample_functions.add_later(x, y))

    for func in (
        sample_functions.add,
        Basket().size,
        Greeter(),
        len,
        sample_functions.cached,
        functools.partial(sample_functions.add, 1),
        sample_functions.wrapped,
        runs_it,
        Basket,
    ):
        assert not is_coroutine_callable(func)


# -- descriptions ----------------------------------------------------------------------------------

simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc üß", max_size=100)
values = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.text("ab"), inner, max_size=5)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.just([])
    ),
    max_leaves=20,
)


@quick
@given(st.lists(values, max_size=3), st.dictionaries(st.sampled_from("xyz"), values, max_size=2))
def test_description_is_rqs(args: list[Any], kwargs: dict[str, Any]) -> None:
    """A call reads as in RQ, to the letter, cut at the same place."""
    assert describe_call("app.f", args, kwargs) == get_call_string(
        "app.f", args, kwargs, max_length=75
    )


def test_description_is_readable() -> None:
    """Arguments first, keywords sorted, each at most 75 characters."""
    text = describe_call("app.f", (1, "a", "x" * 100), {"z": None, "b": [1]})

    assert text == "app.f(1, 'a', '" + "x" * 74 + "..., b=[1], z=None)"


def test_description_survives_any_argument() -> None:
    """A repr that raises, or an int too long to print, is shown as unprintable."""
    assert describe_call("f", (Shy(), [Shy()], 10**5000), {"k": Shy()}) == (
        "f(<unprintable>, <unprintable>, <unprintable>, k=<unprintable>)"
    )


def test_description_is_bounded() -> None:
    """Thousands of arguments, huge ones and cyclic ones give a short text, quickly."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]

    for args in ([1] * 100_000, [list(range(10**6)), "x" * 10**7, b"x" * 10**7], [cycle], [deep]):
        assert len(describe_call("f" * 10_000, args, {})) <= MAX_DESCRIPTION
    assert describe_call("f", [[]] * 500, {}).endswith("...)")


def test_description_looks_only_at_what_it_shows() -> None:
    """Of a long list, the members behind the cut are not even asked for their repr."""
    asked = []

    class Row:
        def __repr__(self) -> str:
            asked.append(1)
            return "Row()"

    describe_call("f", ([Row() for _ in range(10_000)], {n: Row() for n in range(10_000)}), {})

    assert len(asked) < 50


def test_description_cannot_forge_a_log_line() -> None:
    """Control characters, line ends, lone surrogates and bidirectional marks are spelled out."""

    class Rude:
        def __repr__(self) -> str:
            return "\x1b[31m\r\nERROR\u202e\ud800\x00"

    text = describe_call("f\n", (Rude(),), {"a\u2066": 1})

    assert text.isprintable()
    assert text.encode("utf-8")
    assert "\\x1b[31m\\r\\nERROR\\u202e\\ud800\\x00" in text


# -- what a worker may run -------------------------------------------------------------------------


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
    monkeypatch.setattr(callables, "_registered", set())
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
