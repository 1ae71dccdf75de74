"""Does an agent end gracefully when a budget runs out? With `create_agent` and scripted models, both ways of running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_tokens import Budget, TokenUsageHandler, track
from langchain_tokens.errors import BudgetError
from langchain_tokens.integrations.agent import BudgetMiddleware
from langchain_tokens.registry import REGISTRY
from tests.models import Reply, ScriptedChat, in_turn

ROOT = Path(__file__).resolve().parent.parent
WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda agent, config: agent.invoke({"messages": "go on for ever"}, config),
    "ainvoke": lambda agent, config: asyncio.run(agent.ainvoke({"messages": "go on for ever"}, config)),
}


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the threads that a test began."""
    yield
    REGISTRY.drain()


@tool
def look() -> str:
    """Look once more."""
    return "nothing yet"


class Restless(ScriptedChat):
    """A model that asks for the tool again and again."""

    name: str | None = "dear"

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        """Take them."""
        return self


def restless(text: str) -> Restless:
    """A model that says so each time."""
    return Restless(script=in_turn(Reply(text=text, tool_calls=("look",))))


def said(result: Any) -> list[str]:
    """What the agent's models said, and the last message's reason to end."""
    answers = [message for message in result["messages"] if message.type == "ai"]
    return [*(str(message.content) for message in answers[:-1]), answers[-1].response_metadata.get("finish_reason")]


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_ends_with_a_message(way: str, tmp_path: Path) -> None:
    """At the limit the agent ends with a message that says why; its run is no failure, and its tools are left whole."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=()) as handler:
        agent = create_agent(
            restless("dear"), [look], middleware=[BudgetMiddleware([Budget(limit_calls=3, per="run")])], name="Looker"
        )
        result = WAYS[way](agent, {"callbacks": [handler]})

        assert said(result) == ["dear", "dear", "dear", "budget"]
        assert result["messages"][-1].content.startswith("I have to stop here: budget '3 calls per run'")
        assert "3 of 3 calls spent" in result["messages"][-1].content
        assert handler.last_run is not None
        assert (handler.last_run.status, len(handler.last_run.calls)) == ("ok", 3)


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_goes_on_with_a_cheaper_model(way: str, tmp_path: Path) -> None:
    """From the mark on the cheaper model is asked, and at the limit the agent ends."""
    cheap = BudgetMiddleware([Budget(limit_calls=4, per=("agent", "day"))], at=0.5, model=restless("cheap"))
    with TokenUsageHandler(tmp_path / "t.db", budgets=()) as handler:
        handler.record(None, agent="Other")
        agent = create_agent(restless("dear"), [look], middleware=[cheap], name="Looker")

        assert said(WAYS[way](agent, {"callbacks": [handler]})) == ["dear", "dear", "cheap", "cheap", "budget"]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_budget_refuses_ends_the_agent(way: str, tmp_path: Path) -> None:
    """A handler's budget that stops a call ends the agent, whose cheaper model was refused as well."""
    stops = Budget(limit_calls=2, per="session", action="stop")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stops], session="s1") as handler:
        middleware = BudgetMiddleware(model=restless("cheap"), message=lambda why: f"Sorry: {why[:20]}")
        agent = create_agent(restless("dear"), [look], middleware=[middleware])
        result = WAYS[way](agent, {"callbacks": [handler]})

        assert said(result) == ["dear", "dear", "budget"]
        assert result["messages"][-1].content == "Sorry: budget '2 calls per "
        assert handler.stopped_calls == 2


def test_a_cheaper_model_may_still_fit(tmp_path: Path) -> None:
    """Where a budget refuses the dear model's call, the cheaper one is tried."""
    dear = Restless(script=in_turn(Reply(text="dear", tool_calls=("look",))))
    stops = Budget(limit_usd="0.002", action="stop", assumed_output_tokens=4_000)
    cheap = Restless(script=in_turn(Reply(text="done"))).bind(max_tokens=10)
    object.__setattr__(cheap, "bind_tools", lambda *_, **__: cheap)
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stops]) as handler:
        middleware = BudgetMiddleware(handler=handler)
        middleware._model = cheap
        agent = create_agent(dear, [], middleware=[middleware])
        result = agent.invoke({"messages": "q"}, {"callbacks": [handler]})

    assert result["messages"][-1].content == "done"
    assert handler.stopped_calls == 1


def test_a_block_says_who_asks(tmp_path: Path) -> None:
    """Without a handler in callbacks, that of the block around the agent is asked."""
    agent = create_agent(
        restless("dear"), [look], middleware=[BudgetMiddleware([Budget(limit_calls=2, per="session")])]
    )
    with track(tmp_path / "t.db", session="s1"):
        assert said(agent.invoke({"messages": "q"})) == ["dear", "dear", "budget"]


def test_without_a_handler_the_agent_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody counts, nothing is done, and one warning says so."""
    model = Restless(script=in_turn(Reply(text="one", tool_calls=("look",)), Reply(text="two")))
    agent = create_agent(model, [look], middleware=[BudgetMiddleware([Budget(limit_calls=1)])])

    assert agent.invoke({"messages": "q"})["messages"][-1].content == "two"
    assert caplog.text.count("BudgetMiddleware finds no TokenUsageHandler") == 1


@pytest.mark.parametrize(
    "given", [{"at": 0}, {"at": 1.1}, {"at": "half"}, {"model": "gpt-4o"}, {"budgets": Budget(limit_calls=1)}]
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    """Wrong arguments are a `BudgetError`."""
    with pytest.raises(BudgetError):
        BudgetMiddleware(**given)
