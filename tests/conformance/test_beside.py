"""A handler in a model's constructor beside one that sees the whole run, on one store: each call and run once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda

from langchain_tokens import Budget, TokenUsageHandler, track
from tests.conformance.builders import QUESTION, asks, chain, config, failing_first, line_of, looping
from tests.conformance.models import ScriptedModel, StreamingModel, calling
from tests.conformance.table import line, stored_calls
from tests.conformance.test_agents import get_weather

PASSED: Any = RunnableLambda(lambda value: value)


def with_callbacks(handler: TokenUsageHandler, model: Any = None) -> Any:
    """A model with a handler in its constructor."""
    return (ScriptedModel() if model is None else model).model_copy(update={"callbacks": [handler]})


def nested(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    (PASSED | chain(with_callbacks(inner), "step").with_config(run_name="step")).with_config(run_name="R").invoke(
        QUESTION, config(outer)
    )


def loop(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    looping("n", asks(chain(with_callbacks(inner))), 3, "G").invoke(QUESTION, config(outer))


async def agent(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    model = with_callbacks(inner, StreamingModel(steps=(calling(("get_weather", {"city": "Pune"})), "done")))
    whole = create_agent(model, [get_weather], name="Helper")
    await line_of(("n", whole), name="G").ainvoke({"messages": [("user", "q")]}, config(outer))


def recovered(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    fails = chain(with_callbacks(inner, failing_first(1)), "step").with_fallbacks([chain(ScriptedModel(), "other")])
    (PASSED | fails).with_config(run_name="R").invoke(QUESTION, config(outer))


def in_a_track(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    with track(outer.store, run="T"):
        nested(inner, outer)


def given_up(inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    pieces = (PASSED | with_callbacks(inner, StreamingModel())).stream("q", config(outer, run_name="R"))
    next(pieces)
    pieces.close()


SCENARIOS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "a chain in a chain": (nested, ("step | - | R/step | 1 | ok 10/5",)),
    "a loop": (loop, tuple(f"n | G | G/n | {attempt} | ok 10/5" for attempt in (1, 2, 3))),
    "an agent in a task": (
        agent,
        tuple(f"model | Helper | G/n/Helper/model | {attempt} | ok 10/5" for attempt in (1, 2)),
    ),
    "a failure with a fallback": (
        recovered,
        ("step | - | R/step | 1 | error -", "other | - | R/other | 1 fallback | ok 10/5"),
    ),
    "a block": (in_a_track, ("step | - | T/R/step | 1 | ok 10/5",)),
    "a stream that is given up": (given_up, ("R | - | R | 1 | cancelled -",)),
}


def play(scenario: Callable[..., Any], inner: TokenUsageHandler, outer: TokenUsageHandler) -> None:
    """Play a scenario to its end."""
    result = scenario(inner, outer)
    if result is not None:
        asyncio.run(result)
    inner.close()
    outer.close()


STOPS = Budget(limit_tokens=1_000_000, action="stop")
"""A handler with such a budget hears of asynchronous calls after all others."""


@pytest.mark.parametrize("options", [{}, {"journal": False}, {"budgets": [STOPS]}], ids=["alike", "no journal", "late"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_handlers_make_one_run(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """The calls are rows of the run that one handler saw, and both handlers show that run, as it ended."""
    scenario, calls = SCENARIOS[name]
    inner = TokenUsageHandler(tmp_path / "usage.db", estimate=False)
    outer = TokenUsageHandler(tmp_path / "usage.db", estimate=False, **options)
    play(scenario, inner, outer)
    assert sorted(map(line, stored_calls(outer))) == sorted(calls)
    (run,) = outer.store.runs()
    (seen,) = inner.runs
    assert (run.status, len(run.calls)) == ("ok", len(calls))
    assert (seen.run_id, seen.name, seen.status) == (run.run_id, run.name, "ok")
    heard = {call.call_id for call in seen.calls}
    assert heard
    assert [line(call) for call in seen.calls] == [line(call) for call in run.calls if call.call_id in heard]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_handler_twice_is_one(tmp_path: Path, name: str) -> None:
    """A handler in the constructor and in the config hears of each call once."""
    scenario, calls = SCENARIOS[name]
    handler = TokenUsageHandler(tmp_path / "usage.db", estimate=False)
    play(scenario, handler, handler)
    assert sorted(map(line, stored_calls(handler))) == sorted(calls)
    assert len(handler.store.runs()) == 1


def test_a_handler_on_another_store_keeps_its_own_run(tmp_path: Path) -> None:
    """Where the other handler's store is another one, each store has the calls and a run that ended."""
    inner, outer = TokenUsageHandler(tmp_path / "inner.db"), TokenUsageHandler(tmp_path / "outer.db")
    play(nested, inner, outer)
    assert [[(run.status, len(run.calls)) for run in handler.store.runs()] for handler in (inner, outer)] == [
        [("ok", 1)]
    ] * 2
