"""When, how fast and where at what price? Use by hour and weekday, speed by model, and what costs the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import plain
from langchain_tokens.money import reckoned
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.render import UNKNOWN, Table, html_table, text_table
from langchain_tokens.reports.means import mean_duration
from langchain_tokens.reports.quantities import percent, shown
from langchain_tokens.reports.series import moment_of, without_zone
from langchain_tokens.repricing import shortened
from langchain_tokens.store.lacking import Lack, read_lacking

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Costly", "Pattern", "Patterns", "Speed", "patterns")

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HOURS = 24
_COSTLY = ("agent", "chain", "model")
_NAME = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What was used in one hour of the day, or on one weekday (UTC), over the whole range."""

    name: str
    calls: int
    failed_calls: int
    total_tokens: int | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a model of a provider answers, and how often."""

    provider: str | None
    model: str | None
    calls: int
    success_rate: float | None
    tokens_per_second: float | None
    """Output tokens, over the calls that know both."""
    mean_duration_ms: float | None
    """Over the calls that know it; None where rows were pruned, since nobody knows of how many it is the sum then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costly:
    """Where much of the cost goes."""

    agent: str | None
    chain: str | None
    model: str | None
    calls: int
    cost_usd: Decimal
    share: float
    """Its part of all cost that is known, 0 to 1."""
    cost_usd_per_call: Decimal
    """Over its calls that have a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """The answer of `patterns`."""

    hours: tuple[Pattern, ...]
    weekdays: tuple[Pattern, ...]
    speeds: tuple[Speed, ...]
    """The most used model first."""
    costly: tuple[Costly, ...]
    """The dearest first."""
    calls: int
    unpriced_calls: int
    calls_without_usage: int

    def __str__(self) -> str:
        """Four tables."""
        return "\n\n".join(text_table(table) for table in self._tables())

    def _repr_html_(self) -> str:
        return "".join(html_table(table) for table in self._tables())

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values: money as text, unknown as null."""
        said: dict[str, Any] = plain(asdict(self))
        return said

    def _tables(self) -> list[Table]:
        said = ((self.unpriced_calls, "without a price"), (self.calls_without_usage, "without complete usage"))
        gaps = tuple(f"{count:,} of {self.calls:,} calls {what}: not in these sums" for count, what in said if count)
        return [
            _when("hour (UTC)", self.hours),
            _when("weekday (UTC)", self.weekdays),
            Table(
                headings=("provider", "model", "calls", "ok", "s a call", "tokens/s"),
                rows=tuple(map(_fast, self.speeds)),
                names=2,
            ),
            Table(
                headings=("agent", "chain", "model", "calls", "cost USD", "share"),
                rows=tuple(map(_dear, self.costly)),
                names=3,
                notes=gaps,
            ),
        ]


@reckoned
def patterns(store: UsageStore, *, top: int = 10, **filters: Any) -> Patterns:
    """Use by hour of the day and by weekday, speed by model, and where most of the cost goes.

    Args:
        store: where the calls are.
        top: how many rows of cost.
        filters: which calls, as in `UsageStore.breakdown`.

    Raises:
        QueryError: for a question that cannot be asked.

    """
    by_hour = list(store.timeline("hour", **without_zone(filters)))
    moments = [moment_of(str(row.key["hour"])) for row in by_hour]
    of_hours = [[row for row, at in zip(by_hour, moments, strict=True) if at.hour == hour] for hour in range(_HOURS)]
    of_days = [
        [row for row, at in zip(by_hour, moments, strict=True) if at.weekday() == day] for day in range(len(_WEEKDAYS))
    ]
    total = store.breakdown(**filters).total
    places = store.breakdown(*_COSTLY, **filters)
    costly = sorted((row for row in places if row.cost_usd), key=lambda row: -(row.cost_usd or 0))[:top]
    speeds = sorted(store.breakdown("provider", "model", **filters), key=lambda row: -row.calls)
    with store._reading() as connection:
        untimed = read_lacking(connection, make_query(("provider", "model"), without_zone(filters)), "duration_ms")
    return Patterns(
        hours=tuple(_pattern(f"{hour:02}", rows) for hour, rows in enumerate(of_hours)),
        weekdays=tuple(_pattern(name, rows) for name, rows in zip(_WEEKDAYS, of_days, strict=True)),
        speeds=tuple(_speed(row, untimed) for row in speeds),
        costly=tuple(_costly(row, total.cost_usd or Decimal(0)) for row in costly),
        calls=total.calls,
        unpriced_calls=total.unpriced_calls,
        calls_without_usage=total.calls_without_usage,
    )


def _pattern(name: str, rows: list[BreakdownRow]) -> Pattern:
    tokens = [row.total_tokens for row in rows if row.total_tokens is not None]
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return Pattern(
        name=name,
        calls=sum(row.calls for row in rows),
        failed_calls=sum(row.failed_calls for row in rows),
        total_tokens=sum(tokens) if tokens else None,
        cost_usd=sum(costs, Decimal(0)) if costs else None,
    )


def _speed(row: BreakdownRow, untimed: Mapping[tuple[Any, ...], Lack] | None) -> Speed:
    provider, model = _name(row, "provider"), _name(row, "model")
    lack = None if untimed is None else untimed.get((provider, model), Lack())
    return Speed(
        provider=provider,
        model=model,
        calls=row.calls,
        success_rate=row.success_rate,
        tokens_per_second=row.tokens_per_second,
        mean_duration_ms=mean_duration(row, lack),
    )


def _costly(row: BreakdownRow, whole: Decimal) -> Costly:
    cost = row.cost_usd or Decimal(0)
    return Costly(
        agent=_name(row, "agent"),
        chain=_name(row, "chain"),
        model=_name(row, "model"),
        calls=row.calls,
        cost_usd=cost,
        share=float(cost / whole) if whole else 0.0,
        cost_usd_per_call=cost / (row.calls - row.unpriced_calls or row.calls),  # calls may have a cost and no status
    )


def _name(row: BreakdownRow, dimension: str) -> str | None:
    value = row.key[dimension]
    return None if value is None else str(value)


def _when(heading: str, rows: tuple[Pattern, ...]) -> Table:
    lines = [
        (row.name, f"{row.calls:,}", f"{row.failed_calls:,}", shown(row.total_tokens), shown(row.cost_usd, "cost_usd"))
        for row in rows
    ]
    return Table(headings=(heading, "calls", "failed", "tokens", "cost USD"), rows=tuple(lines), names=1)


def _fast(row: Speed) -> tuple[str, ...]:
    seconds = None if row.mean_duration_ms is None else row.mean_duration_ms / 1_000
    names = (row.provider or missing_label("provider"), row.model or missing_label("model"))
    ok = UNKNOWN if row.success_rate is None else percent(row.success_rate)
    return (
        *(shortened(name, _NAME) for name in names),
        f"{row.calls:,}",
        ok,
        shown(seconds),
        shown(row.tokens_per_second),
    )


def _dear(row: Costly) -> tuple[str, ...]:
    names = [getattr(row, name) or missing_label(name) for name in _COSTLY]
    return (
        *(shortened(name, 15) for name in names),
        f"{row.calls:,}",
        shown(row.cost_usd, "cost_usd"),
        percent(row.share),
    )
