"""Whom does a call belong to in graphs: nodes, loops, retries, fan-out, subgraphs, tasks? Rows 22 to 37 of the table."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send

from langchain_tokens import TokenUsageHandler
from tests.conformance.builders import QUESTION, State, asks, asks_async, chain, config, failing_first, line_of, looping
from tests.conformance.models import Gate, ScriptedError, ScriptedModel
from tests.conformance.table import Row, Scenario, Table, check, name_of, played, stored_calls

TABLE = Table()
AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3, retry_on=ScriptedError)


@TABLE.row(
    "22",
    "nodes of a named graph, with a thread",
    "intent | nl2sql | nl2sql/intent | 1 | ok 10/5",
    "sql_generation | nl2sql | nl2sql/sql_generation | 1 | ok 10/5",
    "answer | nl2sql | nl2sql/answer | 1 | ok 10/5",
    sessions=("t1",),
)
def named_graph(handler: TokenUsageHandler) -> None:
    graph = line_of(("intent", asks()), ("sql_generation", asks()), ("answer", asks()), name="nl2sql")
    graph.invoke(QUESTION, config(handler, configurable={"thread_id": "t1"}))


@TABLE.row("23", "a graph without a name is no agent", "intent | - | intent | 1 | ok 10/5")
def unnamed_graph(handler: TokenUsageHandler) -> None:
    line_of(("intent", asks())).invoke(QUESTION, config(handler))


@TABLE.row("24", "a named chain in a node", "intent | G | G/node_a/intent | 1 | ok 10/5")
def chain_in_node(handler: TokenUsageHandler) -> None:
    line_of(("node_a", asks(chain(name="intent"))), name="G").invoke(QUESTION, config(handler))


@TABLE.row("25", "a router belongs to itself", "route | G | G/s/route | 1 | ok 10/5")
def router(handler: TokenUsageHandler) -> None:
    _routed("s", "G").invoke(QUESTION, config(handler))


@TABLE.row("25", "a router from the start", "route | G2 | G2/route | 1 | ok 10/5")
def router_from_start(handler: TokenUsageHandler) -> None:
    _routed(START, "G2").invoke(QUESTION, config(handler))


@TABLE.row("25", "a nameless router from the start has the graph's name", "G2 | G2 | G2 | 1 | ok 10/5")
def nameless_router(handler: TokenUsageHandler) -> None:
    _routed(START, "G2", is_named=False).invoke(QUESTION, config(handler))


def _routed(source: str, name: str, *, is_named: bool = True) -> Any:
    model = ScriptedModel()

    def route(state: State) -> str:
        model.invoke("where to?")
        return "x"

    builder = StateGraph(State)
    builder.add_node("s", lambda state: {"turns": 1})
    builder.add_node("x", lambda state: {"turns": 1})
    if source != START:
        builder.add_edge(START, source)
    builder.add_conditional_edges(source, route if is_named else functools.partial(route), ["x"])
    return builder.compile(name=name)


@TABLE.row(
    "26",
    "a loop in the graph",
    "sql_fix | G | G/sql_fix | 1 | ok 10/5",
    "sql_fix | G | G/sql_fix | 2 | ok 10/5",
    "sql_fix | G | G/sql_fix | 3 | ok 10/5",
)
def graph_loop(handler: TokenUsageHandler) -> None:
    looping("sql_fix", asks(), 3, "G").invoke({**QUESTION, "turns": 0}, config(handler))


@TABLE.row(
    "27",
    "a loop in the node",
    "sql_fix | G | G/fixer/sql_fix | 1 | ok 10/5",
    "sql_fix | G | G/fixer/sql_fix | 2 | ok 10/5",
    "sql_fix | G | G/fixer/sql_fix | 3 | ok 10/5",
)
def python_loop(handler: TokenUsageHandler) -> None:
    sql_fix = chain(name="sql_fix")
    line_of(("fixer", asks(sql_fix, sql_fix, sql_fix)), name="G").invoke(QUESTION, config(handler))


def _retried(*nodes: tuple[str, Any], name: str, policy: RetryPolicy = AT_ONCE) -> Any:
    builder = StateGraph(State)
    for key, node in nodes:
        builder.add_node(key, node, retry_policy=policy)
    builder.add_edge(START, nodes[0][0])
    return builder.compile(name=name)


def _fails_after(model: Any, times: int) -> Any:
    """A node that pays for its call and fails nevertheless, a number of times."""
    failures = iter([True] * times + [False] * 10)

    def node(state: State) -> State:
        model.invoke("question")
        if next(failures):
            raise ScriptedError("the answer is of no use")
        return {"turns": 1}

    return node


@TABLE.row(
    "28",
    "a retried node",
    "w | G | G/w | 1 | ok 10/5",
    "w | G | G/w | 2 retry | ok 10/5",
    "w | G | G/w | 3 retry | ok 10/5",
)
def retried_node(handler: TokenUsageHandler) -> None:
    _retried(("w", _fails_after(ScriptedModel(), 2)), name="G").invoke(QUESTION, config(handler))


@TABLE.row("28", "a retried asynchronous node", "w | G | G/w | 1 | error -", "w | G | G/w | 2 retry | ok 10/5")
async def retried_asynchronous_node(handler: TokenUsageHandler) -> None:
    await _retried(("w", asks_async(failing_first(1))), name="G").ainvoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a retried node goes further than it had come",
    "w | G | G/w | 1 | ok 10/5",
    "w | G | G/w | 2 | error -",
    "w | G | G/w | 3 retry | ok 10/5",
    "w | G | G/w | 4 retry | ok 10/5",
    "w | G | G/w | 5 | ok 10/5",
)
def retried_node_goes_further(handler: TokenUsageHandler) -> None:
    _retried(("w", asks(ScriptedModel(), failing_first(1), ScriptedModel())), name="G").invoke(
        QUESTION, config(handler)
    )


@TABLE.row(
    "29",
    "a retried node that is a graph",
    "first | subg | P/w/subg/first | 1 | ok 10/5",
    "inner | subg | P/w/subg/inner | 1 | error -",
    "first | subg | P/w/subg/first | 1 retry | ok 10/5",
    "inner | subg | P/w/subg/inner | 1 retry | ok 10/5",
    "last | subg | P/w/subg/last | 1 | ok 10/5",
)
def retried_subgraph(handler: TokenUsageHandler) -> None:
    inner = line_of(("first", asks()), ("inner", asks(failing_first(1))), ("last", asks()), name="subg")
    _retried(("w", inner), name="P").invoke(QUESTION, config(handler))


@TABLE.row("30", "fan-out: each lane counts for itself", *["w | G | G/w | 1 | ok 10/5"] * 3)
def fan_out(handler: TokenUsageHandler) -> None:
    _fanned_out(asks(), 3, "G").invoke(QUESTION, config(handler))


def _fanned_out(worker: Any, lanes: int, name: str) -> Any:
    builder = StateGraph(State)
    builder.add_node("w", worker)
    builder.add_conditional_edges(START, lambda state: [Send("w", {"item": item}) for item in range(lanes)], ["w"])
    return builder.compile(name=name)


@TABLE.row(
    "31",
    "a subgraph as a node, and called in one",
    "sql_fix | sub_agent | parent/as_node/sub_agent/sql_fix | 1 | ok 10/5",
    "sql_fix | sub_agent | parent/called/sub_agent/sql_fix | 1 | ok 10/5",
)
def subgraphs(handler: TokenUsageHandler) -> None:
    inner = line_of(("sql_fix", asks()), name="sub_agent")
    line_of(("as_node", inner), ("called", lambda state: inner.invoke(QUESTION)), name="parent").invoke(
        QUESTION, config(handler)
    )


@TABLE.row(
    "+",
    "an unnamed subgraph is named by its node",
    "sql_fix | repair | parent/repair/sql_fix | 1 | ok 10/5",
)
def unnamed_subgraph(handler: TokenUsageHandler) -> None:
    line_of(("repair", line_of(("sql_fix", asks()))), name="parent").invoke(QUESTION, config(handler))


@TABLE.row(
    "32",
    "three graphs in each other, all nodes of one name",
    "agent | inner | outer/agent/mid/agent/inner/agent | 1 | ok 10/5",
)
def nested_graphs(handler: TokenUsageHandler) -> None:
    inner = line_of(("agent", asks()), name="inner")
    middle = line_of(("agent", inner), name="mid")
    line_of(("agent", middle), name="outer").invoke(QUESTION, config(handler))


@TABLE.row(
    "33",
    "a handover to the parent graph is no failure",
    "leave | subl | P/s/subl/leave | 1 | ok 10/5",
    "other | P | P/other | 1 | ok 10/5",
)
def command_to_parent(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()

    def leave(state: State) -> Command[Any]:
        model.invoke("question")
        return Command(graph=Command.PARENT, goto="other")

    builder = StateGraph(State)
    builder.add_node("s", line_of(("leave", leave), name="subl"))
    builder.add_node("other", asks())
    builder.add_edge(START, "s")
    builder.compile(name="P").invoke(QUESTION, config(handler))
    assert handler.last_run is not None
    assert handler.last_run.status == "ok"


@TABLE.row(
    "35",
    "the functional API: tasks, called twice, each retried once",
    "intent | - | workflow/intent | 1 | ok 10/5",
    "sql_fix | - | workflow/sql_fix | 1 | error -",
    "sql_fix | - | workflow/sql_fix | 2 retry | ok 10/5",
    "sql_fix | - | workflow/sql_fix | 3 | error -",
    "sql_fix | - | workflow/sql_fix | 4 retry | ok 10/5",
    "workflow | - | workflow | 1 | ok 10/5",
)
def functional(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    failing = ScriptedModel(steps=(ScriptedError("1"), "ok", ScriptedError("2"), "ok"))

    @task
    def intent() -> None:
        model.invoke("q")

    @task(retry_policy=AT_ONCE)
    def sql_fix() -> None:
        failing.invoke("q")

    @entrypoint()
    def workflow(_: dict[str, str]) -> None:
        intent().result()
        sql_fix().result()
        sql_fix().result()
        model.invoke("q")

    workflow.invoke(QUESTION, config(handler))


@TABLE.row("36", "a node answered by its cache makes no call", "n | G | G/n | 1 | ok 10/5")
def node_cache(handler: TokenUsageHandler) -> None:
    builder = StateGraph(State)
    builder.add_node("n", asks(), cache_policy=CachePolicy())
    builder.add_edge(START, "n")
    graph = builder.compile(name="G", cache=InMemoryCache())
    for _ in range(2):
        graph.invoke(QUESTION, config(handler))


@TABLE.row("37", "a call is cancelled because its neighbour failed", "slow | G | G/slow | 1 | cancelled -")
async def neighbour_fails(handler: TokenUsageHandler) -> None:
    gate = Gate()

    async def bad(state: State) -> State:
        await gate.await_entered()
        raise ScriptedError("bad")

    builder = StateGraph(State)
    builder.add_node("slow", asks_async(ScriptedModel(gate=gate)))
    builder.add_node("bad", bad)
    builder.add_edge(START, "slow")
    builder.add_edge(START, "bad")
    with pytest.raises(ScriptedError):
        await builder.compile(name="G").ainvoke(QUESTION, config(handler))


@TABLE.row(
    "55",
    "a node's error handler",
    "bad | G | G/bad | 1 | error -",
    "__error_handler__bad | G | G/__error_handler__bad | 1 | ok 10/5",
)
def error_handler(handler: TokenUsageHandler) -> None:
    builder = StateGraph(State)
    builder.add_node("bad", asks(failing_first(1)), error_handler=asks())
    builder.add_edge(START, "bad")
    builder.add_edge("bad", END)
    builder.compile(name="G").invoke(QUESTION, config(handler))


@TABLE.row("64", "calls gathered in a node", *[f"n | G | G/n | {attempt} | ok 10/5" for attempt in (1, 2, 3)])
async def gathered(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()

    async def node(state: State) -> State:
        await asyncio.gather(*(model.ainvoke("q") for _ in range(3)))
        return {"turns": 1}

    await line_of(("n", node), name="G").ainvoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "fan-out twice: the second turn of each lane is its second attempt",
    *["w | G | G/w | 1 | ok 10/5"] * 2,
    *["w | G | G/w | 2 | ok 10/5"] * 2,
)
def fan_out_in_a_loop(handler: TokenUsageHandler) -> None:
    def again(state: State) -> Any:
        return END if state["turns"] >= 4 else [Send("w", {"item": item}) for item in range(2)]

    builder = StateGraph(State)
    builder.add_node("w", asks())
    builder.add_node("next", lambda state: {"turns": 0})
    builder.add_conditional_edges(START, again, ["w", END])
    builder.add_edge("w", "next")
    builder.add_conditional_edges("next", again, ["w", END])
    builder.compile(name="G").invoke({**QUESTION, "turns": 0}, config(handler))


@TABLE.row(
    "+",
    "a batch in a node that fails in one place is not tried again by the next place",
    "n | G | G/n | 1 | error -",
    "n | G | G/n | 2 | ok 10/5",
)
def batch_in_a_node(handler: TokenUsageHandler) -> None:
    model = failing_first(1)

    def node(state: State) -> State:
        model.batch(["one", "another"], {"max_concurrency": 1}, return_exceptions=True)
        return {"turns": 1}

    line_of(("n", node), name="G").invoke(QUESTION, config(handler))


@pytest.mark.parametrize(
    ("play", "places"),
    [
        (unnamed_graph, [("intent", 1)]),
        (chain_in_node, [("node_a", 1)]),
        (router, [("s", 1)]),
        (router_from_start, [("__start__", 0)]),
        (graph_loop, [("sql_fix", 1), ("sql_fix", 2), ("sql_fix", 3)]),
        (nested_graphs, [("agent", 1)]),
        (functional, [("intent", 0), *[("sql_fix", 0)] * 4, ("workflow", 0)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_calls_say_their_node_and_step(play: Scenario, places: list[tuple[str, int]], tmp_path: Path) -> None:
    """A call stores the innermost node it was made in, and that node's step."""
    assert [(call.node, call.step) for call in stored_calls(played(play, tmp_path))] == places


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_calls_belong_to_their_node(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)
