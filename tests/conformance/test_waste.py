"""Is what real runs waste found for what it is? Retries, replays, unusable answers, repeats and growing histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import JsonOutputParser
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from langchain_tokens import TokenUsageHandler, track
from langchain_tokens.reports import findings, input_shares
from tests.conformance.builders import QUESTION, State, chain, config, failing_first
from tests.conformance.models import ScriptedError, ScriptedModel
from tests.conformance.test_resume import resumed, stops

AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3, retry_on=(ScriptedError, OutputParserException))


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[TokenUsageHandler]:
    """A handler that inspects inputs."""
    with TokenUsageHandler(tmp_path / "tokens.db", inspect_inputs=True) as handler:
        yield handler


def graph_of(node: Any, **more: Any) -> Any:
    """A graph of one node."""
    builder = StateGraph(State)
    builder.add_node("work", node, **more)
    builder.add_edge(START, "work")
    return builder.compile(name="app", checkpointer=InMemorySaver() if not more else None)


def found(handler: TokenUsageHandler) -> dict[str, int]:
    """Kind → calls that are in findings of waste."""
    handler.flush()
    kinds: dict[str, int] = {}
    for row in findings(handler.store):
        if row.is_waste:
            kinds[row.kind] = kinds.get(row.kind, 0) + row.calls
    return kinds


def test_a_retry_around_what_succeeded(handler: TokenUsageHandler) -> None:
    """A node whose second call fails is done again whole: its first answer was for nothing."""
    plan, write = ScriptedModel(), failing_first(1)

    def node(_: State) -> State:
        plan.invoke("plan")
        write.invoke("write")
        return {}

    graph_of(node, retry_policy=AT_ONCE).invoke(QUESTION, config(handler))
    assert found(handler) == {"failed": 1, "retries": 1}


def test_a_retry_for_an_answer_that_cannot_be_read(handler: TokenUsageHandler) -> None:
    """A parser that fails makes the answer before it unusable."""
    model = ScriptedModel(steps=("no json", '{"a": 1}'))
    graph_of(lambda _: (model | JsonOutputParser()).invoke("q") and None, retry_policy=AT_ONCE).invoke(
        QUESTION, config(handler)
    )
    assert found(handler) == {"unusable": 1}


def test_a_parser_that_ends_the_run(handler: TokenUsageHandler) -> None:
    """Without a retry the last answer of a run that its parser ended is unusable."""
    with pytest.raises(OutputParserException):
        (ScriptedModel() | JsonOutputParser()).invoke("q", config(handler))
    assert found(handler) == {"unusable": 1}


def test_an_application_that_asks_again(handler: TokenUsageHandler) -> None:
    """An application that says why it asks again says that the answer before was unusable."""
    ask = chain(name="sql_fix")
    with track():
        ask.invoke({"q": "first"}, config(handler))
        ask.invoke({"q": "second"}, config(handler, metadata={"tokens_error": "no such column: citty"}))
    assert found(handler) == {"unusable": 1}


def test_a_replay_on_resume(handler: TokenUsageHandler) -> None:
    """What a node had asked before it interrupted is asked again when it is resumed."""
    model = ScriptedModel()
    resumed(graph_of(stops(model, after=ScriptedModel(model_name="other"))), handler, 1)
    assert found(handler) == {"replays": 1}


def test_repeated_questions_and_growing_inputs(handler: TokenUsageHandler) -> None:
    """The same question twice is a repeat; a conversation that grows is not, and its history is told from the rest."""
    model = ScriptedModel()
    turns: list[Any] = [SystemMessage("be brief " * 50), HumanMessage("who?")]
    for turns_so_far in (turns, turns, [*turns, AIMessage("Ada " * 50), HumanMessage("and who else?")]):
        model.invoke(turns_so_far, config(handler))
    assert found(handler) == {"repeats": 1}
    (row,) = input_shares(handler.store).rows
    assert (row.calls, row.uncovered_calls, row.input_tokens) == (3, 0, 30)
    assert row.parts["system"] > row.parts["human"] > 0
    assert row.parts["history"] > 0
