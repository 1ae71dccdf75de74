"""What did past days, weeks and months of a zone come to? Kept when somebody asks, until a call changes it.

They are made of many hours, and where a zone is half an hour off, of rows; so to add up half a year of them takes as
long as to read some hundred thousand calls. Like what `settling` keeps, a step is noted in `usage_settled`, from where
whatever changes calls deletes it first; on PostgreSQL that also makes the two wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, tuple_

from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.keeping import is_read_only, keep_each
from langchain_tokens.store.localranges import all_steps, steps_in_range, without_time
from langchain_tokens.store.manysums import read_ranges
from langchain_tokens.store.periods import last_end, pays
from langchain_tokens.store.rolluptables import ALL, MANY, NAMED
from langchain_tokens.store.settledtables import LOCAL, SETTLED
from langchain_tokens.store.sums import SUMS
from langchain_tokens.store.target import StoreTarget

__all__ = ("Kept", "keep", "kept_sums", "read_kept", "wrong_local")

_AT_ONCE = 40
"""Steps that are kept in one transaction, as long as others have to wait."""
Range = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of some ranges."""

    places: frozenset[int]
    """The places of those of which all is."""
    groups: Mapping[tuple[Any, ...], Sequence[Any]]
    """A range's place and the question's dimensions → all sums, in the order of `SUMS`."""


def keep(engine: Engine, target: StoreTarget, query: Query, now: datetime) -> None:
    """Find out what past steps of a question come to, and keep it; where that cannot be, they are added up each time.

    Args:
        engine: the database's.
        target: the database, for errors.
        query: groups by parts of time in a zone.
        now: steps end some time before it.

    """
    dimension = _dimension(query)
    if dimension is None:
        return
    with reading(engine, target) as connection:
        wanted = [] if is_read_only(connection) else _wanted(connection, query, dimension, now)
    keep_each(engine, target, chunks(wanted, _AT_ONCE), partial(_keep, dimension))


def read_kept(connection: Connection, query: Query, ranges: Sequence[Range]) -> Kept:
    """What is kept of the ranges of a question's steps."""
    dimension = _dimension(query)
    if dimension is None or not ranges:
        return Kept(places=frozenset(), groups={})
    places = {(_step(dimension, span), span[0]): place for place, span in enumerate(ranges)}
    known = _known(connection, dimension, ranges) & places.keys()
    groups: dict[tuple[Any, ...], Sequence[Any]] = {}
    columns = [LOCAL.c[name] for name in ("step", "since", "name", *SUMS)]
    for some in chunks(sorted(known)):  # named one by one: days of other zones lie between them
        of_them = LOCAL.c.step.in_({step for step, _ in some}), LOCAL.c.since.in_([since for _, since in some])
        for step, since, name, *sums in connection.execute(select(*columns).where(*of_them)):
            if (step, since) in known:
                key = () if dimension == ALL else (int(name) if dimension == "attempt" else name or None,)
                groups[(places[step, since], *key)] = sums
    return Kept(places=frozenset(places[one] for one in known), groups=groups)


def wrong_local(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where what is kept is not what the sums and the rows say: key, column, what is stored, what it should be."""
    for dimension in (ALL, *NAMED):
        marked = select(SETTLED.c.since, SETTLED.c.until).where(
            SETTLED.c.step.startswith(f"{dimension} ", autoescape=True)
        )
        ranges: list[Range] = [(row.since, row.until) for row in connection.execute(marked.order_by(SETTLED.c.since))]
        query = Query(by=("day", *(() if dimension == ALL else (dimension,))))
        kept = read_kept(connection, query, ranges).groups
        right = read_ranges(connection, without_time(query), ranges)
        for key in sorted(kept.keys() | right.keys(), key=str):
            since, until = ranges[key[0]]
            name = key[-1] if dimension != ALL and key[-1] else "-"
            shown = f"{LOCAL.name} {dimension} {since:%Y-%m-%dT%H:%MZ}/{until:%Y-%m-%dT%H:%MZ} {name}"
            both = (groups.get(key, (None,) * len(SUMS)) for groups in (kept, right))
            for column, found, should in zip(SUMS, *both, strict=True):
                if found != (None if should is None else int(should)):
                    yield shown, column, found, should


def _dimension(query: Query) -> str | None:
    """The one dimension of a question of which steps are kept; `all` for none, None where none are kept."""
    names = without_time(query).by
    if query.equals or query.tags or "hour" in query.by or len(names) > 1:
        return None
    dimension = names[0] if names else ALL
    return dimension if dimension == ALL or (dimension in NAMED and dimension not in MANY) else None


def _step(dimension: str, span: Range) -> str:
    """What a range is called in `usage_settled`: two may begin with the same moment."""
    return f"{dimension} {(span[1] - span[0]) // timedelta(seconds=1)}s"


def _wanted(connection: Connection, query: Query, dimension: str, now: datetime) -> list[Range]:
    """The steps that are over, wholly in the range and not kept; none where little could be gained."""
    steps = steps_in_range(connection, query, all_steps(connection, query))
    over = [
        (step.since, step.until)
        for step in steps
        if step.until <= last_end(now)
        and (query.since is None or step.since > query.since)
        and (query.until is None or step.until < query.until)
    ]
    if not over or not pays(connection, over[0][0], over[-1][1]):
        return []
    known = _known(connection, dimension, over)
    return [span for span in over if (_step(dimension, span), span[0]) not in known]


def _known(connection: Connection, dimension: str, ranges: Sequence[Range]) -> set[tuple[str, datetime]]:
    """Of which ranges all is kept: what they are called, and when they begin."""
    found: set[tuple[str, datetime]] = set()
    for some in chunks(ranges):
        steps = {_step(dimension, span) for span in some}
        noted = select(SETTLED.c.step, SETTLED.c.since).where(SETTLED.c.step.in_(steps))
        these = connection.execute(noted.where(SETTLED.c.since.in_([since for since, _ in some])))
        found |= {(row.step, row.since) for row in these}
    return found


def _keep(dimension: str, connection: Connection, ranges: Sequence[Range]) -> None:
    """Find out what some steps come to, and keep it with them."""
    these = [(_step(dimension, span), span[0]) for span in ranges]
    for table in (SETTLED, LOCAL):
        connection.execute(delete(table).where(tuple_(table.c.step, table.c.since).in_(these)))
    found = read_ranges(connection, Query(by=() if dimension == ALL else (dimension,)), ranges)
    rows = [
        {"step": these[place][0], "since": these[place][1], **kept_sums(numbers, *key)}
        for (place, *key), numbers in found.items()
    ]
    if rows:
        connection.execute(insert(LOCAL), rows)
    noted = [
        {"step": step, "since": since, "until": span[1]} for (step, since), span in zip(these, ranges, strict=True)
    ]
    connection.execute(insert(SETTLED), noted)


def kept_sums(numbers: Sequence[Any], name: object = None) -> dict[str, Any]:
    """A name and its sums, in the order of `SUMS`, as a row of `usage_local` has them.

    A missing name is the empty text there; an attempt is a number there is, also as 0. PostgreSQL's sums are numeric.
    """
    whole = {of: None if number is None else int(number) for of, number in zip(SUMS, numbers, strict=True)}
    return {"name": "" if name is None else str(name), **whole}
