"""How long are rows kept? Old ones can go while their sums stay, and no question is then answered with too little.

Rows are deleted piece by piece, the oldest first. Each piece is a transaction of its own, which also notes from which
hour on all rows are there (`rows_since`). So whatever is interrupted, the store is in order; others write in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select, text, union

from langchain_tokens.errors import QueryError, StoreError
from langchain_tokens.exporting import Parts
from langchain_tokens.query import Query, parse_moment
from langchain_tokens.store.dropping import drop_partitions_before, lock_calls
from langchain_tokens.store.engine import reading
from langchain_tokens.store.exports import streamed
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.keptsums import drop_sums, first_sum, lock_maintenance, lock_writers
from langchain_tokens.store.partitions import is_partitioned, partitions_before
from langchain_tokens.store.plan import floor_of, moment_in
from langchain_tokens.store.schema import storing
from langchain_tokens.store.state import keep_rows_since, note_shortened_by, rows_since
from langchain_tokens.store.sums import conditions, run_conditions
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.store.unsettling import unsettle_range
from langchain_tokens.store.writes import delete_calls

__all__ = ("Pruned", "midnight_before", "prune")

_MOST = 50_000
"""Calls of a day from which on it is deleted hour by hour."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune deleted, or would delete."""

    before: datetime
    """The cut, a midnight in UTC: what started before it goes."""
    calls: int
    runs: int
    """Runs that have no call left."""
    first: datetime | None
    """When the oldest of these calls started; None without any."""
    kept: bool
    """Whether the sums of that time stay."""
    export: Path | None = None
    """The file with the calls; None where none was asked for, or there were none."""


def midnight_before(older_than: object, now: datetime | None = None) -> datetime:
    """The last midnight (UTC) at or before a moment.

    Args:
        older_than: as `since` of a query: `90d`, a timedelta, a date, an aware datetime.
        now: the moment that spans count back from; the clock's by default.

    Raises:
        QueryError: for anything else, and a moment that is yet to come.

    """
    present = now or datetime.now(UTC)
    cut = floor_of(parse_moment(older_than, present, "older_than"), "hour").replace(hour=0)
    if cut > present:
        raise QueryError(f"older_than={older_than!r} is yet to come; what may go lies behind, such as '90d'")
    return cut


def prune(
    engine: Engine,
    target: StoreTarget,
    cut: datetime,
    *,
    keeps_sums: bool,
    export: str | Path | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Delete the calls that started before a moment, and runs that have none left; as `UsageStore.prune`.

    Args:
        engine: the database's.
        target: the database, for errors.
        cut: the moment; a midnight in UTC.
        keeps_sums: whether the sums of that time stay, those whose rows went earlier among them.
        export: a file for the calls; a piece is deleted only when its calls are there, and on the device.
        dry_run: only say what would be deleted.

    """
    parts = None if export is None else Parts(export)
    with reading(engine, target, is_long=True) as connection:
        plan = _plan(connection, cut, keeps_sums=keeps_sums)
    if dry_run:
        return plan
    calls, runs = 0, 0
    try:
        for piece in _Pruning(engine=engine, target=target, cut=cut, keeps_sums=keeps_sums, parts=parts).pieces():
            calls += piece.calls
            runs += piece.runs
        done = None if parts is None else parts.join()
    except (StoreError, KeyboardInterrupt) as error:
        if parts is None or not calls:
            raise
        said = f"{calls:,} calls are deleted, and whole in {parts.folder}; the same again goes on from there"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(said) from error
        raise StoreError(f"{error}; {said}") from error
    return replace(plan, calls=calls, runs=runs, export=done)


def _plan(connection: Connection, cut: datetime, *, keeps_sums: bool) -> Pruned:
    old = CALLS.c.started_at < cut
    calls, first = connection.execute(select(func.count(), func.min(CALLS.c.started_at)).where(old)).one()
    lasting = select(CALLS.c.run_id).where(CALLS.c.run_id == RUNS.c.run_id, ~old).exists()
    runs = connection.execute(select(func.count()).select_from(RUNS).where(RUNS.c.started_at < cut, ~lasting))
    return Pruned(before=cut, calls=calls, runs=runs.scalar_one(), first=first, kept=keeps_sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    since: datetime
    until: datetime
    calls: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pruning:
    engine: Engine
    target: StoreTarget
    cut: datetime
    keeps_sums: bool
    parts: Parts | None

    def pieces(self) -> Iterator[_Piece]:
        """Delete piece by piece; whole partitions first, unless their calls have to be exported."""
        if self.parts is None:
            yield from self._partitions()
        yield from self._days()
        if self.parts is not None:
            yield from self._partitions()

    def _days(self) -> Iterator[_Piece]:
        """Delete rows, and then note what is so only when all are gone."""
        after, calls = None, 0
        while True:
            with storing(self.engine, self.target, is_long=True) as connection:
                lock_maintenance(connection)
                unsettle_range(connection, None, self.cut)
                if after is None and self.parts is not None:
                    self.parts.drop_unneeded(partial(_are_stored, connection))
                piece = _next_piece(connection, after, self.cut, keeps_sums=self.keeps_sums)
                if piece is None:
                    _note_end(connection, self.cut, keeps_sums=self.keeps_sums, has_deleted=calls > 0)
                    return
                if self.parts is not None or not self.keeps_sums:
                    lock_writers(connection)  # what is exported, or loses its sums, must be all that is deleted
                piece = _delete_piece(connection, piece, keeps_sums=self.keeps_sums, parts=self.parts)
            after, calls = piece.until, calls + piece.calls
            yield piece

    def _partitions(self) -> Iterator[_Piece]:
        """Drop partitions, each in a transaction; after an export those only that got no call since."""
        with reading(self.engine, self.target) as connection:
            found = partitions_before(connection, self.cut) if _may_drop(connection) else ()
        for partition in found:
            with storing(self.engine, self.target, is_long=True) as connection:
                lock_maintenance(connection)
                unsettle_range(connection, None, partition.until)
                lock_calls(connection)
                if self.parts is not None and _count(connection, _within(partition.since, partition.until)):
                    continue
                if self.keeps_sums:
                    note_shortened_by(connection, _within(partition.since, partition.until))
                dropped = drop_partitions_before(connection, partition.until)
                calls, runs = sum(one.calls for one in dropped), sum(one.runs for one in dropped)
                piece = _Piece(since=partition.since, until=partition.until, calls=calls, runs=runs)
                _note_deleted(connection, piece, keeps_sums=self.keeps_sums)
            yield piece


def _may_drop(connection: Connection) -> bool:
    """Whether there are partitions, and the user may drop them; others may only delete rows."""
    owner = text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = to_regclass(:calls)")
    return is_partitioned(connection) and bool(connection.execute(owner, {"calls": CALLS.name}).scalar())


def _next_piece(connection: Connection, after: datetime | None, cut: datetime, *, keeps_sums: bool) -> _Piece | None:
    """The next day that has calls, runs or sums to delete; or the next hour, where the day has very many calls."""
    found: list[datetime] = []
    for column in (CALLS.c.started_at, RUNS.c.started_at):
        old = column < cut if after is None else and_(column < cut, column >= after)
        moment = connection.execute(select(func.min(column)).where(old)).scalar()
        found += [] if moment is None else [moment]
    if not keeps_sums:
        hour = first_sum(connection, None if after is None else moment_in(after, "hour"), moment_in(cut, "hour"))
        found += [] if hour is None else [datetime.fromisoformat(hour)]
    if not found:
        return None
    since = floor_of(min(found), "hour")
    until = since.replace(hour=0) + timedelta(days=1)
    if _count(connection, _within(since, until)) > _MOST:
        until = since + _HOUR
    return _Piece(since=since, until=until)


def _delete_piece(connection: Connection, piece: _Piece, *, keeps_sums: bool, parts: Parts | None) -> _Piece:
    query = Query(since=piece.since, until=piece.until)
    if parts is not None:
        parts.add(streamed(connection, query))
    run_ids = _run_ids(connection, query)
    calls = delete_calls(connection, query, keeps_sums=True)
    left = sum(_count_runs(connection, chunk) for chunk in chunks(run_ids))
    done = replace(piece, calls=calls, runs=len(run_ids) - left)
    _note_deleted(connection, done, keeps_sums=keeps_sums)
    return done


def _note_deleted(connection: Connection, piece: _Piece, *, keeps_sums: bool) -> None:
    if not keeps_sums:
        drop_sums(connection, moment_in(piece.since, "hour"), moment_in(piece.until, "hour"))
    elif piece.calls:
        _move_rows_since(connection, piece.until)


def _note_end(connection: Connection, cut: datetime, *, keeps_sums: bool, has_deleted: bool) -> None:
    if keeps_sums and has_deleted:
        _move_rows_since(connection, cut)
    elif not keeps_sums and (rows_since(connection) or "") <= moment_in(cut, "hour"):
        keep_rows_since(connection, None)


def _move_rows_since(connection: Connection, moment: datetime) -> None:
    """Never back: the rows before an earlier cut are gone."""
    keep_rows_since(connection, max(rows_since(connection) or "", moment_in(moment, "hour")))


def _run_ids(connection: Connection, query: Query) -> Sequence[str]:
    """The runs that may have no call left when these calls are gone."""
    dialect = connection.dialect.name
    with_calls = select(CALLS.c.run_id).where(conditions(query, dialect))
    started = select(RUNS.c.run_id).where(run_conditions(query, dialect))
    return (
        connection.execute(union(started, select(RUNS.c.run_id).where(RUNS.c.run_id.in_(with_calls)))).scalars().all()
    )


def _count_runs(connection: Connection, run_ids: Sequence[str]) -> int:
    return connection.execute(select(func.count()).select_from(RUNS).where(RUNS.c.run_id.in_(run_ids))).scalar_one()


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(CALLS).where(condition)).scalar_one()


def _within(since: datetime, until: datetime) -> ColumnElement[bool]:
    return and_(CALLS.c.started_at >= since, CALLS.c.started_at < until)


def _are_stored(connection: Connection, call_ids: Sequence[str]) -> bool:
    return all(_count(connection, CALLS.c.call_id.in_(chunk)) == len(chunk) for chunk in chunks(call_ids))
