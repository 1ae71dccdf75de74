"""How is a question asked in SQL? Filters and groups over the rows of calls, and over sums that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.measures import call_sums, rollup_sums
from langchain_tokens.store.rolluptables import ALL, BY_NAME, COUNTS, SUMMED, Rollup
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.settledtables import LOCAL, past_step
from langchain_tokens.store.tables import CALLS, IS_NOT_OK, RUNS

__all__ = (
    "SUMS",
    "Filters",
    "Later",
    "UnindexedCalls",
    "added_parts",
    "are_few",
    "conditions",
    "dimension",
    "grouped",
    "kept_column",
    "kept_conditions",
    "moment_text",
    "one_of",
    "rollup_statement",
    "run_conditions",
    "shown",
    "split_run_filters",
    "sums_statement",
    "tag_value",
    "unindexed",
)

Filters = Mapping[str, tuple[str | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Values of a filter that come when the statement runs, in the place of them."""

    given: BindParameter[Any] | None
    """Those that are no None; itself None where there are no others."""
    kept: BindParameter[Any]
    """All of them, as tables of sums write them."""
    has_none: bool
    is_few: bool
    """Whether there are as few as `are_few` says."""


_FEW = 16
"""Names whose days are found one by one in less time than it takes to read those of all."""
_NEVER_MISSING = frozenset({*TIME_DIMENSIONS, "attempt"})
SUMS = (*COUNTS, *SUMMED)
"""The sums of a statement, in order."""
_SQLITE_TIMES = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
_POSTGRESQL_TIMES = {"hour": 'YYYY-MM-DD"T"HH24:00"Z"', "day": "YYYY-MM-DD", "month": "YYYY-MM"}
_LENGTHS = {"hour": 17, "day": 10, "month": 7}
_RUN_FILTERS = {
    "session": RUNS.c.session_id,
    "run": RUNS.c.run_id,
    "mode": RUNS.c.mode,
    "user": RUNS.c.user_id,
    "status": RUNS.c.status,
}


def sums_statement(query: Query, dialect: str, only: Sequence[str] = SUMS, *, is_part: bool = False) -> Select[Any]:
    """The statement that answers a query from the rows of calls: the key's columns, then the sums (`only` some).

    As a part of an answer its keys are as `rollup_statement` gives them for one.
    """
    keys, sums = [dimension(name, query, dialect) for name in query.by], call_sums(CALLS.c)
    if is_part:
        keys = [
            key if name in _NEVER_MISSING else func.coalesce(key, "") for name, key in zip(query.by, keys, strict=True)
        ]
    return grouped(keys, {name: sums[name] for name in only}).where(conditions(query, dialect))


def rollup_statement(
    query: Query,
    rollup: Rollup,
    dimension: str,
    span: tuple[Any, Any],
    *,
    only: Sequence[str] = SUMS,
    is_part: bool = False,
    is_given: bool = False,
    is_sought: bool = False,
) -> Select[Any]:
    """The statement that answers a query from sums that are kept.

    Args:
        query: what to group by, and which names; its range is not looked at.
        rollup: a table that has all these names.
        dimension: whose names are asked for, where the table has each for itself.
        span: the first moment, as the table writes it, and the first that is not in it.
        only: which sums.
        is_part: whether the rows are added up later, with others; then missing names are the empty text, which
            `shown` turns back at the end: to do so in each row takes a fifth of the time.
        is_given: whether each row is given as it is, for whoever adds them up.
        is_sought: whether rows are sought by an index, which SQLite does not choose where it has to read them, too.

    """
    kept, where = rollup.table.c, kept_conditions(query, rollup, dimension, span)
    if is_sought:
        key = [kept[name] for name in rollup.keys]
        where = tuple_(*key).in_(select(*key).where(where).correlate(None))
    keys = [_kept_dimension(name, rollup) for name in query.by]
    named = keys if is_part else [shown(name, key) for name, key in zip(query.by, keys, strict=True)]
    if is_given or _is_row(query, rollup, dimension):
        return _labelled(named, {name: kept[name] for name in only}).where(where)
    return _labelled(named, rollup_sums(kept, only)).where(where).group_by(*keys)


def past_statement(
    query: Query, dimension: str, since: Any, only: Sequence[str], *, is_part: bool = False
) -> Select[Any]:
    """The statement that reads what is kept of the past days of a range by name, see `keptnames`.

    Args:
        query: groups by that dimension; its range is not looked at.
        dimension: whose names.
        since: the first of the days.
        only: which sums.
        is_part: as for `rollup_statement`.

    """
    where = [LOCAL.c.step == past_step(dimension), LOCAL.c.since == since]
    where += [LOCAL.c.name.in_(_kept_values(allowed)) for allowed in query.equals.values()]
    key = LOCAL.c.name if is_part else shown(dimension, LOCAL.c.name)
    return _labelled([key], {name: LOCAL.c[name] for name in only}).where(*where)


def _is_row(query: Query, rollup: Rollup, dimension: str) -> bool:
    """Whether each group is one row already, so that there is nothing to add up, and an index can give the largest."""
    if rollup.step == "ever":
        return len(query.by) == 1
    return _has_names(rollup) and rollup.step in query.by and (dimension == ALL or dimension in query.by)


def shown(name: str, key: ColumnElement[Any]) -> ColumnElement[Any]:
    """A dimension's value as an answer has it; parts of the answer have the empty text for one that is missing."""
    return key if name in _NEVER_MISSING else func.nullif(key, "")


def added_parts(query: Query, part: Any, sums: Mapping[str, ColumnElement[Any]], *more: Any) -> Select[Any]:
    """The statement that adds up parts of an answer, in which missing names are the empty text.

    Args:
        query: what is grouped by.
        part: the columns of the parts.
        sums: over them, by their names.
        more: columns of the parts that are grouped by, too; they come first.

    """
    keys = [part[f"key_{index}"] for index in range(len(query.by))]
    named = [shown(name, key) for name, key in zip(query.by, keys, strict=True)]
    return _labelled(named, sums, *more).group_by(*more, *keys)


def kept_conditions(query: Query, rollup: Rollup, dimension: str, span: tuple[Any, Any]) -> ColumnElement[bool]:
    """Which rows of a table of sums a query asks for; arguments as of `rollup_statement`."""
    kept, (since, until) = rollup.table.c, span
    where: list[ColumnElement[bool]] = [kept.dimension == dimension] if _has_names(rollup) else []
    if since is not None:
        where.append(kept[rollup.step] >= since)
    if until is not None:
        where.append(kept[rollup.step] < until)
    where += [kept_column(name, rollup).in_(_kept_values(allowed)) for name, allowed in query.equals.items()]
    return and_(true(), *where)


def kept_column(name: str, rollup: Rollup) -> ColumnElement[Any]:
    """Where a table of sums has a name's values; a missing one is the empty text there."""
    kept = rollup.table.c
    if not _has_names(rollup):
        return kept[CALL_COLUMNS.get(name, name)]
    if name == "attempt":  # by case: before the dimension was looked at, a name may be no number
        return case((kept.dimension == name, cast(kept.name, Integer)))
    return kept.name


def grouped(keys: Sequence[ColumnElement[Any]], sums: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
    """Sums for each key."""
    statement = _labelled(keys, sums)
    return statement.group_by(*(text(str(index + 1)) for index in range(len(keys)))) if keys else statement


def _labelled(keys: Sequence[ColumnElement[Any]], sums: Mapping[str, ColumnElement[Any]], *before: Any) -> Select[Any]:
    named = [key.label(f"key_{index}") for index, key in enumerate(keys)]
    return select(*before, *named, *(value.label(name) for name, value in sums.items()))


def conditions(query: Query, dialect: str, calls: Any = CALLS.c) -> ColumnElement[bool]:
    """The query's filters; `calls` are the columns of `llm_call`, or of something that has the same names."""
    parts: list[ColumnElement[bool]] = [true()]
    if query.since is not None:
        parts.append(calls.started_at >= query.since)
    if query.until is not None:
        parts.append(calls.started_at < query.until)
    parts += [one_of(calls[CALL_COLUMNS.get(name, name)], allowed) for name, allowed in query.equals.items()]
    parts += [one_of(tag_value(calls.tags, key, dialect), allowed) for key, allowed in query.tags.items()]
    return and_(*parts)


def run_conditions(query: Query, dialect: str, *, is_sought: bool = True) -> ColumnElement[bool]:
    """The query's filters for runs: `status` is the run's own; agent, chain, model and provider ask for such a call.

    Args:
        query: which runs.
        dialect: the database's.
        is_sought: whether an index of a status or a mode may find them; not where it is known that another has fewer.

    """
    parts: list[ColumnElement[bool]] = [true()]
    if query.since is not None:
        parts.append(RUNS.c.started_at >= query.since)
    if query.until is not None:
        parts.append(RUNS.c.started_at < query.until)
    of_runs, of_calls = split_run_filters(query)
    sought = _sought(of_runs) if is_sought else None
    parts += [one_of(_run_column(name, sought, dialect), allowed) for name, allowed in of_runs.items()]
    parts += [one_of(tag_value(RUNS.c.tags, key, dialect), allowed) for key, allowed in query.tags.items()]
    if of_calls:
        these = and_(CALLS.c.run_id == RUNS.c.run_id, conditions(Query(equals=of_calls), dialect))
        parts.append(select(CALLS.c.run_id).where(these).exists())
    return and_(*parts, *([IS_NOT_OK] if sought == "status" else []))


def _sought(filters: Filters) -> str | None:
    """The filter whose index has the fewest runs, in the order of time: of one value of it alone."""
    if set(filters) & {"session", "run", "user"}:
        return None
    if len(filters.get("status", ())) == 1 and "ok" not in filters["status"]:
        return "status"
    return "mode" if len(filters.get("mode", ())) == 1 else None


def _run_column(name: str, sought: str | None, dialect: str) -> ColumnElement[Any]:
    """A filter's column; SQLite, which does not know how many runs have a value, gets no other index to choose."""
    column = _RUN_FILTERS[name]
    return unindexed(column) if dialect == "sqlite" and name in ("status", "mode") and name != sought else column


def split_run_filters(query: Query) -> tuple[Filters, Filters]:
    """The filters that are about a run itself, and those that are about one of its calls."""
    own = {name: allowed for name, allowed in query.equals.items() if name in _RUN_FILTERS}
    return own, {name: allowed for name, allowed in query.equals.items() if name not in own}


def one_of(column: ColumnElement[Any], allowed: Sequence[str | None] | Later) -> ColumnElement[bool]:
    """One of several values; None asks for NULL."""
    if isinstance(allowed, Later):
        given = [] if allowed.given is None else [column.in_(allowed.given)]
        return or_(*given, *([column.is_(None)] if allowed.has_none else []))
    named = [value for value in allowed if value is not None]
    choices = [column.in_(named)] if named else []
    return or_(*choices, *([column.is_(None)] if None in allowed else []))


def are_few(allowed: Sequence[str | None] | Later) -> bool:
    """Whether a filter allows few values."""
    return allowed.is_few if isinstance(allowed, Later) else len(allowed) <= _FEW


def _has_names(rollup: Rollup) -> bool:
    """Whether a table has one name at a time."""
    return rollup.keys[0] == BY_NAME[0]


def _kept_values(allowed: Sequence[str | None] | Later) -> Any:
    return allowed.kept if isinstance(allowed, Later) else [value or "" for value in allowed]


def moment_text(column: ColumnElement[Any], step: str, dialect: str) -> ColumnElement[Any]:
    """The hour, day or month (UTC) of a moment, as the text that is shown."""
    if dialect == "sqlite":
        return func.strftime(_SQLITE_TIMES[step], column)
    return func.to_char(func.timezone("UTC", column), _POSTGRESQL_TIMES[step])


def dimension(name: str, query: Query, dialect: str) -> ColumnElement[Any]:
    """A dimension of a query's calls, to group by."""
    key = _dimension(name, dialect)
    is_range = query.since is not None or query.until is not None
    return unindexed(key) if dialect == "sqlite" and is_range else key


def _dimension(name: str, dialect: str) -> ColumnElement[Any]:
    if name in TIME_DIMENSIONS:
        return moment_text(CALLS.c.started_at, name, dialect)
    if name.startswith("tag:"):
        return tag_value(CALLS.c.tags, name[4:], dialect)
    return CALLS.c[CALL_COLUMNS.get(name, name)]


def unindexed(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, for which SQLite uses no index: in its order it would read all rows, not those of a range."""
    return UnaryExpression(key, operator=custom_op("+"), type_=key.type)


class UnindexedCalls:
    """The columns of calls, for which SQLite uses no index."""

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        return unindexed(CALLS.c[name])

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        return unindexed(CALLS.c[name])


def _kept_dimension(name: str, rollup: Rollup) -> ColumnElement[Any]:
    kept = rollup.table.c
    if name in TIME_DIMENSIONS:
        return kept[name] if name == rollup.step else func.substr(kept[rollup.step], 1, _LENGTHS[name])
    return kept_column(name, rollup)


def tag_value(column: ColumnElement[Any], key: str, dialect: str) -> ColumnElement[Any]:
    """A tag's value in a JSON column. SQLite's JSON paths do not find keys that JSON text escapes; its table of a
    document's entries does.
    """
    if dialect == "sqlite":
        entries = func.json_each(column).table_valued("key", "value")
        return select(entries.c.value).where(entries.c.key == key).scalar_subquery()
    value: ColumnElement[Any] = column[key].as_string()
    return value
