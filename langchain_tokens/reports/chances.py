"""What could be saved? Estimates from sums: inputs that caches could hold, histories that grow, cheaper models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from langchain_tokens.reports.spent import Used
from langchain_tokens.usage import TokenUsage

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook

__all__ = ("Chance", "chances")

_BY = ("chain", "agent", "model", "provider")
_LEAST_CALLS = 10
"""Fewer tell nothing."""
_LEAST_INPUT = 1_024
"""Tokens of a mean input; providers cache no shorter ones."""
_LEAST_SHARE = Fraction(1, 10)
"""Of the input; less is not worth a line."""
_LEAST_TURNS = 3
_Who = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What could be saved at one place; an estimate."""

    kind: str
    """`uncached`, `growth` or `dearer`."""
    chain: str | None
    agent: str | None
    model: str | None
    provider: str | None
    calls: int
    tokens: int | None
    usd: Decimal | None
    unpriced_calls: int
    what: str | None
    """What is the matter, where there is more to say than of all findings of its kind."""


@dataclass(slots=True)
class _Turn:
    """What the calls of one turn add up to that know their input and output."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    unpriced_calls: int = 0

    def add(self, other: Used | _Turn, calls: int) -> None:
        self.calls += calls
        self.unpriced_calls += min(calls, other.unpriced_calls)
        self.input_tokens += other.input_tokens or 0
        self.output_tokens += other.output_tokens or 0
        self.cache_read_tokens += other.cache_read_tokens or 0

    @property
    def mean(self) -> Fraction:
        return Fraction(self.input_tokens, self.calls)


def chances(sums: Iterable[Used], repeating: Sequence[Any], book: PriceBook) -> Iterator[Chance]:
    """Look for what could be saved.

    Args:
        sums: what calls add up to; those that were answered are looked at.
        repeating: of a sample, by chain, agent, model and provider, how much of the input (`input_tokens`) is of parts
            that repeat (`tokens`).
        book: what prices them.

    """
    turns = _turns(sums)
    shares = {tuple(row[:4]): Fraction(int(row.tokens), int(row.input_tokens)) for row in repeating if row.input_tokens}
    models: dict[_Who, _Turn] = {}
    for who, by_turn in turns.items():
        total = _Turn()
        for turn in by_turn.values():
            total.add(turn, turn.calls)
        models.setdefault(who[2:], _Turn()).add(total, total.calls)
        yield from _uncached(who, total, shares.get(who), book)
        yield from _growing(who, by_turn, total, book)
    for (model, provider), total in models.items():
        yield from _dearer(model, provider, total, book)


def _turns(sums: Iterable[Used]) -> Mapping[_Who, Mapping[int, _Turn]]:
    """Who → attempt → its calls that were answered."""
    found: dict[_Who, dict[int, _Turn]] = {}
    for row in sums:
        calls = row.calls - row.calls_without_usage
        if row.status == "ok" and calls and row.input_tokens is not None:
            found.setdefault(row.who, {}).setdefault(row.attempt or 1, _Turn()).add(row, calls)
    return found


def _uncached(who: _Who, total: _Turn, share: Fraction | None, book: PriceBook) -> Iterator[Chance]:
    """Input that repeats and is not read from a cache; the first of all calls could not have been."""
    if share is None or total.calls < _LEAST_CALLS or total.mean < _LEAST_INPUT:
        return
    cachable = int(total.input_tokens * share * (total.calls - 1) / total.calls)
    missed = cachable - total.cache_read_tokens
    if missed <= total.input_tokens * _LEAST_SHARE:
        return
    cached = _Turn(total.calls, total.input_tokens, total.output_tokens, cachable)
    usd = _saved(total, cached, who, book)
    if usd is None or usd > 0:
        read = Fraction(total.cache_read_tokens, total.input_tokens)
        what = f"sent again what the provider's cache could have held: {_percent(share)} of the input repeats, "
        yield _chance("uncached", who, total.calls, missed, usd, what=f"{what}{_percent(read)} was read from the cache")


def _growing(who: _Who, by_turn: Mapping[int, _Turn], total: _Turn, book: PriceBook) -> Iterator[Chance]:
    """What the inputs of later turns have beyond that of the first."""
    first, later = by_turn.get(1), {number: turn for number, turn in by_turn.items() if number > 1}
    if first is None or max(later, default=1) < _LEAST_TURNS or total.calls < _LEAST_CALLS:
        return
    calls = sum(turn.calls for turn in later.values())
    grown = sum(turn.input_tokens for turn in later.values()) - first.mean * calls
    slope = _slope(by_turn)
    if slope <= 0 or grown <= total.input_tokens * _LEAST_SHARE:
        return
    saved: list[Decimal | None] = []
    for turn in later.values():
        start = min(turn.input_tokens, int(first.mean * turn.calls))
        same = _Turn(turn.calls, start, turn.output_tokens, min(start, turn.cache_read_tokens))
        saved.append(_saved(turn, same, who, book))
    known = [usd for usd in saved if usd is not None]
    what = (
        f"sent an input that grew by some {round(slope):,} tokens with each turn, from {round(first.mean):,} at first"
    )
    yield _chance("growth", who, calls, round(grown), sum(known, Decimal(0)) if known else None, what=what)


def _dearer(model: Any, provider: Any, total: _Turn, book: PriceBook) -> Iterator[Chance]:
    """The cheapest other model, by the usage of a mean call; savings itself compares call by call."""
    if not isinstance(model, str) or not isinstance(provider, str):
        return
    mean = TokenUsage(
        input_tokens=total.input_tokens // total.calls,
        output_tokens=total.output_tokens // total.calls,
        cache_read_tokens=total.cache_read_tokens // total.calls,
    )
    paid = [item for item in book.cheaper_models(mean, model, provider) if item.price.total_usd]
    calls = total.calls - total.unpriced_calls  # what nobody knows the cost of cannot be said to cost less
    if paid and calls >= _LEAST_CALLS:
        what = f"could be made on a cheaper model of the same provider, such as {paid[0].price.model}"
        usd = paid[0].saving_usd * calls
        yield _chance("dearer", (None, None, model, provider), calls, None, usd, what=what)


def _slope(by_turn: Mapping[int, _Turn]) -> Fraction:
    """Tokens that an input grows by with each turn: the line that fits the means of turns best, by their calls."""
    calls = sum(turn.calls for turn in by_turn.values())
    numbers = sum(number * turn.calls for number, turn in by_turn.items())
    tokens = sum(turn.input_tokens for turn in by_turn.values())
    spread = calls * sum(number**2 * turn.calls for number, turn in by_turn.items()) - numbers**2
    both = calls * sum(number * turn.input_tokens for number, turn in by_turn.items()) - numbers * tokens
    return Fraction(both, spread) if spread else Fraction(0)


def _saved(now: _Turn, instead: _Turn, who: _Who, book: PriceBook) -> Decimal | None:
    """What calls cost beyond what they would have; None where no price is known. By mean calls: rates have steps."""
    costs = [_mean_cost(turn, who, book) for turn in (now, instead)]
    return None if costs[0] is None or costs[1] is None else (costs[0] - costs[1]) * now.calls


def _mean_cost(turn: _Turn, who: _Who, book: PriceBook) -> Decimal | None:
    *_, model, provider = who
    if model is None:
        return None
    mean = TokenUsage(
        input_tokens=turn.input_tokens // turn.calls,
        output_tokens=turn.output_tokens // turn.calls,
        cache_read_tokens=turn.cache_read_tokens // turn.calls,
    )
    return book.cost(mean, model=model, provider=provider).total_usd


def _percent(share: Fraction) -> str:
    return f"{float(share):.0%}"


def _chance(kind: str, who: _Who, calls: int, tokens: int | None, usd: Decimal | None, *, what: str) -> Chance:
    names = dict(zip(_BY, who, strict=True))
    return Chance(
        kind=kind,
        **names,
        calls=calls,
        tokens=tokens,
        usd=usd,
        unpriced_calls=calls if usd is None else 0,
        what=what,
    )
