"""What does Prometheus scrape? All calls so far, by provider, model, agent and chain, in its text format."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.query import missing_label
from langchain_tokens.store.store import UsageStore

__all__ = ("CONTENT_TYPE", "metrics_text")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("provider", "model", "agent", "chain")
_MOST_SERIES = 1_000
_COUNTERS = (
    ("calls", "calls", "Calls to models."),
    ("failed_calls", "failed_calls", "Calls that failed."),
    ("cached_calls", "cached_calls", "Calls that a cache answered."),
    ("estimated_calls", "estimated_calls", "Calls whose tokens are estimated."),
    ("unpriced_calls", "unpriced_calls", "Calls without a price; their cost is in no sum."),
    ("calls_without_usage", "calls_without_usage", "Calls without complete usage; their tokens are in no sum."),
    ("input_tokens", "input_tokens", "Input tokens, cache reads and writes among them."),
    ("output_tokens", "output_tokens", "Output tokens, reasoning among them."),
    ("cache_read_tokens", "cache_read_tokens", "Input tokens read from a provider's cache."),
    ("reasoning_tokens", "reasoning_tokens", "Output tokens of reasoning."),
    ("cost_usd", "cost_usd", "Cost in US dollars of the calls whose price is known."),
    ("wasted_cost_usd", "wasted_cost_usd", "The part of the cost that nothing came of."),
)


def metrics_text(store: UsageStore) -> str:
    """The counters. A number that no call of a series knows is left out; what is deleted starts a counter anew."""
    found = store.breakdown(*_LABELS, limit=_MOST_SERIES)
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: Breakdown) -> Iterator[str]:
    for name, attribute, text in _COUNTERS:
        yield f"# HELP langchain_tokens_{name}_total {text}"
        yield f"# TYPE langchain_tokens_{name}_total counter"
        for row in found:
            value = getattr(row, attribute)
            if value is not None:
                yield f"langchain_tokens_{name}_total{{{_labels(row)}}} {_number(value)}"
    yield "# HELP langchain_tokens_calls_beyond_series Calls of the smallest series, for which there was no room."
    yield "# TYPE langchain_tokens_calls_beyond_series gauge"
    yield f"langchain_tokens_calls_beyond_series {found.total.calls - sum(row.calls for row in found)}"


def _labels(row: BreakdownRow) -> str:
    return ",".join(f'{name}="{_escaped(row.key[name], name)}"' for name in _LABELS)


def _escaped(value: object, name: str) -> str:
    text = missing_label(name) if value is None else str(value)
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: int | Decimal) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
