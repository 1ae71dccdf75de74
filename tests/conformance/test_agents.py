"""Whom does a call belong to among agents: tools, sub-agents, middleware, supervisors, swarms? Rows 38 to 45."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    LLMToolEmulator,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, tool

from langchain_tokens import TokenUsageHandler
from tests.conformance.builders import asks, chain, config, failing_first, line_of
from tests.conformance.models import ScriptedError, ScriptedModel, calling
from tests.conformance.table import Row, Table, check, name_of

TABLE = Table()
ASKED: Any = {"messages": [HumanMessage("question")]}


def calls_once(*calls: tuple[str, dict[str, Any]]) -> Callable[[Sequence[BaseMessage]], AIMessage]:
    """A step that asks for tools first, and answers once they have answered."""

    def step(messages: Sequence[BaseMessage]) -> AIMessage:
        done = any(isinstance(message, (ToolMessage, AIMessage)) for message in messages)
        return AIMessage(content="done") if done else calling(*calls)

    return step


def thinks(*calls: tuple[str, dict[str, Any]]) -> ScriptedModel:
    """A model that asks for these tools, then answers."""
    return ScriptedModel(steps=(calls_once(*calls),))


@tool
def get_weather(city: str) -> str:
    """Look the weather up."""
    return "fine"


def asking_tool(name: str, askable: Any) -> StructuredTool:
    """A tool that asks a model, a chain or an agent."""

    def ask(question: str) -> str:
        askable.invoke(question if hasattr(askable, "bind_tools") else ASKED)
        return "answer"

    return StructuredTool.from_function(ask, name=name, description="Ask.")


@TABLE.row(
    "38",
    "an agent's loop",
    "model | weather_agent | weather_agent/model | 1 | ok 10/5",
    "model | weather_agent | weather_agent/model | 2 | ok 10/5",
)
def agent_loop(handler: TokenUsageHandler) -> None:
    agent = create_agent(thinks(("get_weather", {"city": "Pune"})), [get_weather], name="weather_agent")
    agent.invoke(ASKED, config(handler))


@TABLE.row("39", "an unnamed agent", "model | - | model | 1 | ok 10/5")
def unnamed_agent(handler: TokenUsageHandler) -> None:
    create_agent(ScriptedModel(), []).invoke(ASKED, config(handler))


@TABLE.row("39", "an unnamed agent with a run name", "model | my_agent | my_agent/model | 1 | ok 10/5")
def agent_with_run_name(handler: TokenUsageHandler) -> None:
    create_agent(ScriptedModel(), []).invoke(ASKED, config(handler, run_name="my_agent"))


@TABLE.row(
    "40",
    "tools that are agents, named and not, and one that asks a model",
    "model | supervisor | supervisor/model | 1 | ok 10/5",
    "model | sql_agent | supervisor/tools/ask_sql/sql_agent/model | 1 | ok 10/5",
    "model | ask_un | supervisor/tools/ask_un/model | 1 | ok 10/5",
    "ask_llm | supervisor | supervisor/tools/ask_llm | 1 | ok 10/5",
    "model | supervisor | supervisor/model | 2 | ok 10/5",
)
def agents_as_tools(handler: TokenUsageHandler) -> None:
    tools = [
        asking_tool("ask_sql", create_agent(ScriptedModel(), [], name="sql_agent")),
        asking_tool("ask_un", create_agent(ScriptedModel(), [])),
        asking_tool("ask_llm", ScriptedModel()),
    ]
    asked = [(name, {"question": "q"}) for name in ("ask_sql", "ask_un", "ask_llm")]
    create_agent(thinks(*asked), tools, name="supervisor").invoke(ASKED, config(handler))


@TABLE.row(
    "41",
    "an agent that asks itself",
    "model | rec | rec/model | 1 | ok 10/5",
    "model | rec | rec/tools/again/rec/model | 1 | ok 10/5",
    "model | rec | rec/model | 2 | ok 10/5",
)
def recursive_agent(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(steps=(calling(("again", {})), "inner", "outer"))

    @tool
    def again() -> str:
        """Ask the same agent again."""
        agent.invoke(ASKED)
        return "answer"

    agent = create_agent(model, [again], name="rec")
    agent.invoke(ASKED, config(handler))


@TABLE.row(
    "42",
    "summarization before the model's turn",
    "summarization | A | A/SummarizationMiddleware.before_model/summarization | 1 | ok 10/5",
    "model | A | A/model | 1 | ok 10/5",
)
def summarization(handler: TokenUsageHandler) -> None:
    middleware = SummarizationMiddleware(ScriptedModel(), trigger=("messages", 3), keep=("messages", 1))
    messages = [HumanMessage("one"), AIMessage("two"), HumanMessage("three"), HumanMessage("four")]
    agent = create_agent(ScriptedModel(), [], middleware=[middleware], name="A")
    agent.invoke({"messages": messages}, config(handler))


@TABLE.row(
    "42",
    "an emulated tool",
    "model | A | A/model | 1 | ok 10/5",
    "tool_emulation | A | A/tools/tool_emulation | 1 | ok 10/5",
    "model | A | A/model | 2 | ok 10/5",
)
def emulated_tool(handler: TokenUsageHandler) -> None:
    middleware = [LLMToolEmulator(model=ScriptedModel())]
    agent = create_agent(thinks(("get_weather", {"city": "Pune"})), [get_weather], middleware=middleware, name="A")
    agent.invoke(ASKED, config(handler))


@TABLE.row(
    "42",
    "the middleware falls back to another model",
    "model | A | A/model | 1 | error -",
    "model | A | A/model | 2 fallback | ok 10/5",
)
def model_fallback(handler: TokenUsageHandler) -> None:
    primary = ScriptedModel(steps=(ScriptedError("down"),), model_name="primary")
    middleware = [ModelFallbackMiddleware(ScriptedModel(model_name="secondary"))]
    create_agent(primary, [], middleware=middleware, name="A").invoke(ASKED, config(handler))


@TABLE.row(
    "42",
    "the middleware tries the model again",
    "model | A | A/model | 1 | error -",
    "model | A | A/model | 2 retry | error -",
    "model | A | A/model | 3 retry | ok 10/5",
)
def model_retry(handler: TokenUsageHandler) -> None:
    middleware = [ModelRetryMiddleware(initial_delay=0, jitter=False, max_retries=2)]
    create_agent(failing_first(2), [], middleware=middleware, name="A").invoke(ASKED, config(handler))


@TABLE.row(
    "+",
    "the middleware runs a tool again in which an agent failed",
    "model | A | A/model | 1 | ok 10/5",
    "model | sub | A/tools/ask/sub/model | 1 | error -",
    "model | sub | A/tools/ask/sub/model | 1 retry | ok 10/5",
    "model | A | A/model | 2 | ok 10/5",
)
def tool_retry(handler: TokenUsageHandler) -> None:
    ask = asking_tool("ask", create_agent(failing_first(1), [], name="sub"))
    middleware = [ToolRetryMiddleware(initial_delay=0, jitter=False, max_retries=2)]
    create_agent(thinks(("ask", {"question": "q"})), [ask], middleware=middleware, name="A").invoke(
        ASKED, config(handler)
    )


@TABLE.row(
    "43",
    "create_supervisor",
    "agent | boss | team/boss/agent | 1 | ok 10/5",
    "model | sql_agent | team/sql_agent/call_agent/sql_agent/model | 1 | ok 10/5",
    "agent | boss | team/boss/agent | 1 | ok 10/5",
)
def supervisor(handler: TokenUsageHandler) -> None:
    supervised().invoke(ASKED, config(handler))


def supervised() -> Any:
    from langgraph_supervisor import create_supervisor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # langgraph-supervisor uses what LangGraph has deprecated
        return create_supervisor(
            [create_agent(ScriptedModel(), [], name="sql_agent")],
            model=ScriptedModel(steps=(calling(("transfer_to_sql_agent", {})), "done")),
            supervisor_name="boss",
        ).compile(name="team")


@TABLE.row(
    "44",
    "create_swarm: a handoff is no failure",
    "model | alice | swarm/alice/model | 1 | ok 10/5",
    "model | bob | swarm/bob/model | 1 | ok 10/5",
)
def swarm(handler: TokenUsageHandler) -> None:
    swarming().invoke(ASKED, config(handler))
    assert handler.last_run is not None
    assert handler.last_run.status == "ok"


def swarming() -> Any:
    from langgraph_swarm import create_handoff_tool, create_swarm

    alice = create_agent(thinks(("transfer_to_bob", {})), [create_handoff_tool(agent_name="bob")], name="alice")
    bob = create_agent(ScriptedModel(), [], name="bob")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # langgraph-swarm uses what LangGraph has deprecated
        return create_swarm([alice, bob], default_active_agent="alice").compile(name="swarm")


@TABLE.row(
    "45",
    "deepagents",
    "model | deep_main | deep_main/model | 1 | ok 10/5",
    "model | researcher | deep_main/tools/task/researcher/model | 1 | ok 10/5",
    "model | general-purpose | deep_main/tools/task/general-purpose/model | 1 | ok 10/5",
    "model | deep_main | deep_main/model | 2 | ok 10/5",
)
def deep_agent(handler: TokenUsageHandler) -> None:
    deep_agent_with("deep_main", "researcher", "general-purpose").invoke(ASKED, config(handler))


@TABLE.row(
    "45",
    "deepagents without a name",
    "model | - | model | 1 | ok 10/5",
    "model | researcher | tools/task/researcher/model | 1 | ok 10/5",
    "model | - | model | 2 | ok 10/5",
)
def unnamed_deep_agent(handler: TokenUsageHandler) -> None:
    deep_agent_with(None, "researcher").invoke(ASKED, config(handler))


def deep_agent_with(name: str | None, *delegates: str) -> Any:
    from deepagents import create_deep_agent

    asked = [("task", {"description": "look it up", "subagent_type": delegate}) for delegate in delegates]
    researcher: Any = {
        "name": "researcher",
        "description": "Looks things up.",
        "system_prompt": "Look it up.",
        "model": ScriptedModel(),
    }
    turn = calls_once(*asked)
    main = ScriptedModel(steps=(lambda messages: "done" if messages[-1].content == "look it up" else turn(messages),))
    return create_deep_agent(model=main, subagents=[researcher], name=name)


@TABLE.row(
    "+",
    "with_retry around an agent",
    "model | A | A/model | 1 | ok 10/5",
    "model | A | A/model | 2 | error -",
    "model | A | A/model | 1 retry | ok 10/5",
    "model | A | A/model | 2 retry | ok 10/5",
)
def retried_agent(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(
        steps=(
            calling(("get_weather", {"city": "Pune"})),
            ScriptedError("no"),
            calling(("get_weather", {"city": "P"})),
            "x",
        )
    )
    agent = create_agent(model, [get_weather], name="A")
    agent.with_retry(wait_exponential_jitter=False).invoke(ASKED, config(handler))


@TABLE.row(
    "+",
    "with_fallbacks between two agents",
    "model | first | first/model | 1 | error -",
    "model | second | second/model | 1 fallback | ok 10/5",
    "model | second | second/model | 2 fallback | ok 10/5",
)
async def fallback_to_an_agent(handler: TokenUsageHandler) -> None:
    first = create_agent(failing_first(1), [], name="first")
    second = create_agent(thinks(("get_weather", {"city": "Pune"})), [get_weather], name="second")
    await first.with_fallbacks([second]).ainvoke(ASKED, config(handler))


@TABLE.row(
    "+",
    "an agent as a node, and one called in a node",
    "model | researcher | P/research/researcher/model | 1 | ok 10/5",
    "model | writer | P/write/writer/model | 1 | ok 10/5",
)
def agents_in_nodes(handler: TokenUsageHandler) -> None:
    researcher = create_agent(ScriptedModel(), [], name="researcher")
    writer = create_agent(ScriptedModel(), [], name="writer")

    def write(state: Any) -> Any:
        writer.invoke(ASKED)
        return {"turns": 1}

    line_of(("research", researcher), ("write", write), name="P").invoke(ASKED, config(handler))


@TABLE.row(
    "+",
    "a plain graph in an agent's tool is an agent of its own",
    "model | A | A/model | 1 | ok 10/5",
    "sql_fix | repair | A/tools/ask/repair/sql_fix | 1 | ok 10/5",
    "model | A | A/model | 2 | ok 10/5",
)
def graph_in_a_tool(handler: TokenUsageHandler) -> None:
    ask = asking_tool("ask", line_of(("sql_fix", asks(chain(name="sql_fix"))), name="repair"))
    create_agent(thinks(("ask", {"question": "q"})), [ask], name="A").invoke(ASKED, config(handler))


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_calls_belong_to_their_agent(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)
