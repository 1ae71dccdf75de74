"""Which calls are new? Each once, as soon as it is stored, also one that began long ago and is stored late.

SQLite: one writer at a time adds rows, with rising numbers; whether anything was written at all, `PRAGMA data_version`
says in microseconds. A server has many writers, and no such order: two moments are compared. Sums by day and hour say
in which hours something came or went, and the moment before, which a transaction still sees, which calls were there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Engine, Integer, Select, exc, func, literal_column, select

from langchain_tokens.call import Call
from langchain_tokens.errors import StoreError
from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading, translated
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.latest import latest_calls
from langchain_tokens.store.plan import moment_in
from langchain_tokens.store.rolluptables import ALL, NAMES, Step
from langchain_tokens.store.rows import call_from_row
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import StoreTarget

__all__ = ("Follower", "following")

_NUMBER: ColumnElement[int] = literal_column(f"{CALLS.name}.rowid", Integer)
_REMEMBERED = 1_000
"""Rows by which a follower finds its place again after newer ones were deleted."""
_PAGE = 500
_MANY = 10_000
"""Calls of an hour that are not all looked through."""
_TELLING = ("calls", "failed_calls", "total_tokens", "duration_us")
"""Sums that change when calls come or go, and not when they are priced anew."""
_Counts = Mapping[str, tuple[Any, ...]]
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Follower(Protocol):
    """Sees calls as they are stored."""

    latest: Sequence[Call]
    """The newest that were there when it began, the oldest of them first."""

    def new(self) -> Sequence[Call]:
        """The calls that came since the last time, in the order in which they started."""


@contextmanager
def following(engine: Engine, target: StoreTarget, query: Query, limit: int) -> Iterator[Follower]:
    """Follow the calls that a query's filters match.

    Args:
        engine: the database's.
        target: the database, for errors.
        query: which calls.
        limit: how many of the newest to begin with.

    """
    kind = _FileFollower if engine.dialect.name == "sqlite" else _ServerFollower
    with translated(target), ExitStack() as stack:
        yield kind(engine, target, query, limit, stack)


class _FileFollower:
    """By the numbers of SQLite's rows."""

    def __init__(self, engine: Engine, _: StoreTarget, query: Query, limit: int, stack: ExitStack) -> None:
        self._query = query
        self._connection = stack.enter_context(engine.connect())
        with self._connection.begin():
            self._version = self._data_version()
            self._seen = self._numbers(after=0)
            self.latest = _latest(self._connection, query, limit)

    def new(self) -> Sequence[Call]:
        """The calls that came since the last time."""
        with self._connection.begin():
            version = self._data_version()
            if version == self._version:
                return ()
            self._version = version
            last = self._last()
            later = select(CALLS).where(_after(last), conditions(self._query, "sqlite"))
            found = [call_from_row(row) for row in self._connection.execute(later.order_by(_NUMBER))]
            before = {number: name for number, name in self._seen.items() if number <= last}
            self._seen = dict([*before.items(), *self._numbers(after=last).items()][-_REMEMBERED:])
        return _in_order(found)

    def _last(self) -> int:
        """The highest number that is of the same row as before: rows may be deleted, and their numbers given anew."""
        for number in sorted(self._seen, reverse=True):
            found = self._connection.execute(select(CALLS.c.call_id).where(_NUMBER.in_([number]))).scalar()
            if found == self._seen[number]:
                return number
        highest = self._connection.execute(select(func.max(_NUMBER)).select_from(CALLS)).scalar() or 0
        return 0 if len(self._seen) < _REMEMBERED else highest  # all are gone; with more there is no telling

    def _numbers(self, *, after: int) -> dict[int, str]:
        """The numbers and ids of the newest rows, the oldest of them first."""
        newest = select(_NUMBER, CALLS.c.call_id).where(_after(after)).order_by(_NUMBER.desc()).limit(_REMEMBERED)
        return {int(row[0]): str(row[1]) for row in reversed(self._connection.execute(newest).all())}

    def _data_version(self) -> int:
        return int(self._connection.exec_driver_sql("PRAGMA data_version").scalar_one())


class _ServerFollower:
    """By what a moment has that the moment before had not."""

    def __init__(self, engine: Engine, target: StoreTarget, query: Query, limit: int, stack: ExitStack) -> None:
        self._engine, self._target, self._query = engine, target, query
        self._moment = stack.enter_context(ExitStack())
        self._before = self._moment.enter_context(reading(engine, target))
        self._days = _counts(self._before, None)
        self.latest = _latest(self._before, query, limit)

    def new(self) -> Sequence[Call]:
        """The calls that came since the last time."""
        with ExitStack() as moment:
            now = moment.enter_context(reading(self._engine, self._target))
            days = _counts(now, None)
            added = [name for day in _changed(self._days, days) for name in self._added(now, day, days)]
            found = self._read(now, added)
            with suppress(StoreError):  # the server may have ended it already
                self._moment.close()
            self._moment.push(moment.pop_all())
        self._before, self._days = now, days
        return _in_order(found)

    def _added(self, now: Connection, day: str, days: _Counts) -> Sequence[str]:
        """The ids of the calls of a day that were not there before."""
        try:
            before, hours = _counts(self._before, day), _counts(now, day)
            changed = {hour: (hours[hour][0], _more(before, hours, hour)) for hour in _changed(before, hours)}
            return [name for hour, counts in changed.items() for name in self._added_in(now, hour, *counts)]
        except exc.DBAPIError:  # a server ends a moment that nobody asks for a minute, as behind a pager
            start, more = datetime.fromisoformat(f"{day}T00:00Z"), _more(self._days, days, day)
            newest = _newest_between(start, start + _DAY)
            return now.execute(newest.limit(more)).scalars().all() if more > 0 else ()

    def _added_in(self, now: Connection, hour: str, calls: int, more: int) -> Iterator[str]:
        """The new calls of an hour. Of very many only as many are looked for as there are more: most are its newest."""
        start = datetime.fromisoformat(hour)
        newest, offset, found = _newest_between(start, start + _HOUR), 0, 0
        while page := now.execute(newest.limit(_PAGE).offset(offset)).scalars().all():
            there = select(CALLS.c.call_id).where(CALLS.c.started_at >= start, CALLS.c.call_id.in_(page))
            known = set(self._before.execute(there).scalars())
            added = [name for name in page if name not in known]
            yield from added
            found, offset = found + len(added), offset + _PAGE
            if calls > _MANY and found >= more > 0:
                return

    def _read(self, now: Connection, names: Sequence[str]) -> list[Call]:
        """Those of the calls that the filters match."""
        asked = conditions(self._query, "postgresql")
        statements = (select(CALLS).where(CALLS.c.call_id.in_(chunk), asked) for chunk in chunks(names))
        return [call_from_row(row) for statement in statements for row in now.execute(statement)]


def _after(number: int) -> ColumnElement[bool]:
    return _NUMBER.op(">", is_comparison=True)(number)


def _newest_between(since: datetime, until: datetime) -> Select[Any]:
    """The ids of the calls of a time, the newest first."""
    in_time = (CALLS.c.started_at >= since, CALLS.c.started_at < until)
    return select(CALLS.c.call_id).where(*in_time).order_by(CALLS.c.started_at.desc(), CALLS.c.call_id)


def _counts(connection: Connection, day: str | None) -> _Counts:
    """The calls of each day, or of each hour of one (UTC): how many, and what tells them from others."""
    step: Step = "day" if day is None else "hour"
    kept = NAMES[step].table.c
    statement = select(kept[step], *(kept[name] for name in _TELLING)).where(kept.dimension == ALL)
    if day is not None:
        start = datetime.fromisoformat(f"{day}T00:00Z")
        end = start + _DAY
        statement = statement.where(kept.hour >= moment_in(start, "hour"), kept.hour < moment_in(end, "hour"))
    return {str(row[0]): tuple(row[1:]) for row in connection.execute(statement)}


def _changed(before: _Counts, now: _Counts) -> list[str]:
    return [name for name, counts in now.items() if before.get(name) != counts]


def _more(before: _Counts, now: _Counts, name: str) -> int:
    """How many more calls there are than before."""
    return int(now[name][0] - before.get(name, (0,))[0])


def _latest(connection: Connection, query: Query, limit: int) -> Sequence[Call]:
    return _in_order([call_from_row(row) for row in latest_calls(connection, query, limit, 0)])


def _in_order(calls: Sequence[Call]) -> list[Call]:
    return sorted(calls, key=lambda call: (call.started_at, call.call_id))
