"""Which stored calls were in vain? Found by indexes of the few that tell of it, added up by whose calls they are.

No call is in two groups. How a call that was thrown away came to be done again is told by the calls after it: one that
was made again in the same run is a retry, and its `attempt_error` says why; any other was replayed on a resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
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
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.settledtables import WHO
from langchain_tokens.store.sums import conditions, moment_text, unindexed
from langchain_tokens.store.tables import CALLS, CUT_OFF, IS_REMARKABLE, RUNS, UtcDateTime

__all__ = ("read_waste", "summed", "unusable")

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
_SAID = ("attempt_error", "retry_kind", "started_at")
_MOST_MARKS = 500_000
"""The newest calls whose questions are compared: of more it would take longer than anybody waits."""
_SAMPLE = 50_000
"""The newest calls, of which those that were inspected tell how much of an input repeats."""
_LONGEST_RUN = timedelta(days=1)
"""How long after a call its run may end, or the application ask again, for that to be told of the call."""
_FORMS = 64
"""Statements that are kept: to put them together takes longer than to run them for an hour."""
_MOMENTS = ("since", "until", "earlier", "later")
_NAMES = ("mode", *WHO)


@dataclass(frozen=True, slots=True)
class _Form:
    """All of a question but its values."""

    filters: Form
    begins: bool
    ends: bool
    step: str | None
    is_short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question, with its moments, or with parameters for them."""

    query: Query
    dialect: str
    earlier: Any
    """How long before its range a run may have begun that ended in it; None where it has no beginning."""
    later: Any
    """How long after it what tells of its calls may have come; None where it has no end."""
    is_short: bool = False


def read_waste(
    connection: Connection, query: Query, *, step: str | None = None, is_short: bool = False
) -> Sequence[Row[Any]]:
    """Calls that were answered in vain, or cut off; without those that asked what had been answered before.

    Which of them a call is does not depend on the range that is asked for; so ranges add up.

    Args:
        connection: one that reads.
        query: which calls; its `by` is not looked at.
        step: tell them apart by hour, day or month (`key_0`) and mode, too; a name that is NULL is the empty text then.
        is_short: whether the range has so few calls that it is best to look at all of their runs.

    Returns:
        For each kind and place: the step and mode if asked for, those of `WHO`, `kind` (`retries`, `replays`,
        `unusable`, `truncated`), `calls`, `total_tokens`, `known_calls` (that know their tokens), `total_cost`
        (pico-USD), `priced_calls`.

    """
    since, until = query.since, query.until
    filters = asked(Query(equals=query.equals, tags=query.tags), connection.dialect.name, (), spans=())
    form = _Form(filters.form, since is not None, until is not None, step, is_short)
    values = {**filters.values, "since": since, "until": until, "earlier": _earlier(since), "later": _later(until)}
    return [row for statement in _statements(form) for row in connection.execute(statement, values)]


def unusable(query: Query, dialect: str) -> Select[Any]:
    """The ids of answers that the application could not use, and said so."""
    return _unusable(_Asked(query=query, dialect=dialect, earlier=_earlier(query.since), later=_later(query.until)))


@lru_cache(_FORMS)
def _statements(form: _Form) -> tuple[Select[Any], Select[Any]]:
    dialect = form.filters.dialect
    moments: dict[str, Any] = {name: bindparam(name, type_=UtcDateTime()) for name in _MOMENTS}
    since, earlier = (moments[name] if form.begins else None for name in ("since", "earlier"))
    until, later = (moments[name] if form.ends else None for name in ("until", "later"))
    query = replace(question_of(form.filters)[0], since=since, until=until)
    asked_for = _Asked(query=query, dialect=dialect, earlier=earlier, later=later, is_short=form.is_short)
    keys: list[ColumnElement[Any]] = [CALLS.c[name] for name in WHO]
    if form.step is not None:
        moment = moment_text(CALLS.c.started_at, form.step, dialect)
        keys = [moment, *(func.coalesce(CALLS.c[name], "") for name in _NAMES)]
    return _redone(asked_for, keys), summed("unusable", keys, CALLS.c.call_id.in_(_unusable(asked_for)))


def _redone(asked_for: _Asked, keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """Calls that were answered and done again, by why; and those that were cut off."""
    query, dialect = asked_for.query, asked_for.dialect
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
    return summed(
        kind,
        keys,
        *(conditions(query, dialect), text(f"({IS_REMARKABLE})"), is_meant, calls.status == "ok"),
        source=CALLS.outerjoin(made_again, same),
    )


def _made_again(query: Query) -> Select[Any]:
    """When the last retry in a run and path started, and the last for an answer that could not be read."""
    again = CALLS.alias("again")
    unreadable = case((_is_unreadable(again), again.c.started_at))
    thrown_away = and_(text(f"({IS_REMARKABLE})"), CALLS.c.superseded.is_(true()), _within(query.since, query.until))
    is_retry = again.c.retry_kind.in_(("retry", "fallback"))
    moments = (func.max(again.c.started_at).label("last"), func.max(unreadable).label("last_unreadable"))
    found = select(again.c.run_id, again.c.path, *moments)
    return found.where(again.c.run_id.in_(select(CALLS.c.run_id).where(thrown_away)), is_retry).group_by(
        again.c.run_id, again.c.path
    )


def _unusable(asked_for: _Asked) -> Select[Any]:
    """Answers after which the application asked again and said why, or whose parser ended the run."""
    dialect, run, before = asked_for.dialect, RUNS.alias("run"), CALLS.alias("before")
    is_answered = and_(before.c.status == "ok", before.c.superseded.is_not(true()))
    # Of a run that was resumed days later nothing may be known but that: its calls from before would be found for some
    # ranges only.
    is_near = run.c.started_at <= _day_after(before.c.started_at, dialect)
    last = select(before.c.call_id).where(before.c.run_id == run.c.run_id, is_answered, is_near)
    last_of_run = last.order_by(before.c.started_at.desc()).limit(1).scalar_subquery()
    # A longer run would be found for some ranges only.
    ended = func.coalesce(run.c.last_call_at, run.c.started_at)
    is_unread = and_(run.c.error_type.in_(_UNREADABLE_TYPES), ended < _day_after(run.c.started_at, dialect))
    may_be = _within(asked_for.earlier, asked_for.later, run)
    if asked_for.is_short:
        may_be = run.c.run_id.in_(_runs_of(asked_for.query))
    ids = union(select(last_of_run.label("call_id")).where(is_unread, may_be), _asked_again(asked_for)).subquery()
    return select(CALLS.c.call_id).where(CALLS.c.call_id.in_(select(ids.c.call_id)), _asked(asked_for.query, dialect))


def _runs_of(query: Query) -> Select[Any]:
    return select(CALLS.c.run_id).where(_within(query.since, query.until))


def _day_after(moment: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """The moment that is `_LONGEST_RUN` later."""
    if dialect == "sqlite":
        return func.strftime("%Y-%m-%d %H:%M:%f", moment, "+1 day")
    return moment + literal_column("INTERVAL '1 day'")


def _asked_again(asked_for: _Asked) -> Select[Any]:
    """Answers whose next call, in the same place of the same run, says which error made it necessary."""
    calls, again = CALLS.alias("before"), and_(CALLS.c.attempt_error.is_not(None), CALLS.c.retry_kind.is_(None))
    said_in = and_(text(f"({IS_REMARKABLE})"), again, _within(asked_for.query.since, asked_for.later))
    runs = _runs_of(asked_for.query) if asked_for.is_short else select(CALLS.c.run_id).where(said_in)
    place = [calls.c[name] for name in ("run_id", "path", "chain_name", "agent_name")]
    order = (calls.c.started_at, calls.c.call_id)
    following = {name: func.lead(calls.c[name]).over(partition_by=place, order_by=order) for name in _SAID}
    said = [column.label(f"next_{name}") for name, column in following.items()]
    own = [calls.c[name] for name in ("call_id", "status", "superseded", "started_at")]
    seen = select(*own, *said).where(calls.c.run_id.in_(runs)).subquery().c
    return select(seen.call_id).where(
        *(seen.status == "ok", seen.superseded.is_not(true()), seen.next_attempt_error.is_not(None)),
        *(seen.next_retry_kind.is_(None), seen.next_started_at < _day_after(seen.started_at, asked_for.dialect)),
    )


def _asked(query: Query, dialect: str) -> ColumnElement[bool]:
    """A query's filters, for rows that are found by their ids: SQLite must not look for them by the time."""
    if dialect != "sqlite":
        return conditions(query, dialect)
    moment, rest = unindexed(CALLS.c.started_at), replace(query, since=None, until=None)
    return and_(_bounded(moment, query.since, query.until), conditions(rest, dialect))


def _within(since: Any, until: Any, rows: FromClause = CALLS) -> ColumnElement[bool]:
    """What started in a range; None is an end that is open."""
    return _bounded(rows.c.started_at, since, until)


def _bounded(moment: ColumnElement[Any], since: Any, until: Any) -> ColumnElement[bool]:
    return and_(
        true(), *([moment >= since] if since is not None else []), *([moment < until] if until is not None else [])
    )


def _earlier(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment - _LONGEST_RUN
    except OverflowError:  # the first day of the calendar
        return datetime.min.replace(tzinfo=UTC)


def _later(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment + _LONGEST_RUN
    except OverflowError:  # the last day of the calendar
        return datetime.max.replace(tzinfo=UTC)


def _is_unreadable(calls: FromClause) -> ColumnElement[bool]:
    said = func.lower(calls.c.attempt_error)
    return or_(*(said.like(pattern) for pattern in _UNREADABLE))


def summed(
    kind: ColumnElement[Any] | str, keys: Sequence[ColumnElement[Any]], *where: Any, source: FromClause = CALLS
) -> Select[Any]:
    """Add calls up by kind and keys, as `read_waste` does; of a source that has those of `CALLS`."""
    calls = CALLS.c
    said = literal_column(f"'{kind}'") if isinstance(kind, str) else kind
    names = [key.name if isinstance(key, Column) else f"key_{index}" for index, key in enumerate(keys)]
    named = [key.label(name) for key, name in zip(keys, names, strict=True)]
    columns = (*named, said.label("kind"), calls.total_tokens, calls.total_cost)
    rows = select(*columns).select_from(source).where(*where).subquery().c
    groups = [rows[name] for name in (*names, "kind")]
    return select(
        *groups,
        func.count().label("calls"),
        func.sum(rows.total_tokens).label("total_tokens"),
        func.count(rows.total_tokens).label("known_calls"),
        func.sum(rows.total_cost).label("total_cost"),
        func.count(rows.total_cost).label("priced_calls"),
    ).group_by(*groups)
