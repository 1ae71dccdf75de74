"""Is each call counted once and only once? Caches, wrappers, batches, several handlers. Rows 11, 46 to 51 and 58."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.utils.uuid import uuid7

from langchain_tokens import TokenUsageHandler, track
from tests.conformance.builders import QUESTION, State, asks, chain, config, failing_first, line_of
from tests.conformance.models import (
    USAGE,
    DelegatingModel,
    Gate,
    OvertakenModel,
    RepeatingModel,
    ScriptedError,
    ScriptedModel,
    StreamingModel,
    TextModel,
)
from tests.conformance.table import Row, Table, check, line, name_of, played, stored_calls

TABLE = Table()


class OtherDelegatingModel(DelegatingModel):
    """Another kind of model that hands on what it is asked."""


class StreamingDelegatingModel(DelegatingModel):
    """A model that hands on the pieces of another one's stream."""

    def _stream(self, messages: Any, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for piece in self.inner.stream(messages):
            yield ChatGenerationChunk(message=piece)

    async def _astream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self.inner.astream(messages):
            yield ChatGenerationChunk(message=piece)


class OtherStreamingModel(StreamingModel):
    """Another kind of model that streams."""


class StubbornModel(DelegatingModel):
    """A model that asks another one, and fails by itself when that does."""

    def _generate(self, *arguments: Any, **more: Any) -> ChatResult:
        with suppress(TimeoutError):
            return super()._generate(*arguments, **more)
        raise TimeoutError("slow")


PROMPTS = [[HumanMessage("z")], [HumanMessage("z")]]


@TABLE.row("46", "LangChain's cache", "- | - | - | 1 | ok 10/5", "- | - | - | 1 | cached 0/0", runs=2)
def cached(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(cache=InMemoryCache())
    for _ in range(2):
        model.invoke("q", config(handler))
    assert model.calls == 1


@TABLE.row("46", "one prompt twice on a cold cache", "- | - | - | 1 | ok 10/5", "- | - | - | 1 | cached 0/0", runs=2)
async def cold_cache(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(cache=InMemoryCache())
    await model.agenerate(PROMPTS, callbacks=[handler])
    assert model.calls == 1


@TABLE.row("46", "one prompt twice on a cold cache: both ask the provider", *["- | - | - | 1 | ok 10/5"] * 2, runs=2)
async def cold_cache_missed_twice(handler: TokenUsageHandler) -> None:
    gate = Gate()
    model = ScriptedModel(cache=InMemoryCache(), gate=gate)
    generating = asyncio.create_task(model.agenerate(PROMPTS, callbacks=[handler]))
    await gate.await_entered()
    gate.release()
    await generating
    assert model.calls == 2


class SlowCache(InMemoryCache):
    """A cache that holds an answer before its writing is over, as one in another process does."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self.is_written = asyncio.Event()

    async def aupdate(self, *args: Any) -> None:
        """Hold the answer, and come back when the test says so."""
        self.update(*args)
        self.held.set()
        await self.is_written.wait()


ANSWER = AIMessage("answer", id="msg_1")


@TABLE.row(
    "46",
    "one prompt twice on a cold cache, and a provider's id",
    "- | - | - | 1 | ok 10/5",
    "- | - | - | 1 | cached 0/0",
    runs=2,
)
def cold_cache_with_a_provider_id(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(cache=InMemoryCache(), steps=(ANSWER,))
    model.generate(PROMPTS, callbacks=[handler])
    assert model.calls == 1


@TABLE.row(
    "46",
    "a hit that ends before the call that was paid, and a provider's id",
    "- | - | - | 1 | ok 10/5",
    "- | - | - | 1 | cached 0/0",
    runs=2,
)
async def cache_that_is_slow_to_write(handler: TokenUsageHandler) -> None:
    cache = SlowCache()
    model = ScriptedModel(cache=cache, steps=(ANSWER,))
    paid = asyncio.create_task(model.ainvoke("q", config(handler)))
    await cache.held.wait()
    await model.ainvoke("q", config(handler))
    cache.is_written.set()
    await paid
    assert model.calls == 1


@TABLE.row("46", "hits of an answer that nobody saw", *["- | - | - | 1 | cached 0/0"] * 2, runs=2)
async def cache_filled_elsewhere(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(cache=InMemoryCache(), steps=(ANSWER,))
    await model.ainvoke("q")
    await model.abatch(["q", "q"], config(handler))
    assert model.calls == 1


@TABLE.row("47", "a model that asks another model", "R | - | R | 1 | ok 10/5")
def delegating(handler: TokenUsageHandler) -> None:
    chain(DelegatingModel(inner=ScriptedModel()), "R").invoke(QUESTION, config(handler))


@TABLE.row(
    "47",
    "a model that asks another model, in a loop",
    *[f"n | G | G/n | {attempt} | ok 10/5" for attempt in (1, 2, 3)],
)
async def delegating_in_a_loop(handler: TokenUsageHandler) -> None:
    model = DelegatingModel(inner=ScriptedModel())

    async def node(state: State) -> State:
        for _ in range(3):
            await model.ainvoke("q")
        return {"turns": 1}

    await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))


@TABLE.row("47", "a model that asks another model, which fails", "R | - | R | 1 | error -")
def delegating_failure(handler: TokenUsageHandler) -> None:
    with pytest.raises(ScriptedError):
        chain(DelegatingModel(inner=failing_first(1)), "R").invoke(QUESTION, config(handler))


@TABLE.row("47", "a model that asks another model, which times out", "R | - | R | 1 | error -")
def delegating_timeout(handler: TokenUsageHandler) -> None:
    with pytest.raises(TimeoutError):
        chain(DelegatingModel(inner=ScriptedModel(steps=(TimeoutError("slow"),))), "R").invoke(
            QUESTION, config(handler)
        )


@TABLE.row(
    "47",
    "a model that asks another model, and fails like it, but by itself",
    *[f"R | - | R | {attempt} | error -" for attempt in (1, 2)],
)
def failing_alike(handler: TokenUsageHandler) -> None:
    with pytest.raises(TimeoutError):
        chain(StubbornModel(inner=ScriptedModel(steps=(TimeoutError("slow"),))), "R").invoke(QUESTION, config(handler))


@TABLE.row("47", "a model that hands on another one's stream, given up", "R | - | R | 1 | cancelled -")
def delegating_stream(handler: TokenUsageHandler) -> None:
    pieces = _handing_on_a_stream().stream("q", config(handler, run_name="R"))
    next(pieces)
    pieces.close()


@TABLE.row("47", "a model that hands on another one's stream, given up in a task", "R | - | R | 1 | cancelled -")
async def delegating_stream_in_a_task(handler: TokenUsageHandler) -> None:
    pieces: Any = _handing_on_a_stream().astream("q", config(handler, run_name="R"))
    await anext(pieces)
    await pieces.aclose()


@TABLE.row("47", "a model that hands on another one's stream to a parser, given up", "R | - | R | 1 | cancelled -")
async def delegating_stream_to_a_parser(handler: TokenUsageHandler) -> None:
    pieces: Any = (_handing_on_a_stream() | StrOutputParser()).astream("q", config(handler, run_name="R"))
    await anext(pieces)
    await pieces.aclose()


@TABLE.row(
    "47",
    "two models' streams side by side, both given up",
    *[f"R | - | R | {attempt} | cancelled -" for attempt in (1, 2)],
)
def two_streams(handler: TokenUsageHandler) -> None:
    models = OtherStreamingModel(), StreamingModel()

    def read(_: Any) -> None:
        next(zip(*(model.stream("q") for model in models), strict=True))

    RunnableLambda(read).with_config(run_name="R").invoke(QUESTION, config(handler))


@TABLE.row("47", "a model that asks one that asks another", "R | - | R | 1 | ok 10/5", "R | - | R | 2 | ok 10/5")
def delegating_twice(handler: TokenUsageHandler) -> None:
    middle = OtherDelegatingModel(inner=ScriptedModel())
    asks_both = DelegatingModel(inner=middle)
    step = RunnableLambda(lambda _: [asks_both.invoke("q") for _ in range(2)])
    step.with_config(run_name="R").invoke(QUESTION, config(handler))


@TABLE.row("47", "a bare model that asks another model: the inner call is not seen", "- | - | - | 1 | ok 10/5")
def bare_delegating(handler: TokenUsageHandler) -> None:
    DelegatingModel(inner=ScriptedModel()).invoke("q", config(handler))


@TABLE.row("48", "a model that hands out one message object again", *["- | - | - | 1 | ok 10/5"] * 2, runs=2)
def repeating(handler: TokenUsageHandler) -> None:
    model = RepeatingModel()
    for _ in range(2):
        model.invoke("q", config(handler))


@TABLE.row(
    "48",
    "a model that hands out one message object again, at once",
    *[f"n | G | G/n | {attempt} | ok 10/5" for attempt in (1, 2)],
)
async def repeating_at_once(handler: TokenUsageHandler) -> None:
    model = OvertakenModel(gate=Gate())

    async def node(state: State) -> State:
        await asyncio.gather(*(model.ainvoke("q") for _ in range(2)))
        return {"turns": 1}

    await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))


@TABLE.row("48", "two models whose answers have one id, one after the other", *["- | - | - | 1 | ok 10/5"] * 2, runs=2)
def same_ids(handler: TokenUsageHandler) -> None:
    answer = AIMessage(content="x", id="resp_1")
    for model in (ScriptedModel(steps=(answer,)), StreamingModel(steps=(answer,))):
        model.invoke("q", config(handler))


@TABLE.row("49", "one handler twice at a bare call in a track", "- | - | - | 1 | ok 10/5")
def handler_twice_tracked(handler: TokenUsageHandler) -> None:
    with track(handler.store):
        ScriptedModel(callbacks=[handler]).with_config(callbacks=[handler]).invoke("q", config(handler))


@TABLE.row(
    "50",
    "a handler in the model's constructor only, several calls in one node",
    "n | - | n | 1 | ok 10/5",
    "n | - | n | 2 | ok 10/5",
)
def constructor_only_twice(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(callbacks=[handler])
    line_of(("n", asks(model, model)), name="G").invoke(QUESTION)


@TABLE.row(
    "50",
    "a handler in the constructor of an agent's model: each turn is a run of its own",
    *["model | weather | model | 1 | ok 10/5"] * 2,
    runs=2,
)
def constructor_only_agent(handler: TokenUsageHandler) -> None:
    from tests.conformance.test_agents import ASKED, calls_once, get_weather

    model = ScriptedModel(callbacks=[handler], steps=(calls_once(("get_weather", {"city": "Pune"})),))
    create_agent(model, [get_weather], name="weather").invoke(ASKED)


@TABLE.row("49", "one handler in three places of a graph", "n | G | G/n | 1 | ok 10/5")
def handler_everywhere(handler: TokenUsageHandler) -> None:
    graph = line_of(("n", asks(ScriptedModel(callbacks=[handler]))), name="G").with_config(callbacks=[handler])
    graph.invoke(QUESTION, config(handler))


@TABLE.row("49", "one handler in three places of a bare call", "- | - | - | 1 | ok 10/5")
def handler_everywhere_bare(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(callbacks=[handler]).with_config(callbacks=[handler])
    model.invoke("q", {"callbacks": [handler, handler]})


@TABLE.row("50", "a handler in the model's constructor only", "n | - | n | 1 | ok 10/5", sessions=("T",))
def constructor_only(handler: TokenUsageHandler) -> None:
    graph = line_of(("n", asks(ScriptedModel(callbacks=[handler]))), name="G")
    graph.invoke(QUESTION, {"configurable": {"thread_id": "T"}})


@TABLE.row("51", "a node passes the handler itself", "n | G | G/n | 1 | ok 10/5")
def passed_in_node(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()

    def node(state: State) -> State:
        model.invoke("q", config(handler))
        return {"turns": 1}

    line_of(("n", node), name="G").invoke(QUESTION, config(handler))


@TABLE.row("58", "a text model that says no usage", "legacy | - | legacy | 1 | ok -")
def text_without_usage(handler: TokenUsageHandler) -> None:
    TextModel().invoke("q", config(handler, run_name="legacy"))


@TABLE.row("58", "a text model's usage", "lo | - | lo | 1 | ok 3/2")
def text_with_usage(handler: TokenUsageHandler) -> None:
    _text_model().invoke("q", config(handler, run_name="lo"))


@TABLE.row("+", "a run id used again", "intent | - | intent | 1 | ok 10/5", "intent | - | intent | 1 | ok 10/5")
def run_id_reused(handler: TokenUsageHandler) -> None:
    given = config(handler, run_id=uuid7())
    for _ in range(2):
        chain(name="intent").invoke(QUESTION, given)


@TABLE.row("+", "a bare call's run id used again", *["- | - | - | 1 | ok 10/5"] * 2)
def bare_run_id_reused(handler: TokenUsageHandler) -> None:
    given = config(handler, run_id=uuid7())
    for _ in range(2):
        ScriptedModel().invoke("q", given)


@TABLE.row("+", "track and a handler in the callbacks", "n | G | G/n | 1 | ok 10/5")
def tracked_with_handler(handler: TokenUsageHandler) -> None:
    with track(handler.store):
        line_of(("n", asks()), name="G").invoke(QUESTION, config(handler))


def _handing_on_a_stream() -> Any:
    """A chain whose model asks another one, and hands on its stream."""
    return RunnableLambda(lambda text: text) | StreamingDelegatingModel(inner=StreamingModel())


def _text_model() -> TextModel:
    return TextModel(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_calls_are_counted_once(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)


def test_the_first_prompt_carries_a_text_batch(tmp_path: Path) -> None:
    """A batch of a text model is one request: the first prompt has its usage, the others say so and miss nothing."""
    handler = played(lambda handler: _text_model().generate(["a", "b", "c"], callbacks=[handler]), tmp_path)
    calls = stored_calls(handler)
    assert [line(call) for call in calls] == ["- | - | - | 1 | ok 3/2", *["- | - | - | 1 | ok 0/0"] * 2]
    assert [call.usage_flags for call in calls] == [(), ("batch_usage_in_first",), ("batch_usage_in_first",)]
    total = handler.store.breakdown().total
    assert (total.total_tokens, total.calls_without_usage, [call.cost_usd for call in calls[1:]]) == (5, 0, [0, 0])
    assert {call.usage_source for call in calls} == {"provider"}


def test_a_text_batch_without_usage_misses_it(tmp_path: Path) -> None:
    """Where the first prompt says no usage, nothing says that the others' was in it."""
    handler = played(lambda handler: TextModel().generate(["a", "b"], callbacks=[handler]), tmp_path)
    assert [(call.usage_source, call.usage_flags) for call in stored_calls(handler)] == [("missing", ())] * 2


def test_a_cached_answer_says_what_it_saved(tmp_path: Path) -> None:
    """A hit used nothing and is no missing usage; what it saved stands beside it."""
    calls = stored_calls(played(cached, tmp_path))
    (hit,) = [call for call in calls if call.status == "cached"]
    assert hit.saved_usage is not None
    assert hit.saved_usage.total_tokens == USAGE["total_tokens"]


@pytest.mark.parametrize("invoked", ["together", "nested"])
def test_two_handlers_on_one_store(invoked: str, tmp_path: Path) -> None:
    """Two handlers that see the same calls store each call once."""
    path = tmp_path / "usage.db"
    first, second = TokenUsageHandler(store=path), TokenUsageHandler(store=path)
    graph = line_of(("n", asks()), name="G")
    if invoked == "together":
        graph.invoke(QUESTION, {"callbacks": [first, second]})
    else:
        graph.with_config(callbacks=[first]).invoke(QUESTION, config(second))
    first.close()
    second.close()
    assert [line(call) for call in stored_calls(first)] == ["n | G | G/n | 1 | ok 10/5"]
    assert first.store.breakdown().total.total_tokens == 15
    assert [run.total.total_tokens for run in first.store.runs()] == [15]


def test_two_handlers_agree_on_a_run_id_used_again(tmp_path: Path) -> None:
    """Calls that were given one run id are each one row, however many handlers on a store see them; in another process,
    too.
    """
    path, run_id = tmp_path / "usage.db", uuid7()
    first, second = TokenUsageHandler(store=path), TokenUsageHandler(store=path)
    for _ in range(3):
        ScriptedModel().invoke("q", {"callbacks": [first, second], "run_id": run_id})
    first.close()
    second.close()
    ids = {call.call_id for call in stored_calls(first)}
    script = f"from langchain_tokens.runs import _id_of_another; print(_id_of_another({str(run_id)!r}, 1))"
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert (len(ids), first.store.breakdown().total.total_tokens) == (3, 45)
    assert elsewhere.strip() not in ids


def test_a_late_end_corrects_a_cancelled_call(tmp_path: Path) -> None:
    """A call that outlives its node is stored as cancelled, and corrected when it ends after all."""
    gate, seen = Gate(), []

    async def scenario(handler: TokenUsageHandler) -> None:
        model, background = ScriptedModel(gate=gate), []

        async def node(state: State) -> State:
            background.append(asyncio.create_task(model.ainvoke("q")))
            await gate.await_entered()
            return {"turns": 1}

        await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))
        handler.flush()
        seen.extend(line(call) for call in stored_calls(handler))
        gate.release()
        await background[0]
        assert handler.breakdown().total.total_tokens == 15

    handler = played(scenario, tmp_path)
    (call,) = stored_calls(handler)
    assert seen == ["n | G | G/n | 1 | cancelled -"]
    assert (line(call), call.revision) == ("n | G | G/n | 1 | ok 10/5", 1)
    assert handler.store.breakdown().total.calls == 1
    assert handler.store.breakdown().total.total_tokens == 15


def test_a_provider_id_names_the_inner_call_too(tmp_path: Path) -> None:
    """A wrapper around a model whose messages have the provider's ids is told from its inner call just as well."""
    inner: Any = ScriptedModel(steps=(AIMessage(content="x", id="resp_1"),), model_name="inner")
    handler = played(
        lambda handler: chain(DelegatingModel(inner=inner), "R").invoke(QUESTION, config(handler)), tmp_path
    )
    assert [call.model for call in stored_calls(handler)] == ["inner"]


@pytest.mark.parametrize("prompts", [["a"], ["a", "b", "c"]], ids=["one", "three"])
@pytest.mark.parametrize("usage", [{}, {"requests": 1}], ids=["empty", "unknown"])
def test_a_text_batch_whose_usage_nobody_says_is_estimated(
    prompts: list[str], usage: dict[str, int], tmp_path: Path
) -> None:
    """Where the first prompt has no usage either, nothing is counted in it: each call is estimated and marked."""
    model = TextModel(usage=usage)
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        model.generate(prompts, callbacks=[handler])
    calls = handler.store.calls()
    assert len(calls) == len(prompts)
    for call in calls:
        assert (call.usage_source, call.price_source) == ("estimated", None)
        assert call.usage is not None
        assert call.usage.output_tokens
