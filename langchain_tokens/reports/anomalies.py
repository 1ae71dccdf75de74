"""What was unusual, and why? Hours, days, sessions or runs that used far more than the others, explained in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any, overload

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.call import plain
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.query import EQUALITY_FILTERS, missing_label
from langchain_tokens.render import Table, counted, html_table
from langchain_tokens.reports.analytics import require_analytics
from langchain_tokens.reports.explaining import Cause, causes, totals_of
from langchain_tokens.reports.outliers import LEAST, Judged, judge, most_unusual
from langchain_tokens.reports.quantities import Number, Used, as_number, percent, shown, used_named, wrapped
from langchain_tokens.reports.series import Every, after, check_every, moment_of, now_or, without_zone
from langchain_tokens.store.plan import floor_of

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Unusual", "UnusualReport", "unusual")

_WHOLES = ("session", "run")
"""Dimensions whose values are compared with each other; those of others are compared with themselves at other times."""
_MOST = 20_000
"""Sessions or runs that are read."""
_MOST_GROUPS = 200
"""Chains, agents, users … whose hours or days are read."""
_KIND_SIZE = 6
"""How many steps of a kind there should be, to tell kinds apart."""
_SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """One finding. Amounts in the measure's unit (tokens, USD, calls)."""

    by: str
    name: str | None
    """The chain, agent, session … that it is about; None for calls without one."""
    start: datetime | None
    """When the hour or day began, UTC; None for a session or run."""
    measure: str
    seen: Number
    expected: Number
    limit: Number
    """What the largest of all amounts that were compared exceeds by chance as rarely as the report's rate says."""
    times: float
    """How many times what was expected."""
    calls: int
    unknown_calls: int
    """Calls that are not in these amounts."""
    causes: tuple[Cause, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusualReport(Sequence[Unusual]):
    """The answer of `unusual`: a sequence of findings, the farthest from what is usual first."""

    findings: tuple[Unusual, ...]
    rate: float
    """The chance that a report on usual consumption has any finding."""
    judged: int
    """Hours, days, sessions or runs that were compared."""
    not_judged: int
    """Those that were not, since too few others tell what is usual."""
    notes: tuple[str, ...]
    text: str = field(init=False)
    """All of it, a line for each finding and note."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "\n".join(self._sentences()))

    def __len__(self) -> int:
        return len(self.findings)

    @overload
    def __getitem__(self, index: int) -> Unusual: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Unusual]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.findings[index]

    def __iter__(self) -> Iterator[Unusual]:
        return iter(self.findings)

    def __str__(self) -> str:
        """A paragraph for each finding, and what was compared."""
        return "\n".join(wrapped(self._sentences()))

    def _sentences(self) -> tuple[str, ...]:
        return (*(finding.text for finding in self.findings), *self.notes)

    def _repr_html_(self) -> str:
        rows = tuple((finding.text, f"{finding.times:,.1f}") for finding in self.findings)
        return html_table(Table(headings=("unusual", "times"), rows=rows, names=1, notes=self.notes))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values: money as text, times as ISO 8601, unknown as null. A `Webhook` posts it."""
        said: dict[str, Any] = plain(asdict(self))
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One amount that is compared with others."""

    row: BreakdownRow
    amount: float
    start: datetime | None
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    store: UsageStore
    by: str
    every: Every
    used: Used
    filters: Mapping[str, Any]
    """With a range, and without a zone."""


@reckoned
def unusual(
    store: UsageStore,
    *,
    by: str = "chain",
    every: Every = "day",
    since: Any = "30d",
    measure: str = "tokens",
    rate: float = 0.01,
    limit: int = 20,
    now: datetime | None = None,
    **filters: Any,
) -> UnusualReport:
    """Find consumption that was far above what is usual, and say why.

    Each chain (agent, model …) is compared with itself: an hour or day in which it was used with its others, weekends
    and hours of the day apart where there are enough of each. Sessions and runs are compared with each other.

    Args:
        store: where the calls are.
        by: `session`, `run`, or a dimension that is a filter: `chain agent model provider mode user`, or `tag:KEY`.
        every: `hour` or `day` (UTC); not for sessions and runs.
        since: from when on, as in filters; what is usual is learned from the same range.
        measure: `tokens`, `cost`, `calls`, `input` or `output`.
        rate: of false alarms: the chance that a report has any finding where all was as usual, however much is
            compared in it; where some was not, the part of its findings that may be false (Benjamini and Hochberg).
        limit: the most findings.
        now: the moment from which on nothing is complete, aware; None is the clock's.
        filters: which calls, as in `UsageStore.breakdown`; `tz` is the zone in which `since` and `until` are read.

    Raises:
        QueryError: for a question that cannot be asked.
        MissingExtraError: without the extra `analytics`.

    """
    _check(by, every, rate, limit)
    require_analytics("unusual()")
    moment = now_or(now)
    chosen = without_zone({**filters, "since": since}, moment)
    if chosen["since"] is not None and by not in _WHOLES:
        chosen["since"] = floor_of(chosen["since"], every)
    search = _Search(store=store, by=by, every=every, used=used_named(measure), filters=chosen)
    groups, notes = _wholes(search) if by in _WHOLES else _series(search, moment)
    return _report(search, groups, notes, rate, limit)


def _check(by: object, every: object, rate: object, limit: object) -> None:
    allowed = [name for name in EQUALITY_FILTERS if name != "status"]
    if not isinstance(by, str) or not (by in allowed or (by.startswith("tag:") and len(by) > len("tag:"))):
        raise QueryError(f"unknown by={by!r}; allowed: {', '.join(allowed)}, or tag:KEY")
    check_every(every, ("hour", "day"))
    if type(rate) is not float or not 0 < rate < 1:
        raise QueryError(f"rate={rate!r}; expected a number between 0 and 1")
    if type(limit) is not int or limit < 1:
        raise QueryError(f"limit={limit!r}; expected a whole number from 1 on")


def _wholes(search: _Search) -> tuple[list[list[_Seen]], list[str]]:
    """All sessions or runs as one group."""
    rows = list(search.store.breakdown(search.by, limit=_MOST, **search.filters))
    notes = [f"The {_MOST:,} largest were read; of more, not all are compared."] if len(rows) == _MOST else []
    seen = [_seen(search, row, None, is_complete=True) for row in rows if row.key[search.by] is not None]
    return [[each for each in seen if each is not None]], notes


def _series(search: _Search, now: datetime) -> tuple[list[list[_Seen]], list[str]]:
    """The steps of each chain, agent … in which it was used."""
    running, groups = floor_of(now, search.every), dict[Any, list[_Seen]]()
    largest = search.store.breakdown(search.by, limit=_MOST_GROUPS, **search.filters)
    names = [row.key[search.by] for row in largest]
    is_cut = len(names) == _MOST_GROUPS
    filters = _of(search, names) if is_cut else search.filters
    for row in search.store.timeline(search.every, by=search.by, **filters):
        start = moment_of(str(row.key[search.every]))
        each = _seen(search, row, start, is_complete=start < running)
        if each is not None and start <= running:
            groups.setdefault(row.key[search.by], []).append(each)
    notes = [f"The {_MOST_GROUPS} largest were read; of more, not all are compared."] if is_cut else []
    return list(groups.values()), notes


def _seen(search: _Search, row: BreakdownRow, start: datetime | None, *, is_complete: bool) -> _Seen | None:
    amount = search.used.of(row)
    return _Seen(row=row, amount=amount, start=start, is_complete=is_complete) if amount else None


def _report(
    search: _Search, groups: Sequence[Sequence[_Seen]], notes: Sequence[str], rate: float, limit: int
) -> UnusualReport:
    compared: list[tuple[Sequence[_Seen], Judged]] = []
    for group in groups:
        kinds = _kinds(group, search.every)
        amounts, calls = [each.amount for each in group], [each.row.calls for each in group]
        compared += [(group, one) for one in judge(amounts, calls, kinds, [each.is_complete for each in group])]
    found = most_unusual([one.probability for _, one in compared], rate)
    found.sort(key=lambda place: compared[place][1].probability)
    whole = sum(len(group) for group in groups)
    chance = rate / (len(compared) or 1)
    findings = tuple(_finding(search, *compared[place], chance) for place in found[:limit])
    said = _said(search, len(compared), whole - len(compared), rate, len(found))
    more = [f"{len(found) - limit:,} more are not shown."] if len(found) > limit else []
    return UnusualReport(
        findings=findings,
        rate=rate,
        judged=len(compared),
        not_judged=whole - len(compared),
        notes=(*more, *said, *notes),
    )


def _said(search: _Search, judged: int, not_judged: int, rate: float, found: int) -> list[str]:
    thing = f"{search.by}s" if search.by in _WHOLES else f"{search.every}s by {search.by}"
    many = search.by if search.by in _WHOLES else search.every
    start = "Nothing unusual" if not found else counted(found, "finding")
    chance = f"in usual consumption {percent(rate)} of such reports have a finding by chance"
    said = [f"{start} among {judged:,} {thing} compared in {search.used.unit}; {chance}."]
    if not_judged:
        said.append(f"{counted(not_judged, many)} not compared: less than {LEAST} others tell what is usual there.")
    return said


def _kinds(group: Sequence[_Seen], every: Every) -> list[tuple[int, ...]]:
    """Which steps are alike: by hour of the day and weekend, as far as there are enough of each kind."""
    starts = [each.start for each in group]
    if not starts or any(start is None for start in starts):
        return [()] * len(group)
    moments = [start for start in starts if start is not None]
    weekends = [int(moment.weekday() >= _SATURDAY) for moment in moments]
    hours = [moment.hour for moment in moments]
    finest: list[tuple[int, ...]] = (
        [*zip(hours, weekends, strict=True)] if every == "hour" else [(weekend,) for weekend in weekends]
    )
    coarser: list[tuple[int, ...]] = [(hour,) for hour in hours]
    for kinds in (finest, coarser):
        sizes = {kind: kinds.count(kind) for kind in set(kinds)}
        if median(sizes.values()) >= _KIND_SIZE and len(kinds) >= 2 * _KIND_SIZE:
            return kinds
    return [()] * len(group)


def _finding(search: _Search, group: Sequence[_Seen], one: Judged, chance: float) -> Unusual:
    seen, used = group[one.place], search.used
    others = [each.row for each in group if each is not seen and each.is_complete]
    name = seen.row.key[search.by]
    why = causes(
        used,
        totals_of([seen.row]),
        totals_of(others),
        median(row.calls for row in others),
        lambda by: _read(search, seen, by),
    )
    found = Unusual(
        by=search.by,
        name=None if name is None else str(name),
        start=seen.start,
        measure=used.name,
        seen=_number(used, seen.amount),
        expected=_number(used, one.expected),
        limit=_number(used, one.limit(chance)),
        times=seen.amount / one.expected,
        calls=seen.row.calls,
        unknown_calls=used.unknown_calls(seen.row),
        causes=why,
        text="",
    )
    return replace(found, text=_text(found, used, search.every))


def _number(used: Used, value: float) -> Number:
    number = as_number(used.field, value)
    return value if number is None else number


def _read(search: _Search, seen: _Seen, by: str) -> tuple[Breakdown, Breakdown]:
    """By a dimension: what the finding used, and all of its kind."""
    filters = _of(search, [seen.row.key[search.by]])
    if seen.start is None:
        return search.store.breakdown(by, **filters), search.store.breakdown(by, **search.filters)
    until = after(seen.start, search.every)
    seen_by = search.store.breakdown(by, **{**filters, "since": seen.start, "until": until})
    return seen_by, search.store.breakdown(by, **filters)


def _of(search: _Search, names: Sequence[Any]) -> dict[str, Any]:
    """The filters for some chains, agents or sessions."""
    filters = dict(search.filters)
    if not search.by.startswith("tag:"):
        return {**filters, search.by: names}
    return {**filters, "tags": {**(filters.get("tags") or {}), search.by[4:]: names}}


def _text(found: Unusual, used: Used, every: Every) -> str:
    when = (
        "" if found.start is None else f"{found.start:%Y-%m-%d}" + (f" {found.start:%H:%M}" if every == "hour" else "")
    )
    who = f"{found.by} {missing_label(found.by) if found.name is None else found.name}"
    amounts = [shown(number, used.field) for number in (found.seen, found.expected, found.limit)]
    usual = f"expected about {amounts[1]} and at most {amounts[2]}"
    said = f"{f'{when} {who}'.strip()}: {amounts[0]} {used.unit}, {usual}"
    why = "; ".join(
        cause.text if cause.share is None else f"{cause.text} ({percent(cause.share)} of it)" for cause in found.causes
    )
    gaps = f" ({counted(found.unknown_calls, 'call')} not in these sums)" if found.unknown_calls else ""
    return f"{said}: {found.times:,.1f} times{gaps}. {why[:1].upper()}{why[1:]}{'.' if why else ''}".rstrip()
