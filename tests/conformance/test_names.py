"""What do explicit names do? Metadata, track, attach and label, sessions. Rows 53, 54, 61 and 62, and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, StateGraph

from langchain_tokens import TokenUsageHandler, attach, label, track
from tests.conformance.builders import QUESTION, State, asks, chain, config, line_of, looping
from tests.conformance.models import ScriptedModel
from tests.conformance.table import Row, Table, check, name_of, played, stored_calls

TABLE = Table()
ASKED: Any = {"messages": [HumanMessage("question")]}


@TABLE.row(
    "53",
    "names in metadata",
    "n | orchestrator | G/n | 1 | ok 10/5",
    "special | critic | G/m/inner/special | 1 | ok 10/5",
    sessions=("S9",),
)
def names_in_metadata(handler: TokenUsageHandler) -> None:
    critic = chain(name="inner").with_config(metadata={"tokens_agent": "critic", "tokens_chain": "special"})
    metadata = {"session_id": "S9", "tokens_agent": "orchestrator"}
    line_of(("n", asks()), ("m", asks(critic)), name="G").invoke(QUESTION, config(handler, metadata=metadata))


@TABLE.row(
    "54",
    "an agent named at the root, and a named one below",
    "n | orchestrator | n | 1 | ok 10/5",
    "model | sub | call/sub/model | 1 | ok 10/5",
)
def agent_at_the_root(handler: TokenUsageHandler) -> None:
    sub = create_agent(ScriptedModel(), [], name="sub")

    def call(state: State) -> State:
        sub.invoke(ASKED)
        return {"turns": 1}

    graph = line_of(("n", asks()), ("call", call))
    graph.invoke(QUESTION, config(handler, metadata={"tokens_agent": "orchestrator"}))


@TABLE.row(
    "61", "names in a node's metadata", "intent | planner | G/n1/intent | 1 | ok 10/5", "n2 | G | G/n2 | 1 | ok 10/5"
)
def names_of_a_node(handler: TokenUsageHandler) -> None:
    builder = StateGraph(State)
    builder.add_node("n1", asks(), metadata={"tokens_chain": "intent", "tokens_agent": "planner"})
    builder.add_node("n2", asks())
    builder.add_edge(START, "n1")
    builder.add_edge("n1", "n2")
    builder.compile(name="G").invoke(QUESTION, config(handler))


@TABLE.row("62", "a chain named at the root: the node is nearer", "n | G | G/n | 1 | ok 10/5")
def chain_at_the_root(handler: TokenUsageHandler) -> None:
    line_of(("n", asks()), name="G").invoke(QUESTION, config(handler, metadata={"tokens_chain": "whole"}))


@TABLE.row("62", "a chain named for a bare call", "whole | - | whole | 1 | ok 10/5")
def chain_of_a_bare_call(handler: TokenUsageHandler) -> None:
    ScriptedModel().invoke("q", config(handler, metadata={"tokens_chain": "whole"}))


@TABLE.row("+", "label names a chain for good", "sql_fix | fixer | G/n/sql_fix | 1 | ok 10/5")
def labelled(handler: TokenUsageHandler) -> None:
    fixing = label(chain(), chain="sql_fix", agent="fixer")
    line_of(("n", asks(fixing)), name="G").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "attach names the agents of nodes",
    "intent | Planner | G/intent | 1 | ok 10/5",
    "sql_fix | Repair | G/repair/sub/sql_fix | 1 | ok 10/5",
    "answer | G | G/answer | 1 | ok 10/5",
)
def attached(handler: TokenUsageHandler) -> None:
    inner = line_of(("sql_fix", asks()), name="sub")
    graph = line_of(("intent", asks()), ("repair", inner), ("answer", asks()), name="G")
    attach(graph, handler, agents={"intent": "Planner", "repair": "Repair"}).invoke(QUESTION)


@TABLE.row(
    "+",
    "a loop over a node that was named as an agent counts its attempts",
    *[f"sql_fix | Repair | G/sql_fix | {attempt} | ok 10/5" for attempt in (1, 2, 3)],
)
def attached_loop(handler: TokenUsageHandler) -> None:
    graph = looping("sql_fix", asks(), 3, "G")
    attach(graph, handler, agents={"sql_fix": "Repair"}).invoke({**QUESTION, "turns": 0})


@TABLE.row(
    "+",
    "a loop over a labelled chain counts its attempts",
    *[f"sql_fix | fixer | G/n/sql_fix | {attempt} | ok 10/5" for attempt in (1, 2, 3)],
)
def labelled_loop(handler: TokenUsageHandler) -> None:
    fixing = label(chain(), chain="sql_fix", agent="fixer")
    line_of(("n", asks(fixing, fixing, fixing)), name="G").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "attach names a node whose agent is called through a function",
    "model | SQL | team/sql/call_agent/sql_agent/model | 1 | ok 10/5",
)
def attached_through_a_function(handler: TokenUsageHandler) -> None:
    agent = create_agent(ScriptedModel(), [], name="sql_agent")
    call = RunnableLambda(lambda _: (agent.invoke(ASKED), {"turns": 1})[1]).with_config(run_name="call_agent")
    attach(line_of(("sql", call), name="team"), handler, agents={"sql": "SQL"}).invoke(QUESTION)


@TABLE.row(
    "+",
    "the nodes of an inner graph are not named by the outer graph's map",
    "intent | Planner | G/intent | 1 | ok 10/5",
    "intent | sub | G/repair/sub/intent | 1 | ok 10/5",
)
def attached_outer_only(handler: TokenUsageHandler) -> None:
    inner = line_of(("intent", asks()), name="sub")
    outer = line_of(("intent", asks()), ("repair", inner), name="G")
    attach(outer, handler, agents={"intent": "Planner"}).invoke(QUESTION)


@TABLE.row(
    "+",
    "a loop around invoke in one track is one run, and counts its attempts",
    "sql_fix | - | nl2sql/sql_fix | 1 | ok 10/5",
    "sql_fix | - | nl2sql/sql_fix | 2 | ok 10/5",
    "sql_fix | - | nl2sql/sql_fix | 3 | ok 10/5",
    sessions=("s1",),
)
def tracked_loop(handler: TokenUsageHandler) -> None:
    with track(handler.store, run="nl2sql", session="s1"):
        for _ in range(3):
            chain(name="sql_fix").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "nested track: the inner names win, and the run is the outer one's",
    "a | outer_agent | outer/a | 1 | ok 10/5",
    "special | inner_agent | outer/b/special | 1 | ok 10/5",
    "c | outer_agent | outer/c | 1 | ok 10/5",
    sessions=("s1", "s2"),
)
def nested_track(handler: TokenUsageHandler) -> None:
    with track(handler.store, run="outer", session="s1", agent="outer_agent"):
        chain(name="a").invoke(QUESTION, config(handler))
        with track(handler.store, session="s2", agent="inner_agent", chain="special"):
            chain(name="b").invoke(QUESTION, config(handler))
        chain(name="c").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "nested track with a run of its own",
    "a | - | outer/a | 1 | ok 10/5",
    "b | - | inner/b | 1 | ok 10/5",
    runs=2,
)
def nested_track_with_run(handler: TokenUsageHandler) -> None:
    with track(handler.store, run="outer"):
        chain(name="a").invoke(QUESTION, config(handler))
        with track(handler.store, run="inner"):
            chain(name="b").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "track in a node names what is in it and leaves the run alone",
    "special | G | G/n/special | 1 | ok 10/5",
    "n | G | G/n | 1 | ok 10/5",
    "special | G | G/n/inner/special | 2 | ok 10/5",
)
def track_in_a_node(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()

    def node(state: State) -> State:
        with track(handler.store, chain="special"):
            model.invoke("q")
        model.invoke("q")
        with track(handler.store, chain="special"):
            chain(name="inner").invoke(QUESTION)
        return {"turns": 1}

    line_of(("n", node), name="G").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a user's own attempt wins",
    "sql_fix | G | G/sql_fix | 7 | ok 10/5",
    "sql_fix | G | G/sql_fix | 7 | ok 10/5",
)
def own_attempt(handler: TokenUsageHandler) -> None:
    looping("sql_fix", asks(ScriptedModel().with_config(metadata={"tokens_attempt": 7})), 2, "G").invoke(
        {**QUESTION, "turns": 0}, config(handler)
    )


@TABLE.row(
    "+",
    "a child graph with a thread of its own stays in the session",
    "sql_fix | sub | G/n/sub/sql_fix | 1 | ok 10/5",
    sessions=("parent",),
)
def child_thread(handler: TokenUsageHandler) -> None:
    inner = line_of(("sql_fix", asks()), name="sub")

    def node(state: State) -> State:
        inner.invoke(QUESTION, {"configurable": {"thread_id": "child"}})
        return {"turns": 1}

    line_of(("n", node), name="G").invoke(QUESTION, config(handler, configurable={"thread_id": "parent"}))


@TABLE.row(
    "+",
    "a session in the configurable, which LangGraph keeps out of the metadata",
    "n | G | G/n | 1 | ok 10/5",
    sessions=("S1",),
)
def session_in_configurable(handler: TokenUsageHandler) -> None:
    line_of(("n", asks()), name="G").invoke(QUESTION, config(handler, configurable={"session_id": "S1"}))


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_explicit_names_hold(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)


def test_a_handler_s_defaults_fill_what_nobody_named(tmp_path: Path) -> None:
    """Names given to the handler hold where nothing closer names."""
    with TokenUsageHandler(
        store=tmp_path / "usage.db", session="s", mode="m", agent="a", user="u", tags={"team": "x"}
    ) as handler:
        ScriptedModel().invoke("q", config(handler, metadata={"tokens_mode": "own", "tokens_tag_team": "y"}))
        ScriptedModel().invoke("q", config(handler))
    own, default = stored_calls(handler)
    assert (own.session, own.mode, own.agent, own.user, dict(own.tags)) == ("s", "own", "a", "u", {"team": "y"})
    assert (default.mode, dict(default.tags)) == ("m", {"team": "x"})


def test_a_named_error_stays_with_its_attempt(tmp_path: Path) -> None:
    """What made an attempt necessary is stored with its call."""

    def scenario(handler: TokenUsageHandler) -> None:
        with track(handler.store, attempt=2, error=ValueError("no such column")):
            chain(name="sql_fix").invoke(QUESTION, config(handler))

    (call,) = stored_calls(played(scenario, tmp_path))
    assert (call.attempt, call.attempt_error) == (2, "no such column")
