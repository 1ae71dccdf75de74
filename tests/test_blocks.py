"""`track` around every kind of code: with, async with, and functions of all four kinds."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest

from langchain_tokens import Call, Run, TokensError, open_store, track
from langchain_tokens.registry import REGISTRY
from tests.models import ScriptedChat, StreamingChat

STORE = "tokens.db"
"""In the working directory, of which each test has its own."""
MODEL = ScriptedChat()


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the writers that a test started."""
    yield
    REGISTRY.drain()


def stored() -> list[Call]:
    """The calls that the test's store holds, oldest first."""
    return list(open_store(STORE).calls(order="started_at"))


def tracked() -> Any:
    """What the functions below are decorated with."""
    return track(STORE, session="s1", chain="asked", run="work")


@tracked()
def plain(text: str) -> str:
    """Ask once."""
    return str(MODEL.invoke(text).content)


@tracked()
async def coroutine(text: str) -> str:
    """Ask once."""
    return str((await MODEL.ainvoke(text)).content)


@tracked()
def generator(text: str) -> Iterator[str]:
    """Ask twice."""
    yield str(MODEL.invoke(text).content)
    yield str(MODEL.invoke(text).content)


@tracked()
async def async_generator(text: str) -> AsyncIterator[str]:
    """Ask twice."""
    yield str((await MODEL.ainvoke(text)).content)
    yield str((await MODEL.ainvoke(text)).content)


class Asking:
    """An object that is called, asynchronously."""

    async def __call__(self, text: str) -> str:
        return str((await MODEL.ainvoke(text)).content)


def unmarked(text: str) -> Awaitable[str]:
    """A plain function that hands over a coroutine, as other decorators leave it."""
    return Asking()(text)


async def listed(items: AsyncIterator[str]) -> list[str]:
    """All items."""
    return [item async for item in items]


WAYS: dict[str, tuple[Callable[[], Any], int]] = {
    "def": (lambda: plain("a"), 1),
    "async def": (lambda: asyncio.run(coroutine("a")), 1),
    "generator": (lambda: list(generator("a")), 2),
    "async generator": (lambda: asyncio.run(listed(async_generator("a"))), 2),
    "object": (lambda: asyncio.run(tracked()(Asking())("a")), 1),
    "partial": (lambda: asyncio.run(tracked()(functools.partial(Asking().__call__, "a"))()), 1),
    "unmarked": (lambda: asyncio.run(awaited(tracked()(unmarked)("a"))), 1),
}


async def awaited(what: Awaitable[str]) -> str:
    """What something awaitable gives."""
    return await what


@pytest.mark.parametrize("way", WAYS)
def test_each_invocation_is_a_run_of_its_own(way: str) -> None:
    """A decorated function of any kind has the names inside, and one run for each time that it is called."""
    ask, count = WAYS[way]
    ask()
    ask()
    calls = stored()
    assert [(call.session, call.chain) for call in calls] == [("s1", "asked")] * 2 * count
    assert len({call.run_id for call in calls}) == 2
    assert [run.status for run in open_store(STORE).runs() if run.calls] == ["ok", "ok"]


def test_kinds_of_functions_stay() -> None:
    """Frameworks ask what kind a function is, what it is called and what it takes."""
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert (plain.__name__, coroutine.__doc__) == ("plain", "Ask once.")
    assert list(inspect.signature(generator).parameters) == ["text"]


def test_who_reads_a_generator_is_not_in_its_block() -> None:
    """Between two items the names are those of the reader; those that the generator set itself are there again."""

    @tracked()
    def twice() -> Iterator[int]:
        with track(chain="inner"):
            MODEL.invoke("a")
            yield 1
            MODEL.invoke("b")
        yield 2

    with track(STORE, chain="reader"):
        for _ in twice():
            MODEL.invoke("c")
    assert [call.chain for call in stored()] == ["inner", "reader", "inner", "reader"]


async def test_who_reads_an_async_generator_is_not_in_its_block() -> None:
    """The same, where both share one task."""

    @tracked()
    async def twice() -> AsyncIterator[int]:
        await MODEL.ainvoke("a")
        yield 1
        await MODEL.ainvoke("b")
        yield 2

    with track(STORE, chain="reader"):
        async for _ in twice():
            await MODEL.ainvoke("c")
    assert [call.chain for call in stored()] == ["asked", "reader", "asked", "reader"]


def test_each_item_may_be_asked_for_in_another_context() -> None:
    """A server asks for each item of a stream in a thread with a copied context of its own."""
    items = generator("a")
    assert contextvars.copy_context().run(lambda: next(items))
    assert contextvars.copy_context().run(lambda: next(items))
    with pytest.raises(StopIteration):
        contextvars.copy_context().run(lambda: next(items))
    assert len({call.run_id for call in stored()}) == 1
    assert len(stored()) == 2


def test_generators_take_and_return_what_they_did() -> None:
    """What is sent or thrown into a generator arrives there, and what it returns or raises comes out."""

    @tracked()
    def echo() -> Generator[str, str, str]:
        MODEL.invoke("a")
        try:
            return (yield "first") + "!"
        except KeyError:
            yield "caught"
            raise ValueError("at its end") from None

    items = echo()
    next(items)
    with pytest.raises(StopIteration) as end:
        items.send("sent")
    assert end.value.value == "sent!"
    items = echo()
    next(items)
    assert items.throw(KeyError("a")) == "caught"
    with pytest.raises(ValueError, match="at its end"):
        next(items)
    assert sorted((run.status, run.error_message) for run in open_store(STORE).runs()) == [
        ("error", "at its end"),
        ("ok", None),
    ]


async def test_async_generator_that_is_given_up_ends_its_run() -> None:
    """What was read until then is counted, and the function's own clean-up runs in its block."""
    ends: list[str] = []

    @tracked()
    async def work() -> AsyncIterator[str]:
        try:
            async for piece in StreamingChat().astream("a"):
                yield str(piece.content)
        finally:
            await MODEL.ainvoke("b")
            ends.append("done")

    items = work()
    await anext(items)
    await items.aclose()  # type: ignore[attr-defined]
    assert ends == ["done"]
    assert [call.chain for call in stored()] == ["asked", "asked"]
    assert [run.status for run in open_store(STORE).runs()] == ["cancelled"]


async def test_async_with_opens_a_block() -> None:
    """`async with` is as good as `with`."""
    async with track(STORE, session="s1") as run:
        await asyncio.gather(MODEL.ainvoke("a"), MODEL.ainvoke("b"))
    assert isinstance(run, Run)
    assert run.total.calls == 2
    assert {call.session for call in stored()} == {"s1"}


def test_a_block_may_be_opened_again_but_not_twice_at_once() -> None:
    """Each time is a run of its own; within itself it is refused, as it could not tell its ends apart."""
    block = track(STORE)
    with block:
        MODEL.invoke("a")
    with block:
        MODEL.invoke("b")
        with pytest.raises(RuntimeError, match="open already"), block:
            pass
    assert len({call.run_id for call in stored()}) == 2
    broken = track(STORE, attempt=0)
    for _ in range(2):
        with pytest.raises(TokensError, match="attempt=0"), broken:
            pass
