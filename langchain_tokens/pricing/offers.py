"""What is a price, as people read it? Records of costs and rates, and which model would be cheaper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from langchain_tokens.call import PriceStatus
from langchain_tokens.pricing.bills import Bill
from langchain_tokens.pricing.quotes import Quote
from langchain_tokens.pricing.rates import usd

__all__ = ("Alternative", "ModelRates", "Price", "cheaper_of", "free_price", "priced", "ranked", "rates_of", "unpriced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a usage costs with a model. US dollars; None where that is not known."""

    provider: str | None
    model: str
    total_usd: Decimal | None = None
    input_usd: Decimal | None = None
    output_usd: Decimal | None = None
    other_usd: Decimal | None = None
    """Fees that are not for tokens: for requests and searches."""
    saved_usd: Decimal | None = None
    """What the provider's cache saved, against plain input."""
    unit_prices: Mapping[str, str] = field(default_factory=dict)
    """The rates that were used: USD for one million tokens, or for one thousand where the name has `kcount`."""
    status: PriceStatus = "unpriced"
    source: str | None = None
    """`override`, `correction`, `genai-prices` or `declared`."""
    version: str | None = None
    flags: tuple[str, ...] = ()
    reason: str | None = None
    """Why it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRates:
    """The rates of a model at a time, by name, as text in US dollars."""

    provider: str | None
    model: str
    unit_prices: Mapping[str, str]
    """USD for one million tokens, or for one thousand where the name has `kcount`; all empty where calls are free."""
    tiers: tuple[tuple[int, Mapping[str, str]], ...]
    """Input tokens above which other rates hold for all tokens of the call, and those rates; ascending."""
    source: str
    version: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A cheaper model for the same usage; an estimate, since it would count and answer otherwise."""

    price: Price
    saving_usd: Decimal
    saving_share: float
    """The saving as a part of what the usage costs now, from 0 to 1."""
    is_estimate: bool = True


def priced(quote: Quote, bill: Bill) -> Price:
    """The price that a bill says."""
    return Price(
        provider=quote.provider,
        model=quote.model,
        total_usd=usd(bill.amounts.total),
        input_usd=usd(bill.amounts.input),
        output_usd=usd(bill.amounts.output),
        other_usd=usd(bill.amounts.other),
        saved_usd=None if bill.saved is None else usd(bill.saved),
        unit_prices=bill.card.texts,
        status="free" if quote.rates is None else "priced",
        source=quote.source,
        version=quote.version,
        flags=bill.flags,
    )


def free_price(provider: str, model: str) -> Price:
    """The price of a provider that was declared free."""
    zero = Decimal(0)
    return Price(
        provider=provider,
        model=model,
        total_usd=zero,
        input_usd=zero,
        output_usd=zero,
        other_usd=zero,
        status="free",
        source="declared",
    )


def unpriced(provider: str | None, model: str, reason: str) -> Price:
    """A price that is not known."""
    return Price(provider=provider, model=model, reason=f"{reason} ({model!r} of {provider or 'any provider'})")


def rates_of(quote: Quote) -> ModelRates:
    """The rates of a quote, for people."""
    rates = quote.rates
    tiers = () if rates is None else zip(rates.above, (card.texts for card in rates.cards[1:]), strict=True)
    return ModelRates(
        provider=quote.provider,
        model=quote.model,
        unit_prices={} if rates is None else rates.cards[0].texts,
        tiers=tuple(tiers),
        source=quote.source,
        version=quote.version,
        flags=quote.flags,
    )


def ranked(prices: Iterable[Price]) -> list[Price]:
    """The prices that are known, the lowest first; of equal ones the one that was named first."""
    known = [(price.total_usd, price) for price in prices if price.total_usd is not None]
    return [price for _, price in sorted(known, key=lambda pair: pair[0])]


def cheaper_of(price: Price, others: Iterable[Price]) -> tuple[Alternative, ...]:
    """Those of the others that cost less, the cheapest first."""
    now = price.total_usd
    if not now:
        return ()
    return tuple(
        Alternative(price=other, saving_usd=now - other.total_usd, saving_share=float((now - other.total_usd) / now))
        for other in ranked(others)
        if other.total_usd is not None and other.total_usd < now
    )
