"""How is a run kept? Inserted or completed, with totals that follow its calls, in one statement for a whole batch.

Every run that has calls has a row, whose totals are those of its calls: so what calls add up to can be added there,
whichever batch of however many hosts comes first. A run of which nothing has come but calls has a row that says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.call import Call, RunFact, completed
from langchain_tokens.store.arrays import ByColumn, arrayed, by_column
from langchain_tokens.store.facts import VECTOR, Numbers
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.measures import call_sums
from langchain_tokens.store.sending import Statement
from langchain_tokens.store.sums import grouped
from langchain_tokens.store.tables import BY_CALLS, BY_RECORD, CALLS, RUNS
from langchain_tokens.store.tuples import (
    FACT_COLUMNS,
    Prepared,
    gathered_fact,
    offset_moment,
    plain_moment,
    prepare,
    valid,
)
from langchain_tokens.store.upserts import added

__all__ = ("TOTALS", "lock_runs", "refresh_totals", "run_statements")

_COUNTED = ("calls", "failed_calls", "calls_without_usage", "unpriced_calls")
_SUMMED = ("input_tokens", "output_tokens", "total_tokens", "total_cost")
TOTALS = (*_COUNTED, *_SUMMED)
"""The sums over its calls that stand in a run's row."""
_THIS = "this_run"
_SOURCES = {_THIS: "key_0"} | {f"new_{name}": name for name in TOTALS}
"""Parameter of the statement that changes a run's totals → the column that it takes."""
_COLUMNS = (*FACT_COLUMNS, "known_by", *TOTALS, "first_call_at", "last_call_at")
_totals_in: Callable[[Numbers], tuple[int | None, ...]] = itemgetter(*(VECTOR.index(name) for name in TOTALS))
_NOTHING = (*(0 for _ in _COUNTED), *(None for _ in _SUMMED))
_NO_TOTALS = dict(zip(TOTALS, _NOTHING, strict=True))
_Span = tuple[datetime, datetime]
_Write = Callable[[datetime], str]


def run_statements(
    runs: Sequence[RunFact], calls: Sequence[Call], added: Mapping[str, Numbers], dialect: str
) -> Iterator[Statement]:
    """The statements that insert runs, or complete those that are stored, and add to their totals.

    Args:
        runs: facts, in the order in which they were told.
        calls: calls that came, for runs of which nothing else may be known.
        added: run → what those of them that are new add to its totals, in the order of `VECTOR`.
        dialect: the database's.

    """
    first, *later = _in_turn(runs)
    spans = _spans(calls)
    moment = plain_moment if dialect == "sqlite" else offset_moment
    with valid():
        rows = [
            (*_told(name, first.get(name), spans, moment), *_sums(added.get(name)), *_times(spans.get(name), moment))
            # Sorted, so that writers with the same runs never wait for each other in a circle.
            for name in sorted({*first, *spans})
        ]
        rest = [
            [(*_told(name, facts[name], spans, moment), *_sums(None), *_times(None, moment)) for name in sorted(facts)]
            for facts in later
        ]
    return (_upsert(these, dialect) for these in (rows, *rest) if these)  # all rows are locked by the first


def _in_turn(runs: Iterable[RunFact]) -> list[dict[str, RunFact]]:
    """Facts by run. Those of one run that count as one are one; where more are left, they have to take turns."""
    turns: list[dict[str, RunFact]] = [{}]
    last: dict[str, int] = {}
    for fact in runs:
        place = last.setdefault(fact.run_id, 0)
        before = turns[place].get(fact.run_id)
        if before is not None and not _count_as_one(before, fact):
            last[fact.run_id] = place = place + 1
            before = None
        if place == len(turns):
            turns.append({})
        turns[place][fact.run_id] = fact if before is None else completed(before, fact)
    return turns


def _count_as_one(before: RunFact, now: RunFact) -> bool:
    """Whether it does not matter to what is stored already that the second comes after the first."""
    if before.is_given != now.is_given:
        return False
    return not now.is_given or "running" not in (before.status, now.status)


def _spans(calls: Iterable[Call]) -> dict[str, _Span]:
    """From when to when calls started, by run."""
    moments: dict[str, list[datetime]] = defaultdict(list)
    for call in calls:
        moments[call.run_id].append(call.started_at)
    return {run_id: (min(these), max(these)) for run_id, these in moments.items()}


def _told(run_id: str, fact: RunFact | None, spans: Mapping[str, _Span], moment: _Write) -> tuple[Any, ...]:
    """What a fact says of a run; where there is none, that it has calls."""
    if fact is None:
        return (*gathered_fact(RunFact(run_id=run_id, started_at=spans[run_id][0]), moment), BY_CALLS)
    return (*gathered_fact(fact, moment), BY_RECORD if fact.is_given else None)


def _sums(numbers: Numbers | None) -> tuple[int | None, ...]:
    return _NOTHING if numbers is None else _totals_in(numbers)


def _times(span: _Span | None, moment: _Write) -> tuple[str | None, str | None]:
    return (None, None) if span is None else (moment(span[0]), moment(span[1]))


def _upsert(rows: Sequence[tuple[Any, ...]], dialect: str) -> Statement:
    if dialect == "sqlite":
        prepared = _prepared()
        return prepared.sql, prepared.arranged(rows)
    completing = _complete_arrayed()
    return completing.sql, completing.parameters(zip(*rows, strict=True))


@cache
def _prepared() -> Prepared:
    return prepare(_completing(sqlite.insert(RUNS), "sqlite"), _COLUMNS)


@cache
def _complete_arrayed() -> ByColumn:
    values = arrayed(RUNS, _COLUMNS)
    chosen = select(*values).order_by(values[_COLUMNS.index("run_id")])
    completing = _completing(postgresql.insert(RUNS).from_select(_COLUMNS, chosen), "postgresql")
    return by_column(completing, RUNS, _COLUMNS)


def _completing(statement: Any, dialect: str) -> Any:
    """An insert that completes the row that is there, as `completed` does in memory."""
    new, old = statement.excluded, RUNS.c
    kept: dict[str, Any] = {name: func.coalesce(new[name], old[name]) for name in FACT_COLUMNS if name != "run_id"}
    tells_nothing, is_given = new.known_by == BY_CALLS, new.known_by == BY_RECORD
    is_known = old.known_by.is_distinct_from(BY_CALLS)
    goes_on = and_(is_known, old.status == "running")
    kept["started_at"] = case(
        (tells_nothing, old.started_at),
        (and_(is_known, old.started_at <= new.started_at), old.started_at),
        else_=new.started_at,
    )
    kept["ended_at"] = case(
        (and_(is_given, goes_on), old.ended_at),
        (or_(old.ended_at.is_(None), new.ended_at > old.ended_at), new.ended_at),
        else_=old.ended_at,
    )
    kept["duration_ms"] = _milliseconds(dialect, kept["started_at"], kept["ended_at"])
    is_kept = or_(new.status == "running", and_(is_given, is_known, or_(goes_on, new.status != "error")))
    kept["status"] = case((is_kept, old.status), else_=new.status)
    kept["known_by"] = case((or_(tells_nothing, and_(is_given, is_known)), old.known_by), else_=new.known_by)
    kept |= {name: old[name] + new[name] for name in _COUNTED}
    kept |= {name: added(old[name], new[name], dialect) for name in _SUMMED}
    kept["first_call_at"] = _wider(old.first_call_at, new.first_call_at, new.first_call_at < old.first_call_at)
    kept["last_call_at"] = _wider(old.last_call_at, new.last_call_at, new.last_call_at > old.last_call_at)
    return statement.on_conflict_do_update(index_elements=["run_id"], set_=kept)


def _wider(old: ColumnElement[Any], new: ColumnElement[Any], is_beyond: ColumnElement[bool]) -> ColumnElement[Any]:
    """A bound of the time in which a run has calls; of calls from before this was kept it is not known."""
    return case((or_(is_beyond, and_(old.is_(None), RUNS.c.calls == 0)), new), else_=old)


def _milliseconds(dialect: str, start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[Any]:
    """The time between two moments, rounded as `RunFact.duration_ms` is."""
    if dialect == "postgresql":
        return cast(func.extract("epoch", end - start), Float) * 1_000.0
    return (_microseconds(end) - _microseconds(start)) / 1e6 * 1_000.0


def _microseconds(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Since 1970, from SQLite's text; its own functions round to milliseconds."""
    seconds = cast(func.strftime("%s", func.substr(moment, 1, 19)), BigInteger)
    return seconds * 1_000_000 + cast(func.substr(moment, 21), BigInteger)


def refresh_totals(connection: Connection, run_ids: Sequence[str]) -> None:
    """Derive the totals of runs from their calls again."""
    for chunk in chunks(run_ids):
        lock_runs(connection, chunk)  # sum only what no other writer is about to change
        rows = [_changes(row) for row in connection.execute(_totals_of(chunk))]
        if rows:
            connection.execute(_update_totals(), rows)
        if left := sorted(set(chunk) - {row[_THIS] for row in rows}):  # their last call was moved to another run
            connection.execute(update(RUNS).where(RUNS.c.run_id.in_(left), RUNS.c.calls > 0).values(_NO_TOTALS))


def lock_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    """Keep others from changing some runs until the transaction ends; SQLite's lock does it by itself."""
    if connection.dialect.name == "postgresql":
        these = select(RUNS.c.run_id).where(RUNS.c.run_id.in_(run_ids))
        connection.execute(these.order_by(RUNS.c.run_id).with_for_update())


def _update_totals() -> Any:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in TOTALS}
    return update(RUNS).where(RUNS.c.run_id == bindparam("this_run")).values(values)


def _changes(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, source) for name, source in _SOURCES.items()}


def _totals_of(run_ids: Sequence[str]) -> Select[Any]:
    sums = call_sums(CALLS.c)
    return grouped([CALLS.c.run_id], {name: sums[name] for name in TOTALS}).where(CALLS.c.run_id.in_(run_ids))
