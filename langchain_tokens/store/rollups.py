"""How do the sums that are kept follow the rows? Whatever changes rows changes them by as much, in one transaction.

Calls that come and go are summed here into what each row of each rollup changes by, which is added there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection

from langchain_tokens.store.facts import CUBE_KEY, MANY_KEYS, RUN, VECTOR, Fact, Numbers, added_up, numbers_of
from langchain_tokens.store.forgetting import forget
from langchain_tokens.store.rolluptables import (
    ALL,
    CALLER_COLUMNS,
    CALLERS,
    CUBE_COLUMNS,
    CUBES,
    NAMED,
    NAMES,
    Rollup,
    Step,
)
from langchain_tokens.store.sending import send_all
from langchain_tokens.store.upserts import adding_statements, drop_empty

__all__ = ("Sums", "add_facts", "added_sums")

_DAY, _MONTH = 10, 7
Key = tuple[Any, ...]
AnyKey = TypeVar("AnyKey")
Value = TypeVar("Value")
Sums = tuple[Rollup, Mapping[Key, Numbers]]
"""A rollup, and key of a row → what is added there; in the order in which rows are to be locked."""


def added_sums(facts: Iterable[Fact]) -> tuple[Mapping[str, Numbers], Iterator[Sums]]:
    """What calls add up to.

    Returns:
        Run → what is added to its totals, in the order of `VECTOR`; and the rollups in the order in which a transaction
        changes them, with what is added there, each found out when it is asked for.

    """
    alike, together = _gathered(facts)
    totals = _merged(together, added_up)
    return _in_runs(totals), _in_rollups(alike, totals)


def add_facts(connection: Connection, added: Sequence[Fact], removed: Sequence[Fact]) -> None:
    """Count calls in, and others out.

    Args:
        connection: one that writes.
        added: what came.
        removed: what went, or was otherwise before.

    """
    new, old = Counter(added), Counter(removed)
    if new == old:  # what was changed is in no sum, such as a tag
        return
    came, went = (_hourly(some.elements()) for some in (new - old, old - new))
    changes = [*_all_steps(_less(came[0], went[0]), _less(came[1], went[1]), added_up)]
    unknown = _all_steps(_lost(came[0], went[0]), _lost(came[1], went[1]), _united)
    send_all(connection, adding_statements(changes, connection.dialect.name))
    for (rollup, numbers), (_, names) in zip(changes, unknown, strict=True):
        drop_empty(connection, rollup, numbers)
        forget(connection, rollup, names)


_CALLER: Callable[[Key], Key] = itemgetter(0, *(1 + CUBE_COLUMNS.index(name) for name in CALLER_COLUMNS))
"""Takes the hour and the names of `CALLERS` from a cube's key."""


def _taking(columns: Sequence[str], *together: tuple[str, ...]) -> Mapping[tuple[str, ...], Callable[[Key], Key]]:
    return {
        dimensions: itemgetter(0, *(1 + columns.index(NAMED[dimension]) for dimension in dimensions))
        for dimensions in together
    }


_OF_CALLERS = _taking(CALLER_COLUMNS, ("agent", "chain", "path"), ("model", "provider"))
_OF_CUBE = _taking(CUBE_COLUMNS, ("mode", "status", "attempt"))
"""Dimensions that are summed by themselves, too → takes the hour and their names from the key of a combination.

Together are those whose names come in few combinations, which are added up first; of the last there are the fewest.
"""
_by_key = itemgetter(0)
_together_in: Callable[[Fact], Key] = itemgetter(RUN, CUBE_KEY.start, *MANY_KEYS.values())
"""Of a fact: its run, its hour, and the names that all calls of a run share."""


def _gathered(facts: Iterable[Fact]) -> tuple[dict[Key, list[Numbers]], dict[Key, list[Numbers]]]:
    """The numbers of calls, by the key of the finest cube; and by run, hour and the names that a run's calls share."""
    alike: dict[Key, list[Numbers]] = defaultdict(list)
    together: dict[Key, list[Numbers]] = defaultdict(list)
    for fact in facts:
        numbers = numbers_of(fact)
        alike[fact[CUBE_KEY]].append(numbers)
        together[_together_in(fact)].append(numbers)
    return alike, together


def _in_runs(totals: Mapping[Key, Numbers]) -> dict[str, Numbers]:
    runs: dict[str, list[Numbers]] = defaultdict(list)
    for (run_id, *_), total in totals.items():
        runs[run_id].append(total)
    return _merged(runs, added_up)


def _in_rollups(alike: Mapping[Key, Sequence[Numbers]], totals: Mapping[Key, Numbers]) -> Iterator[Sums]:
    yield from _all_steps(_in_cube(alike), _in_names(totals), added_up)


def _hourly(facts: Iterable[Fact]) -> tuple[dict[Key, Numbers], dict[Key, Numbers]]:
    """What calls add up to in the rows of the finest rollups: that of all names, and that of one at a time."""
    alike, together = _gathered(facts)
    return _in_cube(alike), _in_names(_merged(together, added_up))


def _in_cube(alike: Mapping[Key, Sequence[Numbers]]) -> dict[Key, Numbers]:
    cube: dict[Key, list[Numbers]] = defaultdict(list)
    for key, parts in alike.items():
        cube[tuple(["" if name is None else name for name in key])] += parts
    return _merged(cube, added_up)


def _in_names(totals: Mapping[Key, Numbers]) -> dict[Key, Numbers]:
    """By the names of which there are many. A run has one session and one user, so its calls were added up first."""
    names: dict[Key, list[Numbers]] = defaultdict(list)
    for (_, hour, *belongs), total in totals.items():
        for dimension, name in zip(MANY_KEYS, belongs, strict=True):
            names[dimension, hour, name or ""].append(total)
    return _merged(names, added_up)


def _all_steps(
    cube: Mapping[Key, Value], names: Mapping[Key, Value], merge: Callable[[Sequence[Value]], Value]
) -> Iterator[tuple[Rollup, dict[Key, Value]]]:
    """What changes in all rollups, in their order, where that changes in the two finest; each sorted by its key.

    Sorted, so that writers that meet in the same rows never wait for each other in a circle.
    """
    ordered = _in_order(cube)
    yield from _steps(CUBES, ordered, merge)
    callers = _in_order(_projected(ordered, _CALLER, merge))
    yield from _steps(CALLERS, callers, merge)
    parts = [*_each_name(callers, _OF_CALLERS, merge), *_each_name(ordered, _OF_CUBE, merge)]
    totals = (((ALL, hour, ""), value) for hour, value in _projected(callers, _by_key, merge).items())
    yield from _name_steps(chain(names.items(), parts, totals), merge)


def _steps(
    rollups: Mapping[Step, Rollup], hours: dict[Key, Value], merge: Callable[[Sequence[Value]], Value]
) -> Iterator[tuple[Rollup, dict[Key, Value]]]:
    yield rollups["hour"], hours
    for rollup, length in ((rollups["day"], _DAY), (rollups["month"], _MONTH)):
        parts: dict[Key, list[Value]] = defaultdict(list)
        for (hour, *rest), value in hours.items():
            parts[hour[:length], *rest].append(value)
        yield rollup, _in_order(_merged(parts, merge))


def _name_steps(
    parts: Iterable[tuple[Key, Value]], merge: Callable[[Sequence[Value]], Value]
) -> Iterator[tuple[Rollup, dict[Key, Value]]]:
    hours: dict[Key, list[Value]] = defaultdict(list)
    for key, value in parts:
        hours[key].append(value)
    merged = _merged(hours, merge)
    yield NAMES["hour"], _in_order(merged)
    days: dict[Key, list[Value]] = defaultdict(list)
    for (dimension, hour, name), value in merged.items():
        days[dimension, hour[:_DAY], name].append(value)
    by_day = _merged(days, merge)
    yield NAMES["day"], _in_order(by_day)
    ever: dict[Key, list[Value]] = defaultdict(list)
    for (dimension, _, name), value in by_day.items():
        if dimension != ALL:
            ever[dimension, name].append(value)
    yield NAMES["ever"], _in_order(_merged(ever, merge))


def _each_name(
    combined: Mapping[Key, Value],
    taking: Mapping[tuple[str, ...], Callable[[Key], Key]],
    merge: Callable[[Sequence[Value]], Value],
) -> Iterator[tuple[Key, Value]]:
    """What combinations have for one name at a time; in parts, where one is in several of them."""
    for dimensions, names_in in taking.items():
        for (hour, *names), value in _projected(combined, names_in, merge).items():
            for dimension, name in zip(dimensions, names, strict=True):
                yield (dimension, hour, str(name)), value


def _projected(
    rows: Mapping[Key, Value], key_of: Callable[[Key], AnyKey], merge: Callable[[Sequence[Value]], Value]
) -> dict[AnyKey, Value]:
    """What rows add up to by a part of their keys."""
    parts: dict[AnyKey, list[Value]] = defaultdict(list)
    for key, value in rows.items():
        parts[key_of(key)].append(value)
    return _merged(parts, merge)


def _in_order(rows: Mapping[Key, Value]) -> dict[Key, Value]:
    return dict(sorted(rows.items(), key=_by_key))


def _less(more: Mapping[Key, Numbers], less: Mapping[Key, Numbers]) -> dict[Key, Numbers]:
    changes = {**more}
    for key, numbers in less.items():
        gone = [None if number is None else -number for number in numbers]
        changes[key] = added_up([changes[key], gone]) if key in changes else gone
    return changes


def _lost(more: Mapping[Key, Numbers], less: Mapping[Key, Numbers]) -> dict[Key, frozenset[str]]:
    """Which numbers of which rows may be known by no call any more: one that knew it went, none came."""
    nothing = [None] * len(VECTOR)
    return {
        key: frozenset(
            name
            for name, went, came in zip(VECTOR, numbers, more.get(key, nothing), strict=True)
            if went is not None and came is None
        )
        for key, numbers in less.items()
    }


def _merged(parts: Mapping[AnyKey, Sequence[Value]], merge: Callable[[Sequence[Value]], Value]) -> dict[AnyKey, Value]:
    return {key: merge(values) for key, values in parts.items()}


def _united(parts: Sequence[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*parts)
