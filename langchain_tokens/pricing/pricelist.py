"""Which price written by hand holds for a call? The most exact one, and of those the one that starts last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from langchain_tokens.pricing.rates import Rates
from langchain_tokens.pricing.resolve import Names

__all__ = ("Entry", "PriceList")

_MIDNIGHT: Final = time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One price, or one rule about prices, as somebody wrote it."""

    identity: str
    """Where it is from, and a hash of what it says."""
    provider: str | None
    """The catalogue's name, or None for any."""
    names: tuple[str, ...]
    pattern: str | None
    since: datetime | None
    until: datetime | None
    when: Mapping[str, str]
    """What the call has to ask for, such as `{"service_tier": "flex"}`."""
    rates: Rates | None
    by_search_size: Mapping[str, Rates]
    """The rates where the fee for a request depends on the size of the search context."""
    is_free: bool
    is_unpriced: bool
    multiplier: Decimal | None
    price_at_hour: int | None
    """The hour (UTC) at which the catalogue is to be asked, whatever the hour of the call."""
    weekdays: frozenset[int]
    """Days, Monday being 0, at `utc_offset`; empty for all."""
    utc_offset: int
    flags: tuple[str, ...]

    @property
    def is_price(self) -> bool:
        """Whether it settles what a call costs."""
        return self.rates is not None or self.is_free or self.is_unpriced

    @property
    def changes_within_day(self) -> bool:
        """Whether it holds for a part of some day (UTC)."""
        ends = (self.since, self.until)
        return bool(self.weekdays) or any(end is not None and end.time() != _MIDNIGHT for end in ends)

    def is_about(self, provider: str | None, model: str) -> bool:
        """Whether it is about a model, given by the catalogue's names."""
        if self.provider is not None and provider is not None and self.provider != provider:
            return False
        if not self.names and self.pattern is None:
            return provider is not None
        return model in self.names or (self.pattern is not None and fnmatchcase(model, self.pattern))

    def holds(self, at: datetime, context: Mapping[str, str]) -> bool:
        """Whether it holds at a moment, for a call that asks for this."""
        if (self.since is not None and at < self.since) or (self.until is not None and at >= self.until):
            return False
        if self.weekdays and (at + timedelta(hours=self.utc_offset)).weekday() not in self.weekdays:
            return False
        return all(context.get(name) == value for name, value in self.when.items())


@dataclass(frozen=True, slots=True)
class PriceList:
    """Entries, in the order they were written."""

    entries: tuple[Entry, ...]

    def price(self, names: Iterable[Names], at: datetime, context: Mapping[str, str]) -> tuple[Entry, Names] | None:
        """The entry that settles the price, and the names it was found by.

        Args:
            names: the catalogue's provider and the model's names, the first of which wins.
            at: an aware time (UTC).
            context: what the call asks for.

        """
        for provider, model in names:
            found = self._best(provider, model.lower(), at, context)
            if found is not None:
                return found, (provider, model)
        return None

    def rules(self, provider: str | None, model: str, at: datetime) -> tuple[Entry, ...]:
        """The entries that hold for a model at a moment, and say something other than a price."""
        name = model.lower()
        return tuple(
            entry
            for entry in self.entries
            if not entry.is_price and entry.is_about(provider, name) and entry.holds(at, {})
        )

    def changes_within_day(self, names: Iterable[Names]) -> bool:
        """Whether, for any of these names, it depends on the time of the day what holds."""
        pairs = [(provider, model.lower()) for provider, model in names]
        return any(
            entry.changes_within_day and any(entry.is_about(provider, model) for provider, model in pairs)
            for entry in self.entries
        )

    def _best(self, provider: str | None, model: str, at: datetime, context: Mapping[str, str]) -> Entry | None:
        held = [
            (_rank(entry, model, index), entry)
            for index, entry in enumerate(self.entries)
            if entry.is_price and entry.is_about(provider, model) and entry.holds(at, context)
        ]
        return max(held, key=lambda pair: pair[0])[1] if held else None


def _rank(entry: Entry, model: str, index: int) -> tuple[bool, int, bool, bool, float, int]:
    """An exact name before a pattern, a longer pattern first; then said provider, said tier, later date, order."""
    is_exact = model in entry.names
    return (
        is_exact,
        0 if is_exact or entry.pattern is None else len(entry.pattern),
        entry.provider is not None,
        bool(entry.when),
        float("-inf") if entry.since is None else entry.since.timestamp(),
        index,
    )
