"""Do limits hold a test to what it may use? What is more fails with a table; what is unknown passes no limit."""

from __future__ import annotations

import re
import threading
from decimal import Decimal
from typing import Any

import pytest

from langchain_tokens import TokenUsageHandler, track
from langchain_tokens.errors import QueryError, TokensError
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.testing import ScriptedChatModel, assert_usage, observe
from tests.builders import make_call, make_fact, screen_calls, scripted_model

FAILED = make_call(chain="sql_fix", tokens=None, status="error")
UNPRICED = make_call(chain="judge", tokens=(10, 1))


def run_of(*more: Any) -> Run:
    """The run behind the project's first table (4 calls, 2,072 tokens, 0.000168 USD), and more calls."""
    return Run(FixedRun(make_fact(), [*screen_calls(), *more]))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_calls": 3}, "4 calls; at most 3"),
        ({"max_total_tokens": 2071}, "2,072 tokens; at most 2,071"),
        ({"max_input_tokens": 1999}, "2,000 input tokens; at most 1,999"),
        ({"max_output_tokens": 0}, "72 output tokens; at most 0"),
        ({"max_cost_usd": "0.000167"}, "0.000168 USD; at most 0.000167"),
        ({"max_cost_usd": 0.0001}, "0.000168 USD; at most 0.0001"),
        ({"max_calls": 4, "by": {"chain": {"sql_fix": {"max_total_tokens": 600}}}}, "chain sql_fix: 680 tokens; at most 600"),
        ({"by": {"chain": {"sql_fix": {"max_cost_usd": Decimal("0.00005")}}}}, "chain sql_fix: 0.000057 USD; at most 0.00005"),
        ({"by": {"agent": {"(none)": {"max_calls": 1}}}}, "agent (none): 4 calls; at most 1"),
    ],
)  # fmt: skip
def test_more_than_may_be_fails(limits: dict[str, Any], said: str) -> None:
    """What does not hold is named once, with a table of what was used where."""
    with pytest.raises(AssertionError) as failed:
        assert_usage(run_of(), **limits)
    lines = str(failed.value).splitlines()
    assert lines[:2] == ["more was used than may be:", f"- {said}"]
    assert lines[3].startswith("agent" if "agent" in limits.get("by", {}) else "chain")
    assert lines[-1].split()[:2] == ["total", "4"]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_calls": 4},
        {"max_calls": 4, "max_total_tokens": 2072, "max_input_tokens": 2000, "max_output_tokens": 72},
        {"max_cost_usd": "0.000168"},
        {"max_cost_usd": Decimal("0.000168")},
        {"by": {"chain": {"sql_fix": {"max_calls": 1}, "never_called": {"max_calls": 0}}}},
    ],
)
def test_what_may_be_passes(limits: dict[str, Any]) -> None:
    """A limit that is reached holds, and so does every limit of what made no call."""
    assert_usage(run_of(), **limits)


def test_all_that_does_not_hold_is_said_at_once() -> None:
    """Several limits are all looked at."""
    with pytest.raises(AssertionError) as failed:
        assert_usage(run_of(), max_calls=1, max_total_tokens=1, by={"chain": {"sql_fix": {"max_calls": 0}}})
    assert [line for line in str(failed.value).splitlines() if line.startswith("- ")] == [
        "- 4 calls; at most 1",
        "- 2,072 tokens; at most 1",
        "- chain sql_fix: 1 calls; at most 0",
    ]


@pytest.mark.parametrize(
    ("call", "limits", "said"),
    [
        (FAILED, {"max_total_tokens": 9999}, "tokens are not known: 1 of 5 calls have no complete usage"),
        (FAILED, {"max_cost_usd": 1, "allow_unpriced": True}, "tokens are not known: 1 of 5"),
        (FAILED, {"max_cost_usd": 1, "allow_missing_usage": True}, "the cost is not known: 1 of 5 calls have no price"),
        (UNPRICED, {"max_cost_usd": 1}, "the cost is not known: 1 of 5 calls have no price"),
        (UNPRICED, {"by": {"chain": {"judge": {"max_cost_usd": 1}}}}, "chain judge: the cost is not known: 1 of 1"),
    ],
)
def test_what_is_unknown_passes_no_limit(call: Any, limits: dict[str, Any], said: str) -> None:
    """A call without usage fails limits on tokens and cost, one without a price those on cost."""
    with pytest.raises(AssertionError, match=re.escape(said)):
        assert_usage(run_of(call), **limits)


@pytest.mark.parametrize(
    ("call", "limits"),
    [
        (FAILED, {"max_calls": 5}),
        (FAILED, {"max_total_tokens": 2072, "allow_missing_usage": True}),
        (FAILED, {"max_cost_usd": 1, "allow_missing_usage": True, "allow_unpriced": True}),
        (UNPRICED, {"max_cost_usd": "0.000168", "allow_unpriced": True}),
        (UNPRICED, {"max_total_tokens": 2083}),
        (UNPRICED, {"by": {"chain": {"sql_fix": {"max_cost_usd": 1}}}}),
    ],
)
def test_what_is_unknown_can_be_left_out(call: Any, limits: dict[str, Any]) -> None:
    """What is allowed to be unknown is not compared, and what no limit is about does not matter."""
    assert_usage(run_of(call), **limits)


def test_usage_that_says_half_is_not_compared_as_a_whole() -> None:
    """Input alone is known: a limit on output, or on cost, does not hold."""
    for limits in ({"max_output_tokens": 100}, {"max_total_tokens": 100}):
        with pytest.raises(AssertionError, match="not known"):
            assert_usage(Run(FixedRun(make_fact(), [make_call(tokens=(5, None))])), **limits)


def test_nothing_used_is_within_every_limit() -> None:
    """Without calls, zero is known."""
    empty = Run(FixedRun(make_fact(), []))
    assert_usage(empty, max_calls=0, max_total_tokens=0, max_cost_usd=0, by={"chain": {"a": {"max_calls": 0}}})


def test_whatever_knows_its_usage_can_be_held() -> None:
    """Runs, handlers, stores and breakdowns."""
    with TokenUsageHandler("sqlite://", journal=False) as handler:
        scripted_model(tokens=(10, 5)).invoke("x", {"callbacks": [handler], "run_name": "say"})
        breakdown = handler.breakdown("chain")
        for used in (handler, handler.last_run, handler.store, breakdown):
            assert used is not None
            assert_usage(used, max_total_tokens=15, by={"chain": {"say": {"max_calls": 1}}})
            with pytest.raises(AssertionError, match=r"15 tokens; at most 14\n\nchain"):
                assert_usage(used, max_total_tokens=14)
    with pytest.raises(TokensError, match="limits by agent of a breakdown by chain"):
        assert_usage(breakdown, by={"agent": {"a": {"max_calls": 1}}})


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "no limit is given; expected at least one of max_calls"),
        ({"allow_unpriced": True}, "no limit is given"),
        ({"max_calls": -1}, "max_calls=-1; expected a whole number from 0 on"),
        ({"max_calls": 1.5}, "max_calls=1.5; expected a whole number"),
        ({"max_calls": True}, "max_calls=True; expected a whole number"),
        ({"max_cost_usd": "free"}, "max_cost_usd='free'; expected US dollars from 0 on"),
        ({"max_cost_usd": float("nan")}, "expected US dollars"),
        ({"max_cost_usd": float("inf")}, "expected US dollars"),
        ({"max_cost_usd": -1}, "expected US dollars"),
        ({"max_cost_usd": True}, "expected US dollars"),
        ({"max_calls": 1, "allow_unpriced": "yes"}, "allow_unpriced='yes'; expected True or False"),
        ({"by": {"chain": 3}}, r"by\['chain'\] is 3; expected a mapping"),
        ({"by": {"chain": {"a": 3}}}, r"by\['chain'\]\['a'\] is 3; expected a mapping"),
        (
            {"by": {"chain": {"a": {"max_cals": 3}}}},
            r"unknown limit by\['chain'\]\['a'\]: max_cals; allowed: max_calls",
        ),
        ({"by": {"chain": {"a": {"by": {}}}}}, "unknown limit"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, Any], said: str) -> None:
    """A limit that could never fail, or that nobody knows, is an error of the test's author."""
    with pytest.raises(TokensError, match=said):
        assert_usage(run_of(), **limits)


def test_an_unknown_dimension_is_refused() -> None:
    """Limits by something that no breakdown has."""
    with pytest.raises(QueryError, match="chian"):
        assert_usage(run_of(), by={"chian": {"a": {"max_calls": 1}}})


def test_observing_sees_every_call_once() -> None:
    """Calls without a handler, with one, in a block of `track()`, in a plain thread, and those recorded by hand."""
    ask = scripted_model(tokens=(10, 5)).invoke
    with observe("all") as run, TokenUsageHandler("sqlite://", journal=False) as handler:
        ask("x", {"run_name": "bare"})
        ask("x", {"run_name": "handled", "callbacks": [handler]})
        thread = threading.Thread(target=ask, args=("x", {"run_name": "thread"}))
        thread.start()
        thread.join()
        with track(handler.store, run="own") as tracked:
            ask("x", {"run_name": "tracked"})
        handler.record({"prompt_tokens": 1, "completion_tokens": 1}, chain="recorded")
        assert run.status == "running"
        seen = {row.key["chain"]: row.calls for row in run.breakdown("chain")}
    assert seen == dict.fromkeys(("bare", "handled", "thread", "tracked", "recorded"), 1)
    assert (run.name, run.status, run.total.calls) == ("all", "ok", 5)
    assert (tracked.total.calls, len(handler.runs)) == (1, 2), "nothing changes for those who are observed"


def test_observing_ends() -> None:
    """Before and after the block nothing is seen; blocks in blocks see the same."""
    ask = scripted_model().invoke
    ask("before")
    with observe() as outer:
        ask("x")
        with observe() as inner:
            ask("x")
    ask("after")
    assert (outer.total.calls, inner.total.calls) == (2, 1)


def test_observed_calls_are_corrected() -> None:
    """A call whose work was done again is marked in the observed run too, not counted twice."""
    model = ScriptedChatModel([ValueError("no"), "ok"], usage=(10, 5)).with_retry(stop_after_attempt=2)
    with observe() as run:
        model.invoke("x")
    assert [call.status for call in run.calls] == ["error", "ok"]
    with pytest.raises(AssertionError, match="2 calls; at most 1"):
        run.assert_usage(max_calls=1)
