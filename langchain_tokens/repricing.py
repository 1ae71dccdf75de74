"""What would it cost now, or on another model? Stored calls priced again: as a question, or written with revisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from langchain_tokens.call import Call
from langchain_tokens.errors import QueryError
from langchain_tokens.money import less, reckoned
from langchain_tokens.prices import PriceBook
from langchain_tokens.query import make_query
from langchain_tokens.render import clean, counted
from langchain_tokens.store.store import UsageStore

__all__ = ("Repriced", "Repricing", "Terms", "priced_again", "reprice", "shortened", "usual_prices")

_BATCH = 1_000
Price = Callable[[Call], Call]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """What pricing again makes of a group of calls; money in US dollars."""

    model: str | None
    calls: int
    changed_calls: int
    unpriceable_calls: int
    """Calls that have no price by these terms; neither of the two sums has them."""
    before_usd: Decimal | None
    """What the calls that can be compared cost so far; None where none can be."""
    after_usd: Decimal | None
    """What the same calls cost by these terms."""
    newly_priced_usd: Decimal | None
    """What calls cost that had no price so far; in neither of the two sums."""

    @property
    def difference_usd(self) -> Decimal | None:
        """After less before; negative is cheaper."""
        if self.before_usd is None or self.after_usd is None:
            return None
        return less(self.after_usd, self.before_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """The answer of `UsageStore.reprice`."""

    rows: tuple[Repriced, ...]
    """By the model that served the calls, dearest first."""
    total: Repriced
    written_calls: int
    is_estimate: bool
    """Whether another model or another time was asked for: tokenizers differ, and caches and tiers may not exist."""

    def __str__(self) -> str:
        """A line for each model, and the total."""
        lines = [f"{'model':<34}{'calls':>8}{'unpriced':>10}{'before USD':>16}{'after USD':>16}{'was unknown':>16}"]
        lines += [_line(row) for row in (*self.rows, self.total)]
        written = self.written_calls
        notes = [f"{counted(written, 'call')} written" if written else "nothing written"]
        notes += ["an estimate: other models count and cache differently"] if self.is_estimate else []
        return "\n".join([*lines, "; ".join(notes)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How calls are priced again.

    Args:
        at: `"call"` for each call's own start, `"now"`, or an aware moment.
        as_model: price as if this model had served them; None is their own.
        as_provider: likewise; None is their own, or where `as_model` is given whoever the price book finds.
        write: put the new costs in the place of NULL.
        overwrite: with `write`, also of costs that are known, which are kept as revisions.
        reason: kept with the revisions.

    """

    at: str | datetime = "call"
    as_model: str | None = None
    as_provider: str | None = None
    write: bool = False
    overwrite: bool = False
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.at not in ("call", "now") and not (isinstance(self.at, datetime) and self.at.tzinfo is not None):
            raise QueryError(f"at= is 'call', 'now' or an aware datetime; found {self.at!r}")
        if self.write and self.is_what_if:
            raise QueryError("another model or another time is only a question; it cannot be written")
        if self.overwrite and not self.write:
            raise QueryError("overwrite=True needs write=True")

    @property
    def is_what_if(self) -> bool:
        """Whether the calls were not made that way."""
        return self.at != "call" or self.as_model is not None or self.as_provider is not None


def usual_prices(prices: PriceBook | None) -> PriceBook:
    """A price book; None is the usual one.

    Raises:
        QueryError: for something else.

    """
    if prices is not None and not isinstance(prices, PriceBook):
        raise QueryError(f"prices= is a PriceBook; found {type(prices).__name__}")
    return PriceBook() if prices is None else prices


@reckoned
def reprice(store: UsageStore, price: Price, terms: Terms, filters: dict[str, Any]) -> Repricing:
    """Price stored calls again; as `UsageStore.reprice`, which has the defaults."""
    tally: dict[str | None, _Tally] = defaultdict(_Tally)
    written = 0
    for batch in store.batches(make_query((), filters), _BATCH):
        pairs = [(old, priced_again(old, price, terms)) for old in batch]
        for old, new in pairs:
            tally[old.model].add(old, new)
        if terms.write:
            written += store.change_costs([pair for pair in pairs if _is_to_write(*pair, terms)], terms.reason)
    rows = sorted((one.row(model) for model, one in tally.items()), key=_by_size, reverse=True)
    total = _Tally()
    for one in tally.values():
        total.merge(one)
    return Repricing(rows=tuple(rows), total=total.row("total"), written_calls=written, is_estimate=terms.is_what_if)


def priced_again(old: Call, price: Price, terms: Terms) -> Call:
    """The call as these terms price it. A cost that the provider itself reported stands, unless it is a question."""
    if old.price_status == "reported" and not terms.is_what_if:
        return old
    asked = replace(
        old,
        model=terms.as_model or old.model,
        requested_model=terms.as_model or old.requested_model,
        provider=terms.as_provider or (None if terms.as_model else old.provider),
        started_at=_moment(old, terms),
        **_UNPRICED,
    )
    priced = price(asked)
    return replace(old, **{name: getattr(priced, name) for name in _UNPRICED})


_UNPRICED: dict[str, Any] = {
    "cost_usd": None,
    "input_cost_usd": None,
    "output_cost_usd": None,
    "other_cost_usd": None,
    "saved_cost_usd": None,
    "computed_cost_usd": None,
    "price_status": "unpriced",
    "price_source": None,
    "price_version": None,
    "unit_prices": None,
    "priced_provider": None,
    "priced_model": None,
    "price_context": None,
    "price_flags": (),
}
"""What pricing says of a call, before it has said anything."""


def _moment(old: Call, terms: Terms) -> datetime:
    if isinstance(terms.at, datetime):
        return terms.at
    return datetime.now(UTC) if terms.at == "now" else old.started_at


def _is_to_write(old: Call, new: Call, terms: Terms) -> bool:
    if new.cost_usd is None or old == new:
        return False  # what is known is never replaced by what is not
    return old.cost_usd is None or (terms.overwrite and old.cost_usd != new.cost_usd)


class _Tally:
    """Running sums over one model's calls."""

    def __init__(self) -> None:
        self.calls = self.changed = self.unpriceable = self.compared = self.newly_priced = 0
        self.before = self.after = self.new = Decimal(0)

    def add(self, old: Call, new: Call) -> None:
        self.calls += 1
        self.changed += old.cost_usd != new.cost_usd
        if new.cost_usd is None:
            self.unpriceable += 1
        elif old.cost_usd is None:
            self.newly_priced += 1
            self.new += new.cost_usd
        else:
            self.compared += 1
            self.before += old.cost_usd
            self.after += new.cost_usd

    def merge(self, other: _Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, model: str | None) -> Repriced:
        return Repriced(
            model=model,
            calls=self.calls,
            changed_calls=self.changed,
            unpriceable_calls=self.unpriceable,
            before_usd=self.before if self.compared else None,
            after_usd=self.after if self.compared else None,
            newly_priced_usd=self.new if self.newly_priced else None,
        )


def _by_size(row: Repriced) -> Decimal:
    return max(row.before_usd or Decimal(0), row.newly_priced_usd or Decimal(0))


def _line(row: Repriced) -> str:
    money = "".join(f"{_money(value):>{width}}" for value, width in _columns(row))
    return f"{shortened(row.model or '(none)', 33):<34}{row.calls:>8,}{row.unpriceable_calls:>10,}{money}"


def _columns(row: Repriced) -> Sequence[tuple[Decimal | None, int]]:
    return ((row.before_usd, 16), (row.after_usd, 16), (row.newly_priced_usd, 16))


def _money(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:,.6f}"


def shortened(name: str, most: int) -> str:
    """A name that fits its column."""
    shown = clean(name)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
