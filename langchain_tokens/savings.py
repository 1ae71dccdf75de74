"""Which calls would have cost less on another model of the same provider? Priced call by call; an estimate."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import Call
from langchain_tokens.errors import QueryError
from langchain_tokens.money import less, reckoned
from langchain_tokens.prices import PriceBook
from langchain_tokens.query import make_query
from langchain_tokens.repricing import Terms, priced_again, shortened
from langchain_tokens.store.store import UsageStore
from langchain_tokens.usage import TokenUsage

__all__ = ("Saving", "Savings", "savings")

_BATCH = 1_000
_Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What calls of one model cost, and what they would have cost on another; money in US dollars."""

    provider: str
    model: str
    """The model that served the calls."""
    other_model: str
    calls: int
    """The calls that have a cost on both."""
    cost_usd: Decimal
    other_cost_usd: Decimal

    @property
    def saving_usd(self) -> Decimal:
        """What the other model would have saved."""
        return less(self.cost_usd, self.other_cost_usd)

    @property
    @reckoned
    def share(self) -> float:
        """The saving as a part of the cost, 0 to 1."""
        return float(self.saving_usd / self.cost_usd) if self.cost_usd else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """The answer of `UsageStore.savings`: the largest saving first."""

    rows: tuple[Saving, ...]
    is_estimate: bool = True
    """Always: another model counts other tokens for the same text, answers at another length, and may answer worse."""

    def __str__(self) -> str:
        """A line for each pair of models."""
        if not self.rows:
            return "no cheaper model of the same provider is known for these calls"
        lines = [f"{'model':<30}{'instead':<30}{'calls':>8}{'cost USD':>16}{'saved USD':>16}{'saved':>7}"]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "an estimate: other models count otherwise, and may answer otherwise"])


@reckoned
def savings(store: UsageStore, book: PriceBook, top: int, filters: dict[str, Any]) -> Savings:
    """Find the savings; as `UsageStore.savings`, which has the defaults."""
    if type(top) is not int or top < 1:
        raise QueryError(f"top= is a whole number from 1 on; found {top!r}")
    others = {pair: found for pair, found in _candidates(store, book, top, filters).items() if found}
    sums: dict[tuple[_Pair, str], list[Decimal | int]] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    for batch in store.batches(make_query((), filters), _BATCH) if others else ():
        for call in batch:
            for other in others.get((str(call.provider), str(call.model)), ()):
                _compare(call, other, book, sums[(str(call.provider), str(call.model)), other])
    rows = [_row(pair, other, *found) for (pair, other), found in sums.items()]
    return Savings(rows=tuple(sorted((row for row in rows if row.saving_usd > 0), key=_by_saving, reverse=True)))


def _candidates(store: UsageStore, book: PriceBook, top: int, filters: dict[str, Any]) -> dict[_Pair, tuple[str, ...]]:
    """For each model that was used, the cheapest others of its provider, by the usage of a mean call."""
    found: dict[_Pair, tuple[str, ...]] = {}
    for row in store.breakdown("provider", "model", **filters):
        provider, model = row.key["provider"], row.key["model"]
        usage = _mean(row)
        if isinstance(provider, str) and isinstance(model, str) and usage is not None:
            cheaper = book.cheaper_models(usage, model, provider)
            paid = [item.price.model for item in cheaper if item.price.total_usd]  # free ones answer only a little
            found[provider, model] = tuple(paid[:top])
    return found


def _mean(row: BreakdownRow) -> TokenUsage | None:
    calls = row.calls - row.calls_without_usage
    if row.cost_usd is None or not calls or row.input_tokens is None or row.output_tokens is None:
        return None
    return TokenUsage(input_tokens=row.input_tokens // calls, output_tokens=row.output_tokens // calls)


def _compare(call: Call, other: str, book: PriceBook, sums: list[Decimal | int]) -> None:
    if call.cost_usd is None or call.status == "cached":
        return
    instead = priced_again(call, book.price, Terms(as_model=other, as_provider=call.provider)).cost_usd
    if instead is not None:
        sums[0] += 1
        sums[1] += call.cost_usd
        sums[2] += instead


def _row(pair: _Pair, other: str, calls: Any, cost: Any, instead: Any) -> Saving:
    provider, model = pair
    return Saving(provider=provider, model=model, other_model=other, calls=calls, cost_usd=cost, other_cost_usd=instead)


def _by_saving(row: Saving) -> Decimal:
    return row.saving_usd


def _line(row: Saving) -> str:
    names = "".join(f"{shortened(name, 29):<30}" for name in (row.model, row.other_model))
    return f"{names}{row.calls:>8,}{row.cost_usd:>16,.6f}{row.saving_usd:>16,.6f}{row.share:>7.0%}"
