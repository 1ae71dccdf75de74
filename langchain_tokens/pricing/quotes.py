"""Which rates hold for a model at a moment? One chain, first hit wins: the user's own, the corrections, the catalogue.

The answer is remembered for the day it holds for, or for the minute where rates depend on the time of the day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from langchain_tokens.pricing.catalogue import Catalogue, Listed
from langchain_tokens.pricing.pricelist import Entry, PriceList
from langchain_tokens.pricing.rates import Rates
from langchain_tokens.pricing.resolve import PROVIDERS, UNPRICEABLE, Names, candidates, canonical

__all__ = ("Finder", "Question", "Quote")

Question = tuple[str | None, str | None, str | None, tuple[tuple[str, str], ...]]
"""Provider, served model, requested model, and what else the price depends on, sorted; as the call says them."""

_TIER_KEYS: Final = ("service_tier", "processing", "speed")
"""What the catalogue has rates of their own for."""
_SEARCH_SIZE: Final = "search_context_size"
_OWN_PROVIDERS: Final = frozenset(PROVIDERS.values())
_MOST_REMEMBERED: Final = 1024
_UNASKED: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The rates of a model, and where they are from."""

    rates: Rates | None
    """None where calls are free."""
    provider: str | None
    model: str
    source: str
    """`override`, `correction` or `genai-prices`."""
    version: str
    context: Mapping[str, str] | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """Prices written by hand."""

    own: tuple[PriceList, ...]
    """The user's, those that win first."""
    corrections: PriceList


class Finder:
    """Finds rates. Thread-safe: it is replaced, not changed, when prices change.

    Args:
        lists: prices written by hand.
        catalogue: gives the catalogue; called when the first model needs it.
        aliases: the user's names, in lower case → names of models.
        hosts: the user's hosts → providers.

    """

    def __init__(
        self,
        lists: Lists,
        catalogue: Callable[[], Catalogue],
        aliases: Mapping[str, str],
        hosts: Mapping[str, str],
    ) -> None:
        self._lists = lists
        self._catalogue = catalogue
        self._aliases = aliases
        self._hosts = hosts
        self._remembered: dict[tuple[Question, int, int | None], Quote | None] = {}

    def find(self, question: Question, at: datetime) -> Quote | None:
        """The rates that hold at a moment (aware), or None where nobody knows them."""
        moment = at if at.tzinfo is UTC else at.astimezone(UTC)
        day = moment.toordinal()
        found: Any = self._remembered.get((question, day, None), _UNASKED)
        if found is _UNASKED:
            minute = moment.hour * 60 + moment.minute
            found = self._remembered.get((question, day, minute), _UNASKED)
            if found is _UNASKED:
                found = self._asked(question, moment, day, minute)
        quote: Quote | None = found
        return quote

    def free_by_hand(self, question: Question, at: datetime) -> Quote | None:
        """The entry that says that a model's calls are free; asks no catalogue."""
        names = list(self._names(question))
        for source, prices in self._by_hand():
            found = prices.price(names, at.astimezone(UTC), dict(question[3]))
            if found is not None:
                return _written(*found, source, question) if found[0].is_free else None
        return None

    def _asked(self, question: Question, moment: datetime, day: int, minute: int) -> Quote | None:
        names = list(self._names(question))
        quote, changes = self._first(question, names, moment.replace(second=0, microsecond=0))
        changes = changes or any(prices.changes_within_day(names) for _, prices in self._by_hand())
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[question, day, minute if changes else None] = quote
        return quote

    def _first(self, question: Question, names: Sequence[Names], at: datetime) -> tuple[Quote | None, bool]:
        """The first that settles it, and whether the catalogue's part of it changes within the day."""
        context = dict(question[3])
        for prices in self._lists.own:
            found = prices.price(names, at, context)
            if found is not None:
                return _written(*found, "override", question), False
        for name in names:
            found = self._lists.corrections.price([name], at, context)
            if found is not None:
                return self._multiplied(_written(*found, "correction", question), at), False
            listed = self._listed(*name, at, context)
            if listed is not None:
                quote = self._quoted(listed, name[1], context)
                return self._multiplied(quote, at), listed.changes_within_day
        return None, False

    def _listed(self, provider: str | None, model: str, at: datetime, context: Mapping[str, str]) -> Listed | None:
        if provider in UNPRICEABLE:
            return None
        catalogue = self._catalogue()
        if provider is not None and provider not in _OWN_PROVIDERS and provider not in catalogue.providers:
            return None
        for prices in (*self._lists.own, self._lists.corrections):
            for rule in prices.rules(provider, model, at):
                if rule.price_at_hour is not None:
                    at = at.replace(hour=rule.price_at_hour, minute=0)
        asked = {name: value for name, value in context.items() if name in _TIER_KEYS}
        return catalogue.find(provider, model, at, asked)

    def _quoted(self, listed: Listed, asked: str, context: Mapping[str, str]) -> Quote | None:
        """The catalogue's rates; an entry without rates says nothing, least of all that the model is free."""
        is_free = listed.rates.is_nothing
        if is_free and not (asked.endswith(":free") or listed.model.endswith(":free")):
            return None
        flags = ("standard_estimate",) if listed.is_standard else ()
        return Quote(
            rates=None if is_free else listed.rates,
            provider=listed.provider,
            model=listed.model,
            source="genai-prices",
            version=self._catalogue().version,
            context=context or None,
            flags=_with_region(flags, context),
        )

    def _multiplied(self, quote: Quote | None, at: datetime) -> Quote | None:
        """With the user's discount or surcharge."""
        if quote is None or quote.rates is None:
            return quote
        factor, marks = Decimal(1), []
        for prices in self._lists.own:
            for rule in prices.rules(quote.provider, quote.model, at):
                if rule.multiplier is not None:
                    factor *= rule.multiplier
                    marks.append(rule.identity)
        if not marks:
            return quote
        version = " * ".join((quote.version, *marks))
        return replace(quote, rates=quote.rates.times(factor), version=version, flags=(*quote.flags, "multiplier"))

    def _names(self, question: Question) -> Iterator[Names]:
        provider, served, requested, _ = question
        if served:
            yield from candidates(provider, served, self._aliases, self._hosts)
        if requested and requested != served and not (served and _is_another(served, requested)):
            yield from candidates(provider, requested, self._aliases, self._hosts)

    def _by_hand(self) -> Iterator[tuple[str, PriceList]]:
        yield from (("override", prices) for prices in self._lists.own)
        yield "correction", self._lists.corrections


def _written(entry: Entry, name: Names, source: str, question: Question) -> Quote | None:
    """What an entry written by hand says; None where it says that no price is right."""
    if entry.is_unpriced:
        return None
    context = dict(question[3])
    rates, flags = entry.rates, set(entry.flags)
    if entry.by_search_size:
        size = context.setdefault(_SEARCH_SIZE, "low")
        if size not in entry.by_search_size or _SEARCH_SIZE not in dict(question[3]):
            flags.add("search_context_assumed")
        rates = entry.by_search_size.get(size, entry.by_search_size["low"])
    if any(key in context and key not in entry.when for key in _TIER_KEYS) and not entry.is_free:
        flags.add("standard_estimate")
    return Quote(
        rates=rates,
        provider=name[0] or entry.provider or canonical(question[0]),
        model=name[1],
        source=source,
        version=entry.identity,
        context=context or None,
        flags=_with_region(tuple(sorted(flags)), context),
    )


def _is_another(served: str, requested: str) -> bool:
    """Whether the served model is plainly not the requested one under another name: a router fell back to it."""
    if requested.endswith(":free") and not served.endswith(":free"):
        return True
    served_by, slash, _ = served.partition("/")
    return bool(slash) and "/" in requested and not requested.startswith(f"{served_by}/")


def _with_region(flags: tuple[str, ...], context: Mapping[str, str]) -> tuple[str, ...]:
    """Nobody lists what it costs to keep a call in a region."""
    return (*flags, "regional_estimate") if "inference_geo" in context else flags
