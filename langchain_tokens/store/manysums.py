"""What do many ranges add up to? Exactly, from the fewest sums and rows, in a few statements for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.query import Query
from langchain_tokens.store.covering import Cover, covers
from langchain_tokens.store.keptparts import read_kept_parts
from langchain_tokens.store.parthours import read_part_hours
from langchain_tokens.store.plan import ceiling_of, family_of, floor_of, pieces
from langchain_tokens.store.rolluptables import COUNTS, Step
from langchain_tokens.store.zeros import Zero, known_zeros

__all__ = ("read_ranges",)

Range = tuple[datetime, datetime]
Groups = Mapping[tuple[Any, ...], Sequence[Any]]
_COARSEST_FIRST: tuple[Step, ...] = ("month", "day", "hour")


def read_ranges(connection: Connection, query: Query, ranges: Sequence[Range]) -> Groups:
    """For each range's place and the query's dimensions all sums, in the order of `SUMS`; only those with any calls.

    Args:
        connection: one that reads.
        query: groups by no part of time; its own range is not looked at.
        ranges: the first moment of each, and the first one after it; they may overlap, as days of several zones do.

    """
    family = family_of(query)
    step = None if family is None else next(step for step in _COARSEST_FIRST if step in family.rollups)
    parts = [(place, part) for place, span in enumerate(ranges) for part in covers(*span, step)]
    found = _added(connection, query, parts)
    lessened = {place for place, part in parts if part.sign < 0}
    again = _untold(connection, query, ranges, {key: found[key] for key in found if key[0] in lessened})
    if not again:
        return found
    plain = [(place, part) for place in again for part in _plain(*ranges[place], step)]
    return {key: found[key] for key in found if key[0] not in again} | _added(connection, query, plain)


def _added(connection: Connection, query: Query, parts: Sequence[tuple[int, Cover]]) -> dict[tuple[Any, ...], Any]:
    """The parts of each range together."""
    count = len(query.by)
    added: dict[tuple[Any, ...], Sequence[Any]] = {
        tuple(row[: count + 1]): row[count + 1 :] for row in read_kept_parts(connection, query, parts)
    }
    uses: dict[Range, list[tuple[int, int]]] = {}
    for place, part in parts:
        if part.step is None:
            uses.setdefault((part.since, part.until), []).append((place, part.sign))
    used = list(uses.values())  # what ends a day within an hour also begins the next
    for index, *row in read_part_hours(connection, query, list(uses)):
        for place, sign in used[index]:
            key = (place, *row[:count])
            before = added.get(key, (None,) * len(row[count:]))
            added[key] = [_plus(*both, sign) for both in zip(before, row[count:], strict=True)]
    return {key: numbers for key, numbers in added.items() if numbers[0]}


def _plus(left: Any, right: Any, sign: int) -> Any:
    if right is None:
        return left
    return sign * right if left is None else left + sign * right


def _untold(connection: Connection, query: Query, ranges: Sequence[Range], groups: Groups) -> frozenset[int]:
    """The places of ranges that have a sum of which cannot be told whether it is 0 or not known."""
    zeros: list[Zero] = []
    places: list[int] = []
    for (place, *key), numbers in groups.items():
        summed = numbers[len(COUNTS) :]
        if 0 in summed:
            since, until = ceiling_of(ranges[place][0], "hour"), floor_of(ranges[place][1], "hour")
            which = tuple([index for index, number in enumerate(summed) if number == 0])
            zeros.append(Zero(since=since, until=until, key=tuple(key), sums=which))
            places.append(place)
    known = known_zeros(connection, query, zeros)
    return frozenset(place for index, place in enumerate(places) if index not in known)


def _plain(since: datetime, until: datetime, step: Step | None) -> Iterator[Cover]:
    """The parts of a range, none of them taken away."""
    for piece in pieces(since, until, step):
        if piece.since is not None and piece.until is not None:
            yield Cover(piece.step, 1, piece.since, piece.until)
