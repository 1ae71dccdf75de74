"""When was each session used, and by which agents? For lists of sessions, beside what their calls add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from langchain_tokens.breakdown import BreakdownRow, make_breakdown, make_row
from langchain_tokens.query import Query
from langchain_tokens.store.breakdowns import read_breakdown, read_groups
from langchain_tokens.store.counting import is_pruned
from langchain_tokens.store.sessions import Span, latest_sessions, spans_of
from langchain_tokens.sums import Sums

__all__ = ("NEWEST", "SessionLine", "read_session_lines")

NEWEST = "last_call_at"
"""The order of sessions by their last call."""
_BY = ("session",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """A session as a list shows it, by those of its calls that were asked for."""

    row: BreakdownRow
    first_call_at: datetime | None
    """Start of its first call, UTC; None where rows of the time were pruned."""
    last_call_at: datetime | None
    """Start of its last call, UTC; None where its rows are gone."""
    agents: Sequence[str] | None
    """Those with the most tokens first; None where rows of the time were pruned."""


def read_session_lines(
    connection: Any, query: Query, *, order: str, limit: int
) -> tuple[Sequence[SessionLine], BreakdownRow]:
    """Some sessions, and what all of them add up to.

    Args:
        connection: one that reads.
        query: which calls.
        order: `NEWEST`, or what makes a session large, as of `read_breakdown`.
        limit: the most sessions.

    """
    if order == NEWEST:
        spans = latest_sessions(connection, query, limit)
        sums = read_groups(connection, replace(query, by=()))[0][1]
        total, rows = make_row({}, sums, sums), _rows_of(connection, query, spans, sums)
    else:
        found = read_breakdown(connection, replace(query, by=_BY), limit=limit, order=order)
        total, rows = found.total, list(found)
        spans = spans_of(connection, query, tuple(_name(row) for row in rows))
    if not rows:
        return (), total
    has_gaps, by_name = is_pruned(connection, query), {span.session: span for span in spans}
    agents = None if has_gaps else _agents(connection, _of_them(query, rows))
    return [_line(row, by_name.get(_name(row)), agents) for row in rows], total


def _line(row: BreakdownRow, span: Span | None, agents: Mapping[str | None, Sequence[str]] | None) -> SessionLine:
    return SessionLine(
        row=row,
        first_call_at=None if span is None or agents is None else span.first_call_at,
        last_call_at=None if span is None else span.last_call_at,
        agents=None if agents is None else agents.get(_name(row), ()),
    )


def _rows_of(connection: Any, query: Query, spans: Sequence[Span], total: Sums) -> list[BreakdownRow]:
    """The sums of some sessions, in their order."""
    if not spans:
        return []
    names = tuple(span.session for span in spans)
    groups = read_groups(connection, replace(query, by=_BY, equals={**query.equals, "session": names}))
    rows = {_name(row): row for row in make_breakdown(_BY, groups, total=total)}
    return [rows[name] for name in names if name in rows]


def _name(row: BreakdownRow) -> str | None:
    name = row.key["session"]
    return None if name is None else str(name)


def _of_them(query: Query, rows: Sequence[BreakdownRow]) -> Query:
    return replace(query, equals={**query.equals, "session": tuple(_name(row) for row in rows)})


def _agents(connection: Any, query: Query) -> Mapping[str | None, Sequence[str]]:
    """The agents of each session, those with the most tokens first."""
    agents: dict[str | None, list[str]] = defaultdict(list)
    for row in read_breakdown(connection, replace(query, by=("session", "agent"))):
        if row.key["agent"] is not None:
            agents[_name(row)].append(str(row.key["agent"]))
    return agents
