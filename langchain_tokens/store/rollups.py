"""How do the sums that are kept follow the rows? Whatever changes rows changes them by as much, in one transaction.

Calls that come and go are summed here into what each row of each rollup changes by, which is added there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection

from langchain_tokens.store.facts import CUBE_KEY, MANY_KEYS, RUN, VECTOR, Fact, Numbers, added_up, numbers_of
from langchain_tokens.store.forgetting import forget
from langchain_tokens.store.rolluptables import ALL, CUBE_COLUMNS, CUBES, NAMED, NAMES, ROLLUPS
from langchain_tokens.store.upserts import add_numbers, drop_empty

__all__ = ("Added", "add_facts", "add_sums", "sums_of")

_DAY, _MONTH = 10, 7
Key = tuple[Any, ...]
AnyKey = TypeVar("AnyKey")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What calls add up to."""

    facts: Sequence[Fact]
    """The calls."""
    rollups: Mapping[str, Mapping[Key, Numbers]]
    """Rollup's table → key of a row → what is added there; in the order in which rows are to be locked."""
    runs: Mapping[str, Numbers]
    """Run → what is added to its totals, in the order of `VECTOR`."""


def sums_of(facts: Iterable[Fact]) -> Added:
    """Add calls up, for all that is derived from them."""
    known = list(facts)
    cube, names, runs = _hourly(known)
    return Added(facts=known, rollups=_all_steps((cube, names), added_up), runs=runs)


def add_sums(connection: Connection, added: Added) -> None:
    """Count calls in that came."""
    for name, deltas in added.rollups.items():
        add_numbers(connection, _BY_NAME[name], deltas)


def add_facts(connection: Connection, added: Sequence[Fact], removed: Sequence[Fact]) -> None:
    """Count calls in, and others out.

    Args:
        connection: one that writes.
        added: what came.
        removed: what went, or was otherwise before.

    """
    new, old = Counter(added), Counter(removed)
    both = tuple(zip(*(_hourly(some.elements())[:2] for some in (new - old, old - new)), strict=True))
    changes = _all_steps([_less(came, went) for came, went in both], added_up)
    unknown = _all_steps([_lost(came, went) for came, went in both], _united)
    for name, deltas in changes.items():
        add_numbers(connection, _BY_NAME[name], deltas)
    for name, deltas in changes.items():
        drop_empty(connection, _BY_NAME[name], deltas)
        forget(connection, _BY_NAME[name], unknown[name])


_COMBINED: Mapping[tuple[str, ...], Callable[[Key], Key]] = {
    dimensions: itemgetter(0, *(1 + CUBE_COLUMNS.index(NAMED[dimension]) for dimension in dimensions))
    for dimensions in (("agent", "chain", "path"), ("model", "provider"), ("mode", "status"))
}
"""Dimensions that are summed by themselves, too → takes the hour and their names from a cube's key.

Together are those whose names come in few combinations, which are added up first; of the last there are the fewest.
"""
_by_key = itemgetter(0)
_BY_NAME = {rollup.table.name: rollup for rollup in ROLLUPS}
_together_in: Callable[[Fact], Key] = itemgetter(RUN, CUBE_KEY.start, *MANY_KEYS.values())
"""Of a fact: its run, its hour, and the names that all calls of a run share."""


def _hourly(facts: Iterable[Fact]) -> tuple[dict[Key, Numbers], dict[Key, Numbers], dict[str, Numbers]]:
    """What calls add up to in the rows of the finest rollups, that of all names and that of one at a time; and in runs.

    A run has one session and one user, so its calls are added up first, and those sums for what it belongs to.
    """
    alike: dict[Key, list[Numbers]] = defaultdict(list)
    together: dict[Key, list[Numbers]] = defaultdict(list)
    for fact in facts:
        numbers = numbers_of(fact)
        alike[fact[CUBE_KEY]].append(numbers)
        together[_together_in(fact)].append(numbers)
    names: dict[Key, list[Numbers]] = defaultdict(list)
    runs: dict[str, list[Numbers]] = defaultdict(list)
    for (run_id, hour, *belongs), total in _merged(together, added_up).items():
        runs[run_id].append(total)
        for dimension, name in zip(MANY_KEYS, belongs, strict=True):
            names[dimension, hour, name or ""].append(total)
    cube: dict[Key, list[Numbers]] = defaultdict(list)
    for key, parts in alike.items():
        cube[tuple(["" if name is None else name for name in key])] += parts
    return _merged(cube, added_up), _merged(names, added_up), _merged(runs, added_up)


def _all_steps(
    hourly: Sequence[Mapping[Key, Value]], merge: Callable[[Sequence[Value]], Value]
) -> Mapping[str, dict[Key, Value]]:
    """What changes in all rollups, in their order, where that changes in the two finest; each sorted by its key.

    Sorted, so that writers that meet in the same rows never wait for each other in a circle.
    """
    cube, names = dict(sorted(hourly[0].items(), key=_by_key)), hourly[1]
    parts: dict[str, dict[Key, list[Value]]] = {rollup.table.name: defaultdict(list) for rollup in ROLLUPS}
    days, months, hourly_names = (parts[rollup.table.name] for rollup in (CUBES["day"], CUBES["month"], NAMES["hour"]))
    for (hour, *rest), value in cube.items():
        days[hour[:_DAY], *rest].append(value)
        months[hour[:_MONTH], *rest].append(value)
    for key, value in (*names.items(), *_each_name(cube, merge)):
        hourly_names[key].append(value)
    merged = _merged(hourly_names, merge)
    for (dimension, hour, name), value in merged.items():
        parts[NAMES["day"].table.name][dimension, hour[:_DAY], name].append(value)
        if dimension != ALL:
            parts[NAMES["ever"].table.name][dimension, name].append(value)
    found = {name: _merged(rows, merge) for name, rows in parts.items()}
    found |= {CUBES["hour"].table.name: cube, NAMES["hour"].table.name: merged}
    return {name: dict(sorted(rows.items(), key=_by_key)) for name, rows in found.items()}


def _each_name(cube: Mapping[Key, Value], merge: Callable[[Sequence[Value]], Value]) -> Iterator[tuple[Key, Value]]:
    """What a cube has for one name at a time, and for all names; in parts, where one is in several combinations."""
    totals: Mapping[Key, Value] = {}
    for dimensions, names_in in _COMBINED.items():
        combined: dict[Key, list[Value]] = defaultdict(list)
        for key, value in cube.items():
            combined[names_in(key)].append(value)
        totals = _merged(combined, merge)
        for (hour, *names), value in totals.items():
            for dimension, name in zip(dimensions, names, strict=True):
                yield (dimension, hour, name), value
    for (hour, *_), value in totals.items():
        yield (ALL, hour, ""), value


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
