"""What is stored? `UsageStore`: the read side that every report uses, and the one way in.

What changes a database is loaded when it is first used: who only reads starts in a third less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Engine

from langchain_tokens.breakdown import Breakdown
from langchain_tokens.call import Call, RunFact
from langchain_tokens.errors import QueryError
from langchain_tokens.notebook import overview_html
from langchain_tokens.query import Query, make_query
from langchain_tokens.run import Run
from langchain_tokens.store.breakdowns import check_order, keep_past, read_breakdown, read_groups
from langchain_tokens.store.engine import reading
from langchain_tokens.store.exchange import Exchange
from langchain_tokens.store.keptnames import keep_names, unkept
from langchain_tokens.store.latest import latest_calls, read_calls
from langchain_tokens.store.latestruns import latest_runs
from langchain_tokens.store.opener import Opener
from langchain_tokens.store.ordering import NUMBERS, calls_by
from langchain_tokens.store.rows import call_from_row, fact_from_row
from langchain_tokens.store.saying import Saying
from langchain_tokens.store.schema import storing
from langchain_tokens.store.sessions import Span, latest_sessions, runs_like
from langchain_tokens.store.storedruns import StoredRun
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.sums import Sums
from langchain_tokens.zones import STEPS

if TYPE_CHECKING:
    from langchain_tokens.checking import Check
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.repricing import Repricing
    from langchain_tokens.said import ContentFact
    from langchain_tokens.savings import Savings
    from langchain_tokens.store.following import Follower
    from langchain_tokens.store.pruning import Pruned

__all__ = ("UsageStore",)

_BY_TIME = ("-started_at", "started_at")
_LARGEST = 2**63 - 1
"""What a database counts to."""
_ORDERS: Mapping[str, Column[Any]] = {"started_at": CALLS.c.started_at, **NUMBERS}


class UsageStore(Exchange, Saying):
    """Everything that was recorded in one database.

    Thread-safe. The database is opened, and its schema made where there is none, at the first use. All filters are
    those of `breakdown`: `since` and `until` (aware datetime, date, timedelta, or text such as `7d`, `24h`,
    `2026-11-01`), and by equality or a list `session, run, mode, agent, chain, model, provider, user, status, tags`.

    Every method raises `QueryError` for a question that cannot be asked, and `StoreError` when the database fails.
    """

    def __init__(self, target: StoreTarget, *, before_read: Callable[[], object] | None = None) -> None:
        self.target = target
        self._before_read = before_read
        self._prices: PriceBook | None = None
        self._opener = Opener(target)

    def __repr__(self) -> str:
        return f"<UsageStore {self.target}>"

    def _repr_html_(self) -> str:
        return overview_html(repr(self), self.breakdown, self.timeline)

    def breakdown(self, *by: str, limit: int | None = None, order: str = "total_tokens", **filters: Any) -> Breakdown:
        """Sums by dimension, largest first: `store.breakdown("chain", "model", since="7d")`.

        Args:
            by: any of `session run mode agent chain path model provider user status attempt hour day week month`, or
                `tag:KEY`; none gives the total only. Hours and so on are those of `tz`.
            limit: the most rows; the total is that of all.
            order: what makes a row large: `total_tokens`, `cost_usd`, `calls` or `duration_ms`; unknown comes last.
            filters: which calls count.

        """
        query = make_query(by, filters)
        check_order(order)
        if limit is not None:
            _check_page(limit, 0)
        keep_past(self._engine(), self.target, query)
        with self._reading() as connection:
            found = read_breakdown(connection, query, limit=limit, order=order)
            past = None if limit is None else unkept(connection, query)
        if past is not None:
            keep_names(self._engine(), self.target, query.by[0], past)
        return found

    def timeline(self, every: str = "day", *, by: str | None = None, **filters: Any) -> Breakdown:
        """Sums for each hour, day, week or month, oldest first, optionally split by one more dimension.

        They are those of the time zone `tz` (UTC by default): `store.timeline("day", tz="Asia/Kolkata", since="mtd")`.
        Weeks begin on Monday (ISO 8601).
        """
        if every not in STEPS:
            raise QueryError(f"unknown step {every!r} of a timeline; allowed: {', '.join(STEPS)}")
        query = make_query((every, *([by] if by is not None else [])), filters)
        keep_past(self._engine(), self.target, query)
        with self._reading() as connection:
            return read_breakdown(connection, query, in_time_order=True)

    def sessions(self, *, limit: int | None = None, **filters: Any) -> Breakdown:
        """Sums for each session, largest first; `limit` is the most rows, the total is that of all."""
        return self.breakdown("session", limit=limit, **filters)

    def calls(self, *, limit: int = 100, offset: int = 0, order: str = "-started_at", **filters: Any) -> Sequence[Call]:
        """Single calls, newest first unless `order` (started_at, duration_ms, total_tokens, cost_usd; `-` turns it
        round) says otherwise; those that were pruned are gone from here.
        """
        query, direction = make_query((), filters), _direction(order)
        _check_page(limit, offset)
        with self._reading() as connection:
            if order in _BY_TIME:
                rows = latest_calls(connection, query, limit, offset, newest=order == _BY_TIME[0])
            elif offset == 0:
                rows = calls_by(connection, query, order.removeprefix("-"), limit, largest=order.startswith("-"))
            else:
                rows = read_calls(connection, query, (direction, CALLS.c.call_id), limit, offset)
        return [call_from_row(row) for row in rows]

    def runs(self, *, limit: int = 100, offset: int = 0, **filters: Any) -> Sequence[Run]:
        """Runs, newest first. `status` is the run's own; `agent`, `chain`, `model` and `provider` ask for runs with
        such a call.
        """
        query = make_query((), filters)
        _check_page(limit, offset)
        with self._reading() as connection:
            rows = latest_runs(connection, query, limit, offset)
        return [Run(StoredRun(self, fact_from_row(row))) for row in rows]

    def find_runs(self, start: str, *, limit: int = 10) -> Sequence[Run]:
        """The runs whose id begins so; one whose id is the text itself is the only one."""
        _check_page(limit, 0)
        with self._reading() as connection:
            rows = runs_like(connection, start, limit)
        return [Run(StoredRun(self, fact_from_row(row))) for row in rows]

    def spans(self, *sessions: str | None, limit: int = 100, **filters: Any) -> Sequence[Span]:
        """When sessions were used, the one with the newest call first; with names, those only."""
        query = make_query((), {"session": list(sessions) or None, **filters})
        _check_page(limit, 0)
        with self._reading() as connection:
            return latest_sessions(connection, query, limit)

    @contextmanager
    def following(self, *, limit: int = 10, **filters: Any) -> Iterator[Follower]:
        """See calls as they are stored, by any process, each once; `limit` is how many of the newest to begin with.

        with store.following(agent="coder") as follower:
            print(follower.latest, follower.new())
        """
        from langchain_tokens.store.following import following

        query = make_query((), filters)
        _check_page(limit, 0)
        with following(self._ready(), self.target, query, limit) as follower:
            yield follower

    def delete(self, **filters: Any) -> int:
        """Delete the calls that the filters match, and runs that have no call left; everything: `until="2100-01-01"`.

        Of sums that a prune kept, a range takes those of its whole hours away, a session or a user their names. Says
        how many calls were deleted; without a filter it is a `QueryError`.
        """
        from langchain_tokens.store.retention import delete

        query = make_query((), filters)
        if query == Query():
            raise QueryError("delete() needs at least one filter, such as session='s1' or until='2026-01-01'")
        with storing(self._ready(), self.target, is_long=True) as connection:
            return delete(connection, query)

    def prune(
        self, older_than: Any, *, keep_rollups: bool = True, export: str | Path | None = None, dry_run: bool = False
    ) -> Pruned:
        """Delete calls, and runs without later calls, that started before a midnight (UTC); day by day.

        Args:
            older_than: as `since`, such as `90d`; the last midnight at or before it is the cut.
            keep_rollups: keep the sums of that time. A question that they cannot answer, of a range that reaches before
                the cut, then is a `QueryError`: the rows that are left would say too little.
            export: a Parquet file for the calls, as of `export`. Each day's are on the disk before they are deleted, at
                first in `FILE.parts`; after a failure the same prune goes on from there.
            dry_run: only say what would be deleted.

        """
        from langchain_tokens.store.pruning import midnight_before, prune

        cut = midnight_before(older_than)
        return prune(self._ready(), self.target, cut, keeps_sums=keep_rollups, export=export, dry_run=dry_run)

    def reprice(
        self,
        *,
        prices: PriceBook | None = None,
        at: str | datetime = "call",
        as_model: str | None = None,
        as_provider: str | None = None,
        write: bool = False,
        overwrite: bool = False,
        reason: str | None = None,
        **filters: Any,
    ) -> Repricing:
        """Price stored calls again, and say what changes; nothing is written unless asked.

        Args:
            prices: the price book; None is the handler's own for `handler.store`, else the usual one.
            at: prices of which time: `"call"` (each call's own start), `"now"`, or an aware datetime.
            as_model: what if this model had served the calls? An estimate, never written; so is another time.
            as_provider: likewise another provider.
            write: write costs where there were none.
            overwrite: with `write`, also replace costs, which are kept as revisions beside the call.
            reason: kept with the revisions.
            filters: which calls.

        """
        from langchain_tokens.repricing import Terms, reprice, usual_prices

        terms = Terms(
            at=at, as_model=as_model, as_provider=as_provider, write=write, overwrite=overwrite, reason=reason
        )
        return reprice(self, usual_prices(prices or self._prices).price, terms, filters)

    def savings(self, *, prices: PriceBook | None = None, top: int = 3, **filters: Any) -> Savings:
        """What these calls would have cost on cheaper models of the same provider; an estimate.

        Args:
            prices: the price book; None is the handler's own for `handler.store`, else the usual one.
            top: how many other models for each that was used, the cheapest of them.
            filters: which calls.

        """
        from langchain_tokens.repricing import usual_prices
        from langchain_tokens.savings import savings

        return savings(self, usual_prices(prices or self._prices), top, filters)

    def check(self, **filters: Any) -> Check:
        """Derive what is stored again (counts from raw usage, sums from their parts), and report each difference."""
        from langchain_tokens.checking import check

        return check(self, filters)

    def batches(self, query: Query, size: int) -> Iterator[list[Call]]:
        """All calls that a query's filters match, batch by batch in the order of their ids."""
        from langchain_tokens.store.revisions import read_batch

        last = ""
        while True:
            with self._reading() as connection:
                batch = read_batch(connection, query, last, size)
            if not batch:
                return
            yield batch
            last = batch[-1].call_id

    def change_costs(self, changes: Sequence[tuple[Call, Call]], reason: str | None = None) -> int:
        """Replace costs, keeping the old ones as revisions.

        Args:
            changes: each call as it is stored, and as it is priced now.
            reason: why.

        Returns:
            How many were replaced; a call that changed in the meantime is left alone.

        """
        from langchain_tokens.store.revisions import change_costs

        with storing(self._engine(), self.target) as connection:
            return change_costs(connection, changes, reason)

    def revisions(self, call_id: str) -> Sequence[Mapping[str, Any]]:
        """What a call had cost before, oldest first; amounts in US dollars."""
        from langchain_tokens.store.revisions import read_revisions

        with self._reading() as connection:
            return read_revisions(connection, call_id)

    def wrong_totals(self) -> Sequence[tuple[str, str, Any, Any]]:
        """Where a run's row says another total than its calls: run, column, what is stored, what it should be."""
        from langchain_tokens.store.revisions import wrong_totals

        with self._reading(is_long=True) as connection:
            return list(wrong_totals(connection))

    def wrong_rollups(self) -> Sequence[tuple[str, str, Any, Any]]:
        """Where sums that are kept are not those of the rows: which, column, what is stored, what it should be."""
        from langchain_tokens.store.retention import wrong_sums

        with self._reading(is_long=True) as connection:
            return list(wrong_sums(connection))

    def rebuild_rollups(self) -> int:
        """Derive all sums that are kept beside the rows again, and say how many numbers were not those of the rows."""
        from langchain_tokens.store.retention import rebuild

        with storing(self._ready(), self.target, is_long=True) as connection:
            return rebuild(connection)

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Store a batch in one transaction; what is stored already stays as it is, so a batch may come twice.

        Args:
            calls: facts; one with a higher `revision` corrects the one that is stored.
            runs: facts about root runs; each completes what is stored of its run.
            contents: what was said in these calls, or in others that are stored.

        """
        from langchain_tokens.store.writes import write_batch

        with storing(self._engine(), self.target) as connection:
            write_batch(connection, calls, runs, contents)

    @property
    def identity(self) -> object:
        """Equal for all stores on one database: a URL, or for a database in memory what holds it."""
        return self._opener if self.target.is_memory else self.target.url

    def reading_after(self, before_read: Callable[[], object], prices: PriceBook | None = None) -> UsageStore:
        """The same store, whose reads first let a writer finish, with the prices that the writer goes by.

        What writing needs is loaded now, so that the writer's thread has nothing to load beside the host's.
        """
        import langchain_tokens.store.writes  # noqa: F401

        twin = copy(self)
        twin._before_read, twin._prices = before_read, prices
        return twin

    def close(self) -> None:
        """Close the database's connections; a later use opens them again."""
        self._opener.close()

    def forget_after_fork(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        self._opener.forget_after_fork()

    def _sums(self, query: Query) -> list[tuple[tuple[Any, ...], Sums]]:
        with self._reading() as connection:
            return list(read_groups(connection, query))

    @property
    def _dialect(self) -> str:
        return self._opener.dialect

    def _reading(self, *, is_long: bool = False) -> Any:
        return reading(self._ready(), self.target, is_long=is_long)

    def _ready(self) -> Engine:
        if self._before_read is not None:
            self._before_read()
        return self._engine()

    def _engine(self) -> Engine:
        return self._opener.engine()


def _direction(order: object) -> ColumnElement[Any]:
    column = _ORDERS.get(order.removeprefix("-")) if isinstance(order, str) else None
    if column is None:
        raise QueryError(f"unknown order {order!r}; allowed: {', '.join(_ORDERS)}, each with - for largest first")
    return column.desc().nulls_last() if str(order).startswith("-") else column.asc().nulls_last()


def _check_page(limit: object, offset: object) -> None:
    for name, number in (("limit", limit), ("offset", offset)):
        if type(number) is not int or not 0 <= number <= _LARGEST:
            raise QueryError(f"{name}={number!r} is a {type(number).__name__}; expected a whole number from 0 on")
