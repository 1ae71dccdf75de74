"""A database with the same calls each time: three agents, five chains, four models, two weeks around a change of the clock.

What golden outputs and the page on commands show is made from it, with files beside it: budgets, and a provider's report.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.call import Call, RunFact
from langchain_tokens.reports import anomalies, forecasting
from langchain_tokens.said import ContentFact
from langchain_tokens.store import budgetreading
from langchain_tokens.store.target import parse_target
from tests.builders import make_usage

__all__ = ("SEEDED_FROM", "SEEDED_NOW", "add_seeded", "fill_seeded", "set_clocks")

SEEDED_FROM = datetime(2026, 10, 20, 6, 0, tzinfo=UTC)
SEEDED_NOW = datetime(2026, 11, 4, 9, 0, tzinfo=UTC)
"""What time it is for what looks ahead, or back from now: forecasts, budgets, the unusual."""
_SEED = 20_261_020
_RUNS = 40
_RATES = {"gpt-4o": (2_500, 10_000), "gpt-4o-mini": (150, 600), "claude-sonnet-4-5": (3_000, 15_000)}
"""Nano-USD for an input and an output token; the other model has no price."""
_STEPS = (
    ("supervisor", "nl2sql/supervisor/route", "route", "gpt-4o-mini", "openai", (300, 15)),
    ("researcher", "nl2sql/researcher/retrieve", "retrieve", "llama-3.1-8b-local", "vllm", (900, 60)),
    ("coder", "nl2sql/coder/sql_generation", "sql_generation", "gpt-4o", "openai", (1_800, 180)),
    ("coder", "nl2sql/coder/sql_fix", "sql_fix", "claude-sonnet-4-5", "anthropic", (2_400, 220)),
    (None, "nl2sql/summarize", "summarize", "gpt-4o-mini", "openai", (700, 150)),
)


_WILD = ("0029", "sql_fix", 30)
"""A run in which a chain was given far more than usual, and how many times as much."""
_PARTS = {"system": 0.3, "tools": 0.25, "history": 0.2, "tool_results": 0.15}
"""What fills the inputs of the agent whose calls were inspected; the rest is the question."""
_BUDGETS = """\
[[budget]]
name = "team"
limit_usd = "1.20"
per = "month"

[[budget]]
name = "coder-daily"
limit_usd = "0.05"
per = "day"
where = { agent = "coder" }
action = "stop"

[[budget]]
limit_tokens = 40_000
per = "session"
"""


def set_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `SEEDED_NOW` for what goes by a clock."""
    monkeypatch.setattr(budgetreading, "database_time", lambda _: SEEDED_NOW)
    for module in (forecasting, anomalies):
        monkeypatch.setattr(module, "now_or", lambda _: SEEDED_NOW)


def fill_seeded(path: Path) -> Path:
    """Make the database, and the files beside it."""
    (path.parent / "budgets.toml").write_text(_BUDGETS, encoding="utf-8")
    (path.parent / "openai-usage.json").write_text(json.dumps(_usage_report()), encoding="utf-8")
    store = UsageStore(parse_target(path))
    add_seeded(store)
    store.add([], [], [_content(store.calls(limit=1)[0].call_id)])
    store.close()
    return path


def add_seeded(store: UsageStore) -> None:
    """Add the calls to a store of any kind."""
    for run, calls in _seeded_runs():
        store.add(calls, [run])


def _content(call_id: str) -> ContentFact:
    """What was said in one of them."""
    call = {"id": "1", "name": "run_sql", "arguments": {"query": "SELECT count(*) FROM customer"}}
    messages = [
        {"role": "system", "text": "You answer questions about a database."},
        {"role": "human", "text": "How many customers are in Mumbai?\nAnd in Pune?"},
        {"role": "ai", "text": "", "tool_calls": [call]},
        {"role": "tool", "text": "[(42,)]", "tool_call_id": "1"},
    ]
    return ContentFact(call_id=call_id, messages=json.dumps(messages), answer='{"text": "42 in both."}')


def _usage_report() -> dict[str, Any]:
    """What a provider says of three days; on the last it saw more than is stored."""
    said = [("gpt-4o-mini", 1_450, 370), ("gpt-4o", 8_000, 700)]
    results = [{"model": model, "input_tokens": given, "output_tokens": got} for model, given, got in said]
    starts = [datetime(2026, 10, day, tzinfo=UTC) for day in (21, 22, 23)]
    buckets = [
        {
            "object": "bucket",
            "start_time": int(start.timestamp()),
            "end_time": int((start + timedelta(days=1)).timestamp()),
            "results": [
                {"object": "organization.usage.completions.result", "num_model_requests": 5, **each} for each in results
            ],
        }
        for start in starts
    ]
    return {"object": "page", "data": buckets, "has_more": False}


def _seeded_runs() -> Iterator[tuple[RunFact, list[Call]]]:
    chance = random.Random(_SEED)  # the same each time is the point
    moment = SEEDED_FROM
    for number in range(_RUNS):
        moment += timedelta(minutes=chance.randint(20, 900))
        run_id = f"0199{number:04x}-{chance.getrandbits(16):04x}-7000-8000-{number:012x}"
        names: dict[str, Any] = {
            "run_id": run_id,
            "session": f"s-{number // 4 + 1}",
            "mode": chance.choice(["interactive", "batch"]),
            "user": chance.choice(["ann", "raj", None]),
            "tags": {"variant": chance.choice("ab")},
        }
        calls = [_call(chance, names, moment, number, step) for step in range(chance.randint(2, len(_STEPS)))]
        end = max(call.ended_at or moment for call in calls)
        status = "error" if calls[-1].status == "error" else "ok"
        yield RunFact(**names, name="nl2sql", started_at=moment, ended_at=end, status=status), calls


def _call(chance: random.Random, names: dict[str, Any], moment: datetime, number: int, step: int) -> Call:
    agent, path, chain, model, provider, (given, answered) = _STEPS[step]
    start = moment + timedelta(seconds=4 * step)
    tokens = chance.randint(given // 2, given * 2), chance.randint(answered // 2, answered * 2)
    lasted = timedelta(milliseconds=chance.randint(300, 3_900))
    has_failed = chance.random() < 0.04
    is_estimated = not has_failed and chance.random() < 0.05
    cached = tokens[0] // 2 if provider == "openai" and chance.random() < 0.5 else 0
    if (f"{number:04d}", chain) == _WILD[:2]:
        tokens = tokens[0] * _WILD[2], tokens[1]
    usage = None if has_failed else make_usage(*tokens, cache_read_tokens=cached)
    return Call(
        **names,
        call_id=f"{number:04d}-{step}",
        started_at=start,
        ended_at=start + lasted,
        duration_ms=lasted.total_seconds() * 1_000,
        agent=agent,
        path=path,
        chain=chain,
        model=model,
        provider=provider,
        usage=usage,
        usage_source="missing" if has_failed else "estimated" if is_estimated else "provider",
        **_cost(model, usage),
        input_parts=None if usage is None or agent != "coder" else _parts(tokens[0]),
        status="error" if has_failed else "ok",
        error_type="TimeoutError" if has_failed else None,
        error_message="the model did not answer in 30 s" if has_failed else None,
    )


def _parts(size: int) -> dict[str, int]:
    """Tokens by part, which add up to the input."""
    parts = {name: int(size * share) for name, share in _PARTS.items()}
    return {**parts, "human": size - sum(parts.values()), "other": 0}


def _cost(model: str, usage: Any) -> dict[str, Any]:
    rates = _RATES.get(model)
    if rates is None or usage is None:
        return {"price_status": "unpriced"}
    nano = usage.input_tokens * rates[0] + usage.output_tokens * rates[1]
    return {"cost_usd": Decimal(nano).scaleb(-9), "price_status": "priced"}
