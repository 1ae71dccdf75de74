"""How is a run kept? Inserted or completed, with totals that follow its calls."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any

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
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.call import RunFact
from langchain_tokens.store.facts import Fact
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.measures import call_sums
from langchain_tokens.store.rollups import run_totals
from langchain_tokens.store.rows import run_values
from langchain_tokens.store.sums import grouped
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.tuples import Prepared, execute, prepare, run_tuple

__all__ = ("TOTALS", "follow_totals", "refresh_totals", "stored_runs", "write_runs")

TOTALS = (
    "calls",
    "failed_calls",
    "calls_without_usage",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "total_cost",
)
"""The sums over its calls that stand in a run's row."""
_BY_ID = attrgetter("run_id")
_THIS = "this_run"
_SOURCES = {_THIS: "key_0"} | {f"new_{name}": name for name in TOTALS}
"""Parameter of the statement that changes a run's totals → the column that it takes."""


def write_runs(connection: Connection, runs: Sequence[RunFact]) -> None:
    """Insert runs, or complete those that are stored."""
    if runs and connection.dialect.name == "sqlite":
        execute(connection, *_prepared_runs(), runs)
    elif runs:
        # Sorted, so that writers with the same runs never wait for each other in a circle.
        values = [run_values(fact) | {"is_given": fact.is_given} for fact in sorted(runs, key=_BY_ID)]
        connection.execute(_insert_runs("postgresql"), values)


@cache
def _prepared_runs() -> tuple[Prepared, Callable[[RunFact], Any]]:
    into_runs = prepare(_insert_runs("sqlite"))
    return into_runs, run_tuple(into_runs)


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
    for chunk in chunks(run_ids):
        if connection.dialect.name == "postgresql":  # sum only what no other writer is about to change
            connection.execute(
                select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk)).order_by(RUNS.c.run_id).with_for_update()
            )
        rows = connection.execute(_totals_of(chunk)).all()
        if rows:
            connection.execute(_update_totals(), [_changes(row) for row in rows])


def stored_runs(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Which of these runs are stored; nobody else changes them until the transaction ends."""
    found: set[str] = set()
    for chunk in chunks(run_ids):
        these = select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk)).order_by(RUNS.c.run_id)
        if connection.dialect.name == "postgresql":
            these = these.with_for_update()
        found.update(connection.execute(these).scalars())
    return found


def follow_totals(connection: Connection, new: Sequence[Fact], run_ids: Iterable[str], known: Container[str]) -> None:
    """Let the totals of runs follow calls that came.

    What came is added where nothing else is missing; to derive totals again would read all that a long run has so far.

    Args:
        connection: one that writes.
        new: calls that came.
        run_ids: the runs that calls or facts came for.
        known: those of them whose totals were right before.

    """
    deltas = run_totals(new)
    fresh = [run_id for run_id in run_ids if run_id not in known]
    counts: dict[str, int] = {}
    for chunk in chunks(fresh):
        counted = select(CALLS.c.run_id, func.count()).where(CALLS.c.run_id.in_(chunk)).group_by(CALLS.c.run_id)
        counts.update((row[0], row[1]) for row in connection.execute(counted))
    late = {run_id for run_id, count in counts.items() if run_id not in deltas or deltas[run_id]["calls"] != count}
    refresh_totals(connection, sorted(late))
    _add_to_totals(connection, {run_id: numbers for run_id, numbers in deltas.items() if run_id not in late})


def _add_to_totals(connection: Connection, deltas: Mapping[str, Mapping[str, int | None]]) -> None:
    if not deltas:
        return
    ordered = sorted(deltas.items(), key=itemgetter(0))
    values: list[dict[str, Any]] = [
        {_THIS: run_id} | {f"new_{name}": delta[name] for name in TOTALS} for run_id, delta in ordered
    ]
    if connection.dialect.name == "sqlite":
        prepared = _prepared_addition()
        connection.exec_driver_sql(prepared.sql, [tuple([row[name] for name in prepared.names]) for row in values])
    else:
        connection.execute(_addition(), values)


@cache
def _prepared_addition() -> Prepared:
    return prepare(_addition())


def _addition() -> Any:
    new = {name: bindparam(f"new_{name}", type_=BigInteger) for name in TOTALS}
    added = {name: func.coalesce(RUNS.c[name] + new[name], new[name], RUNS.c[name]) for name in TOTALS}
    return update(RUNS).where(RUNS.c.run_id == bindparam(_THIS)).values(added)


def _update_totals() -> Any:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in TOTALS}
    return update(RUNS).where(RUNS.c.run_id == bindparam("this_run")).values(values)


def _changes(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, source) for name, source in _SOURCES.items()}


def _totals_of(run_ids: Sequence[str]) -> Select[Any]:
    sums = call_sums(CALLS.c)
    return grouped([CALLS.c.run_id], {name: sums[name] for name in TOTALS}).where(CALLS.c.run_id.in_(run_ids))
