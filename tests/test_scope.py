"""What is it called? Blocks, graphs and runnables that somebody names."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers import context as langchain_context
from langgraph.graph import END, START, StateGraph

from langchain_tokens import Call, Run, TokensError, TokenUsageHandler, UsageStore, attach, label, open_store, track
from langchain_tokens.names import CURRENT_SCOPE
from langchain_tokens.registry import REGISTRY
from tests.models import Reply, ScriptedChat, StreamingChat, in_turn

STORE = "tokens.db"
"""In the working directory, of which each test has its own."""


class State(TypedDict, total=False):
    """The state of the graphs below."""

    text: str


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the writers that a test started."""
    yield
    REGISTRY.drain()


@pytest.fixture
def handler() -> TokenUsageHandler:
    """A handler on the test's store."""
    return TokenUsageHandler(STORE)


@pytest.fixture
def model() -> ScriptedChat:
    """A model that answers at once, with 10 tokens in and 5 out."""
    return ScriptedChat()


def stored(store: UsageStore | None = None) -> list[Call]:
    """The calls that the test's store holds, oldest first."""
    return list((store or open_store(STORE)).calls(order="started_at"))


def two_nodes(plan: Any, write: Any, name: str | None = "assistant") -> Any:
    """A graph of two nodes."""
    builder = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("write", write)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "write")
    builder.add_edge("write", END)
    return builder.compile(name=name) if name is not None else builder.compile()


# Names of a block


def test_track_names_and_catches_calls(model: ScriptedChat) -> None:
    """Calls inside a block without any callbacks are stored under the block's names, as one run."""
    with track(
        STORE,
        run="import",
        session="s",
        mode="rag",
        agent="a",
        chain="c",
        user="u",
        tags={"x": "1"},
        attempt=2,
        error="bad",
    ) as run:
        model.invoke("hi")
        model.invoke("ho")
    first, second = stored()
    assert (first.run_id, first.session, first.mode, first.agent, first.chain, first.user, first.tags) == (
        run.run_id,
        "s",
        "rag",
        "a",
        "c",
        "u",
        {"x": "1"},
    )
    assert (first.attempt, first.attempt_error, first.path) == (2, "bad", "import/c")
    assert (second.run_id, run.name, run.session, run.status) == (run.run_id, "import", "s", "ok")
    assert [call.call_id for call in run.calls] == [first.call_id, second.call_id]
    (kept,) = open_store(STORE).runs()
    assert (kept.run_id, kept.name, kept.status, kept.total.total_tokens) == (run.run_id, "import", "ok", 30)


def test_track_yields_a_live_run(model: ScriptedChat) -> None:
    """The run shows inside the block what is known then, priced."""
    with track(STORE) as run:
        assert (run.total.calls, run.status, run.ended_at) == (0, "running", None)
        model.invoke("hi")
        assert (run.total.calls, run.total.total_tokens, run.total.unpriced_calls) == (1, 15, 0)
    assert run.status == "ok"
    assert run.duration_ms is not None


def test_a_run_begins_when_its_block_is_ready(model: ScriptedChat, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes to make a handler for the block is not in the run's time; all of its calls are."""
    ready: list[datetime] = []
    make = TokenUsageHandler.__init__

    def made(handler: TokenUsageHandler, *arguments: Any, **more: Any) -> None:
        make(handler, *arguments, **more)
        ready.append(datetime.now(UTC))

    monkeypatch.setattr(TokenUsageHandler, "__init__", made)
    with track() as run:
        model.invoke("x")
    (call,) = run.calls

    assert ready[0] <= run.started_at <= call.started_at
    assert run.ended_at is not None
    assert call.started_at <= run.ended_at


def test_track_without_a_store_is_the_default_one(model: ScriptedChat) -> None:
    """A block without a store catches calls for the store that is the default."""
    with track(chain="c"):
        model.invoke("hi")
    store = open_store()
    assert store.breakdown("chain")["c"].calls == 1
    assert store.target.path == Path("langchain_tokens.db").absolute()


def test_inner_names_win(model: ScriptedChat) -> None:
    """Nested blocks belong to the outer one's run; the inner names win, and end with the inner block."""
    with track(STORE, session="s", chain="outer", tags={"x": "1", "y": "1"}) as run:
        with track(chain="inner", agent="a", tags={"y": "2"}) as inner:
            model.invoke("hi")
        model.invoke("ho")
    first, second = stored()
    assert inner.run_id == run.run_id
    assert (first.chain, first.agent, first.session, first.tags) == ("inner", "a", "s", {"x": "1", "y": "2"})
    assert (second.chain, second.agent, second.session, second.tags) == ("outer", None, "s", {"x": "1", "y": "1"})
    assert len(run.calls) == 2
    assert CURRENT_SCOPE.get() is None


def test_inner_block_with_a_run_of_its_own(model: ScriptedChat) -> None:
    """A nested block that names a run is one, and still has the outer names."""
    with track(STORE, run="outer", session="s") as outer:
        with track(run="inner") as inner:
            model.invoke("hi")
        model.invoke("ho")
    first, second = stored()
    assert (first.run_id, second.run_id) == (inner.run_id, outer.run_id)
    assert first.session == "s"
    assert {run.name: run.total.calls for run in open_store(STORE).runs()} == {"outer": 1, "inner": 1}


def test_inner_block_with_a_store_of_its_own(model: ScriptedChat) -> None:
    """A nested block that names a run and a store keeps its calls there."""
    with track(STORE, run="outer"), track("other.db", run="inner"):
        model.invoke("hi")
    assert (len(stored()), len(stored(open_store("other.db")))) == (0, 1)


def test_inner_block_with_a_store_only(model: ScriptedChat) -> None:
    """A nested block that names a store keeps its calls there; they still belong to the outer block's run."""
    with track(STORE, run="outer") as run:
        with track("other.db", chain="inner"):
            model.invoke("hi")
        model.invoke("ho")
    other = open_store("other.db")
    assert [(call.run_id, call.chain) for call in stored(other)] == [(run.run_id, "inner")]
    assert [(call.run_id, call.chain) for call in stored()] == [(run.run_id, None)]
    assert [kept.status for store in (open_store(STORE), other) for kept in store.runs()] == ["ok", "ok"]
    assert len(run.calls) == 2


@pytest.mark.parametrize(
    ("run", "name"), [(None, None), ("nightly import", "nightly import"), (UUID(int=7), None), (str(UUID(int=7)), None)]
)
def test_run_is_named_or_given_by_id(model: ScriptedChat, run: Any, name: str | None) -> None:
    """A block's run is named by a text, or is the one with the id that was given."""
    with track(STORE, run=run) as tracked:
        model.invoke("hi")
    assert tracked.name == name
    assert name is not None or run is None or tracked.run_id == str(UUID(int=7))


def test_block_can_go_on_with_a_run(model: ScriptedChat) -> None:
    """Two blocks with the same run id are one run."""
    for _ in range(2):
        with track(STORE, run=UUID(int=7)):
            model.invoke("hi")
    (run,) = open_store(STORE).runs()
    assert (run.run_id, run.total.calls, run.status) == (str(UUID(int=7)), 2, "ok")


def test_later_block_of_a_run_sees_its_calls(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """A block that goes on with a run shows the calls made in it, counts on, and says the run's new end; who holds the
    first block's run sees it go on.
    """
    runs: list[Run] = []
    for _ in range(2):
        with track(STORE, run=UUID(int=7), chain="c") as run:
            model.invoke("hi", {"callbacks": [handler]})
        runs.append(run)
    assert [[call.attempt for call in run.calls] for run in runs] == [[1, 2], [2]]
    (kept,) = open_store(STORE).runs()
    assert (kept.total.calls, kept.ended_at, kept.started_at) == (2, runs[1].ended_at, runs[0].started_at)
    assert [len(run.calls) for run in handler.runs] == [2]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no key sk-abcdefgh12345678"), "error", "no key ***"),
        (KeyboardInterrupt(), "cancelled", None),
        (asyncio.CancelledError(), "cancelled", None),
    ],
)
def test_error_in_a_block_is_its_runs(
    model: ScriptedChat, error: BaseException, status: str, message: str | None
) -> None:
    """An exception passes through, and the run has ended with it."""
    runs: list[Run] = []

    def work() -> None:
        with track(STORE) as run:
            runs.append(run)
            model.invoke("hi")
            raise error

    with pytest.raises(type(error)):
        work()
    (run,) = runs
    (kept,) = open_store(STORE).runs()
    assert (run.status, run.error_message, kept.status, kept.error_message) == (status, message, status, message)
    assert [call.status for call in run.calls] == ["ok"]


def test_failed_call_is_in_the_run() -> None:
    """A call that failed is one of the run's, with its error."""
    failing = ScriptedChat(script=in_turn(ValueError("overloaded"), Reply()))
    with track(STORE, chain="c") as run:
        with suppress(ValueError):
            failing.invoke("hi")
        failing.invoke("hi")
    assert [(call.status, call.error_message, call.attempt) for call in run.calls] == [
        ("error", "overloaded", 1),
        ("ok", None, 2),
    ]
    assert run.status == "ok"


# Blocks in threads, tasks and generators


def test_names_reach_threads_with_a_copied_context(model: ScriptedChat) -> None:
    """A thread that was started with a copy of the context has the names; one without has none."""
    with track(STORE, chain="c") as run:
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.run, args=(model.invoke, "hi")),
            threading.Thread(target=model.invoke, args=("nobody hears",)),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert [(call.chain, call.run_id) for call in stored()] == [("c", run.run_id)]


def test_blocks_in_threads_are_apart(model: ScriptedChat) -> None:
    """Threads with blocks of their own do not hear of each other."""

    def work(name: str) -> Run:
        with track(STORE, session=name, chain=name) as run:
            for _ in range(5):
                model.invoke("hi")
        return run

    names = [f"t{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(work, names))
    assert [{call.session for call in run.calls} for run in runs] == [{name} for name in names]
    assert {row.key["session"]: row.calls for row in open_store(STORE).sessions()} == dict.fromkeys(names, 5)


async def test_names_reach_tasks(model: ScriptedChat) -> None:
    """A task has the names of the block it was started in, also after that has ended."""
    released = asyncio.Event()

    async def late() -> None:
        await released.wait()
        await model.ainvoke("hi")

    with track(STORE, chain="c") as run:
        task = asyncio.create_task(late())
        await model.ainvoke("ho")
    released.set()
    await task
    assert [(call.chain, call.run_id) for call in stored()] == [("c", run.run_id)] * 2
    assert len(run.calls) == 2


async def test_blocks_in_tasks_are_apart(model: ScriptedChat) -> None:
    """Tasks with blocks of their own take turns and do not hear of each other."""

    async def work(name: str) -> Run:
        with track(STORE, session=name) as run:
            for _ in range(3):
                await asyncio.sleep(0)
                await model.ainvoke("hi")
        return run

    runs = await asyncio.gather(*(work(f"t{number}") for number in range(4)))
    assert [[call.session for call in run.calls] for run in runs] == [[f"t{number}"] * 3 for number in range(4)]


def test_block_in_a_generator(model: ScriptedChat) -> None:
    """A generator can hold a block open; it ends when the generator is used up or closed, and so do its names."""

    def answers() -> Generator[Run]:
        with track(STORE, chain="c") as run:
            model.invoke("hi")
            yield run
            model.invoke("ho")

    used_up = list(answers())
    closed = answers()
    next(closed)
    closed.close()
    assert [run.status for run in used_up] == ["ok"]
    assert CURRENT_SCOPE.get() is None
    assert {run.status: run.total.calls for run in open_store(STORE).runs()} == {"ok": 2, "cancelled": 1}


def test_block_may_end_in_another_context(model: ScriptedChat) -> None:
    """A generator that is finished in another context than it began in ends its run without an error."""

    def answers() -> Iterator[Run]:
        with track(STORE, chain="c") as run:
            model.invoke("hi")
            yield run

    generator = answers()
    run = contextvars.copy_context().run(next, generator)
    assert list(generator) == []
    assert (run.status, len(run.calls), CURRENT_SCOPE.get()) == ("ok", 1, None)


async def test_block_in_an_asynchronous_generator(model: ScriptedChat) -> None:
    """An asynchronous generator whose steps run in different tasks keeps the names inside it."""

    async def answers() -> AsyncGenerator[Run]:
        with track(STORE, chain="c") as run:
            await model.ainvoke("hi")
            yield run

    generator = answers()

    async def begin() -> Run:
        return await anext(generator)

    async def end() -> None:
        await generator.aclose()

    run = await asyncio.create_task(begin())
    await asyncio.create_task(end())
    assert (run.status, [call.chain for call in run.calls]) == ("cancelled", ["c"])
    assert CURRENT_SCOPE.get() is None


# Streams


def streaming() -> StreamingChat:
    """A model that streams three words, and then its usage."""
    return StreamingChat(script=in_turn(Reply(text="one two three")))


def check_whole(run: Run, chain: str | None = "c") -> None:
    """Assert that one call of the run is stored in full, and the run at its end."""
    (call,) = stored()
    assert (call.run_id, call.chain, call.status, call.streamed) == (run.run_id, chain, "ok", True)
    assert (call.usage and call.usage.total_tokens, call.time_to_first_token_ms is not None) == (15, True)
    assert [held.call_id for held in run.calls] == [call.call_id]
    (kept,) = open_store(STORE).runs()
    assert (kept.run_id, kept.status, kept.ended_at) == (run.run_id, "ok", run.ended_at)


def test_stream_begun_in_a_block_is_caught_in_full() -> None:
    """A stream whose first piece is taken inside the block is one of its calls, though it ends after the block."""
    with track(STORE, chain="c") as run:
        pieces = streaming().stream("hi")
        first = next(pieces)
    assert "".join(str(piece.content) for piece in (first, *pieces)) == "one two three "
    check_whole(run)


async def test_asynchronous_stream_begun_in_a_block_is_caught_in_full() -> None:
    """The same for an asynchronous stream."""
    with track(STORE, chain="c") as run:
        pieces = streaming().astream("hi")
        await anext(pieces)
    assert [piece async for piece in pieces]
    await asyncio.to_thread(check_whole, run)


def test_graphs_stream_begun_in_a_block_is_caught_in_full() -> None:
    """A graph's stream that is begun in the block belongs to its run with all its nodes, also those after the block."""
    model = streaming()
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {"text": model.invoke("b").text})
    with track(STORE) as run:
        updates = graph.stream({"text": "hi"}, stream_mode="updates")
        assert list(next(updates)) == ["plan"]
    assert [list(update) for update in updates] == [["write"]]
    assert [(call.run_id, call.chain) for call in stored()] == [(run.run_id, "plan"), (run.run_id, "write")]
    (kept,) = open_store(STORE).runs()
    assert (kept.run_id, kept.status, kept.total.calls) == (run.run_id, "ok", 2)


def test_stream_begun_in_an_inner_block_keeps_its_names() -> None:
    """A stream has the names of the block that its first piece was taken in, wherever the others are."""
    with track(STORE, chain="outer") as run:
        with track(chain="inner"):
            pieces = streaming().stream("hi")
            next(pieces)
        next(pieces)
    assert list(pieces)
    check_whole(run, "inner")


def test_stream_begun_in_a_block_may_end_in_a_thread() -> None:
    """A stream that another thread finishes, with a copied context or without, is caught in full."""
    with track(STORE, chain="c") as run:
        pieces = streaming().stream("hi")
        next(pieces)
    thread = threading.Thread(target=list, args=(pieces,))
    thread.start()
    thread.join()
    check_whole(run)


def test_stream_begun_in_a_copied_context_is_caught_in_full() -> None:
    """A thread with a copy of the block's context begins a stream for the block, also after the block has ended."""
    with track(STORE, chain="c") as run:
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(list, streaming().stream("hi")))
    thread.start()
    thread.join()
    check_whole(run)


def test_stream_that_is_only_made_in_a_block_is_not_caught(handler: TokenUsageHandler) -> None:
    """LangChain asks who listens when a stream begins, which is after the block here; a handler that is passed or
    attached hears it.
    """
    with track("block.db"):
        unheard = streaming().stream("hi")
        passed = streaming().stream("hi", {"callbacks": [handler]})
        attached = attach(streaming(), handler).stream("hi")
    assert all([list(unheard), list(passed), list(attached)])
    assert (len(stored(open_store("block.db"))), len(stored())) == (0, 2)


# Blocks and LangChain's own runs


def test_graph_in_a_block_is_the_blocks_run(model: ScriptedChat) -> None:
    """A graph without callbacks inside a block belongs to the block's run, with its own chains and agent."""
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {"text": model.invoke("b").text})
    with track(STORE, run="question", session="s") as run:
        graph.invoke({"text": "hi"})
        model.invoke("after")
    calls = stored()
    assert [(call.chain, call.agent, call.session, call.run_id) for call in calls] == [
        ("plan", "assistant", "s", run.run_id),
        ("write", "assistant", "s", run.run_id),
        (None, None, "s", run.run_id),
    ]
    assert [call.path for call in calls][:2] == ["question/assistant/plan", "question/assistant/write"]
    assert [kept.run_id for kept in open_store(STORE).runs()] == [run.run_id]


def test_block_in_a_node_only_names(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """Inside a graph that a handler hears, a block names calls and yields the graph's own run."""
    seen: list[Run] = []

    def plan(state: State) -> State:
        model.invoke("before")
        with track(chain="sql_fix", attempt=2, error="no such column", tags={"x": "1"}) as run:
            seen.append(run)
            model.invoke("hi")
        return {}

    two_nodes(plan, lambda state: {}).invoke({"text": "hi"}, {"callbacks": [handler]})
    assert handler.last_run is not None
    assert [run.run_id for run in seen] == [handler.last_run.run_id]
    assert [(call.chain, call.attempt, call.attempt_error, call.tags) for call in seen[0].calls] == [
        ("plan", 1, None, {}),
        ("sql_fix", 2, "no such column", {"x": "1"}),
    ]
    assert (len(stored()), not Path("langchain_tokens.db").exists()) == (2, True)


@pytest.mark.parametrize("run", ["own", UUID(int=7)])
def test_block_with_a_run_in_a_chain_only_names(model: ScriptedChat, handler: TokenUsageHandler, run: Any) -> None:
    """Inside a chain that a handler hears, a block that names a run yields the chain's run, where its calls are."""
    seen: list[Run] = []

    def work(text: str) -> str:
        with track(run=run, session="s") as tracked:
            seen.append(tracked)
            return model.invoke(text).text

    RunnableLambda(work).with_config(run_name="outer").invoke("hi", {"callbacks": [handler]})
    (kept,) = handler.store.runs()
    assert [(tracked.run_id, tracked.name, len(tracked.calls)) for tracked in seen] == [(kept.run_id, "outer", 1)]
    assert [call.session for call in seen[0].calls] == ["s"]


@pytest.mark.parametrize("place", ["same", "other"])
def test_handler_in_the_callbacks_is_the_one_that_catches(model: ScriptedChat, place: str) -> None:
    """With a handler of ours in the callbacks nothing is stored twice, and the block's run sees the calls all the same."""
    handler = TokenUsageHandler(STORE if place == "same" else "other.db")
    with track(STORE, session="s", chain="c") as run:
        model.invoke("hi", {"callbacks": [handler]})
    kept = stored() if place == "same" else stored(open_store("other.db"))
    assert [(call.run_id, call.session, call.chain) for call in kept] == [(run.run_id, "s", "c")]
    assert [call.call_id for call in run.calls] == [kept[0].call_id]
    assert [seen.run_id for seen in handler.runs] == [run.run_id]
    assert place == "same" or stored() == []
    (finished,) = (open_store(STORE) if place == "same" else open_store("other.db")).runs()
    assert (finished.status, finished.total.calls) == ("ok", 1)


def test_no_hook_is_left_behind(model: ScriptedChat) -> None:
    """However often blocks are opened, LangChain holds one hook of ours."""
    with track(STORE):
        model.invoke("hi")
    hooks = len(langchain_context._configure_hooks)
    for _ in range(50):
        with track(STORE):
            model.invoke("hi")
    assert len(langchain_context._configure_hooks) == hooks
    assert len(stored()) == 51


def test_nothing_is_caught_outside_a_block(model: ScriptedChat) -> None:
    """Before and after a block, calls without callbacks are nobody's."""
    model.invoke("before")
    with track(STORE):
        pass
    model.invoke("after")
    assert stored() == []
    assert open_store(STORE).runs() == []


# Names of runnables


def test_attach_binds_a_handler(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """A graph with a handler attached needs no callbacks; its nodes have the agents' names that were given."""
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {"text": model.invoke("b").text})
    attached = attach(graph, handler, agents={"plan": "Orchestrator", "write": "SQLAgent"}, mode="rag")
    attached.invoke({"text": "hi"})
    assert [(call.agent, call.chain, call.mode) for call in stored()] == [
        ("Orchestrator", "plan", "rag"),
        ("SQLAgent", "write", "rag"),
    ]
    assert handler.last_run is not None
    assert (handler.last_run.name, handler.last_run.mode) == ("assistant", "rag")
    graph.invoke({"text": "hi"})
    assert len(stored()) == 2


def test_attach_names_some_nodes(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """A node that is not in the mapping keeps the graph's own agent."""
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {"text": model.invoke("b").text})
    attach(graph, handler, agents={"write": "SQLAgent"}).invoke({"text": "hi"})
    assert [call.agent for call in stored()] == ["assistant", "SQLAgent"]


def test_attach_makes_a_handler(model: ScriptedChat) -> None:
    """Without a handler, one on the default store is made."""
    attach(model).invoke("hi")
    assert open_store().breakdown().total.calls == 1


async def test_attach_for_streams_and_tasks(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """What is attached holds however the graph is run, and once only where the handler is passed as well."""
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {})
    attached = attach(graph, handler)
    await attached.ainvoke({"text": "hi"})
    assert [chunk async for chunk in attached.astream({"text": "hi"})]
    attached.invoke({"text": "hi"}, {"callbacks": [handler]})
    assert [call.chain for call in stored()] == ["plan"] * 3
    assert len(handler.runs) == 3


def test_label_names_for_good(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """A labelled model has its chain, agent and mode wherever it is used; the others keep theirs."""
    fix = label(model, chain="sql_fix", agent="Fixer", mode="repair")

    def plan(state: State) -> State:
        model.invoke("a")
        fix.invoke("b")
        return {}

    two_nodes(plan, lambda state: {}).invoke({"text": "hi"}, {"callbacks": [handler]})
    fix.invoke("alone", {"callbacks": [handler]})
    assert [(call.chain, call.agent, call.mode) for call in stored()] == [
        ("plan", "assistant", None),
        ("sql_fix", "Fixer", "repair"),
        ("sql_fix", "Fixer", "repair"),
    ]


def test_label_of_a_chain_holds_for_all_in_it(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """Calls in a labelled chain have its name, and a label closer to the call wins."""
    chain = label(
        RunnableLambda(lambda text: label(model, chain="inner").invoke(model.invoke(text).text)), chain="outer"
    )
    chain.invoke("hi", {"callbacks": [handler]})
    assert [call.chain for call in stored()] == ["outer", "inner"]


PASSED: Any = RunnableLambda(lambda text: text)


def as_state(text: str) -> State:
    """A graph's input."""
    return {"text": text}


SAYS_B: Any = {"metadata": {"tokens_agent": "b"}}


def plan_with(fix: Any) -> Any:
    """A node that makes one call."""
    return RunnableLambda(lambda state: state["text"]) | fix | RunnableLambda(lambda _: {})


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda fix: PASSED | fix, id="a sequence"),
        pytest.param(lambda fix: RunnableLambda(lambda text: fix.invoke(text).text), id="a function"),
        pytest.param(
            lambda fix: RunnableLambda(lambda text, config: fix.invoke(text, config).text), id="a config passed on"
        ),
        pytest.param(lambda fix: RunnableLambda(as_state) | two_nodes(plan_with(fix), lambda state: {}), id="a graph"),
        pytest.param(lambda fix: PASSED | fix.with_config(tags=["t"]).with_retry(), id="bound"),
        pytest.param(lambda fix: PASSED | label(fix, agent="Fixer"), id="a label on it"),
    ],
)
async def test_the_nearer_label_wins(model: ScriptedChat, handler: TokenUsageHandler, step: Any) -> None:
    """A label in what another label names has its own names, however it is reached and run."""
    fix = label(PASSED | model, chain="fix", agent="Fixer")
    boss = label(step(fix), chain="pipeline", agent="Boss", mode="m")
    config = {"callbacks": [handler]}
    boss.invoke("hi", config)
    boss.batch(["hi"], config)
    list(boss.stream("hi", config))
    await boss.ainvoke("hi", config)
    await boss.abatch(["hi"], config)
    async for _ in boss.astream("hi", config):
        pass
    assert {(call.chain, call.agent, call.mode) for run in handler.runs for call in run.calls} == {
        ("fix", "Fixer", "m")
    }
    assert handler.breakdown().total.calls == 6


def in_a_function(graph: Any) -> Any:
    """A node that runs another graph."""

    def node(state: State) -> Any:
        return graph.invoke(state)

    return node


def passing_a_config(graph: Any) -> Any:
    """A node that passes its config on to another graph."""

    def node(state: State, config: RunnableConfig) -> Any:
        return graph.invoke(state, config)

    return node


IN_A_GRAPH: Any = {
    "a node": lambda graph: graph,
    "a sequence": lambda graph: PASSED | graph,
    "a function": in_a_function,
    "a config passed on": passing_a_config,
}
"""How a graph is reached from another one's node."""


@pytest.mark.parametrize("place", IN_A_GRAPH)
@pytest.mark.parametrize(
    ("name", "named"),
    [
        (lambda graph, _: label(graph, agent="Fixer"), ("Fixer", "outer")),
        (lambda graph, _: label(label(graph, agent="first", mode="m"), agent="Fixer"), ("Fixer", "m")),
        (lambda graph, _: label(graph, agent="Boss", mode="outer"), ("Boss", "outer")),
        (lambda graph, handler: attach(graph, handler, mode="inner"), ("Mapped", "inner")),
        (lambda graph, handler: attach(graph, handler, agents={"plan": "Planner"}), ("Planner", "outer")),
    ],
    ids=["label", "two labels", "the same label", "attach", "attach with agents"],
)
async def test_label_of_a_graph_in_a_graph_wins(
    model: ScriptedChat, handler: TokenUsageHandler, place: str, name: Any, named: tuple[str, str]
) -> None:
    """A graph in a node of another one keeps its own names, however it is reached, and gives them to nobody else."""
    ask = plan_with(model)
    inner = name(two_nodes(ask, lambda state: {}, name="helper"), handler)
    graph = two_nodes(IN_A_GRAPH[place](inner), ask)
    outer = label(attach(graph, handler, agents={"plan": "Mapped"}), agent="Boss", mode="outer")
    outer.invoke({"text": "hi"})
    list(outer.stream({"text": "hi"}))
    await outer.ainvoke({"text": "hi"})
    for run in handler.runs:
        assert [(call.agent, call.mode) for call in run.calls] == [named, ("Boss", "outer")]
    assert handler.breakdown().total.calls == 6


def test_label_of_a_graph_is_told_where_only_that_is_seen(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """A handler that is attached to the inner graph alone sees the names of the outer one, too, and takes the nearer."""
    inner = attach(label(two_nodes(plan_with(model), lambda state: {}), agent="Fixer"), handler)
    label(two_nodes(inner, lambda state: {}), agent="Boss", mode="m").invoke({"text": "hi"})
    assert [(call.agent, call.mode) for call in stored()] == [("Fixer", "m")]


@pytest.mark.parametrize("step", [lambda model: model, lambda model: PASSED | model], ids=["model", "chain"])
def test_label_of_a_graph_gives_way_in_it(model: ScriptedChat, handler: TokenUsageHandler, step: Any) -> None:
    """A label that says the names of the outer label again counts in an inner graph that has others."""
    fix = label(step(model), agent="Boss", chain="ask")
    inner = label(two_nodes(plan_with(fix), lambda state: {}), agent="Fixer")
    label(PASSED | two_nodes(inner, lambda state: {}), agent="Boss", chain="ask").invoke(
        {"text": "hi"}, {"callbacks": [handler]}
    )
    assert [(call.agent, call.chain) for call in stored()] == [("Boss", "ask")]


def test_attach_keeps_metadata(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """What a runnable has of metadata stays when a handler is attached to it, with names or without."""
    named = model.with_config(metadata={"tokens_agent": "a"})
    attach(named, handler).invoke("hi")
    attach(named, handler, mode="m").invoke("hi")
    assert [(call.agent, call.mode) for call in stored()] == [("a", None), ("a", "m")]


@pytest.mark.parametrize(
    ("named", "agent"),
    [
        (lambda model: label(two_nodes(plan_with(model), PASSED), agent="a").invoke(as_state("hi"), SAYS_B), "b"),
        (lambda model: label(model, agent="a").invoke("hi", {"metadata": {"tokens_agent": "b"}}), "b"),
        (lambda model: label(label(model, agent="a"), agent="b").invoke("hi"), "b"),
        (lambda model: label(model.with_config(metadata={"tokens_agent": "a"}), agent="b").invoke("hi"), "b"),
        (lambda model: label(label(model, agent="b"), chain="c").invoke("hi"), "b"),
        (lambda model: label(model, agent="b").with_config(metadata={"x": 1}).invoke("hi"), "b"),
    ],
)
def test_what_a_label_gives_way_to(model: ScriptedChat, named: Any, agent: str) -> None:
    """The call's own config says another name, and a later label of the same; what else is bound takes none away."""
    with track(STORE):
        named(model)
    assert [call.agent for call in stored()] == [agent]


def test_label_keeps_what_is_bound(model: ScriptedChat) -> None:
    """A labelled graph remains one, and a labelled binding holds the arguments that were bound."""
    graph = two_nodes(lambda state: {}, lambda state: {})
    assert type(label(graph, agent="a")) is type(graph)
    labelled: Any = label(model.bind(stop=["x"]), agent="a")
    assert labelled.kwargs == {"stop": ["x"]}
    assert labelled.bound is model


def test_label_wins_over_track(model: ScriptedChat) -> None:
    """A name on the runnable is closer to the call than the block around it."""
    with track(STORE, chain="block", agent="a"):
        label(model, chain="own").invoke("hi")
        model.invoke("hi")
    assert [(call.chain, call.agent) for call in stored()] == [("own", "a"), ("block", "a")]


def test_label_and_attach_leave_the_original_alone(model: ScriptedChat, handler: TokenUsageHandler) -> None:
    """Naming makes a new runnable."""
    label(model, chain="c")
    attach(model, handler)
    model.invoke("hi")
    assert handler.breakdown().total.calls == 0


@pytest.mark.parametrize("wrap", [lambda graph: graph.with_retry(), lambda graph: RunnableLambda(graph.invoke)])
def test_attach_names_nodes_of_a_wrapped_graph(model: ScriptedChat, handler: TokenUsageHandler, wrap: Any) -> None:
    """The nodes of a graph in a wrapper or a function have the agents' names; nodes of graphs in those nodes do not."""
    inner = two_nodes(lambda state: {"text": model.invoke("a").text}, lambda state: {}, name="inner")
    graph = two_nodes(lambda state: {"text": model.invoke("a").text}, inner)
    attach(wrap(graph), handler, agents={"plan": "Planner"}).invoke({"text": "hi"})
    assert [(call.agent, call.chain) for call in stored()] == [("Planner", "plan"), ("inner", "plan")]


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"run": 5}, "run=5 is a int; expected the run's name, or its id as a UUID"),
        ({"attempt": "x"}, "attempt='x'; expected a whole number from 1 to 2,147,483,647"),
        ({"attempt": 0}, "attempt=0; expected"),
        ({"attempt": -1}, "attempt=-1; expected"),
        ({"attempt": True}, "attempt=True; expected"),
        ({"attempt": 2.0}, "attempt=2.0; expected"),
        ({"attempt": 2**31}, "attempt=2147483648; expected"),
        ({"error": 5}, "error=5 is a int; expected an exception or text"),
        ({"tags": "team"}, "tags='team' is a str; expected a mapping"),
        ({"tags": {"team": None}}, "expected text"),
        ({"tags": {1: "a"}}, "expected text"),
        ({"session": {"id": 1}}, "session={'id': 1} is a dict; expected text"),
        ({"chain": 5}, "chain=5 is a int; expected text"),
    ],
)
def test_wrong_arguments_of_a_block(model: ScriptedChat, arguments: Any, said: str) -> None:
    """A name or number that cannot be is an error before the block, and leaves no name behind."""
    with pytest.raises(TokensError, match=re.escape(said)), track(STORE, **arguments):
        pytest.fail("the block must not be entered")
    assert CURRENT_SCOPE.get() is None
    model.invoke("hi")
    assert stored() == []


def test_largest_attempt_of_a_block(model: ScriptedChat) -> None:
    """The largest number that the store holds is one."""
    with track(STORE, attempt=2**31 - 1):
        model.invoke("hi")
    assert [call.attempt for call in stored()] == [2**31 - 1]


def test_handler_is_no_store(handler: TokenUsageHandler) -> None:
    """Who passes a handler where a store belongs is told what to pass."""
    with pytest.raises(TokensError, match=r"track\(handler\.store\)"), track(handler):  # type: ignore[arg-type]
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"handler": "a.db"}, "handler='a.db' is a str; expected a TokenUsageHandler"),
        ({"handler": TokenUsageHandler}, "is a ABCMeta; expected a TokenUsageHandler|is a type; expected"),
        ({"agents": ["plan"]}, r"agents=\['plan'\] is a list; expected node name → agent name"),
        ({"agents": {"plan": None}}, r"agents\['plan'\]=None is a NoneType; expected text"),
        ({"agents": {1: "A"}}, "a node in agents=1 is a int; expected text"),
        ({"agents": {"plna": "A"}}, "agents names plna; the nodes of this graph are plan, write"),
        ({"agents": {"__start__": "A"}}, "agents names __start__; the nodes"),
        ({"mode": 5}, "mode=5 is a int; expected text"),
    ],
)
@pytest.mark.parametrize("bind", [lambda graph: graph, lambda graph: graph.with_config(tags=["t"]).with_retry()])
def test_wrong_arguments_of_attach(arguments: Any, said: str, bind: Any) -> None:
    """What cannot be attached is said at once; of an unknown node, which ones there are."""
    graph = bind(two_nodes(lambda state: {}, lambda state: {}))
    with pytest.raises(TokensError, match=said):
        attach(graph, **arguments)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ("graph", "a str is no runnable"),
        (lambda text: text, "a function is no runnable.*RunnableLambda"),
        (StateGraph(State), "a StateGraph is no runnable.*compile"),
    ],
)
def test_only_runnables_are_named(thing: Any, said: str) -> None:
    """What is no runnable cannot be named or have a handler attached."""
    with pytest.raises(TokensError, match=said):
        label(thing, chain="c")
    with pytest.raises(TokensError, match=said):
        attach(thing)


@pytest.mark.parametrize("names", [{}, {"chain": None}, {"chain": "", "agent": ""}])
def test_label_without_a_name(model: ScriptedChat, names: Any) -> None:
    """A label that names nothing is a mistake."""
    with pytest.raises(TokensError, match="at least one of chain, agent and mode"):
        label(model, **names)


@pytest.mark.parametrize("path", ["missing/tokens.db", "mysql://host/db"])
def test_wrong_store_is_an_error_before_the_block(path: str) -> None:
    """A store that cannot be is said so when the block is entered, and leaves no name behind."""
    with pytest.raises(TokensError), track(path):
        pytest.fail("the block must not be entered")
    assert CURRENT_SCOPE.get() is None


def test_recorded_call_in_a_node_is_the_graphs(handler: TokenUsageHandler) -> None:
    """A call that is recorded by hand in a node, inside a block, belongs to the graph's run."""

    def plan(state: State) -> State:
        with track(chain="plain"):
            handler.record({"input_tokens": 1, "output_tokens": 1})
        return {}

    two_nodes(plan, lambda state: {}).invoke({"text": "hi"}, {"callbacks": [handler], "run_id": UUID(int=9)})
    assert [(call.run_id, call.chain) for call in stored()] == [(str(UUID(int=9)), "plain")]
