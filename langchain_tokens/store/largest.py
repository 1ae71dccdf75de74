"""Which runs have the most tokens, or cost? Those with the most of all time are gone through until none can have more.

A run's row has the sums of all its calls, and from when to when they started. Where all of that lies in the range that
is asked for, the row's sums are the answer; else the rows of its calls are asked, and what they add up to is at most
what the run's row says. So whoever is beyond the last that is looked at has no more than that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal, or_, select, true, tuple_

from langchain_tokens.query import Query
from langchain_tokens.store.counting import count_calls
from langchain_tokens.store.sums import sums_statement
from langchain_tokens.store.tables import RUNS

__all__ = ("RANKS", "Size", "is_of_runs", "largest_runs", "ordered")

_FEW = 20_000
"""Calls in a range that are added up as fast as runs are gone through for those that belong to it."""
_PAGE = 100
RANKS = ("total_tokens", "total_cost")
"""The sums that runs, and names, can be ordered by: an index has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What of a run, or of a name, lies in the range."""

    name: str | None
    amount: int | None
    """Of what they are ordered by."""
    calls: int
    sums: tuple[Any, ...] = ()
    """What an answer says of it."""

    @property
    def rank(self) -> tuple[bool, int, int]:
        """What they are ordered by: known amounts first."""
        return (self.amount is not None, self.amount or 0, self.calls)


def is_of_runs(query: Query) -> bool:
    """Whether a question is one for `largest_runs`: about runs, of any time, without other filters."""
    return query.by == ("run",) and not query.equals and not query.tags


def largest_runs(connection: Connection, query: Query, limit: int, rank: str = "total_tokens") -> Sequence[Any]:
    """The runs with the most of a sum in a range, the largest first; those that do not know it come last.

    Args:
        connection: one that reads.
        query: which range.
        limit: the most runs.
        rank: one of `RANKS`.

    """
    if limit == 0:
        return ()
    if _are_few(connection, query):
        return [size.name for size in ordered(_from_calls(connection, query, rank), limit)]
    sizes: list[Size] = []
    for page in chain.from_iterable(_pages(connection, query, rank, is_known=is_known) for is_known in (True, False)):
        sizes = ordered([*sizes, *_sizes(connection, query, page, rank)], limit)
        if len(sizes) == limit and sizes[-1].rank >= _whole(page[-1]).rank:
            break
    return [size.name for size in sizes]


def _are_few(connection: Connection, query: Query) -> bool:
    if query.since is None and query.until is None:
        return False
    return count_calls(connection, replace(query, by=())) <= _FEW


def _pages(connection: Connection, query: Query, rank: str, *, is_known: bool) -> Iterator[Sequence[Any]]:
    """Runs that may have calls in the range, by their amount, or those that know none by their calls."""
    kept = RUNS.c
    where = [kept.calls > 0, kept[rank].is_not(None) if is_known else kept[rank].is_(None)]
    if query.since is not None:
        where.append(or_(kept.last_call_at.is_(None), kept.last_call_at >= query.since))
    if query.until is not None:
        where.append(or_(kept.first_call_at.is_(None), kept.first_call_at < query.until))
    order = (kept[rank], kept.calls, kept.run_id)
    names = ("amount", "calls", "run_id")
    labelled = [column.label(name) for column, name in zip(order, names, strict=True)]
    statement = select(*labelled, kept.first_call_at, kept.last_call_at).where(*where)
    statement = statement.order_by(*(column.desc() for column in order)).limit(_PAGE)
    after: ColumnElement[bool] = true()
    while page := connection.execute(statement.where(after)).all():
        yield page
        if len(page) < _PAGE:
            return
        first = 0 if is_known else 1
        bounds = [literal(value, column.type) for value, column in zip(page[-1][first:3], order[first:], strict=True)]
        after = tuple_(*order[first:]) < tuple_(*bounds)


def _sizes(connection: Connection, query: Query, page: Sequence[Any], rank: str) -> Iterator[Size]:
    """What of some runs lies in the range."""
    cut: list[str] = []
    for row in page:
        if _is_within(row, query):
            yield _whole(row)
        else:
            cut.append(row.run_id)
    if cut:
        yield from _from_calls(connection, replace(query, equals={"run": tuple(cut)}), rank)


def _is_within(row: Any, query: Query) -> bool:
    """Whether all calls of a run are known to lie in the range."""
    begins = query.since is None or (row.first_call_at is not None and row.first_call_at >= query.since)
    return begins and (query.until is None or (row.last_call_at is not None and row.last_call_at < query.until))


def _whole(row: Any) -> Size:
    return Size(name=row.run_id, amount=row.amount, calls=row.calls)


def _from_calls(connection: Connection, query: Query, rank: str) -> Iterator[Size]:
    for run_id, calls, amount in connection.execute(sums_statement(query, connection.dialect.name, ("calls", rank))):
        yield Size(name=run_id, amount=None if amount is None else int(amount), calls=calls)


def ordered(sizes: Iterable[Size], limit: int) -> list[Size]:
    """The largest, the largest first; equals as they come."""
    return sorted(sizes, key=attrgetter("rank"), reverse=True)[:limit]
