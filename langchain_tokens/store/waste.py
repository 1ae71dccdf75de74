"""Which stored calls were in vain? Found by indexes of the few that tell of it, added up by whose calls they are.

No call is in two groups. How a call that was thrown away came to be done again is told by the calls after it: one that
was made again in the same run is a retry, and its `attempt_error` says why; any other was replayed on a resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from operator import add, ge, lt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    union,
)

from langchain_tokens.query import Query
from langchain_tokens.store.inputs import part_tokens
from langchain_tokens.store.sums import conditions, unindexed
from langchain_tokens.store.tables import CALLS, CUT_OFF, IS_MARKED, IS_REMARKABLE, RUNS

__all__ = ("WHO", "read_repeating", "read_waste")

WHO = ("chain_name", "agent_name", "model_name", "provider")
"""Whose calls: the first columns of every answer."""
_UNREADABLE = (
    "%pars%",
    "%validation error%",
    "%invalid json%",
    "%jsondecode%",
    "%expecting value%",
    "%expecting property name%",
    "%unterminated string%",
    "%structured output%",
)
"""What errors say, in small letters, when an answer could not be read."""
_UNREADABLE_TYPES = (
    "OutputParserException",
    "ValidationError",
    "JSONDecodeError",
    "StructuredOutputValidationError",
    "MultipleStructuredOutputsError",
    "StructuredOutputError",
)
_SAID = ("attempt_error", "retry_kind")
_MOST_MARKS = 500_000
"""The newest calls whose questions are compared: of more it would take longer than anybody waits."""
_SAMPLE = 50_000
"""The newest calls, of which those that were inspected tell how much of an input repeats."""
_LONGEST_RUN = timedelta(days=1)
"""How long before a range a run may have begun whose end is in it."""


def read_waste(connection: Connection, query: Query) -> Sequence[Row[Any]]:
    """Calls that were answered in vain, or cut off.

    Args:
        connection: one that reads.
        query: which calls; its `by` is not looked at.

    Returns:
        For each kind and each of `WHO`: `kind` (`retries`, `replays`, `unusable`, `repeats`, `truncated`), `calls`,
        `total_tokens`, `known_calls` (that know their tokens), `total_cost` (pico-USD), `priced_calls`.

    """
    dialect = connection.dialect.name
    unusable = select(_unusable(query, dialect).c.call_id)
    kinds: dict[str, Any] = {"unusable": unusable}
    if _has_marks(connection, query):
        kinds["repeats"] = select(_repeated(query, dialect).c.call_id).except_(unusable)
    found: list[Row[Any]] = list(connection.execute(_redone(query, dialect)).all())
    for kind, ids in kinds.items():
        found += connection.execute(_summed(literal_column(f"'{kind}'"), CALLS.c.call_id.in_(ids))).all()
    return found


def read_repeating(connection: Connection, query: Query, parts: Sequence[str]) -> Sequence[Row[Any]]:
    """How much of the inputs is of some parts, for each of `WHO`: `input_tokens`, and `tokens` of the parts; of a
    sample, those of the newest calls that were inspected.
    """
    dialect, calls = connection.dialect.name, CALLS.c
    known: list[ColumnElement[Any]] = [func.coalesce(part_tokens(name, dialect), 0) for name in parts]
    tokens = reduce(add, known)
    sample = select(*(calls[name] for name in WHO), calls.input_tokens, calls.input_parts, tokens.label("tokens"))
    sample = sample.where(conditions(query, dialect), calls.status == "ok")
    newest = sample.order_by(calls.started_at.desc()).limit(_SAMPLE).subquery().c
    who = [newest[name] for name in WHO]
    sums = (func.sum(newest.input_tokens).label("input_tokens"), func.sum(newest.tokens).label("tokens"))
    statement: Select[Any] = select(*who, *sums).where(newest.input_parts.is_not(None))
    return connection.execute(statement.group_by(*who)).all()


def _has_marks(connection: Connection, query: Query) -> bool:
    """Whether inputs were inspected at all in a range: an index tells at once, where all rows would have to be read."""
    moment = CALLS.c.started_at
    within = [operator(moment, end) for operator, end in ((ge, query.since), (lt, query.until)) if end]
    return connection.execute(select(moment).where(text(IS_MARKED), *within).limit(1)).first() is not None


def _redone(query: Query, dialect: str) -> Select[Any]:
    """Calls that were answered and done again, by why; and those that were cut off."""
    made_again, calls = _made_again(query).subquery(), CALLS.c
    again = made_again.c
    kind = case(
        (calls.superseded.is_not(true()), "truncated"),
        (again.last_unreadable > calls.started_at, "unusable"),
        (again.last > calls.started_at, "retries"),
        else_="replays",
    )
    is_meant = or_(calls.superseded.is_(true()), calls.finish_reason.in_(CUT_OFF))
    same = and_(again.run_id == calls.run_id, again.path.is_not_distinct_from(calls.path))
    return _summed(
        kind,
        *(conditions(query, dialect), text(f"({IS_REMARKABLE})"), is_meant, calls.status == "ok"),
        source=CALLS.outerjoin(made_again, same),
    )


def _made_again(query: Query) -> Select[Any]:
    """When the last retry in a run and path started, and the last for an answer that could not be read."""
    again = CALLS.alias("again")
    unreadable = case((_is_unreadable(again), again.c.started_at))
    thrown_away = and_(text(f"({IS_REMARKABLE})"), CALLS.c.superseded.is_(true()), _in_range(CALLS, query))
    is_retry = again.c.retry_kind.in_(("retry", "fallback"))
    moments = (func.max(again.c.started_at).label("last"), func.max(unreadable).label("last_unreadable"))
    found = select(again.c.run_id, again.c.path, *moments)
    return found.where(again.c.run_id.in_(select(CALLS.c.run_id).where(thrown_away)), is_retry).group_by(
        again.c.run_id, again.c.path
    )


def _unusable(query: Query, dialect: str) -> FromClause:
    """Answers after which the application asked again and said why, or whose parser ended the run."""
    run, before = RUNS.alias("run"), CALLS.alias("before")
    is_answered = and_(before.c.status == "ok", before.c.superseded.is_not(true()))
    last = select(before.c.call_id).where(before.c.run_id == run.c.run_id, is_answered)
    last_of_run = last.order_by(before.c.started_at.desc()).limit(1).scalar_subquery()
    is_unread = run.c.error_type.in_(_UNREADABLE_TYPES)
    found = union(
        select(last_of_run.label("call_id")).where(is_unread, _in_range(run, query, earlier=_LONGEST_RUN)),
        _asked_again(query),
    ).subquery()
    return (
        select(CALLS.c.call_id).where(CALLS.c.call_id.in_(select(found.c.call_id)), _asked(query, dialect)).subquery()
    )


def _asked_again(query: Query) -> Select[Any]:
    """Answers whose next call, in the same place of the same run, says which error made it necessary."""
    calls, again = CALLS.alias("before"), and_(CALLS.c.attempt_error.is_not(None), CALLS.c.retry_kind.is_(None))
    runs = select(CALLS.c.run_id).where(text(f"({IS_REMARKABLE})"), again, _in_range(CALLS, query))
    place = [calls.c[name] for name in ("run_id", "path", "chain_name", "agent_name")]
    order = (calls.c.started_at, calls.c.call_id)
    following = {name: func.lead(calls.c[name]).over(partition_by=place, order_by=order) for name in _SAID}
    said = [column.label(f"next_{name}") for name, column in following.items()]
    seen = (
        select(calls.c.call_id, calls.c.status, calls.c.superseded, *said).where(calls.c.run_id.in_(runs)).subquery().c
    )
    return select(seen.call_id).where(
        *(seen.status == "ok", seen.superseded.is_not(true())),
        *(seen.next_attempt_error.is_not(None), seen.next_retry_kind.is_(None)),
    )


def _repeated(query: Query, dialect: str) -> FromClause:
    """Answers to questions that had been answered before, the newest of them."""
    calls = CALLS.c
    marked = select(calls.call_id, calls.prompt_mark, calls.started_at)
    marked = marked.where(conditions(query, dialect), text(IS_MARKED)).order_by(calls.started_at.desc())
    newest = marked.limit(_MOST_MARKS).subquery().c
    order = func.row_number().over(partition_by=newest.prompt_mark, order_by=(newest.started_at, newest.call_id))
    ranked = select(newest.call_id, order.label("place")).subquery()
    return select(ranked.c.call_id).where(ranked.c.place > 1).subquery()


def _asked(query: Query, dialect: str) -> ColumnElement[bool]:
    """A query's filters, for rows that are found by their ids: SQLite must not look for them by the time."""
    if dialect != "sqlite" or (query.since is None and query.until is None):
        return conditions(query, dialect)
    moment = CALLS.c.started_at
    bounds = [operator(unindexed(moment), end) for operator, end in ((ge, query.since), (lt, query.until)) if end]
    return and_(*bounds, conditions(replace(query, since=None, until=None), dialect))


def _in_range(rows: FromClause, query: Query, earlier: timedelta = timedelta(0)) -> ColumnElement[bool]:
    """What started in a query's range, or so much earlier."""
    since = true() if query.since is None else rows.c.started_at >= query.since - earlier
    return since if query.until is None else and_(since, rows.c.started_at < query.until + _LONGEST_RUN)


def _is_unreadable(calls: FromClause) -> ColumnElement[bool]:
    said = func.lower(calls.c.attempt_error)
    return or_(*(said.like(pattern) for pattern in _UNREADABLE))


def _summed(kind: ColumnElement[Any], *where: Any, source: FromClause = CALLS) -> Select[Any]:
    calls = CALLS.c
    columns = (*(calls[name] for name in WHO), kind.label("kind"), calls.total_tokens, calls.total_cost)
    rows = select(*columns).select_from(source).where(*where).subquery().c
    named = [rows[name] for name in (*WHO, "kind")]
    return select(
        *named,
        func.count().label("calls"),
        func.sum(rows.total_tokens).label("total_tokens"),
        func.count(rows.total_tokens).label("known_calls"),
        func.sum(rows.total_cost).label("total_cost"),
        func.count(rows.total_cost).label("priced_calls"),
    ).group_by(*named)
