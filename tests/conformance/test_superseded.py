"""Which calls' work was thrown away and done again? Every kind of retry, and replays on resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from langchain_tokens import TokenUsageHandler, track
from langchain_tokens.call import Call
from tests.conformance.builders import QUESTION, State, asks, asks_async, chain, config, failing_first, line_of, looping
from tests.conformance.models import Gate, ScriptedError, ScriptedModel, calling
from tests.conformance.table import Row, Table, name_of, played, stored_calls
from tests.conformance.test_agents import thinks
from tests.conformance.test_resume import resumed, stops

TABLE = Table()
AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3, retry_on=ScriptedError)
THREAD = {"configurable": {"thread_id": "th"}}


def shown(call: Call) -> str:
    """A call as a row of this module writes it; `again` is one whose work was done again."""
    why = f"{call.attempt} {call.retry_kind}" if call.retry_kind is not None else str(call.attempt)
    return f"{call.chain} | {why} | {call.status}{' | again' if call.superseded else ''}"


def retried(*askable: Any, name: str = "w") -> Any:
    """A graph of one node with a retry policy."""
    builder = StateGraph(State)
    builder.add_node(name, asks(*askable), retry_policy=AT_ONCE)
    builder.add_edge(START, name)
    return builder.compile(name="G")


@TABLE.row("+", "a node's retry policy", "w | 1 | ok | again", "w | 2 | error", "w | 3 retry | ok", "w | 4 retry | ok")
def node_retry(handler: TokenUsageHandler) -> None:
    retried(ScriptedModel(), failing_first(1)).invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a node that fails twice, asynchronously",
    *["draft | 1 | ok | again", "check | 1 | error"],
    *["draft | 2 retry | ok | again", "check | 2 retry | error"],
    *["draft | 3 retry | ok", "check | 3 retry | ok"],
)
async def node_retry_twice(handler: TokenUsageHandler) -> None:
    builder = StateGraph(State)
    node = asks_async(chain(name="draft"), chain(failing_first(2), "check"))
    builder.add_node("w", node, retry_policy=AT_ONCE)
    builder.add_edge(START, "w")
    await builder.compile(name="G").ainvoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a call that a failed node had given up after an error is not the one that is replaced",
    *[
        "w | 1 | error",
        "w | 2 retry | ok | again",
        "w | 3 retry | ok",
        "w | 4 retry | ok",
    ],
)
def caught_in_the_node(handler: TokenUsageHandler) -> None:
    model, fails = failing_first(1), [True]

    def node(state: State) -> State:
        try:
            model.invoke("q")
        except ScriptedError:
            model.invoke("q")
        if fails.pop() if fails else False:
            raise ScriptedError("the node's own")
        model.invoke("and then")
        return {"turns": 1}

    builder = StateGraph(State)
    builder.add_node("w", node, retry_policy=AT_ONCE)
    builder.add_edge(START, "w")
    builder.compile(name="G").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "an answer that comes from the cache again was not thrown away",
    "w | 1 | ok",
    "w | 2 | error",
    *[
        "w | 3 retry | cached",
        "w | 4 retry | ok",
    ],
)
def cached(handler: TokenUsageHandler) -> None:
    retried(ScriptedModel(cache=InMemoryCache()), failing_first(1)).invoke(QUESTION, config(handler))


@TABLE.row("+", "with_retry on a chain whose parser failed", "sql | 1 | ok | again", "sql | 2 retry | ok")
def parser_failed(handler: TokenUsageHandler) -> None:
    def parse(message: Any) -> str:
        if message.content == "broken":
            raise ScriptedError("no SQL")
        return str(message.content)

    whole = (ScriptedModel(steps=("broken", "fine")) | RunnableLambda(parse)).with_config(run_name="sql")
    whole.with_retry(wait_exponential_jitter=False).invoke("q", config(handler))


@TABLE.row(
    "+",
    "with_retry on a chain goes further the second time",
    *["draft | 1 | ok | again", "check | 1 | error"],
    *["draft | 2 retry | ok", "check | 2 retry | ok", "polish | 1 | ok"],
)
def chain_retry(handler: TokenUsageHandler) -> None:
    steps = (chain(name="draft"), chain(failing_first(1), "check"), chain(name="polish"))
    ask_all = RunnableLambda(lambda question: [step.invoke(question) for step in steps])
    ask_all.with_config(run_name="both").with_retry(wait_exponential_jitter=False).invoke(QUESTION, config(handler))


@TABLE.row("+", "with_retry on a model: what failed gave no answer", "fix | 1 | error", "fix | 2 retry | ok")
def model_retry(handler: TokenUsageHandler) -> None:
    chain(failing_first(1).with_retry(wait_exponential_jitter=False), "fix").invoke(QUESTION, config(handler))


@TABLE.row("+", "a fallback: what failed gave no answer", "fix | 1 | error", "fix | 2 fallback | ok")
def fallback(handler: TokenUsageHandler) -> None:
    chain(failing_first(1).with_fallbacks([ScriptedModel()]), "fix").invoke(QUESTION, config(handler))


@TABLE.row("+", "middleware that tries a model again", "model | 1 | error", "model | 2 retry | ok")
def middleware_model_retry(handler: TokenUsageHandler) -> None:
    middleware = [ModelRetryMiddleware(initial_delay=0, jitter=False, max_retries=2)]
    agent = create_agent(failing_first(1), [], middleware=middleware, name="A")
    agent.invoke({"messages": [HumanMessage("q")]}, config(handler))


@TABLE.row(
    "+",
    "middleware that runs a tool again",
    *["model | 1 | ok", "look | 1 | ok | again", "look | 2 retry | ok", "model | 2 | ok"],
)
def middleware_tool_retry(handler: TokenUsageHandler) -> None:
    in_tool, fails = ScriptedModel(), [True]

    @tool
    def look() -> str:
        """Look it up."""
        in_tool.invoke("q")
        if fails.pop() if fails else False:
            raise ScriptedError("not found")
        return "found"

    middleware = [ToolRetryMiddleware(initial_delay=0, jitter=False, max_retries=2)]
    agent = create_agent(thinks(("look", {})), [look], middleware=middleware, name="A")
    agent.invoke({"messages": [HumanMessage("q")]}, config(handler))


@TABLE.row(
    "+",
    "a retry around a retry",
    *[
        *["w | 1 | ok | again", "w | 2 | error", "w | 3 retry | ok | again", "w | 4 retry | ok | again"],
        *["after | 1 | error", "w | 1 retry | ok", "w | 2 retry | ok", "after | 2 retry | ok"],
    ],
)
def nested_retries(handler: TokenUsageHandler) -> None:
    graph, after = retried(ScriptedModel(), failing_first(1)), chain(failing_first(1), "after")
    both = RunnableLambda(lambda question: (graph.invoke(question), after.invoke(question)))
    both.with_config(run_name="both").with_retry(wait_exponential_jitter=False).invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "only the lane that failed",
    "w | 1 | ok",
    *[
        "w | 2 | ok",
        "w | 1 | ok | again",
        "w | 2 | error",
        "w | 3 retry | ok",
        "w | 4 retry | ok",
    ],
)
def one_lane(handler: TokenUsageHandler) -> None:
    first, second = ScriptedModel(), {0: ScriptedModel(), 1: failing_first(1)}

    def node(state: State) -> State:
        first.invoke("q")
        second[state["item"]].invoke("q")
        return {"turns": 1}

    def start(state: State) -> State:
        return {}

    builder = StateGraph(State)
    builder.add_node("w", node, retry_policy=AT_ONCE)
    builder.add_node("start", start)
    builder.add_edge(START, "start")
    builder.add_conditional_edges("start", lambda _: [Send("w", {"item": item}) for item in (0, 1)], ["w"])
    builder.compile(name="G").invoke(QUESTION, config(handler))


@TABLE.row("+", "a loop does nothing again", "fix | 1 | ok", "fix | 2 | ok", "fix | 3 | ok")
def loop(handler: TokenUsageHandler) -> None:
    looping("fix", asks(), 3, name="G").invoke(QUESTION, config(handler))


@TABLE.row("34", "a resume", "pre | 1 | ok", "ask | 1 | ok | again", "ask | 1 replay | ok", "ask | 2 | ok", runs=2)
def resume(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    node = stops(model, after=model)
    resumed(line_of(("pre", asks(model)), ("ask", node), name="G", checkpointer=InMemorySaver()), handler, 1)


@TABLE.row(
    "+",
    "two resumes",
    *[
        "ask | 1 | ok | again",
        "ask | 1 replay | ok | again",
        "ask | 2 | ok | again",
        "ask | 1 replay | ok",
        "ask | 2 replay | ok",
        "ask | 3 | ok",
    ],
    runs=3,
)
def resume_twice(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    resumed(line_of(("ask", stops(model, model, after=model)), name="G", checkpointer=InMemorySaver()), handler, 2)


@TABLE.row(
    "+",
    "a failed run goes on",
    *[
        "one | 1 | ok",
        "two | 1 | ok | again",
        "two | 2 | error",
        "two | 1 replay | ok",
        "two | 2 replay | ok",
    ],
    runs=2,
)
def failed_and_went_on(handler: TokenUsageHandler) -> None:
    two = asks(ScriptedModel(), failing_first(1))
    graph = line_of(("one", asks()), ("two", two), name="G", checkpointer=InMemorySaver())
    with pytest.raises(ScriptedError):
        graph.invoke(QUESTION, config(handler, **THREAD))
    graph.invoke(None, config(handler, **THREAD))


@TABLE.row(
    "+",
    "a tool that interrupts: the model's turn before it stands",
    *[
        "model | 1 | ok",
        "ask_user | 1 | ok | again",
        "ask_user | 1 replay | ok",
        "model | 1 | ok",
    ],
    runs=2,
)
def tool_interrupts(handler: TokenUsageHandler) -> None:
    in_tool = ScriptedModel()

    @tool
    def ask_user() -> str:
        """Ask the user."""
        in_tool.invoke("what to ask?")
        return str(interrupt("go on?"))

    model = ScriptedModel(steps=(calling(("ask_user", {})), "done"))
    agent = create_agent(model, [ask_user], name="A", checkpointer=InMemorySaver())
    resumed(agent, handler, 1, {"messages": [HumanMessage("q")]})


@TABLE.row(
    "+",
    "a task that fails, and a workflow that is resumed: what was done in tasks stands",
    *[
        "one | 1 | ok",
        "two | 1 | error",
        "two | 2 retry | ok",
        "flow | 1 | ok | again",
        "flow | 1 replay | ok",
    ],
    runs=2,
)
def workflow(handler: TokenUsageHandler) -> None:
    model, fails = ScriptedModel(), failing_first(1)

    @task
    def one() -> str:
        return str(model.invoke("q").content)

    @task(retry_policy=AT_ONCE)
    def two() -> str:
        return str(fails.invoke("q").content)

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: Any) -> str:
        one().result()
        two().result()
        model.invoke("in the workflow itself")
        return str(interrupt("go on?"))

    flow.invoke("q", config(handler, **THREAD))
    flow.invoke(Command(resume="yes"), config(handler, **THREAD))


@TABLE.row(
    "+",
    "an interrupt and its resume in one track",
    *[
        "ask | 1 | ok | again",
        "ask | 1 replay | ok",
        "ask | 2 | ok",
    ],
)
def in_a_track(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    graph = line_of(("ask", stops(model, after=model)), name="G", checkpointer=InMemorySaver())
    with track(handler.store, run="talk") as run:
        graph.invoke(QUESTION, config(handler, **THREAD))
        graph.invoke(Command(resume="yes"), config(handler, **THREAD))
    assert [call.superseded for call in run.calls] == [True, False, False]


@TABLE.row(
    "+",
    "many calls in a node",
    *[*["w | n | ok | again"] * 300, "w | n | error", *["w | n retry | ok"] * 301],
)
def many_calls(handler: TokenUsageHandler) -> None:
    retried(*[ScriptedModel()] * 300, failing_first(1)).invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a node that asks many questions at once, which all fail, and asks them anew by itself",
    *[*["w | n | error"] * 100, *["w | n retry | ok"] * 100],
)
def many_failed_questions(handler: TokenUsageHandler) -> None:
    model, questions = failing_first(100), [f"question {number}" for number in range(100)]

    def node(state: State) -> State:
        model.batch(questions, return_exceptions=True)
        model.batch(questions)
        return {"turns": 1}

    line_of(("w", node)).invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a call that is still going on when its work is done again",
    *[
        "w | 1 | ok | again",
        "w | 2 | error",
        "w | 3 retry | ok",
        "w | 4 retry | ok",
    ],
)
async def still_going_on(handler: TokenUsageHandler) -> None:
    import asyncio

    gate, fails, tasks = Gate(), failing_first(1), []
    slow, quick = ScriptedModel(gate=gate), ScriptedModel()

    async def node(state: State) -> State:
        if tasks:
            await quick.ainvoke("q")
        else:
            tasks.append(asyncio.create_task(slow.ainvoke("q")))
            await gate.await_entered()
        await fails.ainvoke("q")
        return {"turns": 1}

    builder = StateGraph(State)
    builder.add_node("w", node, retry_policy=AT_ONCE)
    builder.add_edge(START, "w")
    await builder.compile(name="G").ainvoke(QUESTION, config(handler))
    gate.release()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_work_that_was_thrown_away_is_marked(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says, and the memory agrees with the store."""
    handler = played(row.play, tmp_path)
    calls = stored_calls(handler)
    numbered = not any("| n" in line for line in row.calls)
    lines = [shown(call) if numbered else shown(call).replace(f" {call.attempt}", " n", 1) for call in calls]
    assert sorted(lines) == sorted(row.calls)
    assert len({call.run_id for call in calls}) == row.runs
    held = {call.call_id: call.superseded for run in handler.runs for call in run.calls}
    assert held == {call.call_id: call.superseded for call in calls}


def test_a_mark_loses_no_estimate(tmp_path: Path) -> None:
    """A call whose usage was estimated from its content keeps that estimate when it is marked."""
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        retried(ScriptedModel(usage=None), failing_first(1)).invoke(QUESTION, config(handler))
    first, _, again, _ = stored_calls(handler)
    assert (first.superseded, first.usage_source, first.revision) == (True, "estimated", 1)
    assert (first.usage, first.usage_flags) == (again.usage, again.usage_flags)


def test_an_ended_run_holds_on_to_no_call(tmp_path: Path) -> None:
    """What ran well keeps none of its calls for a retry that can no longer come; what failed keeps them for that."""
    handler = TokenUsageHandler(tmp_path / "usage.db")
    retried(ScriptedModel(), failing_first(1)).invoke(QUESTION, config(handler))
    runs = handler._capture.runs
    assert [frame.run_id for frame in runs._ended.values() if frame.work.made] == []
    assert runs._unfinished._held_calls == 0
    with pytest.raises(ScriptedError):
        line_of(("w", asks(ScriptedModel(), failing_first(1))), name="G").invoke(QUESTION, config(handler))
    assert runs._unfinished._held_calls == 2
    handler.close()
