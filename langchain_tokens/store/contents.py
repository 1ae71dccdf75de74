"""What was said in calls? A table of its own, which is empty unless somebody asked for it, and may be emptied alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Text, and_, bindparam, case, cast, delete, exists, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.names import checked_text
from langchain_tokens.said import CallContent, ContentFact
from langchain_tokens.store.engine import reading
from langchain_tokens.store.plan import floor_of
from langchain_tokens.store.schema import storing
from langchain_tokens.store.tables import CALLS, CONTENTS
from langchain_tokens.store.target import StoreTarget

__all__ = (
    "PrunedContent",
    "calls_said_like",
    "has_contents",
    "orphans",
    "prune_contents",
    "read_content",
    "write_contents",
)

_CHUNK = 100
_DAY = timedelta(days=1)
_BY_ID = attrgetter("call_id")
_GIVEN = tuple(item.name for item in fields(ContentFact))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedContent:
    """Of which calls a prune deleted what was said in them, or would."""

    before: datetime
    """The cut, a midnight in UTC: what was said in calls that started before it goes."""
    contents: int
    """How many calls had any."""


def write_contents(connection: Connection, contents: Sequence[ContentFact]) -> None:
    """Write what was said in calls that are stored. What is stored stays, but for what a later record of the call knows
    better; so it may come twice, and in any order.
    """
    rows = [{f"a_{name}": getattr(fact, name) for name in _GIVEN} for fact in sorted(contents, key=_BY_ID)]
    statement = _writing(connection.dialect.name)
    for start in range(0, len(rows), _CHUNK):
        connection.execute(statement, rows[start : start + _CHUNK])


def read_content(connection: Connection, call_id: str) -> CallContent | None:
    """What was said in a call; None where nothing is kept of it.

    Raises:
        TokensError: for what is no text.

    """
    found = connection.execute(select(CONTENTS).where(CONTENTS.c.call_id == checked_text("call_id", call_id))).first()
    if found is None:
        return None
    return CallContent(
        call_id=found.call_id,
        started_at=found.started_at,
        messages=tuple(found.messages or ()),
        answer=found.answer,
        messages_cut=found.messages_cut,
        answer_cut=found.answer_cut,
    )


def calls_said_like(connection: Connection, start: str, limit: int) -> Sequence[str]:
    """The ids of calls of which it is kept what was said, and that begin so, the newest first; a whole one is alone."""
    ids = CONTENTS.c.call_id
    exact = connection.execute(select(ids).where(ids == start)).scalars().all()
    if exact:
        return exact
    like = select(ids).where(func.substr(ids, 1, len(start)) == start)
    return connection.execute(like.order_by(CONTENTS.c.started_at.desc(), ids).limit(limit)).scalars().all()


def has_contents(connection: Connection) -> bool:
    """Whether there is any."""
    return bool(connection.execute(select(exists(select(CONTENTS.c.call_id)))).scalar())


def orphans(connection: Connection) -> Sequence[str]:
    """The calls that are not stored, while what was said in them is."""
    is_stored = exists(select(CALLS.c.call_id).where(CALLS.c.call_id == CONTENTS.c.call_id))
    return connection.execute(select(CONTENTS.c.call_id).where(~is_stored).order_by(CONTENTS.c.call_id)).scalars().all()


def prune_contents(engine: Engine, target: StoreTarget, cut: datetime, *, dry_run: bool) -> PrunedContent:
    """Delete what was said in calls that started before a moment, a day in each transaction; the calls stay."""
    old, deleted = CONTENTS.c.started_at < cut, 0
    with reading(engine, target, is_long=True) as connection:
        count = connection.execute(select(func.count()).select_from(CONTENTS).where(old)).scalar_one()
    while count and not dry_run:
        with storing(engine, target, is_long=True) as connection:
            first = connection.execute(select(func.min(CONTENTS.c.started_at)).where(old)).scalar()
            if first is None:
                break
            until = min(floor_of(first, "day") + _DAY, cut)
            deleted += connection.execute(delete(CONTENTS).where(CONTENTS.c.started_at < until)).rowcount
    return PrunedContent(before=cut, contents=count if dry_run else deleted)


@cache
def _writing(dialect: str) -> Any:
    """The statement that writes one, with the start of its call; of one that is not stored (any more), nothing."""
    into = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(CONTENTS)
    given = {name: _given(CONTENTS.c[name], dialect) for name in _GIVEN}
    of_call = select(CALLS.c.started_at, *given.values()).where(CALLS.c.call_id == given["call_id"])
    new, there = into.excluded, CONTENTS.c
    is_later = and_(new.revision > there.revision, new.answer.is_not(None))
    return into.from_select(["started_at", *given], of_call).on_conflict_do_update(
        index_elements=[there.call_id],
        set_={
            "messages": func.coalesce(there.messages, new.messages),
            "messages_cut": or_(there.messages_cut, new.messages_cut),
            "answer": case((is_later, new.answer), else_=there.answer),
            "answer_cut": case((is_later, new.answer_cut), else_=there.answer_cut),
            "revision": case((is_later, new.revision), else_=there.revision),
        },
        where=new.revision != there.revision,
    )


def _given(column: Any, dialect: str) -> Any:
    """What is given for a column; JSON as the text that it is already."""
    if not isinstance(column.type, JSON):
        return bindparam(f"a_{column.name}", type_=column.type)
    text = bindparam(f"a_{column.name}", type_=Text())
    return text if dialect == "sqlite" else cast(text, JSON)
