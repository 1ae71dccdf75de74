"""What do the numbers say? Speed by model and provider, cost, the trend, what was unusual, and which way is better."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from langchain_tokens import UsageStore
from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.reports import compare, trend, unusual

__all__ = ("alert_unusual", "print_report")

LOGGER = logging.getLogger("document_batches")
COLUMNS: tuple[tuple[str, Callable[[BreakdownRow], str]], ...] = (
    ("results", lambda row: f"{row.calls:,}"),
    ("failed", lambda row: f"{row.failed_calls:,}"),
    ("success", lambda row: "-" if row.success_rate is None else f"{row.success_rate:.1%}"),
    ("input", lambda row: "-" if row.input_tokens is None else f"{row.input_tokens:,}"),
    ("output", lambda row: "-" if row.output_tokens is None else f"{row.output_tokens:,}"),
    ("tokens/s", lambda row: "-" if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}"),
    ("cost USD", lambda row: "-" if row.cost_usd is None else f"{row.cost_usd:.6f}"),
    ("unknown", lambda row: f"{row.calls_without_usage:,}"),
)


def print_report(store: UsageStore, now: datetime) -> None:
    """Print what was used and how fast, as of a moment."""
    for by in (("provider", "model"), ("chain",)):
        print(f"\n{'Provider and model' if len(by) > 1 else 'Task'}")
        _print_table(store, *by)
    _print_calls(store)
    print(f"\nTrend of tokens by day\n{trend(store, now=now).verdict}")
    configurations = compare(store, "tag:configuration", measures=("tokens", "cost_usd", "tokens_per_second"))
    print(f"\nWhich configuration is better?\n{configurations}")


def alert_unusual(store: UsageStore, now: datetime, tell: Callable[[str], object] = LOGGER.warning) -> int:
    """Tell of each task and day that used far more than usual, and why; return how many there were."""
    found = unusual(store, by="chain", since="30d", now=now)
    for finding in found:
        tell(finding.text)
    return len(found)


def _print_table(store: UsageStore, *by: str) -> None:
    found = store.breakdown(*by)
    print(f"{'':<34}{''.join(f'{name:>9}' for name, _ in COLUMNS)}")
    for row in (*found, found.total):
        name = " ".join(str(row.key[dimension]) for dimension in by) if row.key else "total"
        print(f"{name:<34}{''.join(f'{shown(row):>9}' for _, shown in COLUMNS)}")


def _print_calls(store: UsageStore) -> None:
    speeds = [(call.tokens_per_second, call) for call in store.calls(limit=10_000)]
    known = sorted(((speed, call) for speed, call in speeds if speed is not None), key=lambda one: one[0])
    print(f"\nSingle results: {len(known):,} of {len(speeds):,} say what tokens per second need")
    for word, (speed, call) in (("slowest", known[0]), ("median", known[len(known) // 2]), ("fastest", known[-1])):
        print(f"{word:<8} {speed:>6.1f}  {call.model} {call.chain}")
