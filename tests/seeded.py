"""A database with the same calls each time: three agents, five chains, four models, two weeks around a change of the clock.

What golden outputs and the page on commands show is made from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from langchain_tokens import UsageStore
from langchain_tokens.call import Call, RunFact
from langchain_tokens.store.target import parse_target
from tests.builders import make_usage

__all__ = ("SEEDED_FROM", "fill_seeded")

SEEDED_FROM = datetime(2026, 10, 20, 6, 0, tzinfo=UTC)
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


def fill_seeded(path: Path) -> Path:
    """Make the database."""
    store = UsageStore(parse_target(path))
    for run, calls in _seeded_runs():
        store.add(calls, [run])
    store.close()
    return path


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
        status="error" if has_failed else "ok",
        error_type="TimeoutError" if has_failed else None,
        error_message="the model did not answer in 30 s" if has_failed else None,
    )


def _cost(model: str, usage: Any) -> dict[str, Any]:
    rates = _RATES.get(model)
    if rates is None or usage is None:
        return {"price_status": "unpriced"}
    nano = usage.input_tokens * rates[0] + usage.output_tokens * rates[1]
    return {"cost_usd": Decimal(nano).scaleb(-9), "price_status": "priced"}
