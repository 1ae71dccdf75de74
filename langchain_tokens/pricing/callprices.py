"""What does a call cost? The call, with the cost of its usage and with what that rests on."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any, Final

from langchain_tokens.call import Call
from langchain_tokens.making import changer
from langchain_tokens.pricing.bills import Bill, context_of, is_chargeable, make_bill
from langchain_tokens.pricing.quotes import Finder, Question, Quote
from langchain_tokens.pricing.rates import usd
from langchain_tokens.trouble import LOGGER, Warnings
from langchain_tokens.usage import TokenUsage

__all__ = ("CallPricer", "Unpriced")

_MOST_COUNTED: Final = 1024
_changed: Final = changer(Call)


class Unpriced:
    """The models that no price is known for. Thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str | None, str | None], int] = {}
        self._lock = threading.RLock()
        self._warnings = Warnings()

    @property
    def counts(self) -> dict[tuple[str | None, str | None], int]:
        """How many calls of each provider's model were left without a cost."""
        with self._lock:
            return dict(self._counts)

    def note(self, call: Call) -> None:
        """Count a call; the first one of a model is worth a warning."""
        provider, model = key = (call.provider, call.model or call.requested_model)
        with self._lock:
            is_known = key in self._counts
            if is_known or len(self._counts) < _MOST_COUNTED:
                self._counts.setdefault(key, 0)
                self._counts[key] += 1  # in a step that calls nothing: a signal's handler may count, too
        text = f"no price is known for the model {model!r} of the provider {provider!r}; its calls have no cost"
        if is_known or model is None:
            LOGGER.debug(text)
        else:
            self._warnings.once(f"unpriced:{key}", f"{text}. PriceBook(prices=...) can name one.")


class CallPricer:
    """Prices calls. Thread-safe.

    Args:
        finder: finds rates.
        free: providers whose calls cost nothing.
        unpriced: is told of calls that no price is known for.

    """

    def __init__(self, finder: Finder, free: frozenset[str], unpriced: Unpriced) -> None:
        self._finder = finder
        self._free = free
        self._unpriced = unpriced

    def price(self, call: Call) -> Call:
        """The call with its cost; one that has a cost already, or cannot be priced, comes back as it is."""
        if call.price_status == "reported":
            return call if call.computed_cost_usd is not None else self._compared(call)
        if call.price_status != "unpriced" or call.cost_usd is not None:
            return call
        if call.status == "cached":
            return self._cached(call)
        if call.provider is not None and call.provider in self._free:
            return _free(call, "declared")
        charged = self._charged(call, call.usage)
        if charged is None:
            return self._uncharged(call)
        quote, bill = charged
        return _changed(
            call,
            cost_usd=usd(bill.amounts.total),
            input_cost_usd=usd(bill.amounts.input),
            output_cost_usd=usd(bill.amounts.output),
            other_cost_usd=usd(bill.amounts.other),
            saved_cost_usd=None if bill.saved is None else usd(bill.saved),
            price_status="free" if quote.rates is None else "priced",
            price_source=quote.source,
            price_version=quote.version,
            **_basis(call, quote, bill),
        )

    def _charged(self, call: Call, usage: TokenUsage | None) -> tuple[Quote, Bill] | None:
        if usage is None or not is_chargeable(usage, call.usage_flags):
            return None
        quote = self._finder.find(_question(call, usage), call.started_at)
        bill = None if quote is None else make_bill(quote, usage)
        return None if quote is None or bill is None else (quote, bill)

    def _compared(self, call: Call) -> Call:
        """A call whose provider said what it costs, with what this book makes of it."""
        charged = self._charged(call, call.usage)
        if charged is None:
            return call
        quote, bill = charged
        saved = None if bill.saved is None else usd(bill.saved)
        return _changed(
            call, computed_cost_usd=usd(bill.amounts.total), saved_cost_usd=saved, **_basis(call, quote, bill)
        )

    def _cached(self, call: Call) -> Call:
        """A call that LangChain's cache answered: it cost nothing, and saved what it would have cost."""
        charged = self._charged(call, call.saved_usage)
        return _free(call, "declared", None if charged is None else usd(charged[1].amounts.total))

    def _uncharged(self, call: Call) -> Call:
        """A call that no cost can be computed for: as it is, unless its model is declared free."""
        if is_chargeable(call.usage, call.usage_flags):
            self._unpriced.note(call)
            return call
        quote = self._finder.free_by_hand((call.provider, call.model, call.requested_model, ()), call.started_at)
        return call if quote is None else _changed(_free(call, quote.source), price_version=quote.version)


def _question(call: Call, usage: TokenUsage) -> Question:
    context = context_of(usage, call.raw_usage)
    return (call.provider, call.model, call.requested_model, context)


def _basis(call: Call, quote: Quote, bill: Bill) -> dict[str, Any]:
    """What a cost rests on."""
    flags = bill.flags
    if "several_models" in call.usage_flags:
        flags = tuple(sorted({*flags, "other_model_not_priced"}))
    return {
        "unit_prices": bill.card.texts,
        "priced_provider": quote.provider,
        "priced_model": quote.model,
        "price_context": quote.context,
        "price_flags": flags,
    }


def _free(call: Call, source: str, saved: Decimal | None = None) -> Call:
    return _changed(call, cost_usd=Decimal(0), saved_cost_usd=saved, price_status="free", price_source=source)
