"""Do calls keep their names among threads and tasks, in background work and streams? Rows 52, 56, 57, 59, 60, 63."""

from __future__ import annotations

import asyncio
import operator
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from langchain_tokens import TokenUsageHandler
from tests.conformance.builders import QUESTION, State, asks, asks_async, chain, config, line_of
from tests.conformance.models import Gate, ScriptedModel, StreamingModel
from tests.conformance.table import Row, Table, check, line, name_of, played, stored_calls

TABLE = Table()
PARALLEL_RUNS = 50


@TABLE.row("52", "a background task outlives the graph", "n | G | G/n | 1 | ok 10/5")
async def background(handler: TokenUsageHandler) -> None:
    gate = Gate()
    model, tasks = ScriptedModel(gate=gate), []

    async def node(state: State) -> State:
        tasks.append(asyncio.create_task(model.ainvoke("q")))
        return {"turns": 1}

    await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))
    await gate.await_entered()
    gate.release()
    await asyncio.gather(*tasks)


@TABLE.row("56", "a graph's v3 stream", "n | G | G/n | 1 | ok 10/5")
def graph_v3(handler: TokenUsageHandler) -> None:
    graph = line_of(("n", asks(StreamingModel())), name="G")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangGraph calls its v3 streams experimental
        stream = graph.stream_events(QUESTION, config(handler), version="v3")
    with stream:
        assert stream.output is not None


@TABLE.row("56", "a model's v3 stream", "v3 | - | v3 | 1 | ok 10/5")
def model_v3(handler: TokenUsageHandler) -> None:
    assert str(StreamingModel().stream_events("q", config(handler, run_name="v3"), version="v3").text) == "answer"


class Lanes(TypedDict, total=False):
    """The state of a graph that fans out."""

    item: int
    done: Annotated[int, operator.add]


@TABLE.row(
    "57", "two sub-agents of one name at once", *["model | worker | P/run_worker/worker/model | 1 | ok 10/5"] * 2
)
async def same_named_at_once(handler: TokenUsageHandler) -> None:
    gate, entered = Gate(), []

    def meet(messages: Any) -> str:
        entered.append(messages)
        return "answer"

    worker = create_agent(ScriptedModel(steps=(meet,), gate=gate), [], name="worker")

    async def run_worker(state: Lanes) -> Lanes:
        await worker.ainvoke({"messages": [HumanMessage("q")]})
        return {"done": 1}

    builder = StateGraph(Lanes)
    builder.add_node("run_worker", run_worker)
    builder.add_conditional_edges(START, lambda state: [Send("run_worker", {"item": item}) for item in (0, 1)])
    running = asyncio.create_task(builder.compile(name="P").ainvoke({"done": 0}, config(handler)))
    await gate.await_entered()
    gate.release()
    await running


class AskingRetriever(BaseRetriever):
    """A retriever that asks a model, and tells it so or not."""

    model: Any
    tells: bool = False

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self.model.invoke(query, {"callbacks": run_manager.get_child()} if self.tells else None)
        return [Document("found")]


@TABLE.row("59", "a model in a retriever that does not tell", "rag | - | rag | 1 | ok 10/5")
def silent_retriever(handler: TokenUsageHandler) -> None:
    _rag(tells=False).invoke("q", config(handler))


@TABLE.row("59", "a model in a retriever that tells", "MyR | - | rag/MyR | 1 | ok 10/5")
def telling_retriever(handler: TokenUsageHandler) -> None:
    _rag(tells=True).invoke("q", config(handler))


def _rag(*, tells: bool) -> Any:
    retriever = AskingRetriever(model=ScriptedModel(), tells=tells).with_config(run_name="MyR")
    return (retriever | len).with_config(run_name="rag")


@TABLE.row(
    "60",
    "five graphs in five threads",
    *["a | G | G/a | 1 | ok 10/5", "b | G | G/b | 1 | ok 10/5"] * 5,
    runs=5,
    sessions=("t0", "t1", "t2", "t3", "t4"),
)
def threads(handler: TokenUsageHandler) -> None:
    graph = line_of(("a", asks()), ("b", asks()), name="G")
    with ThreadPoolExecutor(5) as pool:
        done = [
            pool.submit(graph.invoke, QUESTION, config(handler, configurable={"thread_id": f"t{number}"}))
            for number in range(5)
        ]
    assert all(future.result() for future in done)


@TABLE.row("63", "a plain thread pool in a node: LangChain tells nobody", runs=0)
def plain_thread_pool(handler: TokenUsageHandler) -> None:
    _in_a_pool(ThreadPoolExecutor).invoke(QUESTION, config(handler))


@TABLE.row("63", "a thread pool that keeps the context", "n | G | G/n | 1 | ok 10/5")
def context_thread_pool(handler: TokenUsageHandler) -> None:
    _in_a_pool(ContextThreadPoolExecutor).invoke(QUESTION, config(handler))


@TABLE.row("63", "a thread that keeps the context", "n | G | G/n | 1 | ok 10/5")
async def to_thread(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()

    async def node(state: State) -> State:
        await asyncio.to_thread(model.invoke, "q")
        return {"turns": 1}

    await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))


@TABLE.row("63", "a plain thread pool, and the handler in the model: a run of its own", "- | - | - | 1 | ok 10/5")
def plain_thread_pool_and_constructor(handler: TokenUsageHandler) -> None:
    _in_a_pool(ThreadPoolExecutor, ScriptedModel(callbacks=[handler])).invoke(QUESTION)


def _in_a_pool(pool_class: Any, model: Any = None) -> Any:
    model = ScriptedModel() if model is None else model

    def node(state: State) -> State:
        with pool_class(1) as pool:
            pool.submit(model.invoke, "q").result()
        return {"turns": 1}

    return line_of(("n", node), name="G")


@TABLE.row(
    "+",
    "an agent in a tool in a subgraph, fanned out",
    *["model | A | P/w/A/model | 1 | ok 10/5", "model | A | P/w/A/model | 2 | ok 10/5"] * 2,
    *["model | sub | P/w/A/tools/ask/sub/model | 1 | ok 10/5"] * 2,
)
async def agent_in_a_tool_fanned_out(handler: TokenUsageHandler) -> None:
    from tests.conformance.test_agents import asking_tool, thinks

    ask = asking_tool("ask", create_agent(ScriptedModel(), [], name="sub"))
    agent = create_agent(thinks(("ask", {"question": "q"})), [ask], name="A")
    builder = StateGraph(Lanes)
    builder.add_node("w", agent, input_schema=None)
    asked = {"messages": [HumanMessage("q")]}
    builder.add_conditional_edges(START, lambda state: [Send("w", asked) for _ in (0, 1)], ["w"])
    await builder.compile(name="P").ainvoke({"done": 0}, config(handler))


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_calls_keep_their_names(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)


def _many() -> Any:
    return line_of(("a", asks(chain(name="one"))), ("b", asks()), name="G")


EXPECTED = Counter({("one", "G", 1): PARALLEL_RUNS, ("b", "G", 1): PARALLEL_RUNS})


def _check_many(handler: TokenUsageHandler) -> None:
    calls = stored_calls(handler)
    assert Counter((call.chain, call.agent, call.attempt) for call in calls) == EXPECTED
    by_run: dict[str, set[str | None]] = {}
    for call in calls:
        by_run.setdefault(call.run_id, set()).add(call.session)
    assert sorted(by_run.values(), key=str) == sorted(({f"t{number}"} for number in range(PARALLEL_RUNS)), key=str)


def test_parallel_runs_in_threads(tmp_path: Path) -> None:
    """Fifty runs in threads on one handler keep calls, sessions and counters apart."""

    def scenario(handler: TokenUsageHandler) -> None:
        graph = _many()
        with ThreadPoolExecutor(16) as pool:
            for future in [
                pool.submit(graph.invoke, QUESTION, config(handler, configurable={"thread_id": f"t{number}"}))
                for number in range(PARALLEL_RUNS)
            ]:
                future.result()

    _check_many(played(scenario, tmp_path))


def test_parallel_runs_in_tasks(tmp_path: Path) -> None:
    """Fifty runs in tasks on one handler keep calls, sessions and counters apart."""

    async def scenario(handler: TokenUsageHandler) -> None:
        graph = line_of(("a", asks_async(chain(name="one"))), ("b", asks_async(ScriptedModel())), name="G")
        await asyncio.gather(
            *(
                graph.ainvoke(QUESTION, config(handler, configurable={"thread_id": f"t{number}"}))
                for number in range(PARALLEL_RUNS)
            )
        )

    _check_many(played(scenario, tmp_path))


@pytest.mark.parametrize("play", [graph_v3, model_v3])
def test_a_v3_stream_shows_its_first_token(play: Any, tmp_path: Path) -> None:
    """A v3 stream fires no token events; its own events give the time to the first token."""
    (call,) = stored_calls(played(play, tmp_path))
    assert call.streamed
    assert call.time_to_first_token_ms is not None
    assert line(call).endswith("ok 10/5")
