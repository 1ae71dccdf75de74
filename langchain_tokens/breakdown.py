"""What is the answer? Sums by dimension, from calls in memory or a store's own sums, always with what they lack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, overload

from langchain_tokens.call import Call, plain
from langchain_tokens.charts import Column, column_chart, slot_of
from langchain_tokens.errors import MissingExtraError, TokensError
from langchain_tokens.footnotes import gap_notes, left_out
from langchain_tokens.making import maker
from langchain_tokens.query import TIME_DIMENSIONS, Query, missing_label, missing_labels
from langchain_tokens.render import UNKNOWN, Bar, Table, csv_table, html_table, text_table
from langchain_tokens.shortening import shortened
from langchain_tokens.sums import Sums, dimension_value, matches, sums_of
from langchain_tokens.tabular import arrow_table, polars_frame
from langchain_tokens.zones import time_order

if TYPE_CHECKING:
    import pandas

__all__ = (
    "Breakdown",
    "BreakdownRow",
    "UnknownRowError",
    "add_up",
    "aggregate",
    "make_breakdown",
    "make_row",
    "row_record",
)


class UnknownRowError(TokensError, KeyError):
    """Raised when a breakdown is asked for a row that it does not have; names the rows there are."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Key(dict[str, str | int | None]):
    """A row's key: a dict, as JSON and `asdict` want it, that cannot be changed."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("the key of a breakdown's row cannot be changed; dict(row.key) is a copy that can")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _Key, (dict(self),)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownRow:
    """Sums over one group of calls. A token or cost sum covers only the calls that know the number; the counts of
    those that do not stand beside it (`calls_without_usage`, `unpriced_calls`).
    """

    key: Mapping[str, str | int | None]
    calls: int
    failed_calls: int
    cached_calls: int
    estimated_calls: int
    unpriced_calls: int
    calls_without_usage: int
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None
    saved_cost_usd: Decimal | None
    """What caches saved: hits of LangChain's cache, and reads from the providers' caches."""
    wasted_cost_usd: Decimal | None
    """The part of the cost that nothing came of: failed and cancelled calls, and work that was done again."""
    duration_ms: float | None
    tokens_per_second: float | None
    """Output tokens for each second, over the calls that know both."""
    success_rate: float | None
    """Calls answered (by a model or a cache) for each call, 0 to 1; None without calls."""
    share: float | None
    """This row's part of all total tokens, 0 to 1."""


class Breakdown(Sequence[BreakdownRow]):
    """An immutable answer: rows, largest first (a timeline: oldest first), and their total.

    `breakdown["sql_fix"]` looks a row up by its key, a tuple for several dimensions, and for a number: `[(2,)]` is
    attempt 2; `breakdown[0]` is the row at a position. Where calls have no name, the key is None, shown and found as
    `(none)`, in the dimension `chain` as `(unattributed)`.
    """

    __slots__ = ("_rows", "by", "total")

    by: tuple[str, ...]
    """The dimensions that it is grouped by."""
    total: BreakdownRow
    """The sums over all rows."""
    _rows: tuple[BreakdownRow, ...]

    def __init__(self, by: Sequence[str], rows: Sequence[BreakdownRow], total: BreakdownRow) -> None:
        for name, value in (("by", tuple(by)), ("_rows", tuple(rows)), ("total", total)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to {name!r} of a Breakdown")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete {name!r} of a Breakdown")

    def __reduce__(self) -> tuple[Any, ...]:
        return Breakdown, (self.by, self._rows, self.total)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[BreakdownRow]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int | str | tuple[str | int | None, ...] | None) -> BreakdownRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BreakdownRow]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, slice)) and not isinstance(index, bool):
            return self._rows[index]
        row = self._find(index)
        if row is not None:
            return row
        known = ", ".join(repr(_key_text(row)) for row in self._rows[:20]) or "none"
        raise UnknownRowError(f"no row {index!r} in this breakdown by {', '.join(self.by) or 'nothing'}; rows: {known}")

    def _find(self, key: object) -> BreakdownRow | None:
        wanted = key if isinstance(key, tuple) else (key,)
        if len(wanted) != len(self.by):
            return None
        parts = zip(self.by, wanted, strict=True)
        normal = tuple(None if part in missing_labels(name) else _kept(name, part) for name, part in parts)
        # A name as it is wins: a chain may really be called what stands for a missing one.
        return next((row for said in (wanted, normal) for row in self._rows if tuple(row.key.values()) == said), None)

    def __contains__(self, item: object) -> bool:
        return item in self._rows or self._find(item) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Breakdown):
            return NotImplemented
        return (self.by, self._rows, self.total) == (other.by, other._rows, other.total)

    __hash__ = None  # type: ignore[assignment]  # rows hold dicts

    def __str__(self) -> str:
        return text_table(self._table())

    def __repr__(self) -> str:
        return f"<Breakdown by {', '.join(self.by) or 'nothing'}: {len(self)} rows, {self.total.calls} calls>"

    def _repr_html_(self) -> str:
        """A table with a bar for each share, and above it the course of tokens and cost where it is by time."""
        bars = [Bar(part=row.share) for row in self._rows[:_MOST_ROWS]] if self.by else []
        table = html_table(self._table(_MOST_ROWS), bars=bars, has_total=bool(self.by))
        return f'<div class="lt-usage">{_charts(self)}{table}</div>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dict a row: its key's dimensions, then its numbers (`cost_usd` a Decimal)."""
        return [row_record(row) for row in self._rows]

    def to_json(self) -> str:
        """A JSON document with `by`, `rows` and `total`; money as text, unknown as null."""
        document = {"by": list(self.by), "rows": self.to_records(), "total": row_record(self.total)}
        return json.dumps(plain(document), ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """CSV with a heading line, one line a row, no total; unknown is an empty cell."""
        headings = [*self.by, *_NUMBERS]
        return csv_table(headings, [list(record.values()) for record in self.to_records()])

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame, one row a row.

        Raises:
            MissingExtraError: without the extra `export`.

        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("to_pandas() needs pandas: pip install 'langchain_tokens[export]'") from error
        return pandas.DataFrame(self.to_records(), columns=[*self.by, *_NUMBERS])

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`, one row a row; money as decimals, and the same types whatever is unknown.

        Raises:
            MissingExtraError: without the extra `export`.

        """
        return arrow_table(self._kinds(), self.to_records())

    def to_polars(self) -> Any:
        """A `polars.DataFrame` of the same.

        Raises:
            MissingExtraError: without polars, or the extra `export`.

        """
        return polars_frame(self._kinds(), self.to_records())

    def _kinds(self) -> dict[str, str]:
        """What is in each column: an attempt is a number, any other dimension a name."""
        return {**{name: "whole" if name == "attempt" else "text" for name in self.by}, **_KINDS}

    def _table(self, limit: int | None = None) -> Table:
        rows = [(*(str(text) for text in _shown(row)), *_show_numbers(row)) for row in self._rows[:limit]]
        if self.by:
            rows.append(("total", *[""] * (len(self.by) - 1), *_show_numbers(self.total)[:-1], ""))
        else:
            rows = [("total", *_show_numbers(self.total)[:-1], "")]
        headings = (*(self.by or ("",)), "calls", "failed", "input", "output", "total", "cost USD", "share")
        hidden = 0 if limit is None else len(self._rows[limit:])
        more = (f"{hidden:,} more rows; to_records(), to_csv() and to_pandas() have all of them",) if hidden else ()
        notes = (*more, *left_out(self.by, self, self.total), *gap_notes(self.total))
        return Table(headings=headings, rows=tuple(rows), names=len(self.by) or 1, notes=notes, widths=_WIDTHS)


def aggregate(calls: Iterable[Call], query: Query, folded: Iterable[tuple[tuple[Any, ...], Sums]] = ()) -> Breakdown:
    """Group calls in memory by the query's dimensions; `folded` are groups that were summed before."""
    return make_breakdown(query.by, add_up(calls, query, folded).items())


def add_up(
    calls: Iterable[Call], query: Query, folded: Iterable[tuple[tuple[Any, ...], Sums]] = ()
) -> dict[tuple[Any, ...], Sums]:
    """The same as sums: for each key what its calls add up to."""
    groups: dict[tuple[Any, ...], Sums] = {}
    for call in calls:
        if matches(call, query):
            groups.setdefault(tuple(dimension_value(call, name, query.zone) for name in query.by), Sums()).add(call)
    for key, sums in folded:
        groups.setdefault(key, Sums()).merge(sums)
    return groups


def make_breakdown(
    by: Sequence[str],
    groups: Iterable[tuple[tuple[Any, ...], Sums]],
    *,
    in_time_order: bool = False,
    order: str = "total_tokens",
    limit: int | None = None,
    total: Sums | None = None,
) -> Breakdown:
    """Make the answer from summed groups: rows with their share, sorted, and the total; theirs unless it is given.

    Args:
        by: the dimensions.
        groups: the sums, by the values of the dimensions.
        in_time_order: sort by the key, not by size.
        order: the number that is the size.
        limit: the most rows; the total counts the others, too.
        total: the sums over all there is, where `groups` are only some of it.

    """
    items = list(groups)
    if total is None:
        total = sums_of([sums for _, sums in items])
    rows = [make_row(dict(zip(by, key, strict=True)), sums, total) for key, sums in items]
    rows.sort(key=_key_in_order if in_time_order else lambda row: _largest_first(row, order))
    return Breakdown(by, rows[:limit] if by else [make_row({}, total, total)], make_row({}, total, total))


def make_row(key: Mapping[str, Any], sums: Sums, total: Sums) -> BreakdownRow:
    """Make one row of summed calls; `total` is what its share is a part of."""
    share = sums.total_tokens / total.total_tokens if total.total_tokens and sums.total_tokens is not None else None
    return _make_row(  # in the order of its fields
        _Key(key),
        *_kept_of(sums),
        None if sums.duration_us is None else sums.duration_us / 1_000,
        _rate(sums.timed_output_tokens, sums.timed_us),
        sums.succeeded_calls / sums.calls if sums.calls else None,
        share,
    )


def _rate(tokens: int | None, microseconds: int | None) -> float | None:
    return tokens / (microseconds / 1_000_000) if microseconds and tokens is not None else None


_DERIVED = ("succeeded_calls", "duration_us", "timed_output_tokens", "timed_us")
"""Sums that a row shows in another way."""
_KEPT = tuple(item.name for item in fields(Sums) if item.name not in _DERIVED)
_kept_of: Callable[[Sums], tuple[Any, ...]] = attrgetter(*_KEPT)
_make_row = maker(BreakdownRow)
_WIDTHS = (5, 6, 6, 6, 6, 9, 6)
_BEFORE_ALL = -1
_MOST_ROWS = 200
"""Of a table in a notebook."""
_NUMBERS = tuple(item.name for item in fields(BreakdownRow) if item.name != "key")
_KIND_OF = {"Decimal | None": "money", "float | None": "number"}
_KINDS = {item.name: _KIND_OF.get(str(item.type), "whole") for item in fields(BreakdownRow) if item.name != "key"}
_numbers_of: Callable[[BreakdownRow], tuple[Any, ...]] = attrgetter(*_NUMBERS)


def row_record(row: BreakdownRow) -> dict[str, Any]:
    """A flat dict: the key's dimensions, then the numbers."""
    return {**row.key, **dict(zip(_NUMBERS, _numbers_of(row), strict=True))}


def _largest_first(row: BreakdownRow, order: str) -> tuple[Any, ...]:
    size = getattr(row, order)
    return (size is None, _negative(size or 0), -row.calls, _key_in_order(row))


def _negative(size: float | Decimal) -> float | Decimal:
    return size.copy_negate() if isinstance(size, Decimal) else -size  # a minus rounds to the host's precision


def _key_in_order(row: BreakdownRow) -> tuple[tuple[str, int], ...]:
    """What sorts a key as text, but an attempt as a number (10 comes after 2), and an hour by its time."""
    return tuple(_in_order(name, value) for name, value in row.key.items())


def _in_order(dimension: str, value: str | int | None) -> tuple[str, int]:
    if isinstance(value, str):
        return time_order(value, dimension), 0
    return "", _BEFORE_ALL if value is None else value  # an empty tag is one, and comes after none


def _kept(dimension: str, part: object) -> object:
    """A part of a key as it is kept: enormous names are shortened."""
    return shortened(part, dimension) if isinstance(part, str) else part


def _key_text(row: BreakdownRow) -> Any:
    values = _shown(row)
    return values[0] if len(values) == 1 else values


def _shown(row: BreakdownRow) -> tuple[str | int, ...]:
    return tuple(missing_label(name) if value is None else value for name, value in row.key.items())


def _charts(breakdown: Breakdown) -> str:
    """The course of tokens and cost, where a breakdown is by time first and has more than one moment of it."""
    periods: dict[str, list[BreakdownRow]] = {}
    if breakdown.by and breakdown.by[0] in TIME_DIMENSIONS:
        for row in sorted(breakdown, key=_key_in_order):
            periods.setdefault(str(row.key[breakdown.by[0]]), []).append(row)
    if len(periods) < 2:  # noqa: PLR2004  # a single column says nothing
        return ""
    tokens = _columns(periods, "total_tokens")
    costs = _columns(periods, "cost_usd")
    chart = column_chart(f"tokens by {breakdown.by[0]}", tokens, _show_tokens)
    if all(column.value is None for column in costs):
        return chart
    return chart + column_chart(f"cost USD by {breakdown.by[0]}", costs, _show_cost)


def _columns(periods: Mapping[str, Sequence[BreakdownRow]], name: str) -> list[Column]:
    columns = []
    for period, rows in periods.items():
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        columns.append(Column(slot=slot_of(period), label=period, value=sum(known) if known else None))
    return columns


def _show_tokens(count: int | Decimal | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _show_cost(cost: int | Decimal | None) -> str:
    return UNKNOWN if cost is None else f"{cost:,.6f}"


def _show_numbers(row: BreakdownRow) -> tuple[str, ...]:
    tokens = (row.input_tokens, row.output_tokens, row.total_tokens)
    return (
        f"{row.calls:,}",
        f"{row.failed_calls:,}",
        *(_show_tokens(count) for count in tokens),
        _show_cost(row.cost_usd),
        UNKNOWN if row.share is None else f"{row.share:.0%}",
    )
