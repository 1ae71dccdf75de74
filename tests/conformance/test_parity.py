"""Is a call attributed alike however the application is run? One rich application in every mode that LangGraph has."""

from __future__ import annotations

import asyncio
import inspect
import operator
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import RetryPolicy, Send

from langchain_tokens import TokenUsageHandler
from tests.conformance.builders import asks, chain, config
from tests.conformance.models import ScriptedError, StreamingModel
from tests.conformance.table import line, stored_calls
from tests.conformance.test_agents import asking_tool, calls_once

EXPECTED = sorted(
    [
        "intent_chain | app | app/intent/intent_chain | 1 | ok 10/5",
        *["w | app | app/w | 1 | ok 10/5"] * 2,
        "flaky | app | app/flaky | 1 | error -",
        "flaky | app | app/flaky | 2 retry | ok 10/5",
        *[f"sql_fix | app | app/sql_fix | {attempt} | ok 10/5" for attempt in (1, 2, 3)],
        "model | boss | app/boss/model | 1 | ok 10/5",
        "model | alice | app/boss/tools/ask_alice/alice/model | 1 | ok 10/5",
        "model | bob | app/boss/tools/ask_bob/bob/model | 1 | ok 10/5",
        "model | boss | app/boss/model | 2 | ok 10/5",
    ]
)
STREAM_MODES: tuple[Any, ...] = (
    "values",
    "updates",
    "messages",
    "custom",
    "debug",
    "tasks",
    ["messages", "updates", "debug"],
)


class App(TypedDict, total=False):
    """The state of the application."""

    q: str
    messages: Annotated[list[AnyMessage], add_messages]
    turns: Annotated[int, operator.add]
    loops: Annotated[int, operator.add]


INPUT: Any = {"q": "question", "messages": [HumanMessage("question")], "turns": 0, "loops": 0}


def application() -> Any:
    """A named chain, a fan-out, a retried node, a loop, and an agent with two sub-agents that work at once."""
    builder = StateGraph(App)
    one_turn = RunnableLambda(lambda _: {"turns": 1})
    builder.add_node("intent", chain(name="intent_chain") | one_turn)
    builder.add_node("w", asks(StreamingModel()))
    flaky = StreamingModel(steps=(ScriptedError("not now"), "answer"))
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ScriptedError)
    builder.add_node("flaky", asks(flaky), retry_policy=policy)
    builder.add_node("sql_fix", _fixes)
    builder.add_node("boss", _boss())
    builder.add_edge(START, "intent")
    builder.add_conditional_edges("intent", lambda _: [Send("w", {"q": str(lane)}) for lane in range(2)], ["w"])
    builder.add_edge("w", "flaky")
    builder.add_edge("flaky", "sql_fix")
    builder.add_conditional_edges("sql_fix", lambda state: "boss" if state["loops"] >= 3 else "sql_fix")
    builder.add_edge("boss", END)
    return builder.compile(name="app")


def _fixes(state: App) -> App:
    StreamingModel().invoke("question")
    return {"loops": 1}


def _boss() -> Any:
    tools = [asking_tool(f"ask_{name}", create_agent(StreamingModel(), [], name=name)) for name in ("alice", "bob")]
    turn = calls_once(("ask_alice", {"question": "q"}), ("ask_bob", {"question": "q"}))
    return create_agent(StreamingModel(steps=(turn,)), tools, name="boss")


Mode = Callable[[Any, Any], Any]


def _streamed(mode: Any, **more: Any) -> Mode:
    return lambda app, given: [None for _ in app.stream(INPUT, given, stream_mode=mode, **more)]


def _streamed_async(mode: Any, **more: Any) -> Mode:
    async def run(app: Any, given: Any) -> None:
        async for _ in app.astream(INPUT, given, stream_mode=mode, **more):
            pass

    return run


def _events_async(version: str) -> Mode:
    async def run(app: Any, given: Any) -> None:
        async for _ in app.astream_events(INPUT, given, version=version):
            pass

    return run


def _events_v3(app: Any, given: Any) -> None:
    with app.stream_events(INPUT, given, version="v3") as stream:
        assert stream.output is not None


async def _events_v3_async(app: Any, given: Any) -> None:
    async with await app.astream_events(INPUT, given, version="v3") as stream:
        assert await stream.output() is not None


MODES: dict[str, Mode] = {
    "invoke": lambda app, given: app.invoke(INPUT, given),
    "ainvoke": lambda app, given: app.ainvoke(INPUT, given),
    "batch": lambda app, given: app.batch([INPUT], given),
    "abatch": lambda app, given: app.abatch([INPUT], given),
    **{f"stream {mode}": _streamed(mode) for mode in STREAM_MODES},
    **{f"astream {mode}": _streamed_async(mode) for mode in STREAM_MODES},
    "stream with subgraphs": _streamed(["messages", "updates"], subgraphs=True),
    "astream with subgraphs": _streamed_async(["messages", "updates"], subgraphs=True),
    "astream_events v1": _events_async("v1"),
    "astream_events v2": _events_async("v2"),
    "stream_events v3": _events_v3,
    "astream_events v3": _events_v3_async,
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_attributes_alike(mode: str, tmp_path: Path) -> None:
    """The application's calls belong to the same chains, agents, paths and attempts in every mode, in one run."""
    handler = TokenUsageHandler(store=tmp_path / "usage.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain calls some of its modes beta or deprecated
        result = MODES[mode](application(), config(handler))
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    handler.close()
    stored = stored_calls(handler)
    assert sorted(map(line, stored)) == EXPECTED
    assert len({call.run_id for call in stored}) == 1


async def _awaited(result: Any) -> Any:
    return await result
