"""Made histories of use, whose answers are known: days with a level for each weekday, and what is planted in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from scipy.stats import binom

from langchain_tokens.call import Call
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""A Friday, at noon."""
TODAY = NOW.replace(hour=0)


def allowed(simulations: int, rate: float) -> int:
    """How many of so many simulations may fail, each with this chance: more would happen once in ten thousand."""
    return int(binom.isf(1e-4, simulations, rate))


def day(number: int) -> datetime:
    """Noon so many days ago."""
    return NOW - timedelta(days=number)


def steady_calls(
    *, days: int = 30, each: int = 10, tokens: tuple[int, int] = (1_000, 100), cost: str | None = "0.01", **more: Any
) -> list[Call]:
    """As many calls on each of the days before today, of nearly the same size."""
    return [
        make_call(
            **{
                "run_id": f"run-{number}-{place}",
                "chain": "intent",
                "model": "gpt-4o",
                "provider": "openai",
                "started_at": day(number) - timedelta(minutes=place),
                "tokens": (tokens[0] + 13 * ((number * 7 + place) % 10), tokens[1]),
                "cost": cost,
                **more,
            }
        )
        for number in range(1, days + 1)
        for place in range(each)
    ]


@contextmanager
def store_of(calls: Sequence[Call]) -> Iterator[UsageStore]:
    """A store in memory with these calls."""
    store = UsageStore(parse_target("sqlite://"))
    store.add(calls)
    yield store
    store._opener._engine.dispose()
