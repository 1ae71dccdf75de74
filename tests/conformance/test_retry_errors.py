"""Which error made it necessary to ask again? It stands on the call that was made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from langchain_tokens import TokenUsageHandler
from tests.builders import scripted_model


def failing(times: int) -> Any:
    """A function that calls a model and then fails, a number of times."""
    left = [times]

    def run(state: Any, config: RunnableConfig) -> Any:
        scripted_model().invoke("q", config)
        if left[0]:
            left[0] -= 1
            raise ValueError(f"no such table {left[0]} for sk-proj-abcdefgh")
        return {}

    return run


def errors(handler: TokenUsageHandler) -> list[tuple[str | None, str | None]]:
    """Why each call was made again, and after which error, in their order; memory and store agree."""
    assert handler.last_run is not None
    assert handler.flush()
    said = [(call.retry_kind, call.attempt_error) for call in handler.last_run.calls]
    assert [(call.retry_kind, call.attempt_error) for call in handler.store.calls(order="started_at")] == said
    return said


RETRIED = [
    (None, None),
    ("retry", "no such table 1 for ***"),
    ("retry", "no such table 0 for ***"),
]


def test_a_nodes_retry_says_the_nodes_error(tmp_path: Path) -> None:
    """Each attempt of a node under a retry policy has the error that ended the one before, without secrets."""
    graph = StateGraph(dict)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, retry_on=ValueError)
    graph.add_node("sql_fix", failing(2), retry_policy=policy)
    graph.add_edge(START, "sql_fix")
    graph.add_edge("sql_fix", END)
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        graph.compile(name="nl2sql").invoke({"a": 1}, {"callbacks": [handler]})
        assert errors(handler) == RETRIED
        assert handler.last_run is not None
        assert "no such table 0 for ***" in str(handler.last_run.to_response())


def test_a_chains_retry_says_the_chains_error(tmp_path: Path) -> None:
    """So has each attempt of a chain under `with_retry`."""
    chain = RunnableLambda(failing(2)).with_retry(
        retry_if_exception_type=(ValueError,), stop_after_attempt=3, wait_exponential_jitter=False
    )
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        chain.invoke({}, {"callbacks": [handler], "run_name": "fix"})
        assert errors(handler) == RETRIED


def test_the_applications_word_wins(tmp_path: Path) -> None:
    """An error that the application names itself (`tokens_error`) stays."""
    chain = RunnableLambda(failing(1)).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        chain.invoke({}, {"callbacks": [handler], "metadata": {"tokens_error": "my own words"}})
        assert [error for _, error in errors(handler)] == ["my own words"] * 2
