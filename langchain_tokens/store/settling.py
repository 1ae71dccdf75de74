"""What was in vain in past hours, days and months? Found out once from the rows, and kept until a call changes it.

Which calls were in vain is told by later calls of their runs, so it cannot be added up as calls come; and to find it
out of millions of rows takes seconds. So whoever asks first settles the whole days of a range and the whole hours at
its ends; months are made of days. Whatever changes calls or runs first deletes the periods that this may touch (see
`unsettling`). On PostgreSQL that also makes the two wait for each other: a period is settled from what is committed,
or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
)

from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading
from langchain_tokens.store.keeping import is_read_only, keep_each
from langchain_tokens.store.periods import (
    FILTERS,
    Part,
    Period,
    PeriodStep,
    Rest,
    calls_by_day,
    known_in,
    parts_of,
    singles,
    stretches,
    unknown,
)
from langchain_tokens.store.plan import moment_in
from langchain_tokens.store.settledtables import SETTLED, SUMMED, WASTE, WHO
from langchain_tokens.store.tables import UtcDateTime
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.store.waste import read_waste

__all__ = ("Looked", "look", "read_settled_waste", "settle", "wrong_waste")

_AT_ONCE = 100_000
"""Calls of which the periods are settled in one transaction, as long as others have to wait."""
_FORMS = 100
"""Statements that are kept."""
_HOURS = 24
_SHORT = timedelta(hours=2)
_NAMES = ("mode", *WHO)
_KEYS = ("step", "since", "kind", *_NAMES)
"""The key of `WASTE`."""
_Key = tuple[Any, ...]
_Numbers = Sequence[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What of a range is settled."""

    parts: Sequence[Part]
    known: frozenset[tuple[str, datetime]]
    """Step and start of the periods that are."""

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing that could be settled."""
        return all((one.step, one.since) in self.known for part in self.parts for one in singles(part))


def look(connection: Connection, query: Query, now: datetime) -> Looked:
    """See what of a range is settled; `now` as that of `settle`."""
    parts = parts_of(connection, query, now)
    return Looked(parts=parts, known=frozenset(known_in(connection, parts)))


def settle(engine: Engine, target: StoreTarget, query: Query, now: datetime) -> None:
    """Find out what is not known of the periods of a range, and keep it; where that cannot be, rows will do.

    Args:
        engine: the database's.
        target: the database, for errors.
        query: its range, and its filters: of most there is nothing that could be kept.
        now: periods end some time before it.

    """
    with reading(engine, target) as connection:
        wanted = [] if is_read_only(connection) else list(_wanted(connection, query, now))
    keep_each(engine, target, wanted, _settle)


def read_settled_waste(
    connection: Connection, query: Query, now: datetime, looked: Looked | None = None
) -> Sequence[Row[Any]]:
    """What `read_waste` finds, from periods that are settled as far as there are any; a group may come several times.

    Args:
        connection: one that reads.
        query: which calls.
        now: as that of `settle`.
        looked: what `look` saw of it in this transaction, if it was asked.

    """
    found: list[Row[Any]] = []
    seen = look(connection, query, now) if looked is None else looked
    for part in stretches(seen.parts, seen.known):
        if isinstance(part, Rest):
            rest = replace(query, since=part.since, until=part.until)
            found += read_waste(connection, rest, is_short=_is_short(part, now))
        else:
            found += _read_kept(connection, query, part)
    return found


def wrong_waste(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where what is settled is not what the rows say: key, column, what is stored, what it should be."""
    width = len(WASTE.columns) - 1 - len(SUMMED)
    noted = select(SETTLED).where(SETTLED.c.step.in_(get_args(PeriodStep))).order_by(SETTLED.c.since)
    for row in connection.execute(noted).all():
        period = Period(step=row.step, since=row.since, until=row.until)
        kept = select(*WASTE.columns[1:]).where(WASTE.c.step == row.step, WASTE.c.since == row.since)
        stored = {tuple(found[:width]): found[width:] for found in connection.execute(kept)}
        derived = _found(connection, period)
        for key in sorted(stored.keys() | derived.keys()):
            shown = f"{WASTE.name} {row.step} {' '.join(str(part) or '-' for part in key)}"
            both = (numbers.get(key, (None,) * len(SUMMED)) for numbers in (stored, derived))
            for column, found, right in zip(SUMMED, *both, strict=True):
                if found != right:
                    yield shown, column, found, right


def _is_short(part: Rest, now: datetime) -> bool:
    return part.since is not None and (part.until or now) - part.since < _SHORT


def _wanted(connection: Connection, query: Query, now: datetime) -> Iterator[Period]:
    """What is to be settled: neighbours together, up to a number of calls; of busy days first the hours."""
    left = unknown(connection, parts_of(connection, query, now))
    if not left:
        return
    counts = calls_by_day(connection, min(one.since for one in left), max(one.until for one in left))
    last: Period | None = None
    calls = 0
    for period in left:
        size = counts.get(moment_in(period.since, "day"), 0)
        is_busy = period.step == "day" and size > _AT_ONCE
        hours = unknown(connection, [replace(period, step="hour")]) if is_busy else []
        for one in (*hours, period):
            more = size // _HOURS if one.step == "hour" else size
            joined = None if last is None or calls + more > _AT_ONCE else _joined(last, one)
            if last is not None and joined is None:
                yield last
            last, calls = (one, more) if joined is None else (joined, calls + more)
    if last is not None:
        yield last


def _joined(one: Period, following: Period) -> Period | None:
    if one.step != following.step or one.until != following.since:
        return None
    return replace(one, until=following.until)


def _settle(connection: Connection, period: Period) -> None:
    """Find out what was in vain in some hours or days, and keep it with them."""
    for table in (SETTLED, WASTE):
        connection.execute(delete(table).where(*_within(period, table)))
    is_made = _add_finer(connection, period)
    if period.step == "month" and not is_made:
        return
    if not is_made and (found := _found(connection, period)):
        names = [column.name for column in WASTE.columns]
        rows = [dict(zip(names, (period.step, *key, *found[key]), strict=True)) for key in found]
        connection.execute(insert(WASTE), rows)
    settled = [{"step": one.step, "since": one.since, "until": one.until} for one in singles(period)]
    connection.execute(insert(SETTLED), settled)


def _add_finer(connection: Connection, period: Period) -> bool:
    """Make months of what is kept of their days, and days of their hours; False where some of these are not settled."""
    if period.step == "hour":
        return False
    finer = replace(period, step="day" if period.step == "month" else "hour")
    if unknown(connection, [finer]):
        return False
    for one in singles(period):
        when: list[ColumnElement[Any]] = [literal(one.step), literal(one.since, UtcDateTime())]
        keys: list[ColumnElement[Any]] = [WASTE.c[name] for name in _KEYS[2:]]
        made = _summed([*when, *keys], _within(replace(finer, since=one.since, until=one.until))).group_by(*keys)
        connection.execute(insert(WASTE).from_select((*_KEYS, *SUMMED), made))
    return True


def _found(connection: Connection, period: Period) -> Mapping[_Key, _Numbers]:
    """What rows say of some hours or days: the sums of `WASTE` by its key, but for the step."""
    found: dict[_Key, _Numbers] = {}
    for row in read_waste(connection, Query(since=period.since, until=period.until), step=period.step):
        at, *names = row[: -1 - len(SUMMED)]
        since = datetime.fromisoformat(f"{at}-01" if period.step == "month" else at)
        key = (since.replace(tzinfo=UTC), row.kind, *names)
        numbers = [None if number is None else int(number) for number in row[-len(SUMMED) :]]
        before = found.get(key)
        found[key] = numbers if before is None else [_plus(*both) for both in zip(before, numbers, strict=True)]
    return found


def _plus(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _read_kept(connection: Connection, query: Query, period: Period) -> Sequence[Row[Any]]:
    """What is kept of some periods, in the columns of `read_waste`."""
    when = {"asked_step": period.step, "asked_since": period.since, "asked_until": period.until}
    allowed = {f"asked_{name}": [value or "" for value in values] for name, values in query.equals.items()}
    return connection.execute(_kept_statement(tuple(query.equals)), {**when, **allowed}).all()


@lru_cache(_FORMS)
def _kept_statement(filters: tuple[str, ...]) -> Select[Any]:
    """To put it together each time would take as long as to run it."""
    kept = WASTE.c
    asked = {name: bindparam(f"asked_{name}", type_=UtcDateTime()) for name in ("since", "until")}
    where = [kept.step == bindparam("asked_step"), kept.since >= asked["since"], kept.since < asked["until"]]
    where += [kept[FILTERS[name]].in_(bindparam(f"asked_{name}", expanding=True)) for name in filters]
    keys = [*(func.nullif(kept[name], "").label(name) for name in WHO), kept.kind]
    return _summed(keys, where).group_by(*(kept[name] for name in (*WHO, "kind")))


def _within(period: Period, table: Table = WASTE) -> list[ColumnElement[bool]]:
    kept = table.c
    return [kept.step == period.step, kept.since >= period.since, kept.since < period.until]


def _summed(keys: Sequence[ColumnElement[Any]], where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    sums = [cast(func.sum(WASTE.c[name]), BigInteger).label(name) for name in SUMMED]  # PostgreSQL's are numeric
    return select(*keys, *sums).where(*where)
