"""What did one root invocation use? The view on a run: its facts, its summary for people and its JSON."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from langchain_tokens.call import Call, RunFact
from langchain_tokens.errors import QueryError
from langchain_tokens.run import FixedRun, Run
from langchain_tokens.runlog import RunLog
from tests.builders import NOON, make_call, make_fact, make_usage, random_calls

ANALYSIS = """\
Token usage of Stock analysis TCS
Run: run-1
Duration: 12.35 s
Calls: 3 (2 successful, 1 failed)
Tokens: 12,100 input, 1,540 output, 13,640 total
Cost: 0.031000 USD

By chain:
  volume_analysis: 2 calls, 10,800 input, 1,200 output, 12,000 total, success rate 1/2
  indicator_summary: 1 call, 1,300 input, 340 output, 1,640 total, success rate 1/1"""


def make_run(*calls: Call, fact: RunFact | None = None) -> Run:
    """A run that is over."""
    return Run(FixedRun(fact or make_fact(), calls))


def tokens(prompt: int | None, completion: int | None, total: int | None) -> dict[str, int | None]:
    """The token object of a response."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def test_run_shows_its_fact() -> None:
    """A run's properties are those of its fact."""
    run = make_run(
        make_call(),
        fact=make_fact("r", name="nl2sql", session="s", mode="rag", status="error", error_message="no table"),
    )
    assert (run.run_id, run.name, run.session, run.mode, run.status) == ("r", "nl2sql", "s", "rag", "error")
    assert (run.started_at, run.ended_at) == (NOON, NOON + timedelta(seconds=2))
    assert (run.duration_ms, run.error_message) == (2_000.0, "no table")
    assert repr(run) == "<Run nl2sql r error: 1 calls>"


def test_running_run_has_no_end() -> None:
    """While a run goes on, its end and its duration are unknown."""
    run = make_run(fact=make_fact(ended_at=None))
    assert (run.ended_at, run.duration_ms, run.status, list(run.calls)) == (None, None, "running", [])


def test_live_run_shows_what_is_known_at_each_read() -> None:
    """A run reads its source anew each time, so it grows while the run goes on."""
    log = RunLog(make_fact(ended_at=None))
    run = Run(log)
    assert run.total.calls == 0
    late, early = make_call(started_at=NOON + timedelta(seconds=1)), make_call(started_at=NOON)
    for call in (late, early, early):
        log.note(call, lambda call: call)
    log.fact = make_fact()
    assert list(run.calls) == [early, late]
    assert (run.total.calls, run.status) == (2, "ok")


def test_live_run_is_priced_for_the_reader() -> None:
    """A reader sees refined calls, and a correction replaces what it corrects."""
    log = RunLog(make_fact(ended_at=None))
    first = make_call(call_id="c", status="cancelled")
    priced = make_call(call_id="c", status="cancelled", cost="0.5")
    log.note(first, lambda _: priced)
    assert Run(log).total.cost_usd == Decimal("0.5")
    log.note(make_call(call_id="c", revision=1), lambda call: call)
    log.settle(priced)
    assert [call.status for call in Run(log).calls] == ["ok"]


def test_breakdown_is_that_of_the_runs_calls() -> None:
    """A run can be broken down by any dimension; a wrong one is an error that names the right ones."""
    run = make_run(make_call(chain="a", model="m"), make_call(chain="b", model="m"))
    assert {row.key["chain"]: row.calls for row in run.breakdown("chain")} == {"a": 1, "b": 1}
    assert run.breakdown("model").total == run.total
    with pytest.raises(QueryError, match="unknown dimension 'chian'"):
        run.breakdown("chian")


def test_summary_is_a_text_for_people() -> None:
    """The summary has title, id, duration, calls, tokens and cost, then each chain with its success rate."""
    run = make_run(
        make_call(chain="indicator_summary", tokens=(1_300, 340), cost="0.001"),
        make_call(chain="volume_analysis", tokens=(10_800, 1_200), cost="0.03"),
        make_call(chain="volume_analysis", tokens=(0, 0), cost="0", status="error", error_message="timeout"),
        fact=make_fact(name="Stock analysis TCS", ended_at=NOON + timedelta(milliseconds=12_345.6)),
    )
    assert run.summary() == ANALYSIS


def test_summary_says_what_it_does_not_cover() -> None:
    """Unknown numbers are dashes, with the number of calls that the sums leave out; control characters are shown."""
    run = make_run(make_call(tokens=None), fact=make_fact(name="a\nb", ended_at=None))
    assert run.summary().splitlines() == [
        "Token usage of a\\nb",
        "Run: run-1",
        "Duration: \u2013",
        "Calls: 1 (1 successful, 0 failed)",
        "Tokens: \u2013 input, \u2013 output, \u2013 total",
        "Cost: \u2013",
        "Not covered by the tokens: 1 call without complete usage",
        "Not covered by the cost: 1 call without a price",
        "",
        "By chain:",
        "  (unattributed): 1 call, \u2013 input, \u2013 output, \u2013 total, success rate 1/1",
    ]


def test_summary_says_what_is_estimated_or_came_from_a_cache() -> None:
    """Tokens that no provider told are called estimated, for the run and for the chain; answers of a cache are named."""
    run = make_run(
        make_call(chain="a", tokens=(5, 1), cost="0.1", usage_source="estimated"),
        make_call(chain="a", tokens=(0, 0), cost="0", status="cached"),
        make_call(chain="b", tokens=(4, 1), cost="0.1"),
    )
    summary = run.summary()
    assert "\nEstimated, not told by the provider: the tokens of 1 call\n" in summary
    assert [line for line in summary.splitlines() if line.startswith("  ")] == [
        "  a: 2 calls, 5 input, 1 output, 6 total, success rate 2/2, 1 from a cache, 1 with estimated tokens",
        "  b: 1 call, 4 input, 1 output, 5 total, success rate 1/1",
    ]


def test_summary_of_an_unnamed_run_without_calls() -> None:
    """A run with nothing in it has a summary, too."""
    text = make_run().summary()
    assert text.startswith("Token usage of unnamed run\n")
    assert "Calls: 0 (0 successful, 0 failed)" in text


def test_response_has_the_fixes_with_the_errors_that_made_them_necessary() -> None:
    """The response has each chain's tokens, and the attempts to fix as a list with attempt, error and tokens."""
    run = make_run(
        make_call(chain="intent_classification", tokens=(450, 5)),
        make_call(chain="table_selection", tokens=(320, 12)),
        make_call(chain="sql_generation", tokens=(580, 25)),
        make_call(chain="sql_fix", tokens=(650, 30), attempt=1, attempt_error='column "citty" does not exist'),
        make_call(chain="sql_fix", tokens=(700, 35), attempt=2, attempt_error="syntax error"),
    )
    assert run.to_response() == {
        "intent_classification": tokens(450, 5, 455),
        "table_selection": tokens(320, 12, 332),
        "sql_generation": tokens(580, 25, 605),
        "sql_fix_retries": [
            {"attempt": 1, "error": 'column "citty" does not exist', "tokens": tokens(650, 30, 680)},
            {"attempt": 2, "error": "syntax error", "tokens": tokens(700, 35, 735)},
        ],
        "total_tokens_used": 2_807,
    }


def test_response_of_a_retry_has_the_earlier_error() -> None:
    """A second attempt after a failed first one stands in the chain's list, with the first one's error."""
    run = make_run(
        make_call(chain="plan", tokens=(10, 0), status="error", error_message="rate limit"),
        make_call(chain="plan", tokens=(10, 5), attempt=2),
        make_call(chain="plan", tokens=(20, 5), attempt=3),
    )
    assert run.to_response() == {
        "plan": tokens(10, 0, 10),
        "plan_retries": [
            {"attempt": 2, "error": "rate limit", "tokens": tokens(10, 5, 15)},
            {"attempt": 3, "error": None, "tokens": tokens(20, 5, 25)},
        ],
        "total_tokens_used": 50,
    }


def test_response_keeps_agents_errors_apart() -> None:
    """The error before an attempt is one of the same chain and agent."""
    run = make_run(
        make_call(chain="plan", agent="a", status="error", error_message="a failed"),
        make_call(chain="plan", agent="b"),
        make_call(chain="plan", agent="b", attempt=2),
    )
    assert [retry["error"] for retry in run.to_response()["plan_retries"]] == [None]


def test_response_says_how_many_calls_it_does_not_cover() -> None:
    """A call without usage is null in the response, and counted."""
    run = make_run(make_call(chain="a", tokens=None), make_call(chain=None, tokens=(1, 2)))
    assert run.to_response() == {
        "a": tokens(None, None, None),
        "(unattributed)": tokens(1, 2, 3),
        "total_tokens_used": 3,
        "calls_without_usage": 1,
    }


@pytest.mark.parametrize("chain", ["plan_retries", "total_tokens_used"])
def test_response_keeps_a_chain_with_a_name_of_its_own(chain: str) -> None:
    """A chain whose name the response needs for itself keeps its tokens in it."""
    run = make_run(make_call(chain=chain, tokens=(1, 0)), make_call(chain="plan", attempt=2, tokens=(2, 0)))
    assert sum(_all_totals(run.to_response())) == 3


CLASHES = [
    ("total_tokens_used", "total_tokens_used_"),
    ("(unattributed)", None),
    ("plan_retries", "plan_retries_"),
    ("calls_without_usage", "calls_without_usage_"),
]


@pytest.mark.parametrize("chains", [*CLASHES, *(clash[::-1] for clash in CLASHES)])
def test_response_keeps_chains_apart_whose_keys_would_clash(chains: tuple[str | None, ...]) -> None:
    """Chains that would share a key in the response each keep their own."""
    named = [make_call(chain=chain, tokens=(10**number, 0)) for number, chain in enumerate(chains)]
    more = [make_call(chain="plan", attempt=2, tokens=(200, 0)), make_call(chain="plan", tokens=None)]
    response = make_run(*named, *more).to_response()
    assert sum(_all_totals(response)) == response["total_tokens_used"] == 211
    assert {1, 10} <= set(_all_totals(response))


def test_response_says_what_it_cost_where_that_is_asked_for() -> None:
    """Money is text as in all JSON here, unknown is null, and calls without a price are counted; else not a word of it."""
    calls = (
        make_call(chain="plan", tokens=(1, 0), cost="0.5"),
        make_call(chain="plan", tokens=(1, 0)),
        make_call(chain="local", tokens=(1, 0)),
        make_call(chain="plan", tokens=(1, 0), attempt=2, cost="0.000000000001"),
        make_call(chain="unpriced_calls", tokens=(1, 0), cost="0"),
        make_call(chain="total_cost_usd", tokens=(1, 0), cost="0.25"),
    )
    one = tokens(1, 0, 1)
    assert make_run(*calls).to_response(with_cost=True) == {
        "plan": {**tokens(2, 0, 2), "cost_usd": "0.5"},
        "local": {**one, "cost_usd": None},
        "plan_retries": [{"attempt": 2, "error": None, "tokens": {**one, "cost_usd": "0.000000000001"}}],
        "unpriced_calls_": {**one, "cost_usd": "0"},
        "total_cost_usd_": {**one, "cost_usd": "0.25"},
        "total_tokens_used": 6,
        "total_cost_usd": "0.750000000001",
        "unpriced_calls": 2,
    }
    silent = make_run(make_call(chain="local")).to_response(with_cost=True)
    assert (silent["total_cost_usd"], silent["unpriced_calls"]) == (None, 1)
    assert "cost" not in json.dumps(make_run(*calls[:4]).to_response())
    assert set(make_run(*calls).to_response()) >= {"unpriced_calls", "total_cost_usd"}


def test_unnamed_retries_stand_under_the_label() -> None:
    """Retries of calls without a chain stand in a list of their own."""
    run = make_run(make_call(tokens=(1, 0)), make_call(attempt=2, tokens=(2, 0)))
    assert set(run.to_response()) == {"(unattributed)", "(unattributed)_retries", "total_tokens_used"}


@given(calls=random_calls())
@settings(max_examples=60, deadline=None)
def test_response_has_each_token_once(calls: list[Call]) -> None:
    """The tokens of all parts of a response add up to its total, and it is JSON."""
    run = make_run(*calls)
    response = run.to_response()
    known = _all_totals(response)
    assert (sum(known) if known else None) == response["total_tokens_used"]
    assert json.loads(json.dumps(response)) == response
    with_cost = run.to_response(with_cost=True)
    amounts = [Decimal(cost) for cost in _all_costs(with_cost) if cost is not None]
    assert with_cost["total_cost_usd"] == (None if not amounts else format(sum(amounts), "f"))
    assert _all_totals(with_cost) == known


@given(calls=random_calls())
@settings(max_examples=60, deadline=None)
def test_dict_is_json(calls: list[Call]) -> None:
    """All that is known of a run is plain JSON, with every call and the totals."""
    document = json.loads(json.dumps(make_run(*calls).to_dict(), allow_nan=False))
    assert [call["call_id"] for call in document["calls"]] == [call.call_id for call in calls]
    assert document["total"]["calls"] == len(calls)


def test_dict_keeps_times_and_money_exact() -> None:
    """Times are ISO 8601, money is text, unknown is null."""
    usage = make_usage(10, 5, other_units={"searches": 1.5})
    call = make_call(usage=usage, cost="0.000000000001", tags={"team": "a"}, tool_calls=("search",), raw_usage={"a": 1})
    document = make_run(call).to_dict()
    (written,) = document["calls"]
    assert (written["started_at"], written["cost_usd"]) == ("2026-11-20T12:00:00+00:00", "0.000000000001")
    assert (written["usage"]["other_units"], written["tags"], written["tool_calls"]) == (
        {"searches": 1.5},
        {"team": "a"},
        ["search"],
    )
    assert (document["total"]["cost_usd"], document["duration_ms"]) == ("0.000000000001", 2_000.0)
    assert (document["name"], document["total"]["duration_ms"]) == (None, None)


def test_dict_has_the_speed_of_each_call() -> None:
    """Each call in the document has its tokens per second, as the contract's `Call` has."""
    (call,) = make_run(make_call(tokens=(1, 30), duration_ms=1_000.0)).to_dict()["calls"]
    assert call["tokens_per_second"] == 30.0


def _all_totals(response: dict[str, Any]) -> list[int]:
    return [part["total_tokens"] for part in _all_parts(response) if part["total_tokens"] is not None]


def _all_costs(response: dict[str, Any]) -> list[str | None]:
    return [part["cost_usd"] for part in _all_parts(response)]


def _all_parts(response: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [part for key, part in response.items() if isinstance(part, dict) and key != "total_tokens_used"]
    return [*parts, *(retry["tokens"] for part in response.values() if isinstance(part, list) for retry in part)]
