"""What will have been spent when the day, week or month ends? So far, projected, and with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import plain
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.query import parse_moment
from langchain_tokens.render import UNKNOWN, Table, counted, html_table, text_table
from langchain_tokens.reports.analytics import require_analytics
from langchain_tokens.reports.projecting import LEAST_DAYS, Projection, project
from langchain_tokens.reports.quantities import Number, Used, as_number, sure, used_named, wrapped
from langchain_tokens.reports.series import Step, after, now_or, read_steps
from langchain_tokens.store.plan import floor_of

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Forecast", "forecast")

_HISTORY_DAYS = 56
_MOST_YEARS = 10
"""How far ahead is projected: each day ahead is drawn thousands of times, and few weeks say nothing of a century."""
_KNOWN_AS = {"cost": "cost", "tokens": "usage", "input": "usage", "output": "usage", "calls": "call"}
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The answer of `forecast`. Money in USD, times UTC; None is not known."""

    measure: str
    since: datetime
    """When the period began."""
    now: datetime
    until: datetime
    """When it ends."""
    spent: Number | None
    """From its beginning until now."""
    projected: Number | None
    """At its end."""
    low: Number | None
    high: Number | None
    confidence: float
    """That of the interval from `low` to `high`."""
    method: str
    history_days: int
    """The complete days that it rests on."""
    history_since: datetime | None
    calls: int
    """In the period until now."""
    unknown_calls: int
    """Those of them whose tokens or cost are in no sum here."""
    unknown_history_calls: int
    """The same for the days before."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A small table, and what it rests on."""
        return "\n".join([text_table(self._table()), "", *wrapped(self._sentences())])

    def _repr_html_(self) -> str:
        table = self._table()
        return html_table(Table(headings=table.headings, rows=table.rows, names=1, notes=self._sentences()))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values: money as text, times as ISO 8601, unknown as null."""
        said: dict[str, Any] = plain(asdict(self))
        return said

    def _table(self) -> Table:
        rows = [
            (f"from {self.since:%Y-%m-%d} until now", self._said(self.spent)),
            (f"projected until {self.until:%Y-%m-%d}", self._said(self.projected)),
        ]
        if self.low is not None and self.high is not None:
            rows.append((f"{sure(self.confidence)} interval, low", self._said(self.low)))
            rows.append((f"{sure(self.confidence)} interval, high", self._said(self.high)))
        return Table(headings=("UTC", used_named(self.measure).unit), rows=tuple(rows), names=1)

    def _said(self, amount: Number | None) -> str:
        """An amount: whole tokens and calls; US dollars with as many places as the least amount of all needs."""
        if amount is None:
            return UNKNOWN
        if not isinstance(amount, Decimal):
            return f"{amount:,.0f}"
        amounts = (self.spent, self.projected, self.low, self.high)
        is_small = any(0 < each < 1 for each in amounts if each is not None)
        return f"{amount:,.6f}" if is_small else f"{amount:,.2f}"

    def _sentences(self) -> tuple[str, ...]:
        days = counted(self.history_days, "complete day")
        history = "" if self.history_since is None else f", {days} from {self.history_since:%Y-%m-%d} on"
        unknown = self.unknown_calls + self.unknown_history_calls
        gaps = (
            (f"Without a known {_KNOWN_AS[self.measure]}, so in no sum here: {counted(unknown, 'call')}.",)
            if unknown
            else ()
        )
        return (f"Method: {self.method}{history}.", *self.notes, *gaps)


@reckoned
def forecast(
    store: UsageStore,
    until: str | datetime = "month",
    *,
    measure: str = "cost",
    confidence: float = 0.8,
    now: datetime | None = None,
    seed: int = 0,
    **filters: Any,
) -> Forecast:
    """Project spend, tokens or calls to the end of the running day, week (from Monday) or month, UTC.

    What was used on the complete days of the last eight weeks is fitted with weekdays and growth, as far as they are
    there to see; see `langchain_tokens.reports.projecting`. The days are taken as independent beside these: what
    changes your use from one day to the next (a launch, an outage) is in no interval.

    Args:
        store: where the calls are.
        until: `day`, `week` or `month`, or a moment as in filters, at most ten years ahead; the period then begins
            with today.
        measure: `cost`, `tokens`, `calls`, `input` or `output`.
        confidence: of the interval.
        now: the moment to project from, aware; None is the clock's.
        seed: of the draws, so that the same data give the same answer.
        filters: which calls; no `since` and no `until`.

    Raises:
        QueryError: for a question that cannot be asked.
        MissingExtraError: without the extra `analytics`.

    """
    used, moment = used_named(measure), now_or(now)
    if type(confidence) is not float or not 0 < confidence < 1:
        raise QueryError(f"confidence={confidence!r}; expected a number between 0 and 1")
    if "since" in filters or filters.get("until") is not None:
        raise QueryError("forecast() finds its range itself; until= is what it projects to")
    require_analytics("forecast()")
    period = _period(until, moment)
    history = read_steps(store, used, "hour", floor_of(moment, "day") - _DAY * _HISTORY_DAYS, moment, **filters)
    total = _so_far(store, period, filters)
    days = _days(history, moment) if any(step.calls and step.used is not None for step in history) else None
    spent = 0 if total is None else getattr(total, used.field)
    outlook = _outlook(history, days, period, confidence, seed)
    return Forecast(
        measure=measure,
        since=period.start,
        now=moment,
        until=period.end,
        spent=spent,
        projected=_sum(used, spent, outlook.expected),
        low=_sum(used, spent, outlook.low),
        high=_sum(used, spent, outlook.high),
        confidence=confidence,
        method=outlook.method,
        history_days=len(days or ()),
        history_since=days[0].start if days else None,
        calls=0 if total is None else total.calls,
        unknown_calls=0 if total is None else used.unknown_calls(total),
        unknown_history_calls=sum(step.unknown_calls for step in history if step.start < period.start),
        notes=tuple(outlook.notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Period:
    start: datetime
    now: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """A complete day: all of it, and the part of it after the time of day that it is now."""

    start: datetime
    all: float
    rest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """What is still to come until the end of the period."""

    expected: float | None
    low: float | None = None
    high: float | None = None
    method: str
    notes: Sequence[str] = ()


def _period(until: str | datetime, now: datetime) -> _Period:
    today = floor_of(now, "day")
    if until == "day":
        start, end = today, today + _DAY
    elif until == "week":
        start = today - _DAY * today.weekday()
        end = start + _DAY * 7
    elif until == "month":
        start = floor_of(now, "month")
        end = after(start, "month")
    else:
        start, end = today, parse_moment(until, now, "until")
        if end <= now or floor_of(end, "day") != end:
            raise QueryError(
                f"until={until!r} is {end:%Y-%m-%d %H:%M} UTC; expected day, week, month or a later midnight"
            )
        if end - now > _DAY * 366 * _MOST_YEARS:
            raise QueryError(f"until={until!r} is {end:%Y-%m-%d}; expected a moment within {_MOST_YEARS} years")
    return _Period(start=start, now=now, end=end)


def _days(history: Sequence[Step], now: datetime) -> list[_Day]:
    """The complete days that are known."""
    today, by_day = floor_of(now, "day"), dict[datetime, list[Step]]()
    for step in history:
        by_day.setdefault(step.start.replace(hour=0), []).append(step)
    passed = (now - today) / _HOUR
    found = []
    for start, steps in by_day.items():
        amounts = [(step.start.hour, step.used) for step in steps]
        known = [(hour, amount) for hour, amount in amounts if amount is not None]
        if start < today and len(known) == len(amounts):
            rest = sum(amount * min(1.0, hour + 1 - passed) for hour, amount in known if hour + 1 > passed)
            found.append(_Day(start=start, all=sum(amount for _, amount in known), rest=rest))
    return found


def _outlook(
    history: Sequence[Step], days: Sequence[_Day] | None, period: _Period, confidence: float, seed: int
) -> _Outlook:
    """What is to come; `days` are the complete ones, None where no call tells what it used."""
    if days is None:  # that nothing was used where there were no calls says nothing of what these used
        return _Outlook(
            expected=None, method="none", notes=("Nothing to project from: no call of the last weeks tells it.",)
        )
    if len(days) < LEAST_DAYS:
        return _by_rate(history, period)
    found = _by_model(days, period, confidence, seed)
    amounts = [amount for amount in (found.expected, found.low, found.high) if amount is not None]
    if all(map(isfinite, amounts)):
        return found
    note = "What grows as in the last weeks is beyond all numbers by then; ask for an earlier moment."
    return _Outlook(expected=None, method=found.method, notes=(note,))


def _by_model(days: Sequence[_Day], period: _Period, confidence: float, seed: int) -> _Outlook:
    import numpy

    known, today = [day.start.toordinal() for day in days], period.now.toordinal()
    rest = project(known, [day.rest for day in days], [today], seed)
    coming = range(today + 1, period.end.toordinal())
    whole = project(known, [day.all for day in days], coming, seed + 1) if coming else None
    parts = [rest] if whole is None else [rest, whole]
    expected, method = sum(part.expected for part in parts), f"a Tweedie model of the days{_with(parts[-1])}"
    alike = () if parts[-1].has_weekdays else ("Less than two of each weekday: weekdays are taken as alike.",)
    draws = [part.draws for part in parts if part.draws is not None]
    if len(draws) < len(parts):
        return _Outlook(
            expected=expected, method=method, notes=(*alike, "The days differ by too much for an interval.")
        )
    low, high = numpy.quantile(sum(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    return _Outlook(expected=expected, low=float(low), high=float(high), method=method, notes=alike)


def _with(projection: Projection) -> str:
    said = ["weekdays"] * projection.has_weekdays + ["growth"] * projection.has_trend
    return f" with {' and '.join(said)}" if said else ""


def _by_rate(history: Sequence[Step], period: _Period) -> _Outlook:
    """As much an hour as until now; how far that may be off, so little cannot tell."""
    amounts = [step.used for step in history]
    known = [amount for amount in amounts if amount is not None]
    few = f"Too little history: an interval needs {LEAST_DAYS} complete days whose use is known."
    elapsed = (period.now - history[0].start) / _HOUR - (len(amounts) - len(known))
    rate = sum(known) / max(elapsed, 1.0)
    return _Outlook(
        expected=rate * ((period.end - period.now) / _HOUR), method="the rate until now, going on", notes=(few,)
    )


def _so_far(store: UsageStore, period: _Period, filters: dict[str, Any]) -> BreakdownRow | None:
    """What was used in the period until now; None without a call."""
    if period.start == period.now:
        return None
    total = store.breakdown(**{**filters, "since": period.start, "until": period.now}).total
    return total if total.calls else None


def _sum(used: Used, spent: Number | None, coming: float | None) -> Number | None:
    return None if spent is None or coming is None else as_number(used.field, float(spent) + coming)
