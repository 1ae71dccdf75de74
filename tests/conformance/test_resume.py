"""What is work done again on resume? Interrupts, failures and nested graphs that go on. Row 34, and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from langchain_tokens import TokenUsageHandler, track
from tests.conformance.builders import QUESTION, State, asks, config, failing_first, line_of
from tests.conformance.models import ScriptedError, ScriptedModel, calling
from tests.conformance.table import Row, Table, check, name_of

TABLE = Table()
ASKED: Any = {"messages": [HumanMessage("question")]}


def resumed(graph: Any, handler: TokenUsageHandler, times: int, asked: Any = QUESTION) -> None:
    """Invoke a graph that interrupts, and resume it a number of times; then it must be at its end."""
    given = config(handler, configurable={"thread_id": "th"})
    graph.invoke(asked, given)
    for _ in range(times):
        assert handler.last_run is not None
        assert handler.last_run.status == "interrupted"
        graph.invoke(Command(resume="yes"), given)
    assert graph.get_state(given).next == ()


def stops(*before: Any, after: Any) -> Any:
    """A node that asks models, each followed by an interrupt, and then another model."""

    def node(state: State) -> State:
        for model in before:
            model.invoke("question")
            interrupt("go on?")
        after.invoke("question")
        return {"turns": 1}

    return node


@TABLE.row(
    "34",
    "an interrupt and a resume",
    "pre | G | G/pre | 1 | ok 10/5",
    "ask | G | G/ask | 1 | ok 10/5",
    "ask | G | G/ask | 1 replay | ok 10/5",
    "ask | G | G/ask | 2 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def interrupted_once(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    node = stops(model, after=model)
    resumed(line_of(("pre", asks(model)), ("ask", node), name="G", checkpointer=InMemorySaver()), handler, 1)


@TABLE.row(
    "+",
    "several interrupts, several resumes",
    "ask | G | G/ask | 1 | ok 10/5",
    "ask | G | G/ask | 1 replay | ok 10/5",
    "ask | G | G/ask | 2 | ok 10/5",
    "ask | G | G/ask | 1 replay | ok 10/5",
    "ask | G | G/ask | 2 replay | ok 10/5",
    "ask | G | G/ask | 3 | ok 10/5",
    "next | G | G/next | 1 | ok 10/5",
    runs=3,
    sessions=("th",),
)
def interrupted_twice(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    node = stops(model, model, after=model)
    resumed(line_of(("ask", node), ("next", asks(model)), name="G", checkpointer=InMemorySaver()), handler, 2)


@TABLE.row(
    "+",
    "two lanes interrupt at once and are resumed one after the other: each lane's own calls are made again",
    *["ask | G | G/ask | 1 | ok 10/5"] * 2,
    *["ask | G | G/ask | 1 replay | ok 10/5"] * 3,
    *["ask | G | G/ask | 2 | ok 10/5"] * 2,
    runs=3,
    sessions=("th",),
)
def two_lanes_interrupt(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    builder = StateGraph(State)
    builder.add_node("ask", stops(model, after=model))
    builder.add_conditional_edges(START, lambda _: [Send("ask", {"item": item}) for item in (0, 1)], ["ask"])
    graph = builder.compile(name="G", checkpointer=InMemorySaver())
    given = config(handler, configurable={"thread_id": "th"})
    first, second = graph.invoke(QUESTION, given)["__interrupt__"]
    graph.invoke(Command(resume={first.id: "yes"}), given)
    graph.invoke(Command(resume={second.id: "yes"}), given)
    assert graph.get_state(given).next == ()


@TABLE.row(
    "+",
    "a stop before a node does nothing again",
    "one | G | G/one | 1 | ok 10/5",
    "two | G | G/two | 1 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def stopped_before(handler: TokenUsageHandler) -> None:
    graph = line_of(("one", asks()), ("two", asks()), name="G", checkpointer=InMemorySaver(), interrupt_before=["two"])
    given = config(handler, configurable={"thread_id": "th"})
    graph.invoke(QUESTION, given)
    graph.invoke(None, given)


@TABLE.row(
    "+",
    "a failed run goes on: the failed node's calls are made again",
    "one | G | G/one | 1 | ok 10/5",
    "two | G | G/two | 1 | ok 10/5",
    "two | G | G/two | 2 | error -",
    "two | G | G/two | 1 replay | ok 10/5",
    "two | G | G/two | 2 replay | ok 10/5",
    runs=2,
    sessions=("th",),
)
def failed_and_went_on(handler: TokenUsageHandler) -> None:
    two = asks(ScriptedModel(), failing_first(1))
    graph = line_of(("one", asks()), ("two", two), name="G", checkpointer=InMemorySaver())
    given = config(handler, configurable={"thread_id": "th"})
    with pytest.raises(ScriptedError):
        graph.invoke(QUESTION, given)
    graph.invoke(None, given)


@TABLE.row(
    "+",
    "a tool of an agent in a node interrupts: only the tool's call is made again",
    "model | A | P/w/A/model | 1 | ok 10/5",
    "ask_user | A | P/w/A/tools/ask_user | 1 | ok 10/5",
    "ask_user | A | P/w/A/tools/ask_user | 1 replay | ok 10/5",
    "model | A | P/w/A/model | 1 | ok 10/5",
    "last | P | P/last | 1 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def tool_interrupts(handler: TokenUsageHandler) -> None:
    in_tool = ScriptedModel()

    @tool
    def ask_user() -> str:
        """Ask the user."""
        in_tool.invoke("what to ask?")
        return str(interrupt("go on?"))

    agent = create_agent(ScriptedModel(steps=(calling(("ask_user", {})), "done")), [ask_user], name="A")

    def node(state: State) -> State:
        agent.invoke(ASKED)
        return {"turns": 1}

    resumed(line_of(("w", node), ("last", asks()), name="P", checkpointer=InMemorySaver()), handler, 1)


@TABLE.row(
    "+",
    "a node that is an agent interrupts in it",
    "model | A | P/w/A/model | 1 | ok 10/5",
    "model | A | P/w/A/model | 1 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def agent_node_interrupts(handler: TokenUsageHandler) -> None:
    @tool
    def ask_user() -> str:
        """Ask the user."""
        return str(interrupt("go on?"))

    agent = create_agent(ScriptedModel(steps=(calling(("ask_user", {})), "done")), [ask_user], name="A")
    builder = StateGraph(MessagesState)
    builder.add_node("w", agent)
    builder.add_edge(START, "w")
    resumed(builder.compile(name="P", checkpointer=InMemorySaver()), handler, 1, ASKED)


@TABLE.row(
    "+",
    "a node interrupts after a graph in it was done: that graph is done again",
    "a | sub | P/w/sub/a | 1 | ok 10/5",
    "b | sub | P/w/sub/b | 1 | ok 10/5",
    "a | sub | P/w/sub/a | 1 replay | ok 10/5",
    "b | sub | P/w/sub/b | 1 replay | ok 10/5",
    "w | P | P/w | 1 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def interrupts_after_graph(handler: TokenUsageHandler) -> None:
    resumed(_interrupts_after(checkpointer=False), handler, 1)


@TABLE.row(
    "+",
    "a node interrupts after a graph in it was done that keeps checkpoints: LangGraph does not do it again",
    "a | sub | P/w/sub/a | 1 | ok 10/5",
    "b | sub | P/w/sub/b | 1 | ok 10/5",
    "w | P | P/w | 1 | ok 10/5",
    runs=2,
    sessions=("th",),
)
def interrupts_after_checkpointed_graph(handler: TokenUsageHandler) -> None:
    resumed(_interrupts_after(checkpointer=None), handler, 1)


def _interrupts_after(*, checkpointer: Any) -> Any:
    model = ScriptedModel()
    inner = line_of(("a", asks(model)), ("b", asks(model)), name="sub", checkpointer=checkpointer)

    def node(state: State) -> State:
        inner.invoke(QUESTION)
        interrupt("go on?")
        model.invoke("question")
        return {"turns": 1}

    return line_of(("w", node), name="P", checkpointer=InMemorySaver())


@TABLE.row(
    "+",
    "a retried graph that keeps checkpoints begins anew, and then goes further than it had come",
    "first | subg | P/w/subg/first | 1 | ok 10/5",
    "inner | subg | P/w/subg/inner | 1 | error -",
    "first | subg | P/w/subg/first | 1 retry | ok 10/5",
    "inner | subg | P/w/subg/inner | 1 retry | ok 10/5",
    "first | subg | P/w/subg/first | 2 | ok 10/5",
    sessions=("th",),
)
def retried_checkpointed_graph(handler: TokenUsageHandler) -> None:
    first = asks()
    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("inner", asks(failing_first(1)))
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: "inner" if state["turns"] < 2 else "__end__")
    builder.add_edge("inner", "first")
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ScriptedError)
    outer = StateGraph(State)
    outer.add_node("w", builder.compile(name="subg"), retry_policy=policy)
    outer.add_edge(START, "w")
    graph = outer.compile(name="P", checkpointer=InMemorySaver())
    graph.invoke({**QUESTION, "turns": 0}, config(handler, configurable={"thread_id": "th"}))


@TABLE.row(
    "+",
    "an interrupt and its resume in one track are one run, and a replay all the same",
    "ask | G | talk/G/ask | 1 | ok 10/5",
    "ask | G | talk/G/ask | 1 replay | ok 10/5",
    "ask | G | talk/G/ask | 2 | ok 10/5",
    sessions=("th",),
)
def interrupted_in_a_track(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    graph = line_of(("ask", stops(model, after=model)), name="G", checkpointer=InMemorySaver())
    given = config(handler, configurable={"thread_id": "th"})
    with track(handler.store, run="talk"):
        graph.invoke(QUESTION, given)
        graph.invoke(Command(resume="yes"), given)


@TABLE.row(
    "+",
    "another handler's interrupt is unknown: its calls are new",
    "ask | G | G/ask | 1 | ok 10/5",
    "ask | G | G/ask | 2 | ok 10/5",
    sessions=("th",),
)
def interrupted_elsewhere(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    graph = line_of(("ask", stops(model, after=model)), name="G", checkpointer=InMemorySaver())
    graph.invoke(QUESTION, {"configurable": {"thread_id": "th"}})
    graph.invoke(Command(resume="yes"), config(handler, configurable={"thread_id": "th"}))


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_work_done_again_is_marked(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)
