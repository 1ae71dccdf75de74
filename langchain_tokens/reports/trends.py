"""Does it grow? Use by hour, day or month, and its slope by scipy's Theil-Sen estimator, which outliers do not turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from langchain_tokens.call import plain
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.query import make_query
from langchain_tokens.render import Table, counted, html_table, text_table
from langchain_tokens.reports.analytics import require_analytics
from langchain_tokens.reports.quantities import Number, Used, as_number, percent, shown, sure, used_named, wrapped
from langchain_tokens.reports.series import EVERY, Every, Step, check_every, now_or, read_steps
from langchain_tokens.store.plan import floor_of, moment_in

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Point", "Trend", "trend")

_LEAST_STEPS = 8
_MOST_STEPS = 2_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was used in one hour, day or month (UTC); 0 without calls, None where calls do not tell."""

    start: datetime
    used: Number | None
    calls: int
    unknown_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The answer of `trend`: the steps, oldest first, and how much they change from one to the next."""

    every: Every
    measure: str
    points: tuple[Point, ...]
    """Complete steps; the one that goes on is left out."""
    median: Number | None
    slope: Number | None
    """The typical change from one step to the next; None with too little data."""
    low: Number | None
    high: Number | None
    confidence: float
    verdict: str

    def __str__(self) -> str:
        """The steps, and what they come to."""
        return "\n".join([text_table(self._table()), "", *wrapped([self.verdict])])

    def _repr_html_(self) -> str:
        table = self._table()
        return html_table(Table(headings=table.headings, rows=table.rows, names=1, notes=(self.verdict,)))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values: money as text, times as ISO 8601, unknown as null."""
        said: dict[str, Any] = plain(asdict(self))
        return said

    def _table(self) -> Table:
        used = used_named(self.measure)
        rows = [
            (moment_in(point.start, self.every), f"{point.calls:,}", shown(point.used, used.field))
            for point in self.points
        ]
        return Table(headings=(f"{self.every} (UTC)", "calls", used.unit), rows=tuple(rows), names=1)


@reckoned
def trend(
    store: UsageStore, every: Every = "day", *, measure: str = "tokens", now: datetime | None = None, **filters: Any
) -> Trend:
    """Use over time, and whether it grows.

    Args:
        store: where the calls are.
        every: `hour`, `day` or `month`, UTC.
        measure: `cost`, `tokens`, `calls`, `input` or `output`.
        now: the moment from which on nothing is complete, aware; None is the clock's.
        filters: which calls, as in `UsageStore.timeline`.

    Raises:
        QueryError: for a question that cannot be asked, or more steps than a slope can be found for.
        MissingExtraError: without the extra `analytics`.

    """
    check_every(every, EVERY)
    used, query = used_named(measure), make_query((), filters, now=now)
    require_analytics("trend()")
    end = floor_of(min(query.until or now_or(now), now_or(now)), every)
    is_over = query.since is not None and query.since >= end
    steps = [] if is_over else _steps(store, used, every, (query.since, end), filters)
    points = [
        Point(
            start=step.start,
            used=as_number(used.field, step.used),
            calls=step.calls,
            unknown_calls=step.unknown_calls,
        )
        for step in steps
    ]
    return Trend(
        every=every,
        measure=measure,
        points=tuple(points),
        confidence=_CONFIDENCE,
        **_slope(points, every, used.field, used.unit),
    )


def _steps(
    store: UsageStore, used: Used, every: Every, span: tuple[datetime | None, datetime], filters: dict[str, Any]
) -> list[Step]:
    since, end = span
    others = {name: value for name, value in filters.items() if name not in ("since", "until")}
    steps = read_steps(store, used, every, since, end, **others)
    if len(steps) > _MOST_STEPS:
        raise QueryError(f"{len(steps):,} steps are more than {_MOST_STEPS:,}; take longer ones, or a later since=")
    return steps if since is None else [step for step in steps if step.start >= since]


def _slope(points: Sequence[Point], every: Every, field: str, unit: str) -> dict[str, Any]:
    import numpy
    from scipy.stats import theilslopes

    known = [(place, float(point.used)) for place, point in enumerate(points) if point.used is not None]
    middle = float(numpy.median([value for _, value in known])) if known else None
    found = {"median": as_number(field, middle), "slope": None, "low": None, "high": None}
    if len(known) < _LEAST_STEPS or middle is None:
        said = f"Too little data: {counted(len(known), f'complete {every}')} known, {_LEAST_STEPS} are needed."
        return {**found, "verdict": said}
    places, values = zip(*known, strict=True)
    slope, _, low, high = (float(part) for part in theilslopes(values, places, alpha=_CONFIDENCE))
    ends = {name: as_number(field, value) for name, value in (("slope", slope), ("low", low), ("high", high))}
    is_clear = low > 0 or high < 0
    word, amounts = ("Falls by", (-slope, -high, -low)) if is_clear and slope < 0 else ("Grows by", (slope, low, high))
    by, *between = (shown(as_number(field, each), field) for each in amounts)
    interval = f"from one {every} to the next ({sure(_CONFIDENCE)} interval {' to '.join(between)})"
    if not is_clear:
        return {**found, **ends, "verdict": f"No clear trend: {by} {unit} {interval}."}
    of_middle = f", {percent(slope / middle)} of the median," if middle else ""
    return {**found, **ends, "verdict": f"{word} {by} {unit}{of_middle} {interval}."}
