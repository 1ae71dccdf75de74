"""Which sessions or users have the most tokens, or cost, in a range? Those with the most of all time are gone through.

What a name has in a range is at most what it has of all time. One index has names in the order of that with their
last day, so that those of earlier days are passed over; another has the days of each: where all of them lie in the
range, the sums of all time are the answer; of names that the range cuts, those of the range are added up. So whoever is
beyond the last that is looked at has no more than that one. It pays only where few of the names in a range are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

from sqlalchemy import Connection, Row, select

from langchain_tokens.query import Query
from langchain_tokens.store.largest import Size, ordered
from langchain_tokens.store.namesearch import names_statement, rows_of_days, sample_statement
from langchain_tokens.store.plan import ceiling_of, moment_in, spans_of
from langchain_tokens.store.prepared import asked, whole_statement
from langchain_tokens.store.rolluptables import MANY

__all__ = ("is_of_names", "largest_names")

_FEW = 2_000
"""Rows of days that are added up in the time which it takes to ask more than once."""
_ROWS_OF_NAME: Mapping[str, int] = {"sqlite": 5, "postgresql": 10}
"""Rows of days that are added up in the time in which the days of one name are looked at."""
_PASSED_OF_ROW = 4
"""Names of earlier days that are passed over in the time in which a row is added up."""
_SAMPLE = 64
"""Names that tell how many of those with the most of all time are of a range, and how many of these it cuts."""
_PASSED_IN_SAMPLE = 2_048
"""Names of a sample where they are only passed over."""
_SOME = 16
"""Names of a range that are enough to know that there are many."""
_PAGE = 64
"""Names are looked at by multiples of so many."""
_LOOKS = 3
"""If it takes more, it is no chance any more that too few names are of the range: its names have less than others."""
_SPARE = 8
"""Names that are looked for beyond those that are asked for: some are cut, and where they lie is chance."""
_ALIKE = 8
"""Names that are cut are asked for by multiples of so many: databases know the statement then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Days:
    """A range by days, as tables of sums write them; None where it has no end."""

    asked_first: str | None
    """The first day of which a part is in it."""
    asked_begin: str | None
    """The first day that is wholly in it."""
    asked_end: str | None
    """The day after the last that is wholly in it."""
    asked_after: str | None
    """The day after the last of which a part is in it."""

    @property
    def has_ends(self) -> tuple[bool, bool]:
        """Whether it has a beginning, and an end."""
        return (self.asked_first is not None, self.asked_after is not None)

    def have_all(self, name: Row[Any]) -> bool:
        """Whether all days of a name are wholly in the range."""
        begins = self.asked_begin is None or name.first_day >= self.asked_begin
        return begins and (self.asked_end is None or name.last_day < self.asked_end)


def is_of_names(query: Query) -> bool:
    """Whether a question is one for `largest_names`: about sessions or users, of a range, without other filters."""
    is_range = query.since is not None or query.until is not None
    is_plain = len(query.by) == 1 and query.by[0] in MANY and not query.equals and not query.tags
    return is_range and is_plain


def largest_names(
    connection: Connection, query: Query, limit: int, rank: str, only: Sequence[str]
) -> Sequence[tuple[Any, ...]] | None:
    """The names with the most of a sum in a range, the largest first, each with some sums.

    Args:
        connection: one that reads.
        query: whose names, and which range; see `is_of_names`.
        limit: the most names.
        rank: one of `largest.RANKS`.
        only: the sums that come with a name; calls and `rank` are among them.

    Returns:
        None where all of them have to be added up, or where that takes no longer.

    """
    days = _days_of(query)
    if days is None or limit == 0:
        return None
    walk = _Walk(query=query, days=days, rank=rank, only=tuple(only), limit=limit)
    for _ in range(_LOOKS):
        if not walk.go_on(connection):
            return None
        if len(walk.whole) > limit:
            sizes = ordered(sorted(walk.sizes(connection), key=lambda size: size.name or ""), limit)
            # Any number of others may have as much as the least of them.
            return None if sizes[-1].amount == walk.least else [size.sums for size in sizes]
    return None


@dataclass(slots=True, kw_only=True)
class _Walk:
    """How far names were gone through."""

    query: Query
    days: _Days
    rank: str
    only: tuple[str, ...]
    limit: int
    whole: dict[str, Row[Any]] = field(default_factory=dict)
    """Those that the range has whole, with their sums."""
    cut: set[str] = field(default_factory=set)
    """Those that it cuts, or may not have at all."""
    looked: int = 0
    """How many were looked at."""
    rows: int = 0
    """How many rows of days the range has, as far as they were counted."""
    least: int | None = None
    """What all others have of all time, at most; None where there are no others."""

    def go_on(self, connection: Connection) -> bool:
        """Look at some more names; whether it helped, and takes less time than to add up all."""
        looked, whole, cut = self._so_far(connection)
        if whole == 0 or cut > whole + _SPARE:
            return False
        missing, before = self.limit + _SPARE - len(self.whole), self.least
        page = _PAGE * ceil(missing * looked / whole / _PAGE)
        if not self._pays(connection, page):
            return False
        for row in self._look(connection, page):
            if self.days.have_all(row):
                self.whole[row.name] = row
            else:
                self.cut.add(row.name)
        return self.least not in (None, before)

    def sizes(self, connection: Connection) -> Iterator[Size]:
        """What of those that were found lies in the range."""
        for name, row in self.whole.items():
            yield self._size((name or None, *row[-len(self.only) :]))
        if self.cut:
            yield from map(self._size, self._added(connection))

    def _so_far(self, connection: Connection) -> tuple[int, int, int]:
        """How many names were looked at, how many of them the range has whole, and how many it cuts; in the beginning
        those of a sample.
        """
        if self.looked:
            return self.looked, len(self.whole), len(self.cut)
        page = _SAMPLE if self._has_end else _PASSED_IN_SAMPLE
        values = self._values(asked_page=page, asked_most=_SOME, asked_enough=_FEW)
        counted = connection.execute(sample_statement(self.rank, self.days.has_ends), values).one()
        self.rows = counted.rows
        looked = page if counted.found < _SOME else counted.looked
        return looked, counted.found - counted.cut, counted.cut

    @property
    def _has_end(self) -> bool:
        """Whether the days of all names have to be looked at, since the last day of most is after the range."""
        return self.days.has_ends[1]

    def _pays(self, connection: Connection, page: int) -> bool:
        """Whether to look at more names takes less time than to add up the rows of all days."""
        found = page if self._has_end else min(page, self._most)
        enough = max(_FEW, found * _ROWS_OF_NAME[connection.dialect.name] + (page - found) // _PASSED_OF_ROW)
        if _FEW <= self.rows < enough:
            counted = connection.execute(select(rows_of_days(self.days.has_ends)), self._values(asked_enough=enough))
            self.rows = counted.scalar_one()
        return self.rows >= enough

    def _look(self, connection: Connection, page: int) -> Sequence[Row[Any]]:
        """Those of the next names that may be in the range."""
        statement = names_statement(self.rank, self.only, self.days.has_ends, is_next=self.looked > 0)
        values = self._values(asked_page=page, asked_most=self._most, asked_least=self.least)
        rows = connection.execute(statement, values).all()
        names = [row for row in rows if row.name is not None]
        self.looked += page
        if len(names) == self._most:
            self.least = min(row.amount for row in names)
        else:  # of those that have as much as the last one, all were looked at
            self.least = None if rows[0].least is None else rows[0].least - 1
        return names

    @property
    def _most(self) -> int:
        """Names that are found at once."""
        return 2 * self.limit + _SPARE

    def _values(self, **more: int | None) -> dict[str, Any]:
        return {"asked_dimension": self.query.by[0], **asdict(self.days), **more}

    def _added(self, connection: Connection) -> Iterable[Row[Any]]:
        """What those have in the range that it cuts, added up."""
        named: list[str | None] = [*sorted(self.cut - {""})]
        named += named[:1] * (-len(named) % _ALIKE)
        names = [*named, *([None] if "" in self.cut else [])]
        few = replace(self.query, equals={self.query.by[0]: tuple(names)})
        question = asked(few, connection.dialect.name, self.only)
        return connection.execute(whole_statement(question.form), question.values)

    def _size(self, sums: Sequence[Any]) -> Size:
        amount, calls = (sums[1 + self.only.index(name)] for name in (self.rank, "calls"))
        # PostgreSQL's sums of money are numeric
        return Size(name=sums[0], amount=None if amount is None else int(amount), calls=calls, sums=tuple(sums))


def _days_of(query: Query) -> _Days | None:
    """The days of a range; None where no whole day is in it."""
    whole = next((span for span in spans_of(query) if span[0] == "day"), None)
    if whole is None:
        return None
    try:
        after = None if query.until is None else moment_in(ceiling_of(query.until, "day"), "day")
    except OverflowError:  # the last day of the calendar
        return None
    first = None if query.since is None else moment_in(query.since, "day")
    return _Days(asked_first=first, asked_begin=whole[1], asked_end=whole[2], asked_after=after)
