"""What does a usage come to at given rates? The amounts, what a provider's cache saved, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_tokens.making import maker
from langchain_tokens.pricing.quotes import Quote
from langchain_tokens.pricing.rates import Amounts, Card, Rates, counts_of
from langchain_tokens.pricing.resolve import tier_context
from langchain_tokens.usage import TokenUsage, contradicts

__all__ = ("Bill", "context_of", "is_chargeable", "make_bill")

_NEEDED: Final = ("input_tokens", "output_tokens", "audio_input_tokens", "audio_output_tokens")
"""Counts without a price if they have no rate of their own: audio costs many times as much as text."""
_REDUCED: tuple[str, ...] = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "requests")
_PLAIN: Final = ("input_tokens", "output_tokens", "requests")
_SEARCH_CONTEXT: Final = "requests_with_search_context_"
_FREE: Final = Card(lines=(), counts=frozenset(), texts={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a usage costs."""

    amounts: Amounts
    card: Card
    """The rates that were used."""
    saved: int | None
    """Pico-USD that the cache reads cost less than plain input; None where nobody said how many there were."""
    flags: tuple[str, ...]


_make_bill: Final = maker(Bill)


def is_chargeable(usage: TokenUsage | None, flags: Iterable[str] = ()) -> bool:
    """Whether a usage says enough for a cost, and does not contradict itself."""
    if usage is None or not usage.input_tokens or usage.output_tokens is None or usage.input_tokens < 0:
        return False
    return not contradicts(flags)


def context_of(usage: TokenUsage, raw: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """What beside the counts a price depends on, sorted: tier, speed, region, size of the search context.

    Args:
        usage: the counts, with the service tier.
        raw: the provider's own payload.

    """
    said = tier_context(usage.service_tier) if usage.service_tier is not None else {}
    if usage.other_units:
        for name, number in usage.other_units.items():
            if number and name.startswith(_SEARCH_CONTEXT):
                said["search_context_size"] = name.removeprefix(_SEARCH_CONTEXT)
    if raw:
        if raw.get("speed") == "fast":
            said["speed"] = "fast"
        if raw.get("inference_geo") == "us":
            said["inference_geo"] = "us"
    return tuple(sorted(said.items())) if said else ()


def make_bill(quote: Quote, usage: TokenUsage) -> Bill | None:
    """Charge a usage; None where the rates do not cover it."""
    if quote.rates is None:
        return _make_bill(amounts=Amounts(input=0, output=0, other=0), card=_FREE, saved=None, flags=quote.flags)
    counts = counts_of(usage)
    flags = _billed(counts, usage)
    has = quote.rates.cards[0].counts
    if any(counts.get(name) and name not in has for name in _NEEDED):
        return None
    bill = _charged(quote.rates, counts, flags)
    if bill is None:
        kept = {name: counts[name] for name in _REDUCED if name in counts}
        bill = _charged(quote.rates, kept, ["reduced_usage"])
    if bill is None or (not quote.flags and not bill.flags):
        return bill
    flags = sorted({*quote.flags, *bill.flags})
    return _make_bill(amounts=bill.amounts, card=bill.card, saved=bill.saved, flags=tuple(flags))


def _charged(rates: Rates, counts: dict[str, int], flags: list[str]) -> Bill | None:
    card = rates.card(counts["input_tokens"])
    try:
        amounts = card.charge(counts)
        saved = _saved(card, counts, amounts)
    except ValueError:
        return None  # parts that overlap, or negative counts
    if len(counts) > len(_PLAIN):
        flags.extend(_oddities(card, counts))
    return _make_bill(amounts=amounts, card=card, saved=saved, flags=tuple(flags))


def _saved(card: Card, counts: dict[str, int], amounts: Amounts) -> int | None:
    read = counts.get("cache_read_tokens")
    if not read or "cache_read_tokens" not in card.counts:
        return read if read is None else 0
    plain = card.charge({**counts, "cache_read_tokens": 0, "cached_audio": 0})
    return plain.input - amounts.input


def _billed(counts: dict[str, int], usage: TokenUsage) -> list[str]:
    """Put what is billed in the place of what the model saw, where a provider says both."""
    units = usage.other_units or {}
    said = {name: units[f"billed_{name}"] for name in ("input_tokens", "output_tokens") if units.get(f"billed_{name}")}
    if not said:
        return []
    counts.update((name, int(number)) for name, number in said.items())
    if counts.get("cache_read_tokens", 0) > counts["input_tokens"]:
        del counts["cache_read_tokens"]
    return ["billed_units"]


def _oddities(card: Card, counts: Mapping[str, int]) -> list[str]:
    """What the rates do not say exactly."""
    has, flags = card.counts, []
    if counts.get("cache_read_tokens") and "cache_read_tokens" not in has:
        flags.append("cache_read_as_input")
    if counts.get("cache_write_1h_tokens") and "cache_write_1h_tokens" not in has:
        flags.append("cache_write_1h_as_write")
    if counts.get("web_searches"):
        if "web_searches" in has:
            flags.append("search_estimate")
        elif "requests" not in has:
            flags.append("search_not_priced")
    return flags
