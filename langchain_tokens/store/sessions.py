"""Which sessions were used last, and when; and which run does the beginning of an id mean? The newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from langchain_tokens.names import checked_text
from langchain_tokens.query import Query
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS

__all__ = ("Span", "latest_sessions", "runs_like", "spans_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When a session was used, by those of its calls that were asked for."""

    session: str | None
    first_call_at: datetime
    """Start of its first call, UTC."""
    last_call_at: datetime
    """Start of its last call, UTC."""


def latest_sessions(connection: Connection, query: Query, limit: int) -> Sequence[Span]:
    """The sessions of the calls that a query's filters match, the one with the newest call first."""
    return spans_of(connection, query, tuple(_latest_names(connection, query, limit)))


def spans_of(connection: Connection, query: Query, names: tuple[str | None, ...]) -> Sequence[Span]:
    """The same of some sessions, in their order; none of those without such a call."""
    if not names:
        return ()
    session, moment = CALLS.c.session_id, CALLS.c.started_at
    of_them = conditions(replace(query, equals={**query.equals, "session": names}), connection.dialect.name)
    statement = select(session, func.min(moment), func.max(moment)).where(of_them).group_by(session)
    found = {name: (first, last) for name, first, last in connection.execute(statement)}
    return [
        Span(session=name, first_call_at=found[name][0], last_call_at=found[name][1]) for name in names if name in found
    ]


def _latest_names(connection: Connection, query: Query, limit: int) -> dict[str | None, None]:
    """Read calls, the newest first, until there are enough sessions."""
    names: dict[str | None, None] = {}
    asked = conditions(query, connection.dialect.name)
    statement = select(CALLS.c.session_id).where(asked).order_by(CALLS.c.started_at.desc(), CALLS.c.call_id)
    with connection.execute(statement, execution_options={"stream_results": True}) as rows:
        for name in rows.scalars() if limit else ():
            names[name] = None
            if len(names) == limit:
                break
    return names


def runs_like(connection: Connection, start: str, limit: int) -> Sequence[Row[Any]]:
    """The rows of the runs whose id begins so, the newest first; the one whose id it is comes alone.

    Raises:
        TokensError: for what is no text.

    """
    start = checked_text("start", start)
    exact = connection.execute(select(RUNS).where(RUNS.c.run_id == start, IS_TOLD)).all()
    if exact or not start:
        return exact
    like = select(RUNS).where(func.substr(RUNS.c.run_id, 1, len(start)) == start, IS_TOLD)
    return connection.execute(like.order_by(RUNS.c.started_at.desc(), RUNS.c.run_id).limit(limit)).all()
