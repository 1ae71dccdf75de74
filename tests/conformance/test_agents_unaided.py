"""What does an agent need beyond the callback? Nothing: names, handlers and a library's agents, with no middleware."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent

from langchain_tokens import TokenUsageHandler, attach, label, open_store, track
from tests.conformance.builders import config
from tests.conformance.models import ScriptedModel
from tests.conformance.table import Row, Table, check, line, name_of
from tests.conformance.test_agents import ASKED, asking_tool, deep_agent_with, supervised, swarming, thinks

TABLE = Table()


def unnamed() -> Any:
    """An agent without a name, with another one in its tool that has one."""
    return create_agent(
        thinks(("ask", {"question": "q"})), [asking_tool("ask", create_agent(ScriptedModel(), [], name="sub"))]
    )


def of_unnamed(agent: str, path: str) -> list[str]:
    """The calls of that agent, whatever it is called."""
    return [
        f"model | {agent} | {path}model | 1 | ok 10/5",
        f"model | sub | {path}tools/ask/sub/model | 1 | ok 10/5",
        f"model | {agent} | {path}model | 2 | ok 10/5",
    ]


@TABLE.row("+", "an unnamed agent is named by `label`", *of_unnamed("boss", ""))
def named_by_label(handler: TokenUsageHandler) -> None:
    label(unnamed(), agent="boss").invoke(ASKED, config(handler))


@TABLE.row("+", "an unnamed agent is named by `label`, asynchronously", *of_unnamed("boss", ""))
async def named_by_label_async(handler: TokenUsageHandler) -> None:
    await label(unnamed(), agent="boss").ainvoke(ASKED, config(handler))


@TABLE.row("+", "an unnamed agent is named by its run name", *of_unnamed("boss", "boss/"))
def named_by_run_name(handler: TokenUsageHandler) -> None:
    unnamed().with_config(run_name="boss").invoke(ASKED, config(handler))


@TABLE.row("+", "an unnamed agent is named by the block around it", *of_unnamed("boss", ""))
def named_by_track(handler: TokenUsageHandler) -> None:
    with track(handler.store, agent="boss"):
        unnamed().invoke(ASKED)


@TABLE.row("+", "an unnamed agent is named by the handler", *of_unnamed("boss", ""))
def named_by_handler(handler: TokenUsageHandler) -> None:
    with TokenUsageHandler(handler.store, agent="boss") as own:
        unnamed().invoke(ASKED, config(own))


@TABLE.row("+", "a handler that is attached and passed counts once", *of_unnamed("boss", ""))
def attached_and_passed(handler: TokenUsageHandler) -> None:
    attach(label(unnamed(), agent="boss"), handler).invoke(ASKED, config(handler))


@TABLE.row(
    "+",
    "a deep agent without a name is named by `label`",
    "model | deep | model | 1 | ok 10/5",
    "model | researcher | tools/task/researcher/model | 1 | ok 10/5",
    "model | deep | model | 2 | ok 10/5",
)
async def deep_agent_named_by_label(handler: TokenUsageHandler) -> None:
    await label(deep_agent_with(None, "researcher"), agent="deep").ainvoke(ASKED, config(handler))


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_agents_are_named_from_outside(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)


LIBRARIES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "create_agent": (unnamed, of_unnamed("-", "")),
    "supervisor": (
        supervised,
        [
            *["agent | boss | team/boss/agent | 1 | ok 10/5"] * 2,
            "model | sql_agent | team/sql_agent/call_agent/sql_agent/model | 1 | ok 10/5",
        ],
    ),
    "swarm": (
        swarming,
        ["model | alice | swarm/alice/model | 1 | ok 10/5", "model | bob | swarm/bob/model | 1 | ok 10/5"],
    ),
    "deepagents": (
        lambda: deep_agent_with("deep_main", "researcher"),
        [
            *[f"model | deep_main | deep_main/model | {turn} | ok 10/5" for turn in (1, 2)],
            "model | researcher | deep_main/tools/task/researcher/model | 1 | ok 10/5",
        ],
    ),
}


def used(agent: Any, way: str, given: Any = None) -> Any:
    """Use an agent as a library does that takes no config."""
    if way == "invoke":
        return agent.invoke(ASKED, given)
    if way == "ainvoke":
        return agent.ainvoke(ASKED, given)
    return [None for _ in agent.stream(ASKED, given, stream_mode=["messages", "updates"])]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_agents_of_a_library_are_caught(library: str, way: str, tmp_path: Path) -> None:
    """Agents that are built and invoked where nobody can pass a handler or a middleware are caught by the block around
    them, with all their sub-agents, exactly as by a handler that is passed, and once where both are there.
    """
    build, expected = LIBRARIES[library]
    for passes in (False, True):
        store = open_store(tmp_path / f"{passes}.db")
        asyncio.run(used_in_a_block(build(), way, store, passes=passes))
        assert sorted(map(line, store.calls())) == sorted(expected)
        assert [run.status for run in store.runs()] == ["ok"]


async def used_in_a_block(agent: Any, way: str, store: Any, *, passes: bool) -> None:
    """Use an agent in a block, with a handler passed or without."""
    with track(store) as run:
        result = used(agent, way, config(TokenUsageHandler(store)) if passes else None)
        if inspect.isawaitable(result):
            await result
    assert run.total.calls == store.breakdown().total.calls
