"""What does Prometheus scrape? All calls so far, by provider, model, agent and chain, in its text format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from langchain_tokens.query import make_query, missing_label
from langchain_tokens.store.sizes import SomeSums, some_sums
from langchain_tokens.store.store import UsageStore

__all__ = ("CONTENT_TYPE", "metrics_text")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("provider", "model", "agent", "chain")
_MOST_SERIES = 1_000
_COUNTERS = (
    ("calls", "Calls to models."),
    ("failed_calls", "Calls that failed."),
    ("cached_calls", "Calls that a cache answered."),
    ("estimated_calls", "Calls whose tokens are estimated."),
    ("unpriced_calls", "Calls without a price; their cost is in no sum."),
    ("calls_without_usage", "Calls without complete usage; their tokens are in no sum."),
    ("input_tokens", "Input tokens, cache reads and writes among them."),
    ("output_tokens", "Output tokens, reasoning among them."),
    ("cache_read_tokens", "Input tokens read from a provider's cache."),
    ("reasoning_tokens", "Output tokens of reasoning."),
    ("cost_usd", "Cost in US dollars of the calls whose price is known."),
    ("wasted_cost_usd", "The part of the cost that nothing came of."),
)


def metrics_text(store: UsageStore) -> str:
    """The counters. A number that no call of a series knows is left out; what is deleted starts a counter anew."""
    found = some_sums(store, make_query(_LABELS), [name for name, _ in _COUNTERS])
    return "".join(f"{line}\n" for line in _lines(sorted(found, key=_largest_first)))


def _largest_first(series: SomeSums) -> tuple[Any, ...]:
    key, sums = series
    tokens = [sums["input_tokens"] or 0, sums["output_tokens"] or 0]
    return -sum(tokens), -(sums["calls"] or 0), [str(name or "") for name in key]


def _lines(found: Sequence[SomeSums]) -> Iterator[str]:
    shown = [(_labels(key), sums) for key, sums in found[:_MOST_SERIES]]
    for name, text in _COUNTERS:
        yield f"# HELP langchain_tokens_{name}_total {text}"
        yield f"# TYPE langchain_tokens_{name}_total counter"
        for labels, sums in shown:
            value = sums[name]
            if value is not None:
                yield f"langchain_tokens_{name}_total{{{labels}}} {_number(value)}"
    yield "# HELP langchain_tokens_calls_beyond_series Calls of the smallest series, for which there was no room."
    yield "# TYPE langchain_tokens_calls_beyond_series gauge"
    yield f"langchain_tokens_calls_beyond_series {sum(sums['calls'] or 0 for _, sums in found[_MOST_SERIES:])}"


def _labels(key: tuple[Any, ...]) -> str:
    return ",".join(f'{name}="{_escaped(value, name)}"' for name, value in zip(_LABELS, key, strict=True))


def _escaped(value: object, name: str) -> str:
    text = missing_label(name) if value is None else str(value)
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: int | Decimal) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
