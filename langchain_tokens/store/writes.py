"""How does a batch get in? Rows first, then the runs' totals derived from them, so that a replay changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
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

__all__ = ("delete_calls", "refresh_totals", "write_batch")

_CHUNK = 500
_TOTALS = (
    "calls",
    "failed_calls",
    "calls_without_usage",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "total_tokens",
)


def write_batch(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    """Write calls and runs. A call that is stored is left alone, unless the new one corrects it; a run is completed."""
    if calls:
        connection.execute(_insert_calls(connection), [call_values(call) for call in calls])
    if runs:
        connection.execute(_insert_runs(connection), [run_values(fact) | {"is_given": fact.is_given} for fact in runs])
    touched = {call.run_id for call in calls} | {fact.run_id for fact in runs}
    refresh_totals(connection, sorted(touched))  # sorted: concurrent writers take row locks in one order


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


def _insert_calls(connection: Connection) -> Any:
    statement = _insert(connection, CALLS)
    new = statement.excluded
    values = {column.name: new[column.name] for column in CALLS.columns if not column.primary_key}
    return statement.on_conflict_do_update(
        index_elements=["call_id"], set_=values, where=new.revision > CALLS.c.revision
    )


def _insert_runs(connection: Connection) -> Any:
    """Insert or complete, as `completed` does in memory."""
    statement = _insert(connection, RUNS).values({name: bindparam(name) for name in _RUN_COLUMNS} | _ZERO_TOTALS)
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
    kept["duration_ms"] = _milliseconds(connection, kept["started_at"], kept["ended_at"])
    is_kept = or_(new.status == "running", and_(is_given, or_(goes_on, new.status != "error")))
    kept["status"] = case((is_kept, old.status), else_=new.status)
    return statement.on_conflict_do_update(index_elements=["run_id"], set_=kept)


def _milliseconds(connection: Connection, start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[Any]:
    """The time between two moments, rounded as `RunFact.duration_ms` is."""
    if connection.dialect.name == "postgresql":
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


def _insert(connection: Connection, table: Table) -> Any:
    maker = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return maker(table)


def refresh_totals(connection: Connection, run_ids: Sequence[str]) -> None:
    """Derive the totals of runs from their calls again."""
    for chunk in _chunks(run_ids):
        if connection.dialect.name == "postgresql":  # sum only what no other writer is about to change
            connection.execute(
                select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk)).order_by(RUNS.c.run_id).with_for_update()
            )
        rows = connection.execute(_totals_of(connection, chunk)).all()
        changes = [
            {"this_run": row.key_0, "new_total_cost": row.cost_usd}
            | {f"new_{name}": getattr(row, name) for name in _TOTALS}
            for row in rows
        ]
        if changes:
            values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in (*_TOTALS, "total_cost")}
            connection.execute(update(RUNS).where(RUNS.c.run_id == bindparam("this_run")).values(values), changes)


def _totals_of(connection: Connection, run_ids: Sequence[str]) -> Select[Any]:
    query = Query(by=("run",), equals={"run": tuple(run_ids)})
    return sums_statement(query, connection.dialect.name)


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
