"""Names of functions, finding them again, and describing calls."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.utils import get_call_string, import_attribute, resolve_function_reference

from aiorq2.callables import (
    MAX_DESCRIPTION,
    FunctionRef,
    describe_call,
    is_coroutine_callable,
    name_of,
    resolve,
)
from aiorq2.errors import InvalidFunction, UnknownFunction
from tests.unit import sample_functions
from tests.unit.sample_functions import AsyncGreeter, Basket, Greeter, Shy

HERE = "tests.unit.sample_functions"
quick = settings(max_examples=30, deadline=None)

WriteModule = Callable[..., str]


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
