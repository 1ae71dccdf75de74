"""What becomes of sums whose rows are gone? They stay, until they are dropped by the hour, or lose a name.

Sums by hour are the finest. What depends on them (sums of days, of months and of all time) is derived again as far as
they change, so that a check finds each table to be that of the finer one. Meanwhile no calls may come: `lock_writers`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, text

from langchain_tokens.store.facts import MANY_KEYS, Numbers, added_up, numbers_of, read_facts
from langchain_tokens.store.forgetting import forget
from langchain_tokens.store.measures import rollup_sums
from langchain_tokens.store.rolluptables import CALLERS, CUBES, LAST_DAY, MANY, NAMED, NAMES, STATE, SUMMED, Rollup
from langchain_tokens.store.sending import send_all
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.upserts import adding_statements, drop_empty

__all__ = ("drop_sums", "first_sum", "forget_names", "lock_maintenance", "lock_writers")

_DAY, _MONTH = 10, 7
_LENGTHS = {"day": _DAY, "month": _MONTH}
_FIRST_HOUR, _LAST_HOUR = "T00:00Z", "T23:00Z"
_FIRST_DAY, _LAST_DAY = "-01", "-31"


def lock_maintenance(connection: Connection) -> None:
    """Wait for others that delete rows or derive sums again, and keep them out until the transaction ends.

    First of all in a transaction; SQLite's lock does it by itself.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {STATE.name} IN EXCLUSIVE MODE"))


def lock_writers(connection: Connection) -> None:
    """Wait for those who write calls, and keep them out until the transaction ends; others may read.

    Before the transaction writes anything; SQLite's lock does it by itself.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {CALLS.name} IN SHARE ROW EXCLUSIVE MODE"))


def first_sum(connection: Connection, since: str | None, until: str) -> str | None:
    """The first hour that has sums, of those from one hour on until before another."""
    hours = CUBES["hour"].table.c.hour
    statement = select(func.min(hours)).where(hours < until)
    found = connection.execute(statement if since is None else statement.where(hours >= since)).scalar()
    return None if found is None else str(found)


def drop_sums(connection: Connection, since: str | None, until: str) -> None:
    """Drop all sums of whole hours. None of the calls of that time may have a row.

    Args:
        connection: one that writes, after `lock_writers`.
        since: the first hour, as rollups write it; None is the first of all.
        until: the first hour that stays.

    """
    first = first_sum(connection, since, until)
    if first is None:
        return
    days, months = (first[:_DAY], until[:_DAY]), (first[:_MONTH], until[:_MONTH])
    for rollups in (CUBES, CALLERS, NAMES):
        hours = rollups["hour"].table
        doomed = and_(hours.c.hour >= first, hours.c.hour < until)
        lasting = hours.c.hour.between(days[0] + _FIRST_HOUR, days[1] + _LAST_HOUR) & ~doomed
        _derive_again(connection, rollups["day"], rollups["day"].table.c.day.between(*days), rollups["hour"], lasting)
        if "month" in rollups:
            fine = rollups["day"].table.c.day.between(months[0] + _FIRST_DAY, months[1] + _LAST_DAY)
            coarse = rollups["month"].table.c.month.between(*months)
            _derive_again(connection, rollups["month"], coarse, rollups["day"], fine)
        else:
            for dimension in NAMED:
                touched = select(hours.c.name).where(hours.c.dimension == dimension, doomed)
                _derive_names(connection, dimension, touched)
        connection.execute(delete(hours).where(doomed))


def forget_names(connection: Connection, dimension: str, names: Sequence[str], since: str | None, until: str) -> None:
    """Add the sums of some names to those of calls without one, whole hours; calls that have a row keep their name.

    Args:
        connection: one that writes, after `lock_writers`.
        dimension: whose names: `session` or `user`.
        names: the names.
        since: the first hour, as rollups write it; None is the first of all.
        until: the first hour in which names stay.

    """
    hours, days = NAMES["hour"].table, NAMES["day"].table
    of_them = and_(hours.c.dimension == dimension, hours.c.name.in_(names), hours.c.hour < until)
    if since is not None:
        of_them = and_(of_them, hours.c.hour >= since)
    touched = sorted(connection.execute(select(hours.c.hour).where(of_them).distinct()).scalars())
    for hour in touched:
        both = and_(hours.c.dimension == dimension, hours.c.hour == hour, hours.c.name.in_(["", *names]))
        sums = rollup_sums(hours.c)
        row = connection.execute(select(*(value.label(name) for name, value in sums.items())).where(both)).one()
        connection.execute(delete(hours).where(both))
        numbers = {name: None if number is None else int(number) for name, number in row._mapping.items()}
        connection.execute(insert(hours), {"dimension": dimension, "hour": hour, "name": "", **numbers})
    if touched:
        _give_back(connection, dimension, names, touched)
    for day in sorted({hour[:_DAY] for hour in touched}):
        coarse = and_(days.c.dimension == dimension, days.c.day == day, days.c.name.in_(["", *names]))
        that_day = hours.c.hour.between(day + _FIRST_HOUR, day + _LAST_HOUR)
        fine = and_(hours.c.dimension == dimension, that_day, hours.c.name.in_(["", *names]))
        _derive_again(connection, NAMES["day"], coarse, NAMES["hour"], fine)
    if touched:
        _derive_names(connection, dimension, ["", *names])


def _give_back(connection: Connection, dimension: str, names: Sequence[str], hours: Sequence[str]) -> None:
    """Take the calls that have rows from those without a name, and give them to their names again.

    A range that begins or ends within an hour leaves such calls; else they would be counted out of a name without sums.
    """
    first, last = (datetime.fromisoformat(hour) for hour in (hours[0], hours[-1]))
    is_left = and_(CALLS.c.started_at >= first, CALLS.c.started_at < last + timedelta(hours=1))
    named: dict[tuple[str, ...], list[Numbers]] = defaultdict(list)
    nameless: dict[tuple[str, ...], list[Numbers]] = defaultdict(list)
    for fact in read_facts(connection, and_(is_left, CALLS.c[MANY[dimension]].in_([name for name in names if name]))):
        numbers = numbers_of(fact)
        named[dimension, fact[0], fact[MANY_KEYS[dimension]]].append(numbers)
        nameless[dimension, fact[0], ""].append([None if number is None else -number for number in numbers])
    if not named:
        return
    rollup = NAMES["hour"]
    changes = {key: added_up(parts) for key, parts in sorted([*named.items(), *nameless.items()])}
    send_all(connection, adding_statements([(rollup, changes)], connection.dialect.name))
    drop_empty(connection, rollup, nameless)
    forget(connection, rollup, dict.fromkeys(nameless, frozenset(SUMMED)))


def _derive_names(connection: Connection, dimension: str, names: Any) -> None:
    """Derive the sums of all time of some names again."""
    coarse, fine = (rollup.table.c for rollup in (NAMES["ever"], NAMES["day"]))
    stale = and_(coarse.dimension == dimension, coarse.name.in_(names))
    _derive_again(
        connection, NAMES["ever"], stale, NAMES["day"], and_(fine.dimension == dimension, fine.name.in_(names))
    )


def _derive_again(
    connection: Connection, coarse: Rollup, stale: ColumnElement[bool], fine: Rollup, source: ColumnElement[bool]
) -> None:
    """Put what finer sums add up to in the place of some rows."""
    connection.execute(delete(coarse.table).where(stale))
    sums = rollup_sums(fine.table.c)
    if coarse.has_last_day:
        sums[LAST_DAY] = func.max(fine.table.c.day)
    keys = [_key(fine, key) for key in coarse.keys]
    places = (text(str(index + 1)) for index in range(len(keys)))
    chosen = select(*(key.label(f"key_{index}") for index, key in enumerate(keys)), *sums.values()).where(source)
    connection.execute(insert(coarse.table).from_select([*coarse.keys, *sums], chosen.group_by(*places)))


def _key(fine: Rollup, key: str) -> ColumnElement[Any]:
    column = fine.table.c[fine.step if key in _LENGTHS else key]
    return func.substr(column, 1, _LENGTHS[key]) if key in _LENGTHS else column
