"""How does a batch get in? Rows first, then the runs' totals derived from them, so that a replay changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.call import Call, RunFact
from langchain_tokens.query import Query
from langchain_tokens.store.rows import call_values, run_values
from langchain_tokens.store.sums import conditions, run_conditions, sums_statement
from langchain_tokens.store.tables import CALLS, COST_REVISIONS, RUNS
from langchain_tokens.store.tuples import Prepared, call_tuple, execute, prepare, run_tuple

__all__ = ("TOTALS", "delete_calls", "refresh_totals", "write_batch")

Item = TypeVar("Item")

_CHUNK = 500
TOTALS = {
    "calls": "calls",
    "failed_calls": "failed_calls",
    "calls_without_usage": "calls_without_usage",
    "unpriced_calls": "unpriced_calls",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "total_cost": "cost_usd",
}
"""Column of a run's row → the sum over its calls that stands there."""
_SOURCES = {"this_run": "key_0"} | {f"new_{name}": source for name, source in TOTALS.items()}
"""Parameter of the statement that changes a run's totals → the sum that it takes."""
_PIECE = 50


def write_batch(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    """Write calls and runs. A call that is stored is left alone, unless the new one corrects it; a run is completed."""
    if connection.dialect.name == "sqlite":
        _write_tuples(connection, calls, runs)
    else:
        _write_rows(connection, calls, runs)
    touched = {call.run_id for call in calls} | {fact.run_id for fact in runs}
    refresh_totals(connection, sorted(touched))  # sorted: concurrent writers take row locks in one order


def _write_rows(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    dialect = connection.dialect.name
    if calls:
        connection.execute(_insert_calls(dialect), [call_values(call) for call in calls])
    if runs:
        connection.execute(_insert_runs(dialect), [run_values(fact) | {"is_given": fact.is_given} for fact in runs])


def _write_tuples(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    into_calls, call_values_of, into_runs, run_values_of = _prepared_inserts()
    for chunk in _chunks(calls, _PIECE):
        execute(connection, into_calls, call_values_of, chunk)
        time.sleep(0)  # lets go of the interpreter, for the host's threads
    if runs:
        execute(connection, into_runs, run_values_of, runs)


@cache
def _prepared_inserts() -> tuple[Prepared, Callable[[Call], Any], Prepared, Callable[[RunFact], Any]]:
    into_calls, into_runs = prepare(_insert_calls("sqlite")), prepare(_insert_runs("sqlite"))
    return into_calls, call_tuple(into_calls), into_runs, run_tuple(into_runs)


@cache
def _prepared_totals() -> Prepared:
    return prepare(_update_totals())


def delete_calls(connection: Connection, query: Query) -> int:
    """Delete the calls that a query's filters match, and the runs that have none left."""
    dialect = connection.dialect.name
    condition = conditions(query, dialect)
    touched = sorted(connection.execute(select(CALLS.c.run_id).where(condition).distinct()).scalars())
    doomed = select(CALLS.c.call_id).where(condition)
    connection.execute(delete(COST_REVISIONS).where(COST_REVISIONS.c.call_id.in_(doomed)))
    deleted = connection.execute(delete(CALLS).where(condition)).rowcount
    alive = select(CALLS.c.run_id).where(CALLS.c.run_id == RUNS.c.run_id).exists()
    for chunk in _chunks(touched):
        connection.execute(delete(RUNS).where(RUNS.c.run_id.in_(chunk), ~alive))
    connection.execute(delete(RUNS).where(run_conditions(query, dialect), ~alive))  # runs that never had a call
    refresh_totals(connection, touched)
    return deleted


def _insert_calls(dialect: str) -> Any:
    statement = _insert(dialect, CALLS)
    new = statement.excluded
    values = {column.name: new[column.name] for column in CALLS.columns if not column.primary_key}
    return statement.on_conflict_do_update(
        index_elements=["call_id"], set_=values, where=new.revision > CALLS.c.revision
    )


def _insert_runs(dialect: str) -> Any:
    """Insert or complete, as `completed` does in memory."""
    statement = _insert(dialect, RUNS).values({name: bindparam(name) for name in _RUN_COLUMNS} | _ZERO_TOTALS)
    new, old = statement.excluded, RUNS.c
    kept: dict[str, Any] = {name: func.coalesce(new[name], old[name]) for name in _RUN_COLUMNS if name != "run_id"}
    is_given = bindparam("is_given", type_=Boolean)
    goes_on = old.status == "running"
    kept["started_at"] = case((new.started_at < old.started_at, new.started_at), else_=old.started_at)
    kept["ended_at"] = case(
        (and_(is_given, goes_on), old.ended_at),
        (or_(old.ended_at.is_(None), new.ended_at > old.ended_at), new.ended_at),
        else_=old.ended_at,
    )
    kept["duration_ms"] = _milliseconds(dialect, kept["started_at"], kept["ended_at"])
    is_kept = or_(new.status == "running", and_(is_given, or_(goes_on, new.status != "error")))
    kept["status"] = case((is_kept, old.status), else_=new.status)
    return statement.on_conflict_do_update(index_elements=["run_id"], set_=kept)


def _milliseconds(dialect: str, start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[Any]:
    """The time between two moments, rounded as `RunFact.duration_ms` is."""
    if dialect == "postgresql":
        return cast(func.extract("epoch", end - start), Float) * 1_000.0
    return (_microseconds(end) - _microseconds(start)) / 1e6 * 1_000.0


def _microseconds(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Since 1970, from SQLite's text; its own functions round to milliseconds."""
    seconds = cast(func.strftime("%s", func.substr(moment, 1, 19)), BigInteger)
    return seconds * 1_000_000 + cast(func.substr(moment, 21), BigInteger)


_RUN_COLUMNS = (
    "run_id",
    "name",
    "session_id",
    "mode",
    "user_id",
    "tags",
    "started_at",
    "ended_at",
    "duration_ms",
    "status",
    "error_type",
    "error_message",
)
_ZERO_TOTALS = {"calls": 0, "failed_calls": 0, "calls_without_usage": 0, "unpriced_calls": 0}


def _insert(dialect: str, table: Table) -> Any:
    maker = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return maker(table)


def refresh_totals(connection: Connection, run_ids: Sequence[str]) -> None:
    """Derive the totals of runs from their calls again."""
    for chunk in _chunks(run_ids):
        if connection.dialect.name == "postgresql":  # sum only what no other writer is about to change
            connection.execute(
                select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk)).order_by(RUNS.c.run_id).with_for_update()
            )
        rows = connection.execute(_totals_of(connection, chunk)).all()
        if connection.dialect.name == "sqlite":
            _update_tuples(connection, rows)
        elif rows:
            connection.execute(_update_totals(), [_changes(row) for row in rows])


def _update_tuples(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    if not rows:
        return
    prepared, columns = _prepared_totals(), tuple(rows[0]._fields)
    read = itemgetter(*(columns.index(_SOURCES[name]) for name in prepared.names))
    execute(connection, prepared, read, rows)


def _update_totals() -> Any:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in TOTALS}
    return update(RUNS).where(RUNS.c.run_id == bindparam("this_run")).values(values)


def _changes(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, source) for name, source in _SOURCES.items()}


def _totals_of(connection: Connection, run_ids: Sequence[str]) -> Select[Any]:
    query = Query(by=("run",), equals={"run": tuple(run_ids)})
    return sums_statement(query, connection.dialect.name)


def _chunks(items: Sequence[Item], size: int = _CHUNK) -> Iterable[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
