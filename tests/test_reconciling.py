"""Is what a provider reports held against what is stored? By day and model, in tokens and money, storing nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.render import UNKNOWN
from tests.builders import NOON, make_call

pytest_plugins = ("tests.databases",)

DAY = NOON.replace(hour=0)


def report(name: str, *days: list[Mapping[str, Any]], is_openai: bool = True) -> Path:
    """A page of a provider's API, one bucket for each day from that of the builders' calls on."""
    buckets = []
    for number, results in enumerate(days):
        since, until = DAY + timedelta(days=number), DAY + timedelta(days=number + 1)
        span: dict[str, Any] = (
            {"object": "bucket", "start_time": int(since.timestamp()), "end_time": int(until.timestamp())}
            if is_openai
            else {"starting_at": since.isoformat(), "ending_at": until.isoformat()}
        )
        buckets.append(span | {"results": results})
    path = Path(name).absolute()
    path.write_text(json.dumps({"object": "page", "data": buckets, "has_more": False, "next_page": None}))
    return path


def openai_usage(model: str | None, given: int, answered: int, requests: int = 1, cached: int = 0) -> dict[str, Any]:
    """A result of OpenAI's usage API."""
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": given,
        "output_tokens": answered,
        "input_cached_tokens": cached,
        "num_model_requests": requests,
        "project_id": None,
        "model": model,
        "batch": None,
    }


def fill(store: UsageStore) -> None:
    """Two calls to OpenAI on one day, one the day after, one to somebody else."""
    gpt: dict[str, Any] = {"provider": "openai", "model": "gpt-4o"}
    store.add(
        [
            make_call(tokens=(1_000, 100), cost="0.0035", **gpt),
            make_call(tokens=None, **gpt),
            make_call(tokens=(10, 1), cost="0.5", provider="openai", model="o3", started_at=NOON + timedelta(days=1)),
            make_call(tokens=(999, 999), cost="9", provider="anthropic", model="claude-sonnet-4-5"),
        ]
    )


def test_usage_is_compared_by_day_and_model(store: UsageStore) -> None:
    """What is missing is said in tokens and money; other providers are left out, and nothing is stored."""
    fill(store)
    found = store.reconcile(
        report("u.json", [openai_usage("gpt-4o", 1_500, 120, 2)], [openai_usage("o3", 10, 1), openai_usage("o4", 5, 5)])
    )
    assert [(row.day, row.model, row.missing_tokens, row.stored_calls) for row in found.rows] == [
        ("2026-11-20", "gpt-4o", 520, 2),
        ("2026-11-21", "o3", 0, 1),
        ("2026-11-21", "o4", 10, 0),
    ]
    first = found.rows[0]
    assert (first.reported_requests, first.reported_input_tokens, first.stored_calls_without_usage) == (2, 1_500, 1)
    assert (first.reported_cost_usd, first.is_listed, first.missing_cost_usd) == (
        Decimal("0.00495"),
        True,
        Decimal("0.00145"),
    )
    assert (found.total.missing_tokens, found.total.stored_calls, found.providers) == (530, 3, ("openai",))
    assert store.breakdown().total.calls == 4


def test_costs_of_a_day_stand_beside_the_models(store: UsageStore) -> None:
    """A cost report, which has no models, is compared with the whole day; the total counts nothing twice."""
    fill(store)
    costs = report(
        "c.json",
        [{"object": "organization.costs.result", "amount": {"value": 0.0045, "currency": "usd"}, "line_item": None}],
    )
    found = store.reconcile(report("u.json", [openai_usage("gpt-4o", 1_000, 100)]), costs)
    assert [(row.model, row.missing_tokens, row.missing_cost_usd) for row in found.rows] == [
        ("gpt-4o", 0, None),
        (None, None, Decimal("0.0010")),
    ]
    assert (found.total.reported_cost_usd, found.total.stored_cost_usd) == (Decimal("0.0045"), Decimal("0.0035"))
    assert [row.model for row in store.reconcile(costs).rows] == [None]


def test_anthropic_counts_caches_beside_the_input(store: UsageStore) -> None:
    """Cached and written tokens are input here, and its costs are in cents."""
    usage = {
        "uncached_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "cache_read_input_tokens": 50,
        "output_tokens": 10,
        "server_tool_use": {"web_search_requests": 0},
        "model": "claude-sonnet-4-5",
        "service_tier": "standard",
    }
    cost = {"amount": "123.45", "currency": "USD", "model": "claude-sonnet-4-5", "cost_type": "tokens"}
    store.add([make_call(tokens=(200, 10), cost="1.2345", provider="anthropic", model="claude-sonnet-4-5")])
    found = store.reconcile(report("u.json", [usage], is_openai=False), report("c.json", [cost], is_openai=False))
    (row,) = found.rows
    assert (row.missing_tokens, row.missing_cost_usd, row.is_listed) == (0, 0, False)


def test_an_empty_store_lacks_all(store: UsageStore) -> None:
    """With nothing stored all that is reported is missing."""
    found = store.reconcile(report("u.json", [openai_usage("gpt-4o", 5, 5)], []))
    assert (found.total.missing_tokens, found.total.stored_calls, found.rows[0].stored_input_tokens) == (10, 0, None)


def test_it_prints_as_text_json_and_csv(store: UsageStore) -> None:
    """The table names what is compared; the documents have every number, money as text."""
    fill(store)
    found = store.reconcile(report("u.json", [openai_usage("=cmd", 1_500, 120, 2)]))
    assert str(found).replace(UNKNOWN, "?").splitlines() == [
        "day         model   reported  stored  missing       %  USD reported  USD stored  USD missing  % of USD",
        "2026-11-20  =cmd       1,620       ?    1,620  100.0%             ?           ?            ?",
        "2026-11-20  gpt-4o         ?   1,100        ?                     ?    0.003500            ?",
        "total                  1,620   1,100      520   32.1%             ?    0.003500            ?",
        "Tokens are input and output; days are UTC; openai only. Nothing was stored.",
        "1 of 2 stored calls without complete usage: tokens missing in these sums",
        "1 of 2 stored calls without a price: cost not in these sums",
    ]
    document = json.loads(found.to_json())
    assert (document["total"]["missing_tokens"], document["rows"][1]["stored_cost_usd"]) == (520, "0.003500000000")
    assert found.to_csv().splitlines()[1].startswith("2026-11-20,'=cmd,2,1500,120,,False,0,")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"data": []}', "no results"),
        ('{"input_tokens": 1}', "is no bucket of a report"),
        (
            '{"data": [{"start_time": 1, "end_time": 2, "results": [{"x": 1}]}]}',
            "a result with x is of no known report",
        ),
        (
            '{"data": [{"start_time": 1, "end_time": 2, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}',
            "currency is 'eur'; expected usd",
        ),
        (
            '{"data": [{"start_time": 1, "end_time": 2, "results": [{"input_tokens": "x", "num_model_requests": 1}]}]}',
            "input_tokens is 'x'",
        ),
        ('{"data": [{"start_time": 1, "end_time": 2, "results": [3]}]}', "has 3; expected objects"),
        ('{"data": [{"start_time": 1, "end_time": 2, "results": []}]}', "nothing to compare"),
        ("[1]", "is a int; expected an object"),
        ("", "is empty"),
    ],
)
def test_what_is_no_report_is_said(memory_store: UsageStore, text: str, said: str) -> None:
    """A file that is no report, or has a number that cannot be, is one clear error."""
    path = Path("u.json")
    path.write_text(text)
    with pytest.raises(FormatError, match=said):
        memory_store.reconcile(path)


def test_wrong_questions_are_said(memory_store: UsageStore) -> None:
    """No file, or an unknown format, is refused with what is expected."""
    with pytest.raises(QueryError, match="at least one file"):
        memory_store.reconcile()
    with pytest.raises(QueryError, match="unknown format 'x'; expected auto, openai-usage"):
        memory_store.reconcile(report("u.json", []), format="x")
